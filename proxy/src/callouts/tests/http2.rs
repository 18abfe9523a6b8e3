//! HTTP calls over HTTP/2, and the connections that they share.

use super::super::Budget;
use super::{SHORT, World, get, listen, pairs, pass, post, soon, until, value};
use bytes::Bytes;
use coditect_config::UpstreamProtocol;
use coditect_proxy_wasm::{CallFailure, HttpCall};
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

/// One request at an upstream.
pub(super) struct Received {
    pub(super) head: http::request::Parts,
    pub(super) body: RecvStream,
    pub(super) respond: SendResponse<Bytes>,
    /// Which of all requests it is, from 0.
    pub(super) number: usize,
}

impl Received {
    /// The body and the trailers.
    pub(super) async fn whole(&mut self) -> (Vec<u8>, Option<HeaderMap>) {
        let mut whole = Vec::new();
        while let Some(piece) = self.body.data().await {
            let piece = piece.unwrap();
            whole.extend_from_slice(&piece);
            self.body.flow_control().release_capacity(piece.len()).unwrap();
        }
        (whole, self.body.trailers().await.unwrap())
    }

    /// Why the client reset the stream.
    pub(super) async fn reset(&mut self) -> Reason {
        soon("a reset", std::future::poll_fn(|context| self.respond.poll_reset(context))).await.unwrap()
    }
}

/// An upstream over HTTP/2.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
    pub(super) open: Arc<AtomicUsize>,
}

impl Upstream {
    /// Answers each request with `handler`.
    pub(super) async fn start<F>(handler: impl Fn(Received) -> F + Clone + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::with(Builder::new(), handler).await
    }

    pub(super) async fn with<F>(
        builder: Builder,
        handler: impl Fn(Received) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (listener, address) = listen().await;
        let (connections, open) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let upstream = Self { address, connections: Arc::clone(&connections), open: Arc::clone(&open) };
        tokio::spawn(accept(listener, builder, handler, connections, open));
        upstream
    }
}

async fn accept<F>(
    listener: TcpListener,
    builder: Builder,
    handler: impl Fn(Received) -> F + Clone + Send + 'static,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let requests = Arc::new(AtomicUsize::new(0));
    while let Ok((stream, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::SeqCst);
        open.fetch_add(1, Ordering::SeqCst);
        let (builder, handler) = (builder.clone(), handler.clone());
        let (requests, open) = (Arc::clone(&requests), Arc::clone(&open));
        tokio::spawn(async move {
            if let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await {
                while let Some(Ok((request, respond))) = connection.accept().await {
                    let (head, body) = request.into_parts();
                    let number = requests.fetch_add(1, Ordering::SeqCst);
                    let leaves = head.uri.path() == "/leave";
                    tokio::spawn(handler(Received { head, body, respond, number }));
                    if leaves {
                        connection.graceful_shutdown();
                    }
                }
            }
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Answers with a body.
pub(super) async fn text(mut received: Received) {
    let mut stream = received.respond.send_response(Response::new(()), false).unwrap();
    stream.send_data("text".into(), true).unwrap();
}

#[tokio::test]
async fn a_request_goes_out_and_its_response_comes_back_whole() {
    let upstream = Upstream::start(|mut received| async move {
        let (body, trailers) = received.whole().await;
        let head: Request<()> = Request::from_parts(received.head, ());
        assert_eq!(head.uri(), "http://keys.example/find?all");
        let mut response = Response::builder().status(207);
        for name in ["x-coditect-user", "content-length", "te", "host", "x-a"] {
            response = response.header(format!("seen-{name}"), head.headers().get_all(name).iter().count());
        }
        let mut stream = received.respond.send_response(response.body(()).unwrap(), false).unwrap();
        stream.send_data(body.into(), false).unwrap();
        stream.send_trailers(trailers.unwrap()).unwrap();
    })
    .await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let mut call = post("/find?all", "name", &[("x-digest", "9")]);
    call.headers.extend(pairs(&[("x-a", "1"), ("x-a", "2"), ("x-coditect-user", "root"), ("te", "gzip")]));
    let answer = world.answer(call).await.unwrap();
    assert_eq!(answer.headers[0], (b":status".to_vec(), b"207".to_vec()));
    let seen = ["x-coditect-user", "content-length", "te", "host", "x-a"]
        .map(|name| value(&answer.headers, &format!("seen-{name}")).unwrap().to_owned());
    assert_eq!(seen, ["0", "1", "0", "0", "2"]);
    assert_eq!((answer.body, answer.trailers), ("name".into(), pairs(&[("x-digest", "9")])));
    assert_eq!(world.budget().held(), 0);
}

#[tokio::test]
async fn large_bodies_go_through_small_windows() {
    const LENGTH: usize = 600_000;
    let mut builder = Builder::new();
    builder.initial_window_size(1000).initial_connection_window_size(65_535);
    let upstream = Upstream::with(builder, |mut received| async move {
        let (body, _) = received.whole().await;
        let mut stream = received.respond.send_response(Response::new(()), false).unwrap();
        super::super::body::send(&mut stream, body.into(), true).await.unwrap();
    })
    .await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let body: Vec<u8> = (0..LENGTH).map(|n| (n % 251) as u8).collect();
    let call = HttpCall { most: LENGTH, ..post("/", body.clone(), &[]) };
    assert!(world.answer(call).await.unwrap().body == body);
    let call = HttpCall { most: LENGTH - 1, ..post("/", body, &[]) };
    assert_eq!(world.answer(call).await, Err(CallFailure::TooLarge));
    assert_eq!((world.ended("too_large"), world.budget().held()), (1, 0));
}

#[tokio::test]
async fn an_answer_before_the_body_s_end_is_one() {
    let upstream = Upstream::start(text).await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    // More than the window: the rest of it is never taken.
    let answer = world.answer(post("/", vec![0; 500_000], &[])).await.unwrap();
    assert_eq!(answer.body, "text");
    until("the stream's end", || world.target().http2.pool.load() == [0]).await;
}

#[tokio::test]
async fn what_the_upstream_breaks_off_is_a_failure() {
    let upstream = Upstream::start(|mut received| async move {
        match received.head.uri.path() {
            "/reset" => received.respond.send_reset(Reason::INTERNAL_ERROR),
            _ => {
                let mut stream = received.respond.send_response(Response::new(()), false).unwrap();
                stream.send_data("te".into(), false).unwrap();
                stream.send_reset(Reason::CANCEL);
            }
        }
    })
    .await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    assert_eq!(world.answer(get("/reset")).await, Err(CallFailure::Reset));
    assert_eq!(world.answer(get("/half")).await, Err(CallFailure::Reset));
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1, "the connection is whole");

    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            use tokio::io::AsyncWriteExt;
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        }
    });
    let world = World::new(address, UpstreamProtocol::H2c);
    assert_eq!(world.answer(get("/")).await, Err(CallFailure::Reset), "an upstream without HTTP/2");
    until("the connection's end", || world.target().http2.pool.load().is_empty()).await;
}

#[tokio::test]
async fn a_head_beyond_the_bound_is_a_failure() {
    let upstream = Upstream::start(|mut received| async move {
        let mut response = Response::new(());
        for n in 0..80 {
            let value = HeaderValue::try_from("v".repeat(1000)).unwrap();
            response.headers_mut().insert(http::HeaderName::try_from(format!("x-{n}")).unwrap(), value);
        }
        drop(received.respond.send_response(response, true));
    })
    .await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    assert_eq!(world.answer(get("/")).await, Err(CallFailure::Reset));
}

#[tokio::test]
async fn a_refused_request_is_sent_once_more() {
    let upstream = Upstream::start(|mut received| async move {
        match received.number {
            0 => received.respond.send_reset(Reason::REFUSED_STREAM),
            1 => text(received).await,
            _ => received.respond.send_reset(Reason::REFUSED_STREAM),
        }
    })
    .await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    assert_eq!(world.answer(get("/")).await.unwrap().body, "text");
    assert_eq!(world.answer(get("/")).await, Err(CallFailure::Reset), "twice is enough");
}

#[tokio::test]
async fn a_connection_that_ends_is_replaced() {
    let upstream = Upstream::start(text).await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    for n in 1..=5 {
        assert_eq!(world.answer(get("/leave")).await.unwrap().body, "text");
        assert_eq!(world.answer(get("/leave")).await.unwrap().body, "text", "also while it leaves");
        assert!(upstream.connections.load(Ordering::SeqCst) >= n);
    }
    until("their end", || upstream.open.load(Ordering::SeqCst) == 0).await;
    until("their end here", || world.tasks() == 0).await;
}

#[tokio::test]
async fn a_deadline_resets_its_own_stream_and_nothing_else() {
    let (release, released) = tokio::sync::watch::channel(false);
    let upstream = Upstream::start(move |mut received| {
        let mut released = released.clone();
        async move {
            match received.head.uri.path() {
                "/slow" => assert_eq!(received.reset().await, Reason::CANCEL),
                "/held" => {
                    released.wait_for(|released| *released).await.unwrap();
                    text(received).await;
                }
                _ => text(received).await,
            }
        }
    })
    .await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let other = world.http_of("other", get("/held")).unwrap();
    until("the other's stream", || world.target().http2.pool.load() == [1]).await;
    // Nothing was ever heard on the connection; it is asked, and lives.
    for _ in 0..20 {
        let call = HttpCall { timeout: Duration::from_millis(1), ..get("/slow") };
        assert_eq!(world.answer(call).await, Err(CallFailure::Timeout));
    }
    assert_eq!(world.answer(HttpCall { timeout: SHORT, ..get("/slow") }).await, Err(CallFailure::Timeout));
    assert_eq!(world.answer(get("/")).await.unwrap().body, "text");
    release.send_replace(true);
    assert_eq!(other.answer().await.unwrap().body, "text");
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_that_answers_no_ping_is_left() {
    let (listener, address) = listen().await;
    let upstream = Upstream::start(text).await;
    let behind = upstream.address;
    // The first connection takes all and says nothing; later ones reach the upstream.
    tokio::spawn(async move {
        let (silent, _) = listener.accept().await.unwrap();
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = tokio::net::TcpStream::connect(behind).await.unwrap();
            tokio::spawn(async move { drop(tokio::io::copy_bidirectional(&mut client, &mut server).await) });
        }
        drop(silent);
    });
    let world = World::new(address, UpstreamProtocol::H2c);
    let call = HttpCall { timeout: SHORT, ..get("/") };
    assert_eq!(world.answer(call).await, Err(CallFailure::Timeout));
    // While it is asked others go elsewhere.
    assert_eq!(world.answer(get("/")).await.unwrap().body, "text");
    assert_eq!(world.target().http2.pool.load().len(), 2);
    pass(Duration::from_secs(21)).await;
    until("its end", || world.target().http2.pool.load().len() == 1).await;
    assert_eq!(world.answer(get("/")).await.unwrap().body, "text");
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_call_nobody_waits_for_is_reset() {
    let (told, mut resets) = tokio::sync::mpsc::unbounded_channel();
    let upstream = Upstream::start(move |mut received| {
        let told = told.clone();
        async move {
            told.send(None).unwrap();
            told.send(Some(received.reset().await)).unwrap();
        }
    })
    .await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let waiting = world.http(get("/")).unwrap();
    assert_eq!(soon("the request", resets.recv()).await, Some(None));
    assert!(waiting.leave().await, "it was answered");
    assert_eq!(soon("the reset", resets.recv()).await, Some(Some(Reason::CANCEL)));
    assert_eq!(world.ended("cancelled"), 1);
}

#[tokio::test]
async fn full_connections_are_joined_by_others() {
    let (release, released) = tokio::sync::watch::channel(false);
    let mut builder = Builder::new();
    builder.max_concurrent_streams(2);
    let upstream = Upstream::with(builder, move |received| {
        let mut released = released.clone();
        async move {
            released.wait_for(|released| *released).await.unwrap();
            text(received).await;
        }
    })
    .await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let mut calls = vec![world.http(get("/")).unwrap()];
    // Its settings have come by then.
    let limited =
        || world.target().http2.pool.load() == [1] && upstream.connections.load(Ordering::SeqCst) == 1;
    until("the first connection", limited).await;
    until("the upstream's settings", || world.target().http2.pool.max_streams() == Some(2)).await;
    for _ in 0..29 {
        calls.push(world.http(get("/")).unwrap());
    }
    for _ in 0..20 {
        calls.push(world.http_of("other", get("/")).unwrap());
    }
    // Sixteen places; two tenants that take turns get five each, and what is left is for others.
    let used = || world.target().http2.pool.load().iter().sum::<usize>() >= 10;
    until("the calls' streams", used).await;
    assert!(world.target().http2.pool.load().len() <= 8, "no more than eight");
    release.send_replace(true);
    for call in calls {
        assert_eq!(call.answer().await.unwrap().body, "text");
    }
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let upstream = Upstream::start(text).await;
    let world =
        World::with(upstream.address, UpstreamProtocol::H2c, Budget::default(), Duration::from_millis(50));
    world.answer(get("/")).await.unwrap();
    until("the connection's end", || upstream.open.load(Ordering::SeqCst) == 0).await;
    until("its task's", || world.tasks() == 0).await;
    world.answer(get("/")).await.unwrap();
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 2);
}
