use tokio::io::duplex;

use super::*;

fn channel(stream: impl Stream + 'static) -> Channel {
    Channel { shard: "a".into(), stream: Box::new(stream), input: BytesMut::new(), skip: 0 }
}

fn copy_data(content: &[u8]) -> Vec<u8> {
    let mut message = vec![COPY_DATA];
    message.extend_from_slice(&u32::try_from(content.len() + 4).expect("short").to_be_bytes());
    message.extend_from_slice(content);
    message
}

#[tokio::test]
async fn a_message_too_large_to_keep_is_known_by_its_beginning() {
    let (mut server, client) = duplex(1 << 12);
    let mut channel = channel(client);
    let mut large = b"beginning".to_vec();
    large.resize(3 * MOST_BYTES, 0);
    tokio::spawn(async move {
        server.write_all(&copy_data(&large)).await.expect("read");
        server.write_all(&copy_data(b"next")).await.expect("read");
        server
    });
    let (bytes, extent) = channel.next().await.expect("a message");
    assert_eq!((&bytes[..9], extent), (&b"beginning"[..], Extent::Beginning));
    assert!(bytes.len() <= BEGINNING);
    let (bytes, extent) = channel.next().await.expect("a message");
    assert_eq!((&bytes[..], extent), (&b"next"[..], Extent::Whole));
    assert!(channel.input.capacity() < MOST_BYTES, "{}", channel.input.capacity());
}

/// In a select, the loser is dropped: it must not take bytes with it.
#[tokio::test]
async fn a_reader_dropped_in_the_middle_of_a_message_loses_nothing() {
    let (mut server, client) = duplex(1 << 12);
    let mut channel = channel(client);
    for byte in copy_data(b"whole") {
        let mut next = Box::pin(channel.next());
        assert!(futures_util::poll!(next.as_mut()).is_pending());
        drop(next);
        server.write_all(&[byte]).await.expect("open");
    }
    assert_eq!(&channel.next().await.expect("a message").0[..], b"whole");
}

#[tokio::test]
async fn nonsense_and_a_closed_connection_are_errors() {
    let (mut server, client) = duplex(1 << 12);
    let mut this = channel(client);
    server.write_all(&[b'd', 0, 0, 0, 1, 0]).await.expect("open");
    assert!(this.next().await.is_err(), "a length below that of the length");
    let (server, client) = duplex(1 << 12);
    drop(server);
    assert!(matches!(channel(client).next().await, Err(StoreError::Unavailable { .. })));
}
