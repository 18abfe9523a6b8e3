//! Copying, pausing and resuming workspaces over the API.

use axum::body::Body;
use coditect_store::blobs::BlobHash;
use coditect_store::records::Content;
use http::{Method, Request};
use serde_json::json;
use uuid::Uuid;

use crate::support::{Answer, Api, WORKSPACES};

const SESSIONS: &str = "/api/v5/sessions";

async fn signed_in(api: &Api, email: &str) -> String {
    api.register(email).await.text("token")
}

async fn create(api: &Api, token: &str, name: &str) -> Answer {
    let body = json!({"name": name, "workspacePath": "/w", "type": "theia", "settings": {"k": 1}});
    api.post(SESSIONS, Some(token), body).await
}

fn path(answer: &Answer) -> String {
    format!("{SESSIONS}/{}", answer.text("id"))
}

/// Puts a file into a workspace, as the files' own operations do.
async fn file(api: &Api, session: &Answer, name: &str) {
    let id = |field: &str| -> Uuid { session.text(field).parse().unwrap() };
    let mut upload = api.repositories.blobs().upload(id("tenant_id"));
    upload.write(name.as_bytes()).await.unwrap();
    upload.finish().await.unwrap();
    let content =
        Content { sha256: BlobHash::of(name.as_bytes()), size: name.len() as u64, executable: false };
    let files = api.repositories.files();
    files.put(id("tenant_id"), id("id"), name, content, &coditect_store::Condition::Any, 1).await.unwrap();
}

#[tokio::test]
async fn a_fork_is_a_workspace_of_its_own_with_all_that_was_in_it() {
    let api = Api::new();
    let token = signed_in(&api, "ann@example.com").await;
    let source = create(&api, &token, "work").await;
    for name in ["a", "src/main.rs"] {
        file(&api, &source, name).await;
    }
    let state = format!("{}/state/editor", path(&source));
    api.call(Method::PUT, &state, Some(&token), Some(json!({"cursor": 7}))).await.data();
    api.clock.advance(60);

    let fork = api.call(Method::POST, &format!("{}/fork", path(&source)), Some(&token), None).await;
    assert_eq!(fork.status, 201, "{}", fork.body);
    let (data, of_source) = (fork.data(), source.data());
    for field in ["tenant_id", "user_id", "workspace_path", "type", "settings"] {
        assert_eq!(data[field], of_source[field], "{field}");
    }
    assert_eq!((&data["name"], &data["status"]), (&json!("work (copy)"), &json!("active")));
    assert_ne!(data["id"], of_source["id"]);
    assert_eq!(data["created_at"], "2027-01-15T08:01:00Z");
    let read = api.get(&path(&fork), Some(&token)).await;
    assert_eq!((read.data(), read.header("etag")), (data, fork.header("etag")));
    let copied = api.get(&format!("{}/state/editor", path(&fork)), Some(&token)).await;
    assert_eq!(copied.data(), &json!({"cursor": 7}));
    let (tenant, id) = (fork.text("tenant_id").parse().unwrap(), fork.text("id").parse().unwrap());
    let files = api.repositories.files().list(tenant, id, "", None, 10).await.unwrap();
    assert_eq!(files.items.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["a", "src/main.rs"]);

    let named = json!({"name": " mine "});
    let named = api.post(&format!("{}/fork", path(&fork)), Some(&token), named).await;
    assert_eq!(named.text("name"), "mine");
}

#[tokio::test]
async fn a_fork_that_may_not_be_is_refused() {
    let api = Api::new();
    let (ann, bob) = (signed_in(&api, "ann@example.com").await, signed_in(&api, "bob@example.com").await);
    let source = create(&api, &ann, "work").await;
    let fork = format!("{}/fork", path(&source));
    api.call(Method::POST, &fork, Some(&bob), None).await.refused(404, "NOT_FOUND");
    api.call(Method::POST, &fork, None, None).await.refused(401, "MISSING_AUTH_HEADER");
    for (body, message) in [
        (json!({"name": ""}), "name: must have"),
        (json!({"name": null}), "name: invalid type: null"),
        (json!({"title": "x"}), "title: unknown field"),
    ] {
        let refused = api.post(&fork, Some(&ann), body).await.refused(422, "VALIDATION_FAILED");
        assert!(refused.starts_with(message), "{refused}");
    }
    for _ in 1..WORKSPACES {
        assert_eq!(api.call(Method::POST, &fork, Some(&ann), None).await.status, 201);
    }
    api.call(Method::POST, &fork, Some(&ann), None).await.refused(409, "LIMIT_REACHED");
    create(&api, &ann, "one more").await.refused(409, "LIMIT_REACHED");
    assert_eq!(create(&api, &bob, "bob's").await.status, 201);
    assert_eq!(api.get(SESSIONS, Some(&ann)).await.data().as_array().unwrap().len(), WORKSPACES);
}

#[tokio::test]
async fn pause_and_resume_are_idempotent_and_versioned() {
    let api = Api::new();
    let token = signed_in(&api, "ann@example.com").await;
    let session = create(&api, &token, "work").await;
    let ask = |what: &'static str, version: Option<&'static str>| {
        let (api, token) = (&api, &token);
        let path = format!("{}/{what}", path(&session));
        async move {
            let mut request = Request::post(path);
            if let Some(version) = version {
                request = request.header("if-match", version);
            }
            let mut request = request.body(Body::empty()).unwrap();
            request.extensions_mut().insert(api.admit(token).await.unwrap());
            api.raw(request).await
        }
    };
    ask("pause", Some("\"9\"")).await.refused(412, "PRECONDITION_FAILED");
    let paused = ask("pause", Some("\"1\"")).await;
    assert_eq!((paused.text("status").as_str(), paused.header("etag")), ("paused", "\"2\""));
    assert_eq!(ask("pause", None).await.body, paused.body);
    assert_eq!(api.get(&path(&session), Some(&token)).await.data(), paused.data());
    // What a paused workspace is called can be changed, and it stays paused.
    let patch = api.call(Method::PATCH, &path(&session), Some(&token), Some(json!({"name": "b"}))).await;
    assert_eq!((patch.text("status").as_str(), patch.header("etag")), ("paused", "\"3\""));
    let resumed = ask("resume", None).await;
    assert_eq!((resumed.text("status").as_str(), resumed.header("etag")), ("active", "\"4\""));
    assert_eq!(ask("resume", Some("\"4\"")).await.body, resumed.body);
    let bob = signed_in(&api, "bob@example.com").await;
    for what in ["pause", "resume"] {
        let path = format!("{}/{what}", path(&session));
        api.call(Method::POST, &path, Some(&bob), None).await.refused(404, "NOT_FOUND");
    }
}
