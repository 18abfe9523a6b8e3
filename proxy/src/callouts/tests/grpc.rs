//! gRPC calls as they should be: unary, and streams both ways.

use super::super::frames::{Decoder, encode};
use super::http2::{Received, Upstream, text};
use super::{Told, World, pairs, streaming, unary, value};
use bytes::Bytes;
use coditect_config::UpstreamProtocol;
use coditect_proxy_wasm::{CallRefused, GrpcCall};
use h2::SendStream;
use http::{HeaderMap, HeaderValue, Response};

/// Begins a response.
pub(super) fn begin(received: &mut Received) -> SendStream<Bytes> {
    let response = Response::builder().header("content-type", "application/grpc+proto").header("x-a", "1");
    received.respond.send_response(response.body(()).unwrap(), false).unwrap()
}

/// Ends a response.
pub(super) fn end(stream: &mut SendStream<Bytes>, status: &'static str) {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    trailers.insert("grpc-message", HeaderValue::from_static("as%20is"));
    drop(stream.send_trailers(trailers));
}

/// The next message of a request; `None` at its end.
pub(super) async fn next(received: &mut Received, decoder: &mut Decoder) -> Option<Bytes> {
    loop {
        if let Some(message) = decoder.message().unwrap() {
            return Some(message);
        }
        let piece = received.body.data().await?.ok()?;
        decoder.push(&piece);
        received.body.flow_control().release_capacity(piece.len()).unwrap();
    }
}

/// Answers each message with itself.
pub(super) async fn echo(mut received: Received) {
    let mut decoder = Decoder::new(1 << 20);
    let mut stream = begin(&mut received);
    while let Some(message) = next(&mut received, &mut decoder).await {
        let frame = encode(&message).unwrap();
        if super::super::body::send(&mut stream, frame, false).await.is_err() {
            return;
        }
    }
    end(&mut stream, "0");
}

#[tokio::test]
async fn a_unary_call_gets_its_message() {
    let upstream = Upstream::start(|mut received| async move {
        let (body, trailers) = received.whole().await;
        assert_eq!((&body[..], trailers), (&b"\0\0\0\0\x04name"[..], None));
        let head = &received.head;
        assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/test.Keys/Find"));
        let header = |name| head.headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(header("te"), Some("trailers"));
        assert_eq!(header("content-type"), Some("application/grpc"));
        assert_eq!(header("grpc-timeout"), Some("20000m"));
        assert_eq!(header("x-trace-bin"), Some("AAE"));
        assert_eq!(header("x-coditect-user"), None);
        let mut stream = begin(&mut received);
        stream.send_data(encode(b"found").unwrap(), false).unwrap();
        end(&mut stream, "0");
    })
    .await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let metadata = pairs(&[("x-trace-bin", "AAE"), ("x-coditect-user", "root"), ("grpc-timeout", "9H")]);
    let stream = world.grpc(&GrpcCall { metadata, ..unary(b"name") }).unwrap();
    let told = stream.rest().await;
    assert_eq!(told, [Told::Message("found".into()), Told::Close(0, "as is".into())]);
    assert_eq!((world.ended("ok"), world.budget().held()), (1, 0));
}

#[tokio::test]
async fn a_stream_carries_messages_both_ways_until_both_sides_end() {
    let upstream = Upstream::start(echo).await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let mut stream = world.grpc(&streaming()).unwrap();
    let Some(Told::Initial(head)) = stream.next().await else { panic!("no metadata") };
    assert_eq!(head[0], (b":status".to_vec(), b"200".to_vec()));
    assert_eq!(value(&head, "x-a"), Some("1"));
    for message in ["a", "", "ccc"] {
        stream.handle().send(message.into(), false).unwrap();
        assert_eq!(stream.message().await, message);
    }
    // Larger than any window.
    let large = Bytes::from(vec![7; 1000]);
    for _ in 0..200 {
        stream.handle().send(large.clone(), false).unwrap();
    }
    for _ in 0..200 {
        assert_eq!(stream.message().await, large);
    }
    stream.handle().send("last".into(), true).unwrap();
    assert_eq!(stream.message().await, "last");
    let Some(Told::Trailing(trailers)) = stream.next().await else { panic!("no trailers") };
    assert_eq!(trailers, pairs(&[("grpc-status", "0"), ("grpc-message", "as%20is")]));
    assert_eq!(stream.next().await, Some(Told::Close(0, "as is".into())));
    assert_eq!(stream.next().await, None);
    assert_eq!((world.ended("ok"), world.budget().held()), (1, 0));
}

#[tokio::test]
async fn a_half_close_leaves_the_other_half_open() {
    let upstream = Upstream::start(|mut received| async move {
        let mut decoder = Decoder::new(100);
        let mut count = 0;
        while next(&mut received, &mut decoder).await.is_some() {
            count += 1;
        }
        assert_eq!(count, 0);
        let mut stream = begin(&mut received);
        stream.send_data(encode(b"after the end").unwrap(), false).unwrap();
        end(&mut stream, "0");
    })
    .await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let mut stream = world.grpc(&streaming()).unwrap();
    stream.handle().close_local();
    assert!(stream.handle().send(Bytes::new(), false).is_err());
    assert!(matches!(stream.next().await, Some(Told::Initial(_))));
    assert_eq!(stream.message().await, "after the end");
    assert_eq!(stream.close().await.0, 0);
}

#[tokio::test]
async fn a_call_that_cannot_be_grpc_is_refused() {
    let upstream = Upstream::start(text).await;
    let world = World::new(upstream.address, UpstreamProtocol::H2c);
    let refused = |call: GrpcCall| world.grpc(&call).err();
    for odd in ["", "a/b", "a b", "a?b", "é"] {
        assert!(refused(GrpcCall { service: odd.into(), ..unary(b"") }).is_some(), "{odd}");
        assert!(refused(GrpcCall { method: odd.into(), ..streaming() }).is_some(), "{odd}");
    }
    assert!(refused(GrpcCall { metadata: pairs(&[(":path", "/")]), ..unary(b"") }).is_some());
    let unknown = refused(GrpcCall { upstream: "other".into(), ..unary(b"") });
    assert_eq!(unknown, Some(CallRefused::UnknownUpstream));
    let world = World::new(upstream.address, UpstreamProtocol::Http1);
    assert_eq!(world.grpc(&unary(b"")).err(), Some(CallRefused::UnknownUpstream), "not without HTTP/2");
}
