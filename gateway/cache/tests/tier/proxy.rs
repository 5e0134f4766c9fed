//! A TCP proxy that delays, hangs and cuts.

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

/// What happens to bytes from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// They are passed on.
    Fair,
    /// They are passed on so much later.
    Slow(Duration),
    /// They are kept, and so are those to the server; connections are accepted.
    Hanging,
    /// Connections are ended, and so are new ones.
    Cut,
}

pub struct Proxy {
    pub port: u16,
    weather: watch::Sender<Weather>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.weather.send_replace(Weather::Cut);
    }
}

impl Proxy {
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (weather, _) = watch::channel(Weather::Fair);
        let task = tokio::spawn(serve(listener, server, weather.clone()));
        Self { port, weather, task }
    }

    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

async fn serve(listener: TcpListener, server: u16, weather: watch::Sender<Weather>) {
    while let Ok((client, _)) = listener.accept().await {
        if *weather.borrow() == Weather::Cut {
            continue;
        }
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else { continue };
        let ended = weather.subscribe();
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let up = pass(from_client, to_server, weather.subscribe());
        let down = pass(from_server, to_client, weather.subscribe());
        tokio::spawn(async move {
            let mut ended = ended;
            tokio::select! {
                () = up => {}
                () = down => {}
                _ = ended.wait_for(|weather| *weather == Weather::Cut) => {}
            }
        });
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        let Ok(now) = weather.wait_for(|weather| *weather != Weather::Hanging).await.map(|now| *now) else { return };
        if let Weather::Slow(delay) = now {
            sleep(delay).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
