//! Agents over the API.

use coditect_store::records::Role;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Api};

const AGENTS: &str = "/api/v5/agents";

async fn create(api: &Api, token: &str, body: Value) -> Answer {
    let answer = api.post(AGENTS, Some(token), body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer
}

fn path(answer: &Answer) -> String {
    format!("{AGENTS}/{}", answer.text("id"))
}

#[tokio::test]
async fn an_agent_is_made_read_changed_and_removed() {
    let api = Api::new();
    let registered = api.register("ann@example.com").await;
    let (token, user) = (registered.text("token"), &registered.data()["user"]);
    let body = json!({"name": " Code Reviewer ", "description": "Reads\ncode", "settings": {"model": "m"}});
    let created = create(&api, &token, body).await;
    let expected = json!({
        "id": created.data()["id"], "tenant_id": user["tenant_id"], "name": "Code Reviewer",
        "description": "Reads\ncode", "settings": {"model": "m"}, "created_by": user["id"],
        "created_at": "2027-01-15T08:00:00Z", "updated_at": "2027-01-15T08:00:00Z",
    });
    assert_eq!((created.data(), created.header("etag")), (&expected, "\"1\""));
    let path = path(&created);
    let got = api.get(&path, Some(&token)).await;
    assert_eq!((got.data(), got.header("etag")), (&expected, "\"1\""));

    api.clock.advance(60);
    let patch = Some(json!({"name": "Critic"}));
    let changed = api.send(Method::PATCH, &path, &token, &[("if-match", "\"1\"")], patch.clone()).await;
    assert_eq!((changed.text("name").as_str(), changed.header("etag")), ("Critic", "\"2\""));
    assert_eq!(changed.text("updated_at"), "2027-01-15T08:01:00Z");
    let stale = api.send(Method::PATCH, &path, &token, &[("if-match", "\"1\"")], patch).await;
    stale.refused(412, "PRECONDITION_FAILED");
    let stale = api.send(Method::DELETE, &path, &token, &[("if-match", "\"1\"")], None).await;
    stale.refused(412, "PRECONDITION_FAILED");
    let gone = api.send(Method::DELETE, &path, &token, &[("if-match", "\"2\"")], None).await;
    assert_eq!((gone.status.as_u16(), gone.data()), (200, &json!({})));
    api.get(&path, Some(&token)).await.refused(404, "NOT_FOUND");
    api.call(Method::DELETE, &path, Some(&token), None).await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_name_is_one_agents_in_its_tenant() {
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    let critic = create(&api, &token, json!({"name": "Critic"})).await;
    let tester = create(&api, &token, json!({"name": "Tester"})).await;
    let taken = api.post(AGENTS, Some(&token), json!({"name": "  CRITIC"})).await;
    taken.refused(409, "CONFLICT");
    let taken = api.call(Method::PATCH, &path(&tester), Some(&token), Some(json!({"name": "critic"}))).await;
    taken.refused(409, "CONFLICT");
    let own = api.call(Method::PATCH, &path(&critic), Some(&token), Some(json!({"name": "CRITIC"}))).await;
    assert_eq!(own.text("name"), "CRITIC");
    let other = api.register("bob@example.com").await.text("token");
    create(&api, &other, json!({"name": "Critic"})).await;
    api.get(&path(&critic), Some(&other)).await.refused(404, "NOT_FOUND");
    api.call(Method::DELETE, &path(&critic), Some(&other), None).await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn its_maker_and_admins_change_an_agent_and_others_read_it() {
    let api = Api::new();
    let owner = api.register("ann@example.com").await.text("token");
    let maker = api.member("ann@example.com", "bob@example.com", Role::Member).await;
    let other = api.member("ann@example.com", "carol@example.com", Role::Member).await;
    let admin = api.member("ann@example.com", "dave-1@example.com", Role::Admin).await;
    let path = path(&create(&api, &maker, json!({"name": "a"})).await);
    assert_eq!(api.get(&path, Some(&other)).await.status, 200);
    let patch = || Some(json!({"description": "d"}));
    for (method, body) in [(Method::PATCH, patch()), (Method::DELETE, None)] {
        api.call(method, &path, Some(&other), body).await.refused(403, "FORBIDDEN");
    }
    for token in [&maker, &owner, &admin] {
        assert_eq!(api.call(Method::PATCH, &path, Some(token), patch()).await.status, 200);
    }
    assert_eq!(api.call(Method::DELETE, &path, Some(&admin), None).await.status, 200);
}

#[tokio::test]
async fn agents_are_listed_by_name_and_inserts_disturb_no_page() {
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    for name in ["delta", "Alpha", "charlie", "Bravo", "echo"] {
        create(&api, &token, json!({"name": name})).await;
    }
    let (mut names, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = api.get(&format!("{AGENTS}{query}"), Some(&token)).await;
        names.extend(page.data().as_array().unwrap().iter().map(|agent| agent["name"].clone()));
        create(&api, &token, json!({"name": format!("aa {}", names.len())})).await;
        match page.body["next_cursor"].as_str() {
            Some(cursor) => query = format!("?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(names, ["Alpha", "Bravo", "charlie", "delta", "echo"]);
    let wrong = api.get(&format!("{AGENTS}?cursor=!"), Some(&token)).await;
    assert_eq!(wrong.refused(422, "VALIDATION_FAILED"), "cursor: must be a next_cursor of this list");
}

#[tokio::test]
async fn wrong_agents_are_refused_and_the_largest_fits() {
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    for (body, message) in [
        (json!({"name": ""}), "name: must have"),
        (json!({"name": "a", "description": "x".repeat(2001)}), "description: must have"),
        (json!({"name": "a", "description": "\u{7}"}), "description: must have"),
        (json!({"name": "a", "settings": {"k": "x".repeat(1 << 16)}}), "settings: must be at most"),
        (json!({"name": "a", "createdBy": "me"}), "createdBy: unknown field `createdBy`; leave it out"),
    ] {
        let answer = api.post(AGENTS, Some(&token), body).await;
        assert!(answer.refused(422, "VALIDATION_FAILED").starts_with(message), "{}", answer.body);
    }
    let largest = json!({
        "name": "\u{10ffff}".repeat(200), "description": "\u{10ffff}".repeat(2000),
        "settings": {"k": "x".repeat((1 << 16) - 8)},
    });
    let created = create(&api, &token, largest).await;
    assert_eq!(api.get(&path(&created), Some(&token)).await.data(), created.data());
}
