//! Between real sockets, with tungstenite at both ends.

use futures::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use super::*;

/// The two ends of a connection over loopback.
async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (connected, accepted) =
        tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (connected.unwrap(), accepted.unwrap().0)
}

/// An upstream that echoes messages; returns the code of the Close frame it gets.
async fn echo(socket: TcpStream) -> Option<u16> {
    let mut socket = WebSocketStream::from_raw_socket(socket, Role::Server, None).await;
    let mut code = None;
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Close(close) => code = close.map(|close| close.code.into()),
            Message::Text(_) | Message::Binary(_) => socket.send(message).await.unwrap(),
            _ => {}
        }
    }
    code
}

struct Real {
    client: WebSocketStream<TcpStream>,
    upstream: JoinHandle<Option<u16>>,
    end: oneshot::Sender<Ending>,
    pump: JoinHandle<Outcome>,
}

async fn real(limits: Limits) -> Real {
    let (client, client_leg) = connection().await;
    let (upstream_leg, upstream) = connection().await;
    let upstream = tokio::spawn(echo(upstream));
    let (end, ended) = oneshot::channel();
    let pump = tokio::spawn(async move {
        let mut random = StdRng::seed_from_u64(1);
        let ending = async { ended.await.unwrap() };
        pump(client_leg, upstream_leg, &limits, &Counters::default(), ending, || random.random()).await
    });
    let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    Real { client, upstream, end, pump }
}

#[tokio::test]
async fn messages_of_all_sizes_are_echoed_and_the_client_closes() {
    let mut real = real(Limits::default()).await;
    for size in [0, 1, 125, 126, 65535, 65536, 262_144, 3_000_000] {
        let message = Message::Binary(vec![size as u8; size].into());
        real.client.send(message.clone()).await.unwrap();
        assert!(real.client.next().await.unwrap().unwrap() == message, "{size}");
    }
    real.client.close(None).await.unwrap();
    while let Some(message) = real.client.next().await {
        assert!(message.unwrap().is_close());
    }
    drop(real.client);
    assert_eq!(real.pump.await.unwrap(), Outcome::ClientClosed);
    assert_eq!(real.upstream.await.unwrap(), None);
    drop(real.end);
}

#[tokio::test]
async fn a_drain_reaches_both_ends_in_the_middle_of_traffic() {
    let Real { client, upstream, end, pump } = real(Limits::default()).await;
    let (mut write, mut read) = client.split();
    let sender =
        tokio::spawn(
            async move { while write.send(Message::Binary(vec![5; 40_000].into())).await.is_ok() {} },
        );
    let mut end = Some(end);
    let mut code = None;
    let mut echoed = 0;
    while let Some(Ok(message)) = read.next().await {
        match message {
            Message::Close(close) => code = close.map(|close| u16::from(close.code)),
            message => assert_eq!(message.len(), 40_000),
        }
        echoed += 1;
        if echoed == 20 {
            end.take().unwrap().send(Ending::Drain).unwrap();
        }
    }
    assert_eq!(code, Some(1012));
    assert_eq!(pump.await.unwrap(), Outcome::Drained);
    assert_eq!(upstream.await.unwrap(), Some(1001));
    sender.await.unwrap();
}

#[tokio::test]
async fn tungstenite_answers_the_pings_of_the_edge() {
    let limits = Limits {
        idle_ping: Duration::from_millis(40),
        silence: Duration::from_secs(30),
        ..Limits::default()
    };
    let mut real = real(limits).await;
    // The client sees the edge's Ping and, forwarded, the upstream's answer to another one.
    let (mut pinged, mut ponged) = (false, false);
    while !(pinged && ponged) {
        match real.client.next().await.unwrap().unwrap() {
            Message::Ping(_) => pinged = true,
            Message::Pong(_) => ponged = true,
            other => panic!("{other:?}"),
        }
    }
    real.end.send(Ending::SignedOut).unwrap();
    let mut code = None;
    while let Some(Ok(message)) = real.client.next().await {
        if let Message::Close(close) = message {
            code = close.map(|close| u16::from(close.code));
        }
    }
    assert_eq!(code, Some(4001));
    assert_eq!(real.pump.await.unwrap(), Outcome::SignedOut);
    assert_eq!(real.upstream.await.unwrap(), Some(1001));
}
