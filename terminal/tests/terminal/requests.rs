//! Requests: who may, what is refused and how.

use crate::world::{
    ALICE, BOB, BROKEN_WORKSPACE, OTHER_WORKSPACE, WORKSPACE, World, handshake, login, path, read,
};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::json;
use tower::ServiceExt;
use uuid::Uuid;

#[tokio::test]
async fn a_terminal_is_described_as_the_contract_says() {
    let world = World::new();
    let (status, body) = world.call("POST", "", "").await;
    assert_eq!(status, 201);
    let id = body["data"]["id"].clone();
    let expected = json!({
        "id": id, "session_id": WORKSPACE, "cols": 80, "rows": 24, "created_at": "2023-11-14T22:13:20Z",
        "status": "running", "exit_code": null, "exit_signal": null,
    });
    assert_eq!(body, json!({"success": true, "data": expected}));
    assert_eq!(world.call("GET", "", "").await.1["data"], json!([expected]));
}

#[tokio::test]
async fn no_identity_is_401_whatever_is_asked_for() {
    let world = World::new();
    for tail in ["", "/x", &format!("/{}/attach", Uuid::nil())] {
        let request = Request::get(path(WORKSPACE, tail)).body(Full::<Bytes>::default()).unwrap();
        let (status, body) = read(world.service.clone().oneshot(request).await.unwrap()).await;
        assert_eq!((status, &body["error"]["code"]), (401, &json!("MISSING_AUTH_HEADER")));
        assert_eq!(body["data"], json!(null));
    }
}

#[tokio::test]
async fn anothers_workspace_and_terminal_are_not_found() {
    let world = World::new();
    let terminal = world.create().await;
    let bob = login(BOB, 1);
    for (method, tail) in [("GET", ""), ("POST", ""), ("DELETE", &*format!("/{terminal}"))] {
        let (status, body) = world.call_as(bob, method, &path(WORKSPACE, tail), "").await;
        assert_eq!((status, &body["error"]["code"]), (404, &json!("NOT_FOUND")), "{method} {tail}");
    }
    // Her own other workspace does not lead to it either.
    let other = path(OTHER_WORKSPACE, &format!("/{terminal}"));
    assert_eq!(world.call_as(login(ALICE, 1), "DELETE", &other, "").await.0, 404);
    let attach = handshake(&path(OTHER_WORKSPACE, &format!("/{terminal}/attach")));
    let attach = attach.extension(world.identity(login(ALICE, 1)).await);
    let response = world.service.handle(attach.body(Full::<Bytes>::default()).unwrap()).await;
    assert_eq!(read(response).await.0, 404);
}

#[tokio::test]
async fn a_failing_lookup_is_503_and_starts_nothing() {
    let world = World::new();
    let (status, body) = world.call_as(login(ALICE, 1), "POST", &path(BROKEN_WORKSPACE, ""), "").await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("UNAVAILABLE")));
    assert!(!body.to_string().contains("store is down"), "{body}");
    assert_eq!(world.service.terminals(), 0);
}

#[tokio::test]
async fn bad_bodies_are_refused_and_start_nothing() {
    let world = World::new();
    let long = format!(r#"{{"cols":{}80}}"#, " ".repeat(4096));
    for (body, status, code) in [
        ("{", 400, "INVALID_JSON"),
        (r#"{"cols":0}"#, 422, "VALIDATION_FAILED"),
        (r#"{"shell":"/bin/x"}"#, 422, "VALIDATION_FAILED"),
        (&*long, 413, "PAYLOAD_TOO_LARGE"),
    ] {
        let (got, answer) = world.call("POST", "", body).await;
        assert_eq!((got, &answer["error"]["code"]), (status, &json!(code)), "{body}");
    }
    assert_eq!(world.service.terminals(), 0);
}

#[tokio::test]
async fn the_numbers_of_terminals_are_limited() {
    let world = World::with(|config| (config.max_per_session, config.max_total) = (2, 3), |_| {});
    let (first, _) = (world.create().await, world.create().await);
    let (status, body) = world.call("POST", "", "").await;
    assert_eq!((status, &body["error"]["code"]), (429, &json!("TOO_MANY_TERMINALS")));
    let other = path(OTHER_WORKSPACE, "");
    assert_eq!(world.call_as(login(ALICE, 1), "POST", &other, "").await.0, 201);
    assert_eq!(world.call_as(login(ALICE, 1), "POST", &other, "").await.0, 429);
    assert_eq!(world.call("DELETE", &format!("/{first}"), "").await.0, 200);
    world.create().await;
}

#[tokio::test]
async fn viewers_are_limited_and_an_attach_that_is_not_followed_up_gives_its_place_back() {
    let world = World::new();
    let terminal = world.create().await;
    let attach = async || {
        let request = handshake(&path(WORKSPACE, &format!("/{terminal}/attach")));
        let request = request.extension(world.identity(login(ALICE, 1)).await);
        world.service.handle(request.body(Full::<Bytes>::default()).unwrap()).await
    };
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(attach().await);
        assert_eq!(held.last().unwrap().status(), 101);
    }
    let (status, body) = read(attach().await).await;
    assert_eq!((status, &body["error"]["code"]), (429, &json!("TOO_MANY_VIEWERS")));
    held.pop();
    assert_eq!(attach().await.status(), 101);
}

#[tokio::test]
async fn an_attach_that_is_no_handshake_is_refused() {
    let world = World::new();
    let terminal = world.create().await;
    let path = path(WORKSPACE, &format!("/{terminal}/attach"));
    let identity = world.identity(login(ALICE, 1)).await;
    let plain = Request::get(&path).extension(identity.clone()).body(Full::<Bytes>::default()).unwrap();
    let response = world.service.handle(plain).await;
    assert_eq!(response.headers()["upgrade"], "websocket");
    assert_eq!(response.headers()["sec-websocket-version"], "13");
    assert_eq!(read(response).await.0, 426);
    let twice = handshake(&path).header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let twice = twice.extension(identity.clone()).body(Full::<Bytes>::default()).unwrap();
    assert_eq!(read(world.service.handle(twice).await).await.0, 400);
    let posted = handshake(&path).method("POST").extension(identity).body(Full::<Bytes>::default()).unwrap();
    let response = world.service.handle(posted).await;
    assert_eq!(response.headers()["allow"], "GET");
    assert_eq!(read(response).await.0, 405);
}

#[tokio::test]
async fn a_missing_shell_is_named_with_what_to_configure() {
    let world = World::with(|config| config.shell = "/no/such/shell".into(), |_| {});
    let (status, body) = world.call("POST", "", "").await;
    assert_eq!((status, &body["error"]["code"]), (500, &json!("TERMINAL_START_FAILED")));
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("/no/such/shell") && message.contains("terminal.shell"), "{message}");
    assert_eq!(world.service.terminals(), 0);
}

#[tokio::test]
async fn a_workspace_root_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let root = file.path().to_owned();
    let world = World::with(|config| config.workspace_root = root, |_| {});
    let (status, body) = world.call("POST", "", "").await;
    assert_eq!((status, &body["error"]["code"]), (500, &json!("TERMINAL_START_FAILED")));
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("terminal.workspace_root"), "{message}");
}
