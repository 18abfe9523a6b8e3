//! The refresh token as a cookie.

use axum::body::Body;
use http::Request;
use serde_json::json;

use crate::support::{Answer, Api, FAMILY, GRACE};

async fn send(api: &Api, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = Request::post(path).header("host", "ide.example");
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    api.raw(request.body(Body::from(body.to_owned())).unwrap()).await
}

const MODE: (&str, &str) = ("x-coditect-refresh", "cookie");

async fn login(api: &Api, headers: &[(&str, &str)]) -> Answer {
    let body = json!({"email": "ann@example.com", "password": "correct horse"}).to_string();
    send(api, "/api/v5/auth/login", headers, &body).await
}

/// The `name=value` part of `Set-Cookie`.
fn pair(answer: &Answer) -> String {
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_that_asks_gets_the_token_in_a_cookie_only() {
    let api = Api::new();
    api.register("ann@example.com").await;
    let answer = login(&api, &[MODE, ("x-forwarded-proto", "https")]).await;
    assert_eq!(answer.status, 200);
    assert!(answer.data().get("refresh_token").is_none(), "{}", answer.body);
    let cookie = answer.header("set-cookie");
    let attributes: Vec<&str> = cookie.split("; ").skip(1).collect();
    let max_age = format!("Max-Age={FAMILY}");
    assert_eq!(attributes, ["Path=/api/v5/auth", &max_age, "HttpOnly", "SameSite=Strict", "Secure"]);
    assert!(pair(&answer).starts_with("coditect-refresh=ey"));
    let plain = login(&api, &[MODE]).await;
    assert!(!plain.header("set-cookie").contains("Secure"), "no Secure over plain HTTP");
    let without = login(&api, &[]).await;
    assert!(without.headers.get("set-cookie").is_none());
    without.text("refresh_token");
}

#[tokio::test]
async fn registration_and_refresh_keep_the_cookie_up_to_date() {
    let api = Api::new();
    let body =
        json!({"email": "a@example.com", "password": "correct horse", "firstName": "A", "lastName": "L"});
    let registered = send(&api, "/api/v5/auth/register", &[MODE], &body.to_string()).await;
    assert_eq!(registered.status, 201);
    let first = pair(&registered);
    let refreshed = send(&api, "/api/v5/auth/refresh", &[MODE, ("cookie", &first)], "").await;
    assert_eq!(refreshed.status, 200, "{}", refreshed.body);
    assert!(refreshed.data().get("refresh_token").is_none());
    let second = pair(&refreshed);
    assert_ne!(second, first);
    assert_eq!(send(&api, "/api/v5/auth/refresh", &[MODE, ("cookie", &second)], "{}").await.status, 200);

    api.clock.advance(GRACE);
    let reused = send(&api, "/api/v5/auth/refresh", &[MODE, ("cookie", &first)], "").await;
    reused.refused(401, "TOKEN_REVOKED");
    assert!(reused.header("set-cookie").starts_with("coditect-refresh=; Path=/api/v5/auth; Max-Age=0"));
}

#[tokio::test]
async fn the_cookie_does_not_count_without_the_header_or_from_another_origin() {
    let api = Api::new();
    api.register("ann@example.com").await;
    let cookie = pair(&login(&api, &[MODE]).await);
    let refresh = "/api/v5/auth/refresh";
    send(&api, refresh, &[("cookie", &cookie)], "").await.refused(403, "FORBIDDEN");
    send(&api, refresh, &[("cookie", &cookie), ("x-coditect-refresh", "yes")], "{}")
        .await
        .refused(403, "FORBIDDEN");
    for origin in ["https://evil.example", "null"] {
        let answer = send(&api, refresh, &[MODE, ("cookie", &cookie), ("origin", origin)], "").await;
        answer.refused(403, "FORBIDDEN");
        assert!(answer.headers.get("set-cookie").is_none(), "another site cannot log anyone out");
        login(&api, &[MODE, ("origin", origin)]).await.refused(403, "FORBIDDEN");
    }
    let answer =
        send(&api, refresh, &[MODE, ("cookie", &cookie), ("origin", "https://ide.example")], "").await;
    assert_eq!(answer.status, 200, "none of the refused requests used the token up");
    send(&api, refresh, &[MODE], "").await.refused(401, "MISSING_AUTH_HEADER");
}

#[tokio::test]
async fn logout_expires_the_cookie() {
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    let answer = api.call(http::Method::POST, "/api/v5/auth/logout", Some(&token), None).await;
    assert_eq!(
        answer.header("set-cookie"),
        "coditect-refresh=; Path=/api/v5/auth; Max-Age=0; HttpOnly; SameSite=Strict"
    );
}
