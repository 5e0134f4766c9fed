//! A TCP proxy that makes a network bad: it delays, trickles, stalls and cuts what passes.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What happens to bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weather {
    /// They pass.
    #[default]
    Fair,
    /// Every piece is held up for this long.
    Slow(Duration),
    /// They arrive one by one.
    Trickle,
    /// They stay where they are and connections stay open, as when a cable is pulled.
    Stalled,
    /// New connections are closed at once.
    Refused,
}

/// A proxy in front of one address. Ends on drop, with every connection.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    /// Counts resets.
    resets: watch::Sender<u64>,
    passed: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

/// The most bytes that are under way at once in one direction.
const PIECE: usize = 16 << 10;

impl Proxy {
    /// Listens on a free port in front of `target`.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (weather, forecast) = watch::channel(Weather::Fair);
        let (resets, reset) = watch::channel(0);
        let passed = Arc::new(AtomicU64::new(0));
        let counter = passed.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((inside, _)) = listener.accept().await {
                tokio::spawn(connect(inside, target, forecast.clone(), reset.clone(), counter.clone()));
            }
        });
        Self { address, weather, resets, passed, accepting }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Resets every connection once.
    pub fn reset(&self) {
        self.resets.send_modify(|resets| *resets += 1);
    }

    /// Bytes that passed, both ways.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn connect(
    inside: TcpStream,
    target: SocketAddr,
    forecast: watch::Receiver<Weather>,
    mut reset: watch::Receiver<u64>,
    passed: Arc<AtomicU64>,
) {
    reset.borrow_and_update();
    // Without it, closing would be orderly. If it cannot be set, it is.
    let _ = socket2::SockRef::from(&inside).set_linger(Some(Duration::ZERO));
    if *forecast.borrow() == Weather::Refused {
        return;
    }
    let Ok(outside) = TcpStream::connect(target).await else { return };
    let _ = socket2::SockRef::from(&outside).set_linger(Some(Duration::ZERO));
    // One byte at a time only if the system does not gather them again.
    let _ = (inside.set_nodelay(true), outside.set_nodelay(true));
    let (inside_read, inside_write) = inside.into_split();
    let (outside_read, outside_write) = outside.into_split();
    let there = pump(inside_read, outside_write, forecast.clone(), &passed);
    let back = pump(outside_read, inside_write, forecast, &passed);
    tokio::select! {
        _ = async { tokio::join!(there, back) } => {}
        _ = reset.changed() => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut forecast: watch::Receiver<Weather>,
    passed: &AtomicU64,
) {
    let mut buffer = vec![0; PIECE];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let weather = *forecast.borrow_and_update();
        match weather {
            Weather::Fair | Weather::Trickle | Weather::Refused => {}
            Weather::Slow(delay) => tokio::time::sleep(delay).await,
            Weather::Stalled => {
                if forecast.wait_for(|weather| *weather != Weather::Stalled).await.is_err() {
                    return;
                }
            }
        }
        let size = if weather == Weather::Trickle { 1 } else { PIECE };
        for piece in buffer[..read].chunks(size) {
            if to.write_all(piece).await.is_err() || to.flush().await.is_err() {
                return;
            }
            passed.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    }
    // The other direction may still be used.
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    async fn ask(stream: &mut TcpStream) -> Option<[u8; 4]> {
        stream.write_all(b"ping").await.ok()?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.ok().map(|_| answer)
    }

    #[tokio::test]
    async fn bytes_pass_unharmed_in_any_weather() {
        let proxy = Proxy::start(echo().await).await;
        let mut stream = TcpStream::connect(proxy.address()).await.expect("a connection");
        assert_eq!(ask(&mut stream).await, Some(*b"ping"));
        proxy.set(Weather::Trickle);
        assert_eq!(ask(&mut stream).await, Some(*b"ping"));
        proxy.set(Weather::Slow(Duration::from_millis(30)));
        let start = Instant::now();
        assert_eq!(ask(&mut stream).await, Some(*b"ping"));
        assert!(start.elapsed() >= Duration::from_millis(60), "there and back");
        assert_eq!(proxy.passed(), 24);
    }

    #[tokio::test]
    async fn a_stalled_connection_stays_open_and_goes_on() {
        let proxy = Proxy::start(echo().await).await;
        let mut stream = TcpStream::connect(proxy.address()).await.expect("a connection");
        assert_eq!(ask(&mut stream).await, Some(*b"ping"));
        proxy.set(Weather::Stalled);
        let mut asking = Box::pin(ask(&mut stream));
        assert!(tokio::time::timeout(Duration::from_millis(50), &mut asking).await.is_err());
        proxy.set(Weather::Fair);
        assert_eq!(asking.await, Some(*b"ping"));
    }

    #[tokio::test]
    async fn a_reset_ends_connections_and_allows_new_ones() {
        let proxy = Proxy::start(echo().await).await;
        let mut stream = TcpStream::connect(proxy.address()).await.expect("a connection");
        assert_eq!(ask(&mut stream).await, Some(*b"ping"));
        proxy.reset();
        assert_eq!(ask(&mut stream).await, None);
        let mut other = TcpStream::connect(proxy.address()).await.expect("a connection");
        assert_eq!(ask(&mut other).await, Some(*b"ping"));
        proxy.set(Weather::Refused);
        let mut refused = TcpStream::connect(proxy.address()).await.expect("accepted, then closed");
        assert_eq!(ask(&mut refused).await, None);
    }
}
