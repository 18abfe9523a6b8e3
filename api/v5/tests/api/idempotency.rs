//! Requests with an `Idempotency-Key`, repeated in every way.

use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Api};

const SESSIONS: &str = "/api/v5/sessions";

async fn ask(api: &Api, token: &str, path: &str, key: &str, body: Value) -> Answer {
    api.send(Method::POST, path, token, &[("idempotency-key", key)], Some(body)).await
}

async fn count(api: &Api, token: &str, path: &str) -> usize {
    api.get(path, Some(token)).await.data().as_array().unwrap().len()
}

#[tokio::test]
async fn a_request_sent_again_answers_the_same_and_creates_nothing() {
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    let talk = api.post("/api/v5/conversations", Some(&token), json!({})).await.text("id");
    let messages = format!("/api/v5/conversations/{talk}/messages");
    for (path, body, others) in [
        (SESSIONS, json!({"name": "a"}), 0),
        ("/api/v5/conversations", json!({"title": "a"}), 1),
        (messages.as_str(), json!({"role": "user", "content": "a"}), 0),
        ("/api/v5/agents", json!({"name": "a"}), 0),
    ] {
        let key = format!("\"key of {path}\"").replace(' ', "-");
        let first = ask(&api, &token, path, &key, body.clone()).await;
        assert_eq!(first.status, 201, "{}", first.body);
        assert!(!first.headers.contains_key("idempotency-replayed"));
        api.clock.advance(5);
        for _ in 0..2 {
            let again = ask(&api, &token, path, &key, body.clone()).await;
            assert_eq!((again.status.as_u16(), &again.body), (201, &first.body));
            assert_eq!(again.headers.get("etag"), first.headers.get("etag"));
            assert_eq!(again.header("idempotency-replayed"), "true");
        }
        assert_eq!(count(&api, &token, path).await, 1 + others, "{path}");
    }
    let source = ask(&api, &token, SESSIONS, "source", json!({"name": "source"})).await.text("id");
    let fork = format!("{SESSIONS}/{source}/fork");
    let first = ask(&api, &token, &fork, "fork", json!({})).await;
    let again = ask(&api, &token, &fork, "fork", json!({})).await;
    assert_eq!((again.status.as_u16(), &again.body), (201, &first.body));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(count(&api, &token, SESSIONS).await, 3, "one copy");
    // What has become of the object in the meantime changes no answer.
    let first = ask(&api, &token, SESSIONS, "k", json!({"name": "gone"})).await;
    api.call(Method::DELETE, &format!("{SESSIONS}/{}", first.text("id")), Some(&token), None).await;
    let again = ask(&api, &token, SESSIONS, "k", json!({"name": "gone"})).await;
    assert_eq!((again.body, count(&api, &token, SESSIONS).await), (first.body, 3));
}

#[tokio::test]
async fn a_key_stands_for_one_request_of_one_user() {
    let api = Api::new();
    let ann = api.register("ann@example.com").await.text("token");
    let bob = api.register("bob@example.com").await.text("token");
    let first = ask(&api, &ann, SESSIONS, "k", json!({"name": "a"})).await;
    for (path, body) in [
        (SESSIONS, json!({"name": "b"})),
        ("/api/v5/sessions?x=1", json!({"name": "a"})),
        ("/api/v5/agents", json!({"name": "a"})),
    ] {
        ask(&api, &ann, path, "k", body).await.refused(422, "IDEMPOTENCY_KEY_REUSED");
    }
    let other = ask(&api, &bob, SESSIONS, "k", json!({"name": "a"})).await;
    assert_eq!(other.status, 201);
    assert_ne!(other.text("id"), first.text("id"));
    assert_eq!(count(&api, &ann, SESSIONS).await, 1);
}

#[tokio::test]
async fn failures_of_the_request_are_final_but_for_conflicts_and_wrong_keys_are_refused() {
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    let wrong = ask(&api, &token, SESSIONS, "w", json!({"name": ""})).await;
    wrong.refused(422, "VALIDATION_FAILED");
    let again = ask(&api, &token, SESSIONS, "w", json!({"name": ""})).await;
    assert_eq!((&again.body, again.header("idempotency-replayed")), (&wrong.body, "true"));
    let other = api.post("/api/v5/agents", Some(&token), json!({"name": "a"})).await;
    ask(&api, &token, "/api/v5/agents", "a", json!({"name": "A"})).await.refused(409, "CONFLICT");
    let path = format!("/api/v5/agents/{}", other.text("id"));
    api.call(Method::DELETE, &path, Some(&token), None).await;
    let free = ask(&api, &token, "/api/v5/agents", "a", json!({"name": "A"})).await;
    assert_eq!(free.status, 201, "the name is free now: {}", free.body);

    let longest = "~".repeat(255);
    assert_eq!(ask(&api, &token, SESSIONS, &longest, json!({"name": "a"})).await.status, 201);
    for key in ["", "a b", &"k".repeat(256)] {
        let answer = ask(&api, &token, SESSIONS, key, json!({"name": "a"})).await;
        let message = answer.refused(422, "VALIDATION_FAILED");
        assert_eq!(message, "Idempotency-Key: must be 1 to 255 visible ASCII characters, once", "{key:?}");
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    let answer = api.send(Method::POST, SESSIONS, &token, &twice, Some(json!({"name": "a"}))).await;
    answer.refused(422, "VALIDATION_FAILED");
    // Where it is not declared it has no meaning.
    let put = [("idempotency-key", "a b")];
    let body = Some(json!({"value": 1}));
    assert_eq!(api.send(Method::PUT, "/api/v5/settings/k", &token, &put, body).await.status, 201);
}

#[tokio::test]
async fn a_day_later_the_key_is_free() {
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    let first = ask(&api, &token, SESSIONS, "k", json!({"name": "a"})).await.text("id");
    api.clock.advance(24 * 3600 - 1);
    let token = api.log_in_from("192.0.2.1", "ann@example.com", "correct horse").await.text("token");
    assert_eq!(ask(&api, &token, SESSIONS, "k", json!({"name": "a"})).await.text("id"), first);
    api.clock.advance(1);
    assert_ne!(ask(&api, &token, SESSIONS, "k", json!({"name": "a"})).await.text("id"), first);
    assert_eq!(count(&api, &token, SESSIONS).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_all_get_the_one_object() {
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    for (round, path) in [SESSIONS, "/api/v5/agents", "/api/v5/conversations"].into_iter().enumerate() {
        let key = format!("k{round}");
        let body = match path {
            "/api/v5/conversations" => json!({"title": "a"}),
            _ => json!({"name": "a"}),
        };
        let answers = join_all((0..16).map(|_| ask(&api, &token, path, &key, body.clone()))).await;
        for answer in &answers {
            assert_eq!((answer.status.as_u16(), &answer.body), (201, &answers[0].body));
        }
        assert_eq!(count(&api, &token, path).await, 1, "{path}");
    }
}

#[tokio::test]
async fn a_request_cut_off_anywhere_creates_one_object_when_it_is_sent_again() {
    let api = Api::new();
    // Two, since 60 workspaces are more than one may have here.
    let ann = api.register("ann@example.com").await.text("token");
    let bob = api.register("bob@example.com").await.text("token");
    let mut cut = 0;
    for polls in 0..60 {
        let token = if polls % 2 == 0 { &ann } else { &bob };
        let (key, name) = (format!("k{polls}"), format!("n{polls}"));
        {
            let mut attempt = Box::pin(ask(&api, token, SESSIONS, &key, json!({"name": name})));
            let mut done = false;
            for _ in 0..polls {
                done = done || futures::poll!(attempt.as_mut()).is_ready();
                if done {
                    break;
                }
                std::thread::yield_now();
                tokio::task::yield_now().await;
            }
            cut += usize::from(!done);
        }
        let first = ask(&api, token, SESSIONS, &key, json!({"name": name})).await;
        let again = ask(&api, token, SESSIONS, &key, json!({"name": name})).await;
        assert_eq!((first.status.as_u16(), &first.body), (201, &again.body));
        assert_eq!(again.header("idempotency-replayed"), "true");
    }
    assert!(cut > 0, "none was cut off");
    for token in [&ann, &bob] {
        assert_eq!(count(&api, token, &format!("{SESSIONS}?limit=200")).await, 30);
    }
}
