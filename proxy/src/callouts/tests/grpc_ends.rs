//! How gRPC calls end otherwise: by a status, a breach of the protocol, a deadline, or the guest.

use super::super::frames::encode;
use super::grpc::{begin, echo, end};
use super::http2::{Received, Upstream};
use super::{SHORT, Told, World, listen, pairs, soon, streaming, unary, until};
use bytes::Bytes;
use coditect_config::UpstreamProtocol;
use coditect_proxy_wasm::GrpcCall;
use h2::Reason;
use http::{Response, StatusCode};
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

/// Answers as the service's name says.
async fn odd(mut received: Received) {
    let path = received.head.uri.path().to_owned();
    let grpc = Response::builder().header("content-type", "application/grpc");
    let (found, none) = (encode(b"found").unwrap(), Bytes::new());
    match path.split('/').nth(1).unwrap() {
        "Missing" => {
            let response =
                grpc.header("grpc-status", "5").header("grpc-message", "no%20key").body(()).unwrap();
            drop(received.respond.send_response(response, true));
        }
        "Http" => {
            let response = Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(()).unwrap();
            drop(received.respond.send_response(response, false));
        }
        "Html" => {
            let response = Response::builder().header("content-type", "text/html").body(()).unwrap();
            drop(received.respond.send_response(response, false));
        }
        "HeadOnly" => drop(received.respond.send_response(grpc.body(()).unwrap(), true)),
        "Reset" => received.respond.send_reset(Reason::ENHANCE_YOUR_CALM),
        "Refused" if received.number == 0 => received.respond.send_reset(Reason::REFUSED_STREAM),
        service => {
            let mut stream = begin(&mut received);
            let body = match service {
                "Compressed" => Bytes::from_static(b"\x01\0\0\0\x01a"),
                "Flag" => Bytes::from_static(b"\x07\0\0\0\x01a"),
                "TooLarge" => Bytes::from_static(b"\0\xff\0\0\0a"),
                "Cut" => Bytes::from_static(b"\0\0\0\0\x09abc"),
                "Twice" => [found.clone(), found].concat().into(),
                "Nothing" => none,
                _ => found,
            };
            drop(stream.send_data(body, false));
            match service {
                "Failed" => end(&mut stream, "9"),
                "NoStatus" => drop(stream.send_trailers(http::HeaderMap::new())),
                "NoTrailers" => drop(stream.send_data(Bytes::new(), true)),
                _ => end(&mut stream, "0"),
            }
        }
    }
}

#[tokio::test]
async fn a_unary_call_ends_with_the_status_that_fits() {
    let upstream = Upstream::start(odd).await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let cases = [
        // First, since the upstream refuses its first request: it is sent again.
        ("Refused", 0),
        ("Missing", 5),
        ("Http", 14),
        ("Html", 2),
        ("HeadOnly", 2),
        ("Reset", 8),
        ("Compressed", 13),
        ("Flag", 13),
        ("TooLarge", 8),
        ("Cut", 13),
        ("Twice", 13),
        ("Nothing", 13),
        ("Failed", 9),
        ("NoStatus", 2),
        ("NoTrailers", 2),
    ];
    for (service, status) in cases {
        let stream = world.grpc(&GrpcCall { service: service.into(), ..unary(b"") }).unwrap();
        let told = stream.rest().await;
        let messages = told.iter().filter(|told| matches!(told, Told::Message(_))).count();
        assert!(matches!(told.last(), Some(Told::Close(s, _)) if *s == status), "{service}: {told:?}");
        assert_eq!((messages, told.len()), if status == 0 { (1, 2) } else { (0, 1) }, "{service}: {told:?}");
        assert_eq!(world.budget().held(), 0, "{service}");
    }
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1, "none of it broke the connection");
    assert_eq!((world.ended("ok"), world.ended("status")), (1, 3));
}

#[tokio::test]
async fn a_streams_guest_is_told_of_both_metadata_however_it_ends() {
    let upstream = Upstream::start(odd).await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let told = async |service: &str| {
        world.grpc(&GrpcCall { service: service.into(), ..streaming() }).unwrap().rest().await
    };
    let trailers =
        pairs(&[("content-type", "application/grpc"), ("grpc-status", "5"), ("grpc-message", "no%20key")]);
    let only = [Told::Initial(Vec::new()), Told::Trailing(trailers), Told::Close(5, "no key".into())];
    assert_eq!(told("Missing").await, only, "a response that is only trailers");
    let html = told("Html").await;
    assert!(
        matches!(&html[..], [Told::Initial(_), Told::Trailing(none), Told::Close(2, _)] if none.is_empty())
    );
    let twice = told("Twice").await;
    assert!(
        matches!(
            &twice[..],
            [Told::Initial(_), Told::Message(_), Told::Message(_), Told::Trailing(_), Told::Close(0, _)]
        ),
        "{twice:?}"
    );
    let cut = told("Compressed").await;
    assert!(matches!(&cut[..], [Told::Initial(_), Told::Trailing(_), Told::Close(13, _)]), "{cut:?}");
    let reset = told("Reset").await;
    assert!(matches!(&reset[..], [Told::Trailing(_), Told::Close(8, _)]), "{reset:?}");
}

#[tokio::test]
async fn without_an_upstream_a_call_is_unavailable() {
    let (listener, address) = listen().await;
    drop(listener);
    let world = World::new(address, UpstreamProtocol::H2c);
    assert_eq!(world.grpc(&unary(b"")).unwrap().close().await.0, 14);
    assert_eq!(world.grpc(&streaming()).unwrap().close().await.0, 14);
    assert_eq!(world.ended("unreachable"), 2);
}

/// An upstream that tells of each stream's reset, and the requests that it got.
async fn silent() -> (Upstream, mpsc::UnboundedReceiver<Option<Reason>>) {
    let (told, resets) = mpsc::unbounded_channel();
    let upstream = Upstream::start(move |mut received| {
        let told = told.clone();
        async move {
            told.send(None).unwrap();
            told.send(Some(received.reset().await)).unwrap();
        }
    })
    .await;
    (upstream, resets)
}

#[tokio::test]
async fn a_deadline_resets_the_stream() {
    let (upstream, mut resets) = silent().await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let stream = world.grpc(&GrpcCall { timeout: Some(SHORT), ..unary(b"") }).unwrap();
    assert_eq!(stream.close().await.0, 4);
    assert_eq!(soon("the request", resets.recv()).await, Some(None));
    assert_eq!(soon("the reset", resets.recv()).await, Some(Some(Reason::CANCEL)));
    assert_eq!(world.ended("timeout"), 1);
}

#[tokio::test]
async fn a_guest_that_gives_up_hears_nothing_more_and_the_stream_is_reset() {
    let (upstream, mut resets) = silent().await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    for way in ["cancel", "drop", "gone"] {
        let mut stream = world.grpc(&streaming()).unwrap();
        assert_eq!(soon("the request", resets.recv()).await, Some(None), "{way}");
        match way {
            "cancel" => stream.handle().cancel(),
            "drop" => stream.handle = None,
            _ => stream.wanted.store(false, Ordering::Release),
        }
        assert_eq!(soon("the reset", resets.recv()).await, Some(Some(Reason::CANCEL)), "{way}");
        assert_eq!(stream.rest().await, [], "{way}");
    }
    until("the streams' end", || world.target().http2.pool.load() == [0]).await;
    assert_eq!((world.ended("cancelled"), world.budget().held()), (3, 0));
}

#[tokio::test]
async fn a_connection_that_breaks_ends_its_streams() {
    let upstream = Upstream::start(echo).await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let mut stream = world.grpc(&streaming()).unwrap();
    assert!(matches!(stream.next().await, Some(Told::Initial(_))));
    let address = upstream.address;
    drop(stream);

    // One that drops what it accepted after the first request.
    let (listener, broken) = listen().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let _request = connection.accept().await.unwrap().unwrap();
    });
    assert_ne!(address, broken);
    let world = World::new(broken, UpstreamProtocol::H2c);
    let stream = world.grpc(&streaming()).unwrap();
    let (status, message) = stream.close().await;
    assert_eq!(status, 14, "{message}");
    assert_eq!(world.ended("reset"), 1);
}
