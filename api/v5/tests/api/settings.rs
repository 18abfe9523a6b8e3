//! Settings over the API.

use coditect_store::records::Role;
use http::Method;
use serde_json::{Value, json};

use crate::support::Api;

const THEME: &str = "/api/v5/settings/editor.theme";

fn value(value: impl Into<Value>) -> Option<Value> {
    Some(json!({"value": value.into()}))
}

#[tokio::test]
async fn a_setting_is_set_read_listed_and_removed() {
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    api.get(THEME, Some(&token)).await.refused(404, "NOT_FOUND");
    let set = api.call(Method::PUT, THEME, Some(&token), value("dark")).await;
    let expected = json!({
        "key": "editor.theme", "scope": "user", "value": "dark", "created_at": "2027-01-15T08:00:00Z",
        "updated_at": "2027-01-15T08:00:00Z",
    });
    assert_eq!((set.status.as_u16(), set.data(), set.header("etag")), (201, &expected, "\"1\""));
    let got = api.get(THEME, Some(&token)).await;
    assert_eq!((got.data(), got.header("etag")), (&expected, "\"1\""));
    api.clock.advance(1);
    for (n, any) in [json!(null), json!([1, {"a": 0.5}]), json!(true)].into_iter().enumerate() {
        let set = api.call(Method::PUT, THEME, Some(&token), Some(json!({"value": any}))).await;
        assert_eq!((set.status.as_u16(), &set.data()["value"]), (200, &any));
        assert_eq!(set.header("etag"), format!("\"{}\"", n + 2));
    }
    api.call(Method::PUT, "/api/v5/settings/a", Some(&token), value(1)).await;
    let list = api.get("/api/v5/settings?limit=1", Some(&token)).await;
    assert_eq!(list.data()[0]["key"], "a");
    let cursor = list.body["next_cursor"].as_str().unwrap();
    let rest = api.get(&format!("/api/v5/settings?cursor={cursor}"), Some(&token)).await;
    assert_eq!(
        (rest.data()[0]["key"].clone(), rest.body["next_cursor"].clone()),
        (json!("editor.theme"), Value::Null)
    );
    assert_eq!(api.call(Method::DELETE, THEME, Some(&token), None).await.data(), &json!({}));
    api.call(Method::DELETE, THEME, Some(&token), None).await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn conditions_decide_what_a_put_may_find() {
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    let put = |headers: &'static [(&'static str, &'static str)]| {
        let (api, token) = (&api, &token);
        async move { api.send(Method::PUT, THEME, token, headers, value("x")).await.status.as_u16() }
    };
    assert_eq!(put(&[("if-match", "*")]).await, 412, "it is not set");
    assert_eq!(put(&[("if-match", "\"1\"")]).await, 412);
    assert_eq!(put(&[("if-none-match", "*")]).await, 201);
    api.clock.advance(1);
    assert_eq!(put(&[("if-none-match", "*")]).await, 412, "it is");
    assert_eq!(put(&[("if-match", "*")]).await, 200);
    assert_eq!(put(&[("if-match", "\"1\"")]).await, 200);
    for stale in [&[("if-match", "\"2\"")], &[("if-match", "W/\"1\"")], &[("if-match", "\"x\"")]] {
        assert_eq!(put(stale).await, 412, "{stale:?}");
    }
    assert_eq!(put(&[("if-none-match", "\"1\"")]).await, 422);
    assert_eq!(put(&[("if-none-match", "*"), ("if-match", "*")]).await, 422);
    let stale = api.send(Method::DELETE, THEME, &token, &[("if-match", "\"9\"")], None).await;
    stale.refused(412, "PRECONDITION_FAILED");
}

#[tokio::test]
async fn the_tenants_settings_are_set_by_admins_and_read_by_all() {
    let api = Api::new();
    let owner = api.register("ann@example.com").await.text("token");
    let member = api.member("ann@example.com", "bob@example.com", Role::Member).await;
    let admin = api.member("ann@example.com", "carol@example.com", Role::Admin).await;
    let stranger = api.register("dave@example.com").await.text("token");
    let path = format!("{THEME}?scope=tenant");
    assert_eq!(api.call(Method::PUT, &path, Some(&owner), value("o")).await.status, 201);
    assert_eq!(api.call(Method::PUT, &path, Some(&admin), value("a")).await.status, 200);
    for (method, body) in [(Method::PUT, value("m")), (Method::DELETE, None)] {
        let message = api.call(method, &path, Some(&member), body).await.refused(403, "FORBIDDEN");
        assert_eq!(message, "only owners and admins change settings of the tenant");
    }
    let read = api.get(&path, Some(&member)).await;
    assert_eq!((read.text("value").as_str(), read.text("scope").as_str()), ("a", "tenant"));
    api.get(&path, Some(&stranger)).await.refused(404, "NOT_FOUND");
    api.get(THEME, Some(&owner)).await.refused(404, "NOT_FOUND");
    api.call(Method::PUT, THEME, Some(&member), value("mine")).await;
    api.get(THEME, Some(&admin)).await.refused(404, "NOT_FOUND");
    assert_eq!(api.get("/api/v5/settings?scope=tenant", Some(&member)).await.data()[0]["value"], "a");
    let wrong = api.get("/api/v5/settings?scope=world", Some(&member)).await;
    assert!(wrong.refused(422, "VALIDATION_FAILED").starts_with("scope: unknown variant `world`"));
    assert_eq!(api.call(Method::DELETE, &path, Some(&admin), None).await.status, 200);
}

#[tokio::test]
async fn wrong_keys_and_values_are_refused() {
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    for key in ["a%2Fb", "%20", "%C3%A4", "a%00", &"k".repeat(129)] {
        let path = format!("/api/v5/settings/{key}");
        for (method, body) in [(Method::PUT, value(1)), (Method::GET, None), (Method::DELETE, None)] {
            let message = api.call(method, &path, Some(&token), body).await.refused(422, "VALIDATION_FAILED");
            assert!(message.starts_with("key: must have 1 to 128"), "{message}");
        }
    }
    let longest = format!("/api/v5/settings/{}", "k".repeat(128));
    let largest = api.call(Method::PUT, &longest, Some(&token), value("x".repeat((1 << 16) - 2))).await;
    assert_eq!(largest.status, 201);
    let larger = api.call(Method::PUT, &longest, Some(&token), value("x".repeat((1 << 16) - 1))).await;
    assert!(larger.refused(422, "VALIDATION_FAILED").starts_with("value: must be at most"));
    let missing = api.call(Method::PUT, THEME, Some(&token), Some(json!({}))).await;
    assert_eq!(missing.refused(422, "VALIDATION_FAILED"), "value: missing field `value`");
    let no_utf8 = api.get("/api/v5/settings/%ff", Some(&token)).await;
    no_utf8.refused(404, "NOT_FOUND");
}
