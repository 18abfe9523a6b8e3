//! `/api/v5/audit`: who sees the trail, and what a filter lets through.

use coditect_store::audit::chain;
use coditect_store::records::{AuditObject, Role};
use coditect_store::{AuditAction, AuditEvent, AuditLog};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use uuid::Uuid;

use crate::support::{Api, START};

/// Somebody who is registered: token, user and tenant.
async fn somebody(api: &Api, email: &str) -> (String, Uuid, Uuid) {
    let token = api.register(email).await.text("token");
    let claims = api.admit(&token).await.unwrap().claims;
    (token, claims.sub, claims.tenant_id)
}

async fn record(api: &Api, tenant: Uuid, actor: Uuid, action: AuditAction, id: &str) {
    let entropy = Arc::new(coditect_auth::SystemEntropy);
    let log = AuditLog::new(api.repositories.clone(), api.clock.clone(), entropy);
    let event = AuditEvent {
        tenant,
        actor: Some(actor),
        action,
        object: AuditObject { kind: "session".into(), id: id.into() },
        address: Some("192.0.2.1".into()),
        details: Map::from_iter([("reason".to_owned(), json!("asked"))]),
    };
    log.record(event).await.unwrap();
}

/// The ids of the objects, part by part of two.
async fn objects(api: &Api, token: &str, query: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let answer = api.get(&format!("/api/v5/audit?limit=2{query}{cursor}"), Some(token)).await;
        for entry in answer.data().as_array().unwrap() {
            if entry["object"]["kind"] == "session" {
                found.push(entry["object"]["id"].as_str().unwrap().to_owned());
            }
        }
        match &answer.body["next_cursor"] {
            Value::String(next) => cursor = format!("&cursor={next}"),
            _ => return found,
        }
    }
}

#[tokio::test]
async fn an_owner_sees_the_chain_of_their_tenant_and_no_other() {
    let api = Api::new();
    let (token, ann, tenant) = somebody(&api, "ann@example.com").await;
    let (stranger, bob, other) = somebody(&api, "bob@example.com").await;
    for id in ["a", "b", "c"] {
        record(&api, tenant, ann, AuditAction::SessionDelete, id).await;
        api.clock.advance(1);
    }
    record(&api, other, bob, AuditAction::SessionDelete, "theirs").await;
    assert_eq!(objects(&api, &token, "").await, ["c", "b", "a"]);
    assert_eq!(objects(&api, &token, "&order=oldest-first").await, ["a", "b", "c"]);
    assert_eq!(objects(&api, &stranger, "").await, ["theirs"]);
    let trail = api.get("/api/v5/audit?order=oldest-first", Some(&token)).await;
    let mut prev = json!(chain::beginning(tenant));
    for (entry, seq) in trail.data().as_array().unwrap().iter().zip(1..) {
        assert_eq!((&entry["seq"], &entry["prev"]), (&json!(seq), &prev));
        prev = entry["hash"].clone();
    }
    let last = trail.data().as_array().unwrap().last().unwrap();
    assert_eq!((&last["action"], &last["address"]), (&json!("session.delete"), &json!("192.0.2.1")));
    assert_eq!((&last["actor"], &last["details"]["reason"]), (&json!(ann), &json!("asked")));
    assert!(last["at"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn filters_narrow_and_wrong_ones_are_named() {
    let api = Api::new();
    let (token, ann, tenant) = somebody(&api, "ann@example.com").await;
    let bob = Uuid::from_u128(7);
    for (n, id) in ["a", "b", "a", "b", "a", "b"].into_iter().enumerate() {
        let actor = if n < 3 { ann } else { bob };
        let action = if n % 2 == 0 { AuditAction::SessionDelete } else { AuditAction::FileDelete };
        record(&api, tenant, actor, action, id).await;
        api.clock.advance(10);
    }
    assert_eq!(START, 1_800_000_000, "2027-01-15T08:00:00Z");
    assert_eq!(objects(&api, &token, &format!("&actor={bob}")).await, ["b", "a", "b"]);
    assert_eq!(objects(&api, &token, "&action=file.").await, ["b", "b", "b"]);
    assert_eq!(objects(&api, &token, "&objectKind=session&objectId=a").await.len(), 3);
    let narrow = "&from=2027-01-15T08:00:10Z&to=2027-01-15T08:00:30Z&order=oldest-first";
    assert_eq!(objects(&api, &token, narrow).await, ["b", "a"]);
    assert!(objects(&api, &token, &format!("&actor={}", Uuid::nil())).await.is_empty());
    for (query, field) in [
        ("objectId=a", "objectKind"),
        ("objectKind=session", "objectId"),
        ("from=yesterday", "from"),
        ("actor=ann", "actor"),
        ("order=random", "order"),
        ("cursor=x", "cursor"),
    ] {
        let refused = api.get(&format!("/api/v5/audit?{query}"), Some(&token)).await;
        let message = refused.refused(422, "VALIDATION_FAILED");
        assert!(message.starts_with(field), "{query}: {message}");
    }
}

#[tokio::test]
async fn only_owners_see_it() {
    let api = Api::new();
    let (token, ann, tenant) = somebody(&api, "ann@example.com").await;
    api.get("/api/v5/audit", None).await.refused(401, "MISSING_AUTH_HEADER");
    for role in [Role::Admin, Role::Member] {
        api.repositories.users().update(tenant, ann, None, |user| user.role = role).await.unwrap();
        api.get("/api/v5/audit", Some(&token)).await.refused(403, "FORBIDDEN");
    }
}
