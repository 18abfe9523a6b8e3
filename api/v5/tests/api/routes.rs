//! Which paths and methods there are, and what everything else answers.

use http::Method;
use serde_json::json;

use crate::support::Api;

#[tokio::test]
async fn health_is_exactly_as_the_contract_says() {
    let api = Api::new();
    let answer = api.get("/api/v5/health", None).await;
    assert_eq!(answer.status, 200);
    let expected = json!({"success": true, "data": {"service": "coditect-v5-api", "status": "healthy"}});
    assert_eq!(answer.body, expected);
}

#[tokio::test]
async fn unknown_paths_are_404_in_the_envelope() {
    let api = Api::new();
    for path in [
        "/api/v5",
        "/api/v5/",
        "/api/v5/nothing",
        "/api/v5/health/",
        "/api/v5/sessions/create/x",
        "/api/v5x/health",
        "/api/v5/conversation",
        "/api/v5/openapi.yaml",
        "/api/v5//health",
    ] {
        assert_eq!(api.get(path, None).await.refused(404, "NOT_FOUND"), "not found", "{path}");
    }
}

#[tokio::test]
async fn wrong_methods_are_405_and_name_the_right_ones() {
    let api = Api::new();
    let id = "00000000-0000-4000-8000-000000000000";
    for (method, path, allowed) in [
        (Method::POST, "/api/v5/health".to_owned(), "GET,HEAD"),
        (Method::GET, "/api/v5/auth/login".to_owned(), "POST"),
        (Method::DELETE, "/api/v5/sessions".to_owned(), "GET,HEAD,POST"),
        (Method::POST, format!("/api/v5/sessions/{id}"), "GET,HEAD,PUT,PATCH,DELETE"),
    ] {
        let answer = api.call(method, &path, None, None).await;
        answer.refused(405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.header("allow"), allowed, "{path}");
    }
}

#[tokio::test]
async fn head_answers_like_get_without_a_body() {
    let api = Api::new();
    let answer = api.call(Method::HEAD, "/api/v5/health", None, None).await;
    assert_eq!((answer.status.as_u16(), answer.body.is_null()), (200, true));
}

#[tokio::test]
async fn every_operation_but_the_public_ones_needs_a_caller() {
    let api = Api::new();
    let id = "/api/v5/sessions/00000000-0000-4000-8000-000000000000";
    for (method, path) in [
        (Method::POST, "/api/v5/auth/logout"),
        (Method::GET, "/api/v5/sessions"),
        (Method::POST, "/api/v5/sessions"),
        (Method::GET, id),
        (Method::PUT, id),
        (Method::PATCH, id),
        (Method::DELETE, id),
    ] {
        let answer = api.call(method.clone(), path, None, None).await;
        answer.refused(401, "MISSING_AUTH_HEADER");
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{method} {path}");
    }
}

#[tokio::test]
async fn a_closed_store_is_503_and_says_nothing_of_the_cause() {
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    api.admit(&token).await.unwrap();
    api.repositories.store().close().await.unwrap();
    let answer = api.get("/api/v5/sessions", Some(&token)).await;
    let message = answer.refused(503, "UNAVAILABLE");
    assert!(!message.contains("store"), "{message}");
    assert_eq!(answer.header("retry-after"), "1");
}
