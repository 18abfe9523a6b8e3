//! Calls out of plugins in a running edge: HTTP and gRPC, from requests and from ticks, and what is seen of them.

use crate::support::guest::{Guest, Guests};
use crate::support::{Answer, Config, DEADLINE, Edge, Upstream, wait_until, within};
use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// An edge with one guest before an upstream; the guest may call `keys`.
async fn before(app: &Upstream, keys: SocketAddr, protocol: &str, guests: &Guests, guest: Guest) -> Edge {
    let more = "callback_cpu_us = 20000\nupstreams = ['keys']";
    let config = Config::empty()
        .upstream("app", app.address)
        .upstream_with("keys", &format!("address = 'http://{keys}'\nprotocol = '{protocol}'"))
        .upstream("other", keys)
        .plugin_file("guest", &guests.file("guest", guest), more)
        .route("/", "upstream = 'app'\nauth = 'public'\nplugins = [{ plugin = 'guest' }]");
    Edge::start(&config).await
}

async fn app() -> Upstream {
    Upstream::start(|_| Answer::ok("from the app")).await
}

/// Where the token of a call goes.
const TOKEN: &str = "(i32.const 72)";
/// Acts for the request that waits.
const FOR_THE_REQUEST: &str = "(drop (call $proxy_set_effective_context (i32.load (i32.const 4096))))";
/// Lets it go on.
const GO_ON: &str = "(call $resume_all (i32.const 0))";
/// Reads the whole buffer of this type.
fn buffer(kind: u32) -> String {
    format!(
        "(drop (call $proxy_get_buffer_bytes (i32.const {kind}) (i32.const 0) (i32.const 1000) \
         (i32.const 64) (i32.const 68)))"
    )
}

/// Holds each request until an HTTP call is answered, and notes the answer in it. A call that cannot be begun is noted
/// too, and the request goes on.
fn asking(upstream: &str) -> Guest {
    let mut guest = Guest::new();
    let pairs =
        [(":method", "POST"), (":path", "/find"), (":authority", "keys.example"), ("x-asks", "guest")];
    let (upstream, pairs, body) = (guest.string(upstream), guest.pairs(&pairs), guest.string("name"));
    let refused = guest.digit_to_header("(local.get $status)", "x-refused");
    let ask = format!(
        "(local $status i32)
         (local.set $status (call $proxy_http_call {upstream} {pairs} {body} (i32.const 0) (i32.const 0)
           (i32.const 5000) {TOKEN}))
         (if (local.get $status) (then {refused} (return (i32.const 0))))
         (call $wait (local.get $p0)) (i32.const 1)"
    );
    let status = guest.string(":status");
    let read_status = format!(
        "(drop (call $proxy_get_header_map_value (i32.const 6) {status} (i32.const 64) (i32.const 68)))"
    );
    let (note_status, note_body) = (guest.read_to_header("x-status"), guest.read_to_header("x-key"));
    let body = buffer(4);
    let answered = format!("{FOR_THE_REQUEST} {read_status} {note_status} {body} {note_body} {GO_ON}");
    guest.on("proxy_on_request_headers", &ask).on("proxy_on_http_call_response", &answered)
}

#[tokio::test]
async fn a_request_waits_for_a_call_and_goes_on_with_its_answer() {
    for protocol in ["http1", "h2c"] {
        let (app, guests) = (app().await, Guests::new());
        let keys = Upstream::start(|_| Answer::ok("secret")).await;
        let address = if protocol == "h2c" { grpc().await } else { keys.address };
        let edge = before(&app, address, protocol, &guests, asking("keys")).await;
        assert_eq!(edge.get("/page").await.text(), "from the app");
        let request = app.last();
        assert_eq!((request.target.as_str(), request.header("x-status")), ("/page", Some("200")));
        if protocol == "http1" {
            assert_eq!(request.header("x-key"), Some("secret"));
            let asked = keys.last();
            assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/find"));
            assert_eq!((asked.header("host"), asked.header("x-asks")), (Some("keys.example"), Some("guest")));
            assert_eq!(asked.body, b"name");
        } else {
            assert_eq!(request.header("x-key"), Some("name over HTTP/2"));
        }
        let labels = [("plugin", "guest"), ("upstream", "keys"), ("outcome", "ok")];
        assert_eq!(edge.metrics().await.sum("coditect_plugin_calls_out_total", &labels), 1.0);
    }
}

#[tokio::test]
async fn a_call_that_fails_is_told_and_one_that_is_not_allowed_is_refused() {
    let (app, guests) = (app().await, Guests::new());
    let nobody = Upstream::nowhere().await;
    let edge = before(&app, nobody, "http1", &guests, asking("keys")).await;
    assert_eq!(edge.get("/").await.status, 200);
    assert_eq!((app.last().header("x-status"), app.last().header("x-refused")), (Some("503"), None));

    // `other` is an upstream of the configuration, but not one that this plugin may call.
    for upstream in ["other", "nowhere"] {
        let edge = before(&app, nobody, "http1", &guests, asking(upstream)).await;
        assert_eq!(edge.get("/").await.status, 200);
        let request = app.last();
        assert_eq!(
            (request.header("x-status"), request.header("x-refused")),
            (None, Some("2")),
            "{upstream}"
        );
    }
}

#[tokio::test]
async fn a_hundred_requests_call_over_kept_connections() {
    let (app, guests) = (app().await, Guests::new());
    let keys = Upstream::start(|_| Answer::ok("secret")).await;
    let mut guest = asking("keys");
    // One request after the other: the guest notes one that waits at a time.
    let header = guest.add_header(2, "x-guest", "1");
    let guest = guest.on("proxy_on_response_headers", &format!("{header} (i32.const 0)"));
    let edge = before(&app, keys.address, "http1", &guests, guest).await;
    for n in 0..100 {
        let answer = edge.get(&format!("/{n}")).await;
        assert_eq!((answer.status, answer.header("x-guest")), (200, Some("1")), "{n}");
        assert_eq!(app.last().header("x-key"), Some("secret"), "{n}");
    }
    let connections = keys.last().connection + 1;
    assert!(connections < 10, "{connections} connections for 100 calls");
}

#[tokio::test]
async fn a_tick_calls_out_and_reads_the_answer() {
    let (app, guests) = (app().await, Guests::new());
    let keys = Upstream::start(|_| Answer::ok("secret")).await;
    let mut guest = Guest::new();
    let pairs = guest.pairs(&[(":method", "GET"), (":path", "/tick"), (":authority", "keys.example")]);
    let upstream = guest.string("keys");
    let tick = format!(
        "(drop (call $proxy_http_call {upstream} {pairs} (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
           (i32.const 5000) {TOKEN}))"
    );
    let period = "(drop (call $proxy_set_tick_period_milliseconds (i32.const 10))) (i32.const 1)";
    let note = guest.digit_to_header("(i32.rem_u (i32.load (i32.const 512)) (i32.const 10))", "x-answers");
    let count = "(i32.store (i32.const 512) (i32.add (i32.load (i32.const 512)) (i32.const 1)))";
    let guest = guest
        .on("proxy_on_configure", period)
        .on("proxy_on_tick", &tick)
        .on("proxy_on_http_call_response", count)
        .on("proxy_on_request_headers", &format!("{note} (i32.const 0)"));
    let edge = before(&app, keys.address, "http1", &guests, guest).await;
    assert_eq!(edge.get("/").await.status, 200);
    wait_until("calls of ticks", DEADLINE, || (keys.count() >= 5).then_some(())).await;
    assert!(keys.last().target == "/tick");
    // The answers have reached the guest, which counts them.
    within("a counted answer", async {
        loop {
            edge.get("/").await;
            if app.last().header("x-answers") != Some("0") {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_waits_for_a_unary_grpc_call() {
    let (app, guests) = (app().await, Guests::new());
    let mut guest = Guest::new();
    let (upstream, service) = (guest.string("keys"), guest.string("test.Keys"));
    let (method, message) = (guest.string("Find"), guest.string("name"));
    let ask = format!(
        "(if (call $proxy_grpc_call {upstream} {service} {method} (i32.const 0) (i32.const 0) {message}
           (i32.const 5000) {TOKEN}) (then (return (i32.const 0))))
         (call $wait (local.get $p0)) (i32.const 1)"
    );
    let (note, body) = (guest.read_to_header("x-key"), buffer(5));
    let guest = guest
        .on("proxy_on_request_headers", &ask)
        .on("proxy_on_grpc_receive", &format!("{FOR_THE_REQUEST} {body} {note} {GO_ON}"));
    let edge = before(&app, grpc().await, "h2c", &guests, guest).await;
    assert_eq!(edge.get("/").await.status, 200);
    assert_eq!(app.last().header("x-key"), Some("name"));
}

#[tokio::test]
async fn a_request_waits_for_a_grpc_stream_to_its_end() {
    let (app, guests) = (app().await, Guests::new());
    let mut guest = Guest::new();
    let (upstream, service) = (guest.string("keys"), guest.string("test.Keys"));
    let (method, first, second) = (guest.string("Talk"), guest.string("one"), guest.string("two"));
    let ask = format!(
        "(if (call $proxy_grpc_stream {upstream} {service} {method} (i32.const 0) (i32.const 0) {TOKEN})
           (then (return (i32.const 0))))
         (drop (call $proxy_grpc_send (i32.load {TOKEN}) {first} (i32.const 0)))
         (call $wait (local.get $p0)) (i32.const 1)"
    );
    let (note, body) = (guest.read_to_header("x-key"), buffer(5));
    let status = guest.digit_to_header("(local.get $p2)", "x-grpc-status");
    // The second message is the last, and sent once the first has come back.
    let receive = format!(
        "{FOR_THE_REQUEST} {body} {note} (drop (call $proxy_grpc_send (local.get $p1) {second} (i32.const 1)))"
    );
    let guest = guest
        .on("proxy_on_request_headers", &ask)
        .on("proxy_on_grpc_receive", &receive)
        .on("proxy_on_grpc_close", &format!("{FOR_THE_REQUEST} {status} {GO_ON}"));
    let edge = before(&app, grpc().await, "h2c", &guests, guest).await;
    assert_eq!(edge.get("/").await.status, 200);
    assert_eq!(app.last().all("x-key"), ["one", "two"]);
    assert_eq!(app.last().header("x-grpc-status"), Some("0"));
}

#[tokio::test]
async fn a_reload_changes_what_is_called() {
    let (app, guests) = (app().await, Guests::new());
    let first = Upstream::start(|_| Answer::ok("first")).await;
    let second = Upstream::start(|_| Answer::ok("second")).await;
    let file = guests.file("guest", asking("keys"));
    let config = |keys: &Upstream| {
        Config::empty()
            .upstream("app", app.address)
            .upstream("keys", keys.address)
            .plugin_file("guest", &file, "callback_cpu_us = 20000\nupstreams = ['keys']")
            .route("/", "upstream = 'app'\nauth = 'public'\nplugins = [{ plugin = 'guest' }]")
    };
    let edge = Edge::start(&config(&first)).await;
    edge.get("/").await;
    assert_eq!(app.last().header("x-key"), Some("first"));
    assert!(edge.reload(&config(&second)).await);
    edge.get("/").await;
    assert_eq!(app.last().header("x-key"), Some("second"));
}

#[tokio::test]
async fn a_stream_outlives_its_request_and_ends_with_its_plugin_s_instances() {
    let (app, guests) = (app().await, Guests::new());
    let (told, mut streams) = tokio::sync::mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let keys = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_request, mut respond))) = connection.accept().await {
            let told = told.clone();
            tokio::spawn(async move {
                told.send(None).unwrap();
                let reset =
                    std::future::poll_fn(|context| SendResponse::poll_reset(&mut respond, context)).await;
                told.send(reset.ok()).unwrap();
            });
        }
    });
    let mut guest = Guest::new();
    let (upstream, service, method) = (guest.string("keys"), guest.string("test.Keys"), guest.string("Talk"));
    let begin = format!(
        "(drop (call $proxy_grpc_stream {upstream} {service} {method} (i32.const 0) (i32.const 0) {TOKEN})) (i32.const 0)"
    );
    let guest = guest.on("proxy_on_request_headers", &begin);
    let file = guests.file("guest", guest);
    let config = |plugins: &str| {
        Config::empty()
            .upstream("app", app.address)
            .upstream_with("keys", &format!("address = 'http://{keys}'\nprotocol = 'h2c'"))
            .plugin_file("guest", &file, &format!("callback_cpu_us = 20000\nupstreams = ['keys']\n{plugins}"))
            .route("/", "upstream = 'app'\nauth = 'public'\nplugins = [{ plugin = 'guest' }]")
    };
    let edge = Edge::start(&config("")).await;
    for _ in 0..2 {
        assert_eq!(edge.get("/").await.status, 200);
        assert_eq!(within("a stream", streams.recv()).await, Some(None));
    }
    assert!(streams.try_recv().is_err(), "they go on after their requests");
    assert!(edge.reload(&config("config = 'another'")).await);
    for _ in 0..2 {
        let reset = within("a stream's end", streams.recv()).await;
        assert_eq!(reset, Some(Some(h2::Reason::CANCEL)));
    }
}

/// An upstream over HTTP/2: each message of a gRPC call comes back, and the body of any other request, with a word.
async fn grpc() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    let is_grpc =
                        request.headers().get("content-type").is_some_and(|v| v == "application/grpc");
                    tokio::spawn(answer(request.into_body(), respond, is_grpc));
                }
            });
        }
    });
    address
}

async fn answer(mut body: RecvStream, mut respond: SendResponse<Bytes>, is_grpc: bool) {
    let response = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut stream = respond.send_response(response, false).unwrap();
    let mut whole = BytesMut::new();
    while let Some(Ok(piece)) = body.data().await {
        drop(body.flow_control().release_capacity(piece.len()));
        whole.extend_from_slice(&piece);
        if is_grpc {
            send_whole_messages(&mut whole, &mut stream);
        }
    }
    if is_grpc {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        drop(stream.send_trailers(trailers));
    } else {
        whole.extend_from_slice(b" over HTTP/2");
        drop(stream.send_data(whole.freeze(), true));
    }
}

/// Sends back what is whole. A frame is a flag, four bytes of length, a message.
fn send_whole_messages(whole: &mut BytesMut, stream: &mut SendStream<Bytes>) {
    while let Some(prefix) = whole.get(1..5) {
        let length = 5 + u32::from_be_bytes(prefix.try_into().unwrap()) as usize;
        if whole.len() < length {
            return;
        }
        drop(stream.send_data(whole.split_to(length).freeze(), false));
    }
}
