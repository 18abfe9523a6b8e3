//! What clients of the old API send, and what tells them the right thing.

use http::Method;
use serde_json::json;

use crate::support::Api;

/// Outage 5: fields that server and front end named differently.
#[tokio::test]
async fn outage_5_a_field_by_an_old_name_is_told_the_right_one() {
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    let (sessions, auth) = ("/api/v5/sessions", "/api/v5/auth");
    for (path, body, message) in [
        (
            sessions.to_owned(),
            json!({"name": "a", "workspace_path": "/w"}),
            "workspace_path: unknown field `workspace_path`; the field is `workspacePath`",
        ),
        (
            sessions.to_owned(),
            json!({"name": "a", "session_type": "theia"}),
            "session_type: unknown field `session_type`; the field is `type`",
        ),
        (
            sessions.to_owned(),
            json!({"name": "a", "sessionType": "theia"}),
            "sessionType: unknown field `sessionType`; the field is `type`",
        ),
        (
            sessions.to_owned(),
            json!({"name": "a", "tenant_id": "t"}),
            "tenant_id: unknown field `tenant_id`; leave it out: the token says who you are",
        ),
        (
            sessions.to_owned(),
            json!({"name": "a", "user_id": "u"}),
            "user_id: unknown field `user_id`; leave it out: the token says who you are",
        ),
        (
            format!("{auth}/register"),
            json!({"email": "b@example.com", "first_name": "B"}),
            "first_name: unknown field `first_name`; the field is `firstName`",
        ),
        (
            format!("{auth}/refresh"),
            json!({"refresh_token": "x"}),
            "refresh_token: unknown field `refresh_token`; the field is `refreshToken`",
        ),
        (
            format!("{auth}/login"),
            json!({"username": "ann", "password": "x"}),
            "username: unknown field `username`; the field is `email`",
        ),
        (
            "/api/v5/conversations".to_owned(),
            json!({"session_id": "x"}),
            "session_id: unknown field `session_id`; the field is `sessionId`",
        ),
        (
            "/api/v5/conversations".to_owned(),
            json!({"name": "x"}),
            "name: unknown field `name`; the field is `title`",
        ),
    ] {
        assert_eq!(api.post(&path, Some(&token), body).await.refused(422, "VALIDATION_FAILED"), message);
    }
    let query = api.get("/api/v5/conversations?session_id=x", Some(&token)).await;
    let message = query.refused(422, "VALIDATION_FAILED");
    assert_eq!(message, "session_id: unknown parameter; parameters are camelCase, such as `sessionId`");
    assert_eq!(api.get("/api/v5/conversations?_=1", Some(&token)).await.status, 200);
}

/// Outage 5: `/sessions/create` against `/sessions`.
#[tokio::test]
async fn outage_5_an_old_path_is_told_the_new_one() {
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    let old = api.post("/api/v5/sessions/create", Some(&token), json!({"name": "a"})).await;
    let message = old.refused(405, "METHOD_NOT_ALLOWED");
    assert_eq!(message, "this path does not support the method; it is POST /api/v5/sessions now");
    for (method, path, now) in [
        (Method::POST, "/api/v5/login", "POST /api/v5/auth/login"),
        (Method::POST, "/api/v5/auth/signup", "POST /api/v5/auth/register"),
        (Method::GET, "/api/v5/v5/sessions", "GET /api/v5/sessions"),
    ] {
        let message = api.call(method, path, Some(&token), None).await.refused(404, "NOT_FOUND");
        assert_eq!(message, format!("there is no such path; it is {now} now"));
    }
    let unknown = api.call(Method::GET, "/api/v5/login", Some(&token), None).await;
    assert_eq!(unknown.refused(404, "NOT_FOUND"), "not found");
}
