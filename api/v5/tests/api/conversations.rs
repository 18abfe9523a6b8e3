//! Conversations and their messages over the API.

use coditect_store::records::Role;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Api};

const CONVERSATIONS: &str = "/api/v5/conversations";

async fn create(api: &Api, path: &str, token: &str, body: Value) -> Answer {
    let answer = api.post(path, Some(token), body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer
}

fn path(answer: &Answer) -> String {
    format!("{CONVERSATIONS}/{}", answer.text("id"))
}

#[tokio::test]
async fn a_conversation_is_begun_changed_and_removed_with_its_messages() {
    let api = Api::new();
    let registered = api.register("ann@example.com").await;
    let (token, user) = (registered.text("token"), &registered.data()["user"]);
    let work = create(&api, "/api/v5/sessions", &token, json!({"name": "w"})).await.text("id");
    let created = create(&api, CONVERSATIONS, &token, json!({"title": " Plan ", "sessionId": work})).await;
    let expected = json!({
        "id": created.data()["id"], "tenant_id": user["tenant_id"], "user_id": user["id"], "session_id": work,
        "title": "Plan", "created_at": "2027-01-15T08:00:00Z", "updated_at": "2027-01-15T08:00:00Z",
    });
    assert_eq!((created.data(), created.header("etag")), (&expected, "\"1\""));
    let path = path(&created);
    assert_eq!(api.get(&path, Some(&token)).await.data(), &expected);
    let messages = format!("{path}/messages");
    let message = json!({"role": "user", "content": "Hello\n", "metadata": {"model": "m"}});
    let said = create(&api, &messages, &token, message).await;
    let expected = json!({
        "id": said.data()["id"], "conversation_id": created.data()["id"], "role": "user", "content": "Hello\n",
        "metadata": {"model": "m"}, "created_at": "2027-01-15T08:00:00Z",
    });
    assert_eq!(said.data(), &expected);
    assert_eq!(api.get(&messages, Some(&token)).await.data(), &json!([expected]));

    let patch = Some(json!({"title": "New"}));
    let changed = api.send(Method::PATCH, &path, &token, &[("if-match", "\"1\"")], patch.clone()).await;
    assert_eq!((changed.text("title").as_str(), changed.header("etag")), ("New", "\"2\""));
    for (method, body) in [(Method::PATCH, patch), (Method::DELETE, None)] {
        let stale = api.send(method, &path, &token, &[("if-match", "\"1\"")], body).await;
        stale.refused(412, "PRECONDITION_FAILED");
    }
    assert_eq!(api.call(Method::DELETE, &path, Some(&token), None).await.data(), &json!({}));
    for gone in [&path, &messages] {
        api.get(gone, Some(&token)).await.refused(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn a_conversation_is_its_users_alone() {
    let api = Api::new();
    let ann = api.register("ann@example.com").await.text("token");
    let colleague = api.member("ann@example.com", "bob@example.com", Role::Admin).await;
    let stranger = api.register("carol@example.com").await.text("token");
    let work = create(&api, "/api/v5/sessions", &ann, json!({"name": "w"})).await.text("id");
    let path = path(&create(&api, CONVERSATIONS, &ann, json!({"sessionId": work})).await);
    let messages = format!("{path}/messages");
    let message = json!({"role": "user", "content": "x"});
    for token in [&colleague, &stranger] {
        for (method, path, body) in [
            (Method::GET, &path, None),
            (Method::PATCH, &path, Some(json!({"title": "x"}))),
            (Method::DELETE, &path, None),
            (Method::GET, &messages, None),
            (Method::POST, &messages, Some(message.clone())),
        ] {
            api.call(method, path, Some(token), body).await.refused(404, "NOT_FOUND");
        }
        let filtered = format!("{CONVERSATIONS}?sessionId={work}");
        assert_eq!(api.get(&filtered, Some(token)).await.data(), &json!([]));
        let theirs = api.post(CONVERSATIONS, Some(token), json!({"sessionId": work})).await;
        let message = theirs.refused(422, "VALIDATION_FAILED");
        assert_eq!(message, "sessionId: must be one of your workspaces");
    }
}

/// The texts of a list, page by page, while something is added after each page.
async fn paged(api: &Api, token: &str, path: &str, query: &str, field: &str, add: Value) -> Vec<String> {
    let (mut texts, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("{path}?limit=2{query}{cursor}"), Some(token)).await;
        let items = page.data().as_array().unwrap().clone();
        assert!(items.len() <= 2);
        texts.extend(items.iter().map(|item| item[field].as_str().unwrap().to_owned()));
        create(api, path, token, add.clone()).await;
        match page.body["next_cursor"].as_str() {
            // What is added at the end is found by a reader who goes that way, for ever.
            Some(next) if texts.len() < 8 => cursor = format!("&cursor={next}"),
            _ => return texts,
        }
    }
}

#[tokio::test]
async fn lists_are_filtered_and_inserts_disturb_no_page() {
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    let work = create(&api, "/api/v5/sessions", &token, json!({"name": "w"})).await.text("id");
    for n in 0..5 {
        let session = if n % 2 == 0 { json!(work) } else { Value::Null };
        create(&api, CONVERSATIONS, &token, json!({"title": format!("{n}"), "sessionId": session})).await;
        api.clock.advance(1);
    }
    let filter = format!("&sessionId={work}");
    let add = json!({"title": "new", "sessionId": work});
    assert_eq!(paged(&api, &token, CONVERSATIONS, &filter, "title", add.clone()).await, ["4", "2", "0"]);
    let all = api.get(&format!("{CONVERSATIONS}?sessionId={work}"), Some(&token)).await;
    assert_eq!(all.data().as_array().unwrap().len(), 5);

    let talk = create(&api, CONVERSATIONS, &token, json!({})).await;
    assert_eq!(talk.text("title"), "");
    let messages = format!("{}/messages", path(&talk));
    for n in 0..5 {
        let message = json!({"role": "assistant", "content": format!("{n}")});
        create(&api, &messages, &token, message).await;
    }
    let add = json!({"role": "tool", "content": "new"});
    let newest = paged(&api, &token, &messages, "&order=newest", "content", add.clone()).await;
    assert_eq!(newest, ["4", "3", "2", "1", "0"]);
    let oldest = paged(&api, &token, &messages, "", "content", add).await;
    assert_eq!(oldest[..6], ["0", "1", "2", "3", "4", "new"]);
    let wrong = api.get(&format!("{messages}?order=best"), Some(&token)).await;
    assert!(wrong.refused(422, "VALIDATION_FAILED").starts_with("order: unknown variant `best`"));
}

#[tokio::test]
async fn wrong_messages_are_refused_and_the_largest_fits() {
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    let messages = format!("{}/messages", path(&create(&api, CONVERSATIONS, &token, json!({})).await));
    for (body, message) in [
        (json!({"role": "robot", "content": "x"}), "role: unknown variant `robot`"),
        (json!({"role": "user"}), "content: missing field"),
        (json!({"role": "user", "content": "x".repeat(79_997)}), "content: must be at most"),
        (json!({"role": "user", "text": "x"}), "text: unknown field `text`; the field is `content`"),
    ] {
        let answer = api.post(&messages, Some(&token), body).await;
        assert!(answer.refused(422, "VALIDATION_FAILED").starts_with(message), "{}", answer.body);
    }
    // Two quotes and an empty object beside it.
    let largest = json!({"role": "user", "content": "x".repeat(79_996)});
    let said = create(&api, &messages, &token, largest).await;
    assert_eq!(api.get(&messages, Some(&token)).await.data(), &json!([said.data()]));
}
