//! Workspaces over the API.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Api};

const SESSIONS: &str = "/api/v5/sessions";

async fn signed_in(api: &Api, email: &str) -> String {
    api.register(email).await.text("token")
}

async fn create(api: &Api, token: &str, body: Value) -> Answer {
    let answer = api.post(SESSIONS, Some(token), body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer
}

fn path(answer: &Answer) -> String {
    format!("{SESSIONS}/{}", answer.text("id"))
}

/// Outage 5: paths, shapes and fields that server and front end disagreed on.
#[tokio::test]
async fn outage_5_a_session_has_exactly_the_contracts_fields() {
    let api = Api::new();
    let registered = api.register("ann@example.com").await;
    let user = &registered.data()["user"];
    let token = registered.text("token");
    let body = json!({"name": " My work ", "workspacePath": "/w/1", "type": "ai-studio", "settings": {"a": [1, null]}});
    let created = create(&api, &token, body).await;
    let expected = json!({
        "id": created.data()["id"], "name": "My work", "tenant_id": user["tenant_id"], "user_id": user["id"],
        "workspace_path": "/w/1", "type": "ai-studio", "settings": {"a": [1, null]}, "status": "active",
        "created_at": "2027-01-15T08:00:00Z", "updated_at": "2027-01-15T08:00:00Z",
        "last_accessed_at": "2027-01-15T08:00:00Z",
    });
    assert_eq!(*created.data(), expected);
    let got = api.get(&path(&created), Some(&token)).await;
    assert_eq!((got.status.as_u16(), got.data()), (200, &expected));
    let list = api.get(SESSIONS, Some(&token)).await;
    assert_eq!((list.status.as_u16(), list.data()), (200, &json!([expected])));

    let minimal = create(&api, &token, json!({"name": "m"})).await;
    let data = minimal.data();
    assert_eq!((&data["type"], &data["settings"]), (&json!("workspace"), &json!({})));
    assert!(data.get("workspace_path").is_none() && data.get("conversation_id").is_none());
}

#[tokio::test]
async fn the_list_is_newest_first_and_limited() {
    let api = Api::new();
    let token = signed_in(&api, "ann@example.com").await;
    assert_eq!(api.get(SESSIONS, Some(&token)).await.data(), &json!([]));
    for name in ["one", "two", "three"] {
        create(&api, &token, json!({"name": name})).await;
        api.clock.advance(1);
    }
    let names = |answer: &Answer| -> Vec<String> {
        answer.data().as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&api.get(SESSIONS, Some(&token)).await), ["three", "two", "one"]);
    assert_eq!(names(&api.get("/api/v5/sessions?limit=2", Some(&token)).await), ["three", "two"]);
    assert_eq!(names(&api.get("/api/v5/sessions?limit=200", Some(&token)).await).len(), 3);
    for bad in ["0", "201", "-1", "x", "", "99999999999999999999"] {
        let answer = api.get(&format!("/api/v5/sessions?limit={bad}"), Some(&token)).await;
        let message = answer.refused(422, "VALIDATION_FAILED");
        assert_eq!(message, "limit: must be a number from 1 to 200", "{bad}");
    }
}

#[tokio::test]
async fn put_replaces_and_patch_changes_what_is_there() {
    let api = Api::new();
    let token = signed_in(&api, "ann@example.com").await;
    let body = json!({"name": "a", "workspacePath": "/w", "type": "theia", "settings": {"k": 1}});
    let created = create(&api, &token, body).await;
    let path = path(&created);
    api.clock.advance(60);
    let patch = api.call(Method::PATCH, &path, Some(&token), Some(json!({"name": "b"}))).await;
    let data = patch.data();
    assert_eq!((&data["name"], &data["workspace_path"]), (&json!("b"), &json!("/w")));
    assert_eq!((&data["type"], &data["settings"]), (&json!("theia"), &json!({"k": 1})));
    assert_eq!(data["created_at"], created.data()["created_at"]);
    assert_eq!(data["updated_at"], "2027-01-15T08:01:00Z");
    let cleared = api.call(Method::PATCH, &path, Some(&token), Some(json!({"workspacePath": null}))).await;
    assert!(cleared.data().get("workspace_path").is_none());
    let null = api.call(Method::PATCH, &path, Some(&token), Some(json!({"name": null}))).await;
    assert!(null.refused(422, "VALIDATION_FAILED").starts_with("name: invalid type: null"));

    let put =
        api.call(Method::PUT, &path, Some(&token), Some(json!({"name": "c", "workspacePath": "/x"}))).await;
    let data = put.data();
    assert_eq!((&data["id"], &data["name"]), (&created.data()["id"], &json!("c")));
    assert_eq!((&data["type"], &data["settings"]), (&json!("workspace"), &json!({})), "PUT replaces all");
    assert_eq!(api.get(&path, Some(&token)).await.data(), data);
    let put = api.call(Method::PUT, &path, Some(&token), Some(json!({"workspacePath": "/x"}))).await;
    assert_eq!(put.refused(422, "VALIDATION_FAILED"), "name: missing field `name`");
}

#[tokio::test]
async fn wrong_sessions_are_refused_by_every_write() {
    let api = Api::new();
    let token = signed_in(&api, "ann@example.com").await;
    let path = path(&create(&api, &token, json!({"name": "a"})).await);
    for (body, message) in [
        (json!({"name": ""}), "name: must have"),
        (json!({"name": "x".repeat(201)}), "name: must have"),
        (json!({"name": "a", "workspacePath": "a\0b"}), "workspacePath: must have"),
        (json!({"name": "a", "workspacePath": "p".repeat(4097)}), "workspacePath: must have"),
        (json!({"name": "a", "type": "other"}), "type: unknown variant `other`"),
        (json!({"name": "a", "settings": [1]}), "settings: invalid type: sequence"),
        (json!({"name": "a", "settings": {"k": "x".repeat(1 << 16)}}), "settings: must be at most"),
        (json!({"name": "a", "workspace_path": "/w"}), "workspace_path: unknown field"),
        (json!({"name": "a", "status": "paused"}), "status: unknown field"),
    ] {
        for (method, path) in [(Method::POST, SESSIONS), (Method::PUT, &path), (Method::PATCH, &path)] {
            let answer = api.call(method.clone(), path, Some(&token), Some(body.clone())).await;
            let got = answer.refused(422, "VALIDATION_FAILED");
            assert!(got.starts_with(message), "{method}: {got}");
        }
    }
}

#[tokio::test]
async fn the_largest_allowed_session_fits_the_store() {
    let api = Api::new();
    let token = signed_in(&api, "ann@example.com").await;
    let largest = json!({
        "name": "\u{10ffff}".repeat(200), "workspacePath": "\u{1}".repeat(4096), "type": "ai-studio",
        "settings": {"k": "x".repeat((1 << 16) - 8)},
    });
    let created = create(&api, &token, largest).await;
    assert_eq!(api.get(&path(&created), Some(&token)).await.data(), created.data());
}

#[tokio::test]
async fn a_deleted_session_is_gone() {
    let api = Api::new();
    let token = signed_in(&api, "ann@example.com").await;
    let path = path(&create(&api, &token, json!({"name": "a"})).await);
    let deleted = api.call(Method::DELETE, &path, Some(&token), None).await;
    assert_eq!((deleted.status.as_u16(), deleted.data()), (200, &json!({})));
    api.call(Method::DELETE, &path, Some(&token), None).await.refused(404, "NOT_FOUND");
    api.get(&path, Some(&token)).await.refused(404, "NOT_FOUND");
    assert_eq!(api.get(SESSIONS, Some(&token)).await.data(), &json!([]));
}

#[tokio::test]
async fn another_tenants_session_does_not_exist() {
    let api = Api::new();
    let ann = signed_in(&api, "ann@example.com").await;
    let bob = signed_in(&api, "bob@example.com").await;
    let path = path(&create(&api, &ann, json!({"name": "private"})).await);
    let nobodys = format!("{SESSIONS}/00000000-0000-4000-8000-000000000000");
    for (method, body) in [
        (Method::GET, None),
        (Method::PUT, Some(json!({"name": "stolen"}))),
        (Method::PATCH, Some(json!({"name": "stolen"}))),
        (Method::DELETE, None),
    ] {
        let theirs = api.call(method.clone(), &path, Some(&bob), body.clone()).await;
        let none = api.call(method.clone(), &nobodys, Some(&bob), body).await;
        theirs.refused(404, "NOT_FOUND");
        assert_eq!(theirs.body, none.body, "{method} tells them apart");
    }
    assert_eq!(api.get(SESSIONS, Some(&bob)).await.data(), &json!([]));
    assert_eq!(api.get(&path, Some(&ann)).await.text("name"), "private");
}

#[tokio::test]
async fn an_id_in_another_spelling_names_nothing() {
    let api = Api::new();
    let token = signed_in(&api, "ann@example.com").await;
    let id = create(&api, &token, json!({"name": "a"})).await.text("id");
    for spelling in [
        id.replace('-', ""),
        format!("%7B{id}%7D"),
        format!("urn:uuid:{id}"),
        "1".into(),
        "%00".into(),
        "%ff%fe".into(),
        "..%2f..%2f".into(),
        "x".repeat(36),
    ] {
        api.get(&format!("{SESSIONS}/{spelling}"), Some(&token)).await.refused(404, "NOT_FOUND");
    }
    assert_eq!(api.get(&format!("{SESSIONS}/{id}"), Some(&token)).await.status, 200);
}

#[tokio::test]
async fn pages_and_filters_show_each_workspace_once() {
    let api = Api::new();
    let token = signed_in(&api, "ann@example.com").await;
    for number in 0..6 {
        let kind = if number % 2 == 0 { "theia" } else { "ai-studio" };
        let path = if number < 3 { "/w/a b" } else { "/w" };
        create(&api, &token, json!({"name": number.to_string(), "type": kind, "workspacePath": path})).await;
        api.clock.advance(1);
    }
    let all = async |query: &str| -> Vec<String> {
        let (mut names, mut cursor) = (Vec::new(), String::new());
        loop {
            let answer = api.get(&format!("{SESSIONS}?limit=2{query}{cursor}"), Some(&token)).await;
            let items = answer.data().as_array().unwrap();
            assert!(items.len() <= 2);
            names.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
            match answer.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return names,
            }
        }
    };
    assert_eq!(all("").await, ["5", "4", "3", "2", "1", "0"]);
    assert_eq!(all("&type=theia").await, ["4", "2", "0"]);
    assert_eq!(all("&workspacePath=%2Fw%2Fa%20b").await, ["2", "1", "0"]);
    assert_eq!(all("&type=ai-studio&workspacePath=/w&status=active").await, ["5", "3"]);
    assert_eq!(all("&status=paused").await, Vec::<String>::new());
    for (query, field) in [
        ("type=x", "type: "),
        ("status=x", "status: "),
        ("cursor=x", "cursor: "),
        ("workspacePath=", "workspacePath: "),
    ] {
        let message =
            api.get(&format!("{SESSIONS}?{query}"), Some(&token)).await.refused(422, "VALIDATION_FAILED");
        assert!(message.starts_with(field), "{message}");
    }
}

/// Sends a request with a version it is meant for.
async fn conditional(
    api: &Api,
    method: Method,
    path: &str,
    token: &str,
    version: &str,
    body: Option<Value>,
) -> Answer {
    let mut request = http::Request::builder().method(method).uri(path).header("if-match", version);
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map_or(axum::body::Body::empty(), |body| body.to_string().into());
    let mut request = request.body(body).unwrap();
    request.extensions_mut().insert(api.admit(token).await.unwrap());
    api.raw(request).await
}

#[tokio::test]
async fn a_change_meant_for_another_version_is_refused() {
    let api = Api::new();
    let token = signed_in(&api, "ann@example.com").await;
    let created = create(&api, &token, json!({"name": "a"})).await;
    assert_eq!(created.header("etag"), "\"1\"");
    let path = path(&created);
    let body = || Some(json!({"name": "b"}));
    let changed = conditional(&api, Method::PATCH, &path, &token, "\"1\"", body()).await;
    assert_eq!(changed.header("etag"), "\"2\"");
    for (method, body) in [(Method::PUT, body()), (Method::PATCH, body()), (Method::DELETE, None)] {
        let refused = conditional(&api, method, &path, &token, "\"1\"", body).await;
        refused.refused(412, "PRECONDITION_FAILED");
    }
    let replaced = conditional(&api, Method::PUT, &path, &token, "\"2\"", Some(json!({"name": "c"}))).await;
    assert_eq!(replaced.header("etag"), "\"3\"");
    conditional(&api, Method::DELETE, &path, &token, "\"3\"", None).await.data();
    api.get(&path, Some(&token)).await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_removal_is_in_the_audit_trail_and_a_refused_one_is_not() {
    let api = Api::new();
    let token = signed_in(&api, "ann@example.com").await;
    let created = create(&api, &token, json!({"name": "a"})).await;
    conditional(&api, Method::DELETE, &path(&created), &token, "\"9\"", None).await;
    api.call(Method::DELETE, &path(&created), Some(&token), None).await.data();
    let id = |field: &str| created.text(field).parse().unwrap();
    let order = coditect_store::Order::NewestFirst;
    let trail = api.repositories.audit().list(id("tenant_id"), None, order, 50).await.unwrap().items;
    let removals: Vec<_> = trail.iter().filter(|entry| entry.action == "session.delete").collect();
    assert_eq!(removals.len(), 1);
    assert_eq!(removals[0].actor, Some(id("user_id")));
    assert_eq!((removals[0].object.kind.as_str(), &removals[0].object.id), ("session", &created.text("id")));
}

#[tokio::test]
async fn reading_a_workspace_is_noted_now_and_then() {
    let api = Api::new();
    let token = signed_in(&api, "ann@example.com").await;
    let created = create(&api, &token, json!({"name": "a"})).await;
    // Notes are written beside the request, so they are waited for.
    let accessed = async |wanted: &str| {
        let seen = async {
            loop {
                let listed = api.get(SESSIONS, Some(&token)).await;
                if listed.data()[0]["last_accessed_at"] == wanted {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let seen = tokio::time::timeout(std::time::Duration::from_secs(10), seen).await;
        seen.unwrap_or_else(|_| panic!("not accessed at {wanted}"));
    };
    api.clock.advance(10);
    let read = api.get(&path(&created), Some(&token)).await;
    assert_eq!((read.header("etag"), read.data()), ("\"1\"", created.data()));
    accessed("2027-01-15T08:00:10Z").await;
    api.clock.advance(60);
    api.get(&path(&created), Some(&token)).await.data();
    api.clock.advance(240);
    api.get(&path(&created), Some(&token)).await.data();
    accessed("2027-01-15T08:05:10Z").await;
    let read = api.get(&path(&created), Some(&token)).await;
    assert_eq!((read.header("etag"), read.text("updated_at")), ("\"1\"", created.text("updated_at")));
}
