//! The state of workspaces over the API, part by part.

use axum::body::Body;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::support::{Answer, Api};

const PARTS: [&str; 4] = ["editor", "active-files", "terminal", "memory"];

/// A workspace's path, and a token of its user.
async fn workspace(api: &Api, email: &str) -> (String, String) {
    let token = api.register(email).await.text("token");
    let created = api.post("/api/v5/sessions", Some(&token), json!({"name": "a"})).await;
    (format!("/api/v5/sessions/{}", created.text("id")), token)
}

/// Writes bytes as they are, with a condition.
async fn put(
    api: &Api,
    path: &str,
    token: &str,
    body: impl Into<Body>,
    condition: Option<(&str, &str)>,
) -> Answer {
    let mut request = Request::put(path).header("content-type", "application/json");
    if let Some((name, value)) = condition {
        request = request.header(name, value);
    }
    let mut request = request.body(body.into()).unwrap();
    request.extensions_mut().insert(api.admit(token).await.unwrap());
    api.raw(request).await
}

#[tokio::test]
async fn each_part_is_a_document_of_its_own() {
    let api = Api::new();
    let (session, token) = workspace(&api, "ann@example.com").await;
    for part in PARTS {
        let never = api.get(&format!("{session}/state/{part}"), Some(&token)).await;
        assert_eq!((never.status.as_u16(), never.data(), never.header("etag")), (200, &Value::Null, "\"0\""));
        let written =
            put(&api, &format!("{session}/state/{part}"), &token, format!("[\"{part}\"]"), None).await;
        assert_eq!((written.status.as_u16(), written.header("etag")), (200, "\"1\""));
        let expected = json!({"version": 1, "size": part.len() + 4, "updated_at": "2027-01-15T08:00:00Z"});
        assert_eq!(written.data(), &expected);
    }
    api.clock.advance(60);
    let again = put(&api, &format!("{session}/state/editor"), &token, "null", None).await;
    assert_eq!(
        (again.header("etag"), &again.data()["updated_at"]),
        ("\"2\"", &json!("2027-01-15T08:01:00Z"))
    );
    for part in &PARTS[1..] {
        let kept = api.get(&format!("{session}/state/{part}"), Some(&token)).await;
        assert_eq!((kept.data(), kept.header("etag")), (&json!([part]), "\"1\""));
    }
    let read = api.get(&session, Some(&token)).await;
    assert_eq!(read.header("etag"), "\"1\"", "the workspace itself has not changed");
}

#[tokio::test]
async fn a_document_comes_back_as_it_was_but_for_space() {
    let api = Api::new();
    let (session, token) = workspace(&api, "ann@example.com").await;
    let path = format!("{session}/state/memory");
    let text = "{ \"z\": 1.10, \"a\" : 123456789012345678901234567890,\n \"s\": \" \\\" \\u00e9\" }";
    put(&api, &path, &token, text, None).await.data();
    let mut request = Request::get(&path).body(Body::empty()).unwrap();
    request.extensions_mut().insert(api.admit(&token).await.unwrap());
    let kept = api.text(request).await;
    let expected =
        r#"{"success":true,"data":{"z":1.10,"a":123456789012345678901234567890,"s":" \" \u00e9"}}"#;
    assert_eq!(kept, expected);
    for value in ["1", "\"x\"", "true", "null", "[]", "{}"] {
        put(&api, &path, &token, value, None).await.data();
        let read = api.get(&path, Some(&token)).await;
        assert_eq!(read.data().to_string(), value);
    }
}

#[tokio::test]
async fn conditions_are_held() {
    let api = Api::new();
    let (session, token) = workspace(&api, "ann@example.com").await;
    let path = format!("{session}/state/terminal");
    let write = |text: &'static str, name: &'static str, value: &'static str| {
        put(&api, &path, &token, text, Some((name, value)))
    };
    write("1", "if-match", "\"1\"").await.refused(412, "PRECONDITION_FAILED");
    assert_eq!(write("1", "if-none-match", "*").await.header("etag"), "\"1\"");
    write("2", "if-none-match", "*").await.refused(412, "PRECONDITION_FAILED");
    write("2", "if-match", "\"0\"").await.refused(412, "PRECONDITION_FAILED");
    write("2", "if-match", "W/\"1\"").await.refused(412, "PRECONDITION_FAILED");
    assert_eq!(write("2", "if-match", "\"1\"").await.header("etag"), "\"2\"");
    assert_eq!(write("3", "if-match", "*").await.header("etag"), "\"3\"");
    let message = write("4", "if-none-match", "\"3\"").await.refused(422, "VALIDATION_FAILED");
    assert!(message.starts_with("If-None-Match: "), "{message}");
    assert_eq!(api.get(&path, Some(&token)).await.data(), &json!(3));
}

#[tokio::test]
async fn what_is_no_document_or_too_large_is_refused() {
    let api = Api::new();
    let (session, token) = workspace(&api, "ann@example.com").await;
    let path = format!("{session}/state/editor");
    for bad in ["", "{", "[1,]", "nul", "\"a", "1 2", "{'a': 1}"] {
        put(&api, &path, &token, bad, None).await.refused(400, "INVALID_JSON");
    }
    put(&api, &path, &token, vec![b'"', 0xff, b'"'], None).await.refused(400, "INVALID_JSON");
    let deep = "[".repeat(101) + &"]".repeat(101);
    put(&api, &path, &token, deep, None).await.refused(422, "VALIDATION_FAILED");
    // Exactly 1 MiB without the space, and one byte more.
    let largest = format!("\"{}\"", "x".repeat((1 << 20) - 2));
    let message = put(&api, &path, &token, largest.replacen('x', "xx", 1), None).await;
    assert_eq!(message.refused(413, "PAYLOAD_TOO_LARGE"), "the request body is larger than 1048576 bytes");
    assert_eq!(put(&api, &path, &token, format!("  {largest}\n"), None).await.data()["size"], 1 << 20);
    assert_eq!(api.get(&path, Some(&token)).await.data().as_str().unwrap().len(), (1 << 20) - 2);
    put(&api, &path, &token, " ".repeat((2 << 20) + 1), None).await.refused(413, "PAYLOAD_TOO_LARGE");

    let mut request = Request::put(&path).header("content-type", "text/plain").body(Body::from("1")).unwrap();
    request.extensions_mut().insert(api.admit(&token).await.unwrap());
    api.raw(request).await.refused(415, "UNSUPPORTED_MEDIA_TYPE");
}

#[tokio::test]
async fn what_is_not_theirs_is_not_there() {
    let api = Api::new();
    let (session, ann) = workspace(&api, "ann@example.com").await;
    let (_, bob) = workspace(&api, "bob@example.com").await;
    let path = format!("{session}/state/editor");
    put(&api, &path, &ann, "1", None).await.data();
    put(&api, &path, &bob, "2", None).await.refused(404, "NOT_FOUND");
    api.get(&path, Some(&bob)).await.refused(404, "NOT_FOUND");
    api.get(&path, None).await.refused(401, "MISSING_AUTH_HEADER");
    api.get(&format!("{session}/state/other"), Some(&ann)).await.refused(404, "NOT_FOUND");
    api.get("/api/v5/sessions/1/state/editor", Some(&ann)).await.refused(404, "NOT_FOUND");
    api.call(Method::DELETE, &path, Some(&ann), None).await.refused(405, "METHOD_NOT_ALLOWED");
    assert_eq!(api.get(&path, Some(&ann)).await.data(), &json!(1));
    api.call(Method::DELETE, &session, Some(&ann), None).await.data();
    api.get(&path, Some(&ann)).await.refused(404, "NOT_FOUND");
}
