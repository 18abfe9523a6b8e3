//! Hostile and wrong request bodies, each with the exact answer it gets.

use axum::body::Body;
use bytes::Bytes;
use http::Request;
use http_body_util::StreamBody;
use serde_json::json;

use crate::support::{Answer, Api};

async fn login(api: &Api, content_type: Option<&str>, body: impl Into<Body>) -> Answer {
    let mut request = Request::post("/api/v5/auth/login");
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    api.raw(request.body(body.into()).unwrap()).await
}

const JSON: Option<&str> = Some("application/json");

#[tokio::test]
async fn content_types() {
    let api = Api::new();
    let body = r#"{"email":"a@example.com","password":"x"}"#;
    for refused in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")]
    {
        login(&api, refused, body).await.refused(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    for accepted in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        login(&api, Some(accepted), body).await.refused(401, "INVALID_CREDENTIALS");
    }
}

#[tokio::test]
async fn bad_json_is_400_with_its_place() {
    let api = Api::new();
    for (body, message) in [
        (&b"{\"email\": nope}"[..], "expected ident at line 1 column 12"),
        (b"", "EOF while parsing a value at line 1 column 0"),
        (
            b"{\"email\":\"a@example.com\",\n\"password\":\"x\"} trailing",
            "trailing characters at line 2 column 17",
        ),
        (b"{\"email\":\"\xff\xfe\"}", "it is not UTF-8 from byte 10 on"),
    ] {
        let got = login(&api, JSON, body.to_vec()).await.refused(400, "INVALID_JSON");
        assert_eq!(got, format!("the request body is not valid JSON: {message}"));
    }
    let deep = format!("{{\"email\":{}", "[".repeat(10_000));
    login(&api, JSON, deep).await.refused(422, "VALIDATION_FAILED");
    let token = api.register("ann@example.com").await.text("token");
    let deep = format!("{{\"name\":\"x\",\"settings\":{{\"a\":{}", "[".repeat(100_000));
    let mut request = Request::post("/api/v5/sessions")
        .header("content-type", "application/json")
        .body(Body::from(deep))
        .unwrap();
    request.extensions_mut().insert(api.admit(&token).await.unwrap());
    let message = api.raw(request).await.refused(400, "INVALID_JSON");
    assert!(message.contains("recursion limit exceeded"), "{message}");
}

#[tokio::test]
async fn wrong_fields_are_422_and_named() {
    let api = Api::new();
    for (body, field) in [
        (json!({"email": "a@example.com"}), "password: missing field `password`"),
        (json!({"email": 7, "password": "x"}), "email: invalid type: integer `7`, expected a string"),
        (json!({"email": "a@b.c", "password": "x", "admin": true}), "admin: unknown field `admin`"),
        (json!(["a@b.c", "password"]), "body: must be a JSON object"),
        (json!("text"), "body: must be a JSON object"),
    ] {
        let message = login(&api, JSON, body.to_string()).await.refused(422, "VALIDATION_FAILED");
        assert!(message.starts_with(field), "{body}: {message}");
    }
}

#[tokio::test]
async fn bodies_over_the_limit_are_413_also_without_a_length() {
    let api = Api::new();
    let frame = |size: usize| Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from(vec![b' '; size])));
    // What strangers may send.
    let limit = 16 << 10;
    let whole = login(&api, JSON, vec![b' '; limit + 1]).await;
    whole.refused(413, "PAYLOAD_TOO_LARGE");
    let streamed = StreamBody::new(futures::stream::iter([frame(limit), frame(1)]));
    login(&api, JSON, Body::new(streamed)).await.refused(413, "PAYLOAD_TOO_LARGE");
    let exact = login(&api, JSON, vec![b' '; limit]).await;
    exact.refused(400, "INVALID_JSON");

    // What users may send.
    let token = api.register("ann@example.com").await.text("token");
    for (size, status, code) in [(1 << 20, 400, "INVALID_JSON"), ((1 << 20) + 1, 413, "PAYLOAD_TOO_LARGE")] {
        let request = Request::post("/api/v5/sessions").header("content-type", "application/json");
        let mut request = request.body(Body::from(vec![b' '; size])).unwrap();
        request.extensions_mut().insert(api.admit(&token).await.unwrap());
        api.raw(request).await.refused(status, code);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_400() {
    let api = Api::new();
    let broken = StreamBody::new(futures::stream::iter([
        Ok(http_body::Frame::data(Bytes::from_static(b"{"))),
        Err(std::io::Error::other("reset")),
    ]));
    login(&api, JSON, Body::new(broken)).await.refused(400, "BAD_REQUEST");
}
