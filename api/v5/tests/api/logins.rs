//! The list of a user's logins, and ending them.

use coditect_auth::FamilyEnd;
use http::Method;
use serde_json::json;

use crate::support::{Api, START};

const SESSIONS: &str = "/api/v5/auth/sessions";

#[tokio::test]
async fn each_live_login_is_listed_once_with_its_last_client() {
    let api = Api::new();
    let registered = api.register("ann@example.com").await;
    api.register("bob@example.com").await;
    api.clock.advance(60);
    let second = api.log_in_from("192.0.2.7", "ann@example.com", "correct horse").await;
    api.clock.advance(60);
    let refreshed = api.refresh(&registered.text("refresh_token")).await;
    let token = refreshed.text("token");
    let family = |token: &str| api.verifier.verify(token, START + 120).unwrap().token_family;
    let list = api.get(SESSIONS, Some(&token)).await;
    let expected = json!([
        {
            "id": family(&second.text("token")), "created_at": "2027-01-15T08:01:00Z",
            "ends_at": "2027-02-14T08:01:00Z", "address": "192.0.2.7", "current": false,
        },
        {
            "id": family(&token), "created_at": "2027-01-15T08:00:00Z", "refreshed_at": "2027-01-15T08:02:00Z",
            "ends_at": "2027-02-14T08:00:00Z", "current": true,
        },
    ]);
    assert_eq!(list.data(), &expected);
    let page = api.get(&format!("{SESSIONS}?limit=1"), Some(&token)).await;
    let cursor = page.body["next_cursor"].as_str().unwrap();
    let rest = api.get(&format!("{SESSIONS}?limit=1&cursor={cursor}"), Some(&token)).await;
    assert_eq!(rest.data()[0]["id"], expected[1]["id"]);
}

#[tokio::test]
async fn a_login_that_is_ended_takes_its_sockets_along_and_no_other() {
    let api = Api::new();
    let kept = api.register("ann@example.com").await.text("token");
    let other = api.log_in_from("192.0.2.7", "ann@example.com", "correct horse").await;
    let socket = api.admit(&other.text("token")).await.unwrap().family;
    let id = api.verifier.verify(&other.text("token"), START).unwrap().token_family;
    let path = format!("{SESSIONS}/{id}");
    let stranger = api.register("bob@example.com").await.text("token");
    api.call(Method::DELETE, &path, Some(&stranger), None).await.refused(404, "NOT_FOUND");

    let ended = api.call(Method::DELETE, &path, Some(&kept), None).await;
    assert_eq!((ended.status.as_u16(), ended.data()), (200, &json!({})));
    assert!(!ended.headers.contains_key("set-cookie"), "this client's own login goes on");
    assert_eq!(socket.ended().await, FamilyEnd::Revoked);
    api.refresh(&other.text("refresh_token")).await.refused(401, "TOKEN_REVOKED");
    api.call(Method::DELETE, &path, Some(&kept), None).await.refused(404, "NOT_FOUND");
    assert_eq!(api.get(SESSIONS, Some(&kept)).await.data().as_array().unwrap().len(), 1);

    let own = api.verifier.verify(&kept, START).unwrap().token_family;
    let ended = api.call(Method::DELETE, &format!("{SESSIONS}/{own}"), Some(&kept), None).await;
    assert!(ended.header("set-cookie").starts_with("coditect-refresh=;"));
    assert!(api.admit(&kept).await.is_err());
}
