//! Credentials that are none: forged, stale, misplaced, of somebody else.

use super::{Arena, SECRET};
use crate::support::api::claims;
use crate::support::{Account, Edge, Request, ws};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

/// A token of these parts, signed with HMAC-SHA-256.
fn signed(header: &Value, payload: &Value, secret: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(payload));
    let key = EncodingKey::from_secret(secret.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

/// The claims with one of them changed; removed for null.
fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut changed = claims.clone();
    match value {
        Value::Null => drop(changed.as_object_mut().unwrap().remove(name)),
        value => changed[name] = value,
    }
    changed
}

fn hs256() -> Value {
    json!({ "typ": "JWT", "alg": "HS256" })
}

const OTHER: &str = "01020304-0506-4708-890a-0b0c0d0e0f10";

/// Tokens that must open nothing, with the code they get.
fn forgeries(account: &Account) -> Vec<(&'static str, String, &'static str)> {
    let good = claims(&account.token);
    let ours = |payload: &Value| signed(&hs256(), payload, SECRET);
    let none = |alg: &str| {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", part(&json!({ "typ": "JWT", "alg": alg })), part(&good))
    };
    let parts: Vec<&str> = account.token.split('.').collect();
    let past = good["iat"].as_i64().unwrap() - 10;
    vec![
        ("alg none", none("none"), "INVALID_TOKEN"),
        ("alg None", none("None"), "INVALID_TOKEN"),
        ("no alg", signed(&json!({ "typ": "JWT" }), &good, SECRET), "INVALID_TOKEN"),
        ("no signature", format!("{}.{}.", parts[0], parts[1]), "INVALID_TOKEN"),
        ("two parts", format!("{}.{}", parts[0], parts[1]), "INVALID_TOKEN"),
        ("four parts", format!("{}.x", account.token), "INVALID_TOKEN"),
        ("another key", signed(&hs256(), &good, "another secret of 32 bytes and more"), "INVALID_TOKEN"),
        ("an empty key", signed(&hs256(), &good, ""), "INVALID_TOKEN"),
        ("RS256 signed with HMAC", signed(&json!({ "alg": "RS256" }), &good, SECRET), "INVALID_TOKEN"),
        ("HS512 in name", signed(&json!({ "alg": "HS512" }), &good, SECRET), "INVALID_TOKEN"),
        ("EdDSA in name", signed(&json!({ "alg": "EdDSA" }), &good, SECRET), "INVALID_TOKEN"),
        (
            "a key in its header",
            signed(&json!({ "alg": "HS256", "jwk": { "kty": "oct", "k": "AAAA" } }), &good, "\0\0\0"),
            "INVALID_TOKEN",
        ),
        (
            "another payload",
            format!(
                "{}.{}.{}",
                parts[0],
                URL_SAFE_NO_PAD.encode(with(&good, "sub", json!(OTHER)).to_string()),
                parts[2]
            ),
            "INVALID_TOKEN",
        ),
        ("another audience", ours(&with(&good, "aud", json!("somebody"))), "INVALID_TOKEN"),
        (
            "the audience of a workspace",
            ours(&with(&good, "aud", json!("coditect-workspace"))),
            "INVALID_TOKEN",
        ),
        ("no audience", ours(&with(&good, "aud", Value::Null)), "INVALID_TOKEN"),
        ("another issuer", ours(&with(&good, "iss", json!("evil"))), "INVALID_TOKEN"),
        ("no expiry", ours(&with(&good, "exp", Value::Null)), "INVALID_TOKEN"),
        ("an expiry that is text", ours(&with(&good, "exp", json!("never"))), "INVALID_TOKEN"),
        ("an expiry beyond numbers", ours(&with(&good, "exp", json!(f64::MAX))), "INVALID_TOKEN"),
        ("expired", ours(&with(&good, "exp", json!(past))), "TOKEN_EXPIRED"),
        ("expired in 1970", ours(&with(&good, "exp", json!(0))), "TOKEN_EXPIRED"),
        ("no session", ours(&with(&good, "session_id", Value::Null)), "INVALID_TOKEN"),
        ("no family", ours(&with(&good, "token_family", Value::Null)), "INVALID_TOKEN"),
        ("a session that is gone", ours(&with(&good, "session_id", json!(OTHER))), "TOKEN_REVOKED"),
        ("another tenant", ours(&with(&good, "tenant_id", json!(OTHER))), "INVALID_TOKEN"),
        ("another user", ours(&with(&good, "sub", json!(OTHER))), "INVALID_TOKEN"),
        ("another family", ours(&with(&good, "token_family", json!(OTHER))), "INVALID_TOKEN"),
        ("the refresh token", account.refresh_token.clone(), "INVALID_TOKEN"),
        ("10 kB", ours(&with(&good, "email", json!("x".repeat(10_000)))), "INVALID_TOKEN"),
        ("60 kB of dots", ".".repeat(60_000), "INVALID_TOKEN"),
        ("no token at all", "x".into(), "INVALID_TOKEN"),
        ("bytes beyond ASCII", "\u{e4}.\u{e4}.\u{e4}".into(), "INVALID_TOKEN"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_tokens_open_nothing() {
    let mut arena = Arena::start().await;
    let ada = arena.edge.register("ada@example.com").await;
    let workspace = arena.edge.create_session(&ada, "one").await;
    let again = signed(&hs256(), &claims(&ada.token), SECRET);
    let own = arena.edge.send(Request::get("/api/v5/sessions").bearer(&again)).await;
    assert_eq!(own.status, 200, "a token these tests sign is one: {}", own.text());

    for (name, token, code) in forgeries(&ada) {
        for target in ["/api/v5/sessions", "/sec/x", "/theia/", &format!("/theia/{workspace}/")] {
            let answer = arena.edge.send(Request::get(target).bearer(&token)).await;
            assert_eq!(answer.refusal(), (401, code.to_owned()), "{name} at {target}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{name} at {target}");
        }
        let Ok(text) = std::str::from_utf8(token.as_bytes()) else { continue };
        if text.is_ascii() && text.len() < 20_000 {
            let link = arena.edge.get(&format!("/theia/?token={text}&sessionId={workspace}")).await;
            assert_eq!(link.refusal(), (401, code.to_owned()), "{name} in a link");
            assert_eq!(link.header("set-cookie"), None, "{name} in a link");
            let socket =
                ws::open(arena.edge.http, &format!("/theia/{workspace}/services?token={text}"), &[]).await;
            assert_eq!(socket.expect_err(name).refusal(), (401, code.to_owned()), "{name} for a socket");
        }
    }
    assert_eq!(arena.upstream.bytes(), Vec::<Vec<u8>>::new());
    arena.unharmed(&[&ada.token, &ada.refresh_token, ada.token.rsplit('.').next().unwrap()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_family_opens_nothing() {
    let mut arena = Arena::start().await;
    let ada = arena.edge.register("ada@example.com").await;
    let workspace = arena.edge.create_session(&ada, "one").await;
    let cookie = arena.edge.open_workspace(&ada, &workspace).await;
    arena.edge.logout(&ada).await;
    let revoked = (401, "TOKEN_REVOKED".to_owned());
    let page = format!("/theia/{workspace}/");
    for target in ["/api/v5/sessions", "/sec/x", &page] {
        let answer = arena.edge.send(Request::get(target).bearer(&ada.token)).await;
        assert_eq!(answer.refusal(), revoked, "{target}");
    }
    assert_eq!(arena.edge.send(Request::get(&page).cookie(&cookie)).await.refusal(), revoked);
    assert_eq!(arena.edge.get(&Edge::link(&ada, &workspace)).await.refusal(), revoked);
    let body = json!({ "refreshToken": ada.refresh_token });
    assert_eq!(arena.edge.send(Request::post("/api/v5/auth/refresh", &body)).await.refusal(), revoked);
    assert_eq!(arena.upstream.bytes(), Vec::<Vec<u8>>::new());
    arena.unharmed(&[&ada.token, &cookie]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_is_no_single_bearer_token_is_none() {
    let mut arena = Arena::start().await;
    let ada = arena.edge.register("ada@example.com").await;
    let good = format!("Bearer {}", ada.token);
    let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("ada@example.com:x"));
    for values in [
        vec![good.as_str(), good.as_str()],
        vec![good.as_str(), "Bearer x"],
        vec!["Basic x", good.as_str()],
        vec![basic.as_str()],
        vec![ada.token.as_str()],
        vec!["Bearer"],
        vec![""],
        vec![&format!("Bearer {},{}", ada.token, ada.token)],
        vec![&format!("Token {}", ada.token)],
        vec![&format!("Bearer\t{}", ada.token)],
        vec![&format!("Bearer {} x", ada.token)],
    ] {
        for target in ["/api/v5/sessions", "/sec/x", "/theia/"] {
            let mut request = Request::get(target);
            for value in &values {
                request = request.header("authorization", value);
            }
            let answer = arena.edge.send(request).await;
            assert_eq!(answer.refusal(), (401, "INVALID_TOKEN".to_owned()), "{values:?} at {target}");
        }
    }
    // NUL in a header is malformed before anybody looks for a token.
    let nul = super::head("GET /sec/x", &format!("Authorization: Bearer {}\0\r\n", ada.token));
    assert_eq!(arena.raw(&nul).await.refusal(), (400, "BAD_REQUEST".to_owned()));
    assert_eq!(arena.upstream.bytes(), Vec::<Vec<u8>>::new());
    arena.unharmed(&[&ada.token]).await;
}

/// A token is taken where it belongs, and nowhere else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misplaced_credentials_open_nothing() {
    let mut arena = Arena::start().await;
    let edge = &arena.edge;
    let ada = edge.register("ada@example.com").await;
    let (one, two) = (edge.create_session(&ada, "one").await, edge.create_session(&ada, "two").await);
    let cookie = edge.open_workspace(&ada, &one).await;
    let pass = cookie.split_once('=').unwrap().1.to_owned();
    let missing = (401, "MISSING_AUTH_HEADER".to_owned());
    let invalid = (401, "INVALID_TOKEN".to_owned());
    let page = format!("/theia/{one}/");
    let own = edge.send(Request::get(&page).cookie(&cookie)).await;
    assert_eq!(own.status, 200, "the cookie opens its workspace");
    let before = arena.upstream.count();

    for target in ["/api/v5/sessions", "/sec/x"] {
        for value in [&pass, &ada.token, &ada.refresh_token] {
            for name in [
                "coditect-workspace",
                "coditect-refresh",
                "coditect-last-workspace",
                "token",
                "Authorization",
            ] {
                let answer = edge.send(Request::get(target).cookie(&format!("{name}={value}"))).await;
                assert_eq!(answer.refusal(), missing, "the cookie {name} at {target}");
            }
            // In a query a token is for sockets and links.
            assert_eq!(edge.get(&format!("{target}?token={value}")).await.refusal(), missing, "{target}");
        }
        assert_eq!(edge.send(Request::get(target).bearer(&pass)).await.refusal(), invalid, "{target}");
        assert_eq!(
            edge.send(Request::get(target).bearer(&ada.refresh_token)).await.refusal(),
            invalid,
            "{target}"
        );
    }
    for value in [&ada.token, &ada.refresh_token, &"x".to_owned(), &String::new()] {
        let answer = edge.send(Request::get(&page).cookie(&format!("coditect-workspace={value}"))).await;
        assert_eq!(answer.refusal(), invalid, "{value:.20} as a workspace's cookie");
    }
    let other = edge.send(Request::get(&format!("/theia/{two}/")).cookie(&cookie)).await;
    assert_eq!(other.refusal(), invalid, "the cookie of another workspace");
    let body = json!({ "refreshToken": ada.token });
    let refreshed = edge.send(Request::post("/api/v5/auth/refresh", &body)).await;
    assert_eq!(refreshed.refusal(), invalid, "an access token for a refresh token");
    let body = json!({ "refreshToken": pass });
    assert_eq!(edge.send(Request::post("/api/v5/auth/refresh", &body)).await.refusal(), invalid);
    assert_eq!(arena.upstream.count(), before, "something of it reached the upstream");
    arena.unharmed(&[&ada.token, &ada.refresh_token, &pass]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anothers_workspace_does_not_exist() {
    let mut arena = Arena::start().await;
    let (ada, eve) =
        (arena.edge.register("ada@example.com").await, arena.edge.register("eve@example.com").await);
    let workspace = arena.edge.create_session(&ada, "one").await;
    let absent = (404, "NOT_FOUND".to_owned());
    for target in [format!("/theia/{workspace}/"), format!("/api/v5/sessions/{workspace}")] {
        assert_eq!(arena.edge.get_as(&eve, &target).await.refusal(), absent, "{target}");
    }
    assert_eq!(arena.edge.get(&Edge::link(&eve, &workspace)).await.refusal(), absent);
    let (target, bearer) = (format!("/theia/{workspace}/services"), format!("Bearer {}", eve.token));
    let socket = ws::open(arena.edge.http, &target, &[("authorization", &bearer)]).await;
    assert_eq!(socket.expect_err("no socket").refusal(), absent);
    assert_eq!(arena.upstream.bytes(), Vec::<Vec<u8>>::new());
    arena.unharmed(&[&eve.token]).await;
}
