//! Members of a tenant, one's own account, and the ends of both.

use coditect_auth::{AuthError, FamilyEnd};
use coditect_store::records::AuditObject;
use coditect_store::{Order, SETTLED_AFTER};
use http::{Method, Request};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Answer, Api, GRACE};

const OWNER: &str = "owner@example.com";

struct Signed {
    id: Uuid,
    tenant: Uuid,
    token: String,
    refresh: String,
}

fn signed(answer: &Answer) -> Signed {
    let user = &answer.data()["user"];
    let id = |field: &str| user[field].as_str().unwrap().parse().unwrap();
    let (token, refresh) = (answer.text("token"), answer.text("refresh_token"));
    Signed { id: id("id"), tenant: id("tenant_id"), token, refresh }
}

async fn login(api: &Api, email: &str, password: &str) -> Answer {
    api.post("/api/v5/auth/login", None, json!({"email": email, "password": password})).await
}

async fn owner(api: &Api) -> Signed {
    signed(&api.register(OWNER).await)
}

/// Adds a member with a role, and logs them in.
async fn member(api: &Api, by: &Signed, email: &str, role: &str) -> Signed {
    let body =
        json!({"email": email, "password": "pass phrase", "firstName": "M", "lastName": "N", "role": role});
    let added = api.post("/api/v5/users", Some(&by.token), body).await;
    assert_eq!(added.status, 201, "{}", added.body);
    assert!(added.data().get("password").is_none(), "the client's own is not told");
    assert_eq!(added.header("etag"), "\"1\"");
    signed(&login(api, email, "pass phrase").await)
}

async fn patch(api: &Api, by: &Signed, path: &str, body: Value) -> Answer {
    api.call(Method::PATCH, path, Some(&by.token), Some(body)).await
}

fn at(user: &Signed) -> String {
    format!("/api/v5/users/{}", user.id)
}

#[tokio::test]
async fn a_member_is_added_listed_read_changed_and_removed() {
    let api = Api::new();
    let owner = owner(&api).await;
    let body = json!({"email": " New@Example.com", "firstName": "New", "lastName": "One"});
    let added = api.post("/api/v5/users", Some(&owner.token), body.clone()).await;
    let id = added.text("id");
    assert_eq!((added.text("email").as_str(), added.text("role").as_str()), ("new@example.com", "member"));
    assert_eq!(added.text("tenant_id"), owner.tenant.to_string());
    let made = added.text("password");
    let new = signed(&login(&api, "new@example.com", &made).await);
    api.post("/api/v5/users", Some(&owner.token), body).await.refused(409, "EMAIL_TAKEN");

    let first = api.get("/api/v5/users?limit=1", Some(&owner.token)).await;
    let next = first.body["next_cursor"].as_str().unwrap().to_owned();
    let second = api.get(&format!("/api/v5/users?limit=1&cursor={next}"), Some(&owner.token)).await;
    let mut listed = [&first, &second].map(|page| page.data()[0]["id"].as_str().unwrap().to_owned());
    listed.sort();
    let mut expected = [owner.id.to_string(), id.clone()];
    expected.sort();
    assert_eq!((listed, second.body["next_cursor"].is_null()), (expected, true));

    let path = format!("/api/v5/users/{id}");
    assert_eq!(api.get(&path, Some(&owner.token)).await.text("status"), "active");
    let changed = patch(&api, &owner, &path, json!({"role": "admin", "firstName": "Neo"})).await;
    assert_eq!((changed.text("role").as_str(), changed.header("etag")), ("admin", "\"2\""));
    let mut stale =
        Request::patch(&path).header("content-type", "application/json").header("if-match", "\"1\"");
    stale.extensions_mut().unwrap().insert(api.admit(&owner.token).await.unwrap());
    let stale = stale.body(r#"{"role":"member"}"#.into()).unwrap();
    api.raw(stale).await.refused(412, "PRECONDITION_FAILED");

    let removed = api.call(Method::DELETE, &path, Some(&owner.token), None).await;
    assert_eq!(removed.status, 200, "{}", removed.body);
    assert_eq!(api.admit(&new.token).await.unwrap_err(), AuthError::TokenRevoked);
    api.refresh(&new.refresh).await.refused(401, "TOKEN_REVOKED");
    api.get(&path, Some(&owner.token)).await.refused(404, "NOT_FOUND");
    login(&api, "new@example.com", &made).await.refused(401, "INVALID_CREDENTIALS");
    let user = AuditObject { kind: "user".into(), id };
    let trail =
        api.repositories.audit().by_object(owner.tenant, &user, None, Order::OldestFirst, 10).await.unwrap();
    let actions: Vec<_> = trail.items.iter().map(|entry| entry.action.as_str()).collect();
    let mut sorted = actions.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["user.create", "user.delete", "user.update"]);
    assert!(trail.items.iter().all(|entry| entry.actor == Some(owner.id)));
}

#[tokio::test]
async fn a_role_reaches_as_far_as_it_says_and_the_last_owner_stays() {
    let api = Api::new();
    let owner = owner(&api).await;
    let admin = member(&api, &owner, "admin@example.com", "admin").await;
    let plain = member(&api, &admin, "plain@example.com", "member").await;
    for path in ["/api/v5/users".to_owned(), at(&owner)] {
        api.get(&path, Some(&plain.token)).await.refused(403, "FORBIDDEN");
    }
    patch(&api, &plain, &at(&plain), json!({"role": "owner"})).await.refused(403, "FORBIDDEN");
    patch(&api, &admin, &at(&admin), json!({"role": "owner"})).await.refused(403, "FORBIDDEN");
    patch(&api, &admin, &at(&owner), json!({"firstName": "X"})).await.refused(403, "FORBIDDEN");
    api.call(Method::DELETE, &at(&owner), Some(&admin.token), None).await.refused(403, "FORBIDDEN");
    let body = json!({"email": "o2@example.com", "firstName": "O", "lastName": "P", "role": "owner"});
    api.post("/api/v5/users", Some(&admin.token), body).await.refused(403, "FORBIDDEN");
    for body in [json!({"role": "admin"}), json!({"status": "disabled"})] {
        patch(&api, &owner, &at(&owner), body).await.refused(409, "LAST_OWNER");
    }
    api.call(Method::DELETE, &at(&owner), Some(&owner.token), None).await.refused(403, "FORBIDDEN");
    let body = json!({"password": "correct horse"});
    let leaving = api.call(Method::DELETE, "/api/v5/users/me", Some(&owner.token), Some(body)).await;
    leaving.refused(409, "LAST_OWNER");

    // Another tenant's owner sees nobody here.
    let other = signed(&api.register("other@example.com").await);
    api.get(&at(&plain), Some(&other.token)).await.refused(404, "NOT_FOUND");
    patch(&api, &other, &at(&plain), json!({"role": "admin"})).await.refused(404, "NOT_FOUND");
    api.call(Method::DELETE, &at(&plain), Some(&other.token), None).await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_disabled_member_is_out_at_once_and_can_be_let_in_again() {
    let api = Api::new();
    let owner = owner(&api).await;
    let plain = member(&api, &owner, "plain@example.com", "member").await;
    let socket = api.admit(&plain.token).await.unwrap().family;
    let disabled = patch(&api, &owner, &at(&plain), json!({"status": "disabled"})).await;
    assert_eq!(disabled.text("status"), "disabled");
    assert_eq!(socket.ended().await, FamilyEnd::Revoked);
    assert_eq!(api.admit(&plain.token).await.unwrap_err(), AuthError::TokenRevoked);
    login(&api, "plain@example.com", "pass phrase").await.refused(401, "INVALID_CREDENTIALS");
    patch(&api, &owner, &at(&plain), json!({"status": "active"})).await.data();
    assert_eq!(login(&api, "plain@example.com", "pass phrase").await.status, 200);
    api.refresh(&plain.refresh).await.refused(401, "TOKEN_REVOKED");
}

#[tokio::test]
async fn an_account_is_its_users_own() {
    let api = Api::new();
    let ann = signed(&api.register("ann@example.com").await);
    let bob = signed(&api.register("bob@example.com").await);
    let me = api.get("/api/v5/users/me", Some(&ann.token)).await;
    assert_eq!((me.text("id"), me.text("email").as_str()), (ann.id.to_string(), "ann@example.com"));
    let moved =
        patch(&api, &ann, "/api/v5/users/me", json!({"email": " ANN@New.example ", "lastName": "Li"})).await;
    assert_eq!((moved.text("email").as_str(), moved.text("last_name").as_str()), ("ann@new.example", "Li"));
    assert_eq!(login(&api, "ann@new.example", "correct horse").await.status, 200);
    login(&api, "ann@example.com", "correct horse").await.refused(401, "INVALID_CREDENTIALS");
    patch(&api, &bob, "/api/v5/users/me", json!({"email": "Ann@New.Example"}))
        .await
        .refused(409, "EMAIL_TAKEN");
    for (body, field) in [
        (json!({"email": "nobody"}), "email"),
        (json!({"firstName": ""}), "firstName"),
        (json!({"role": "owner"}), "role"),
        (json!({"email": null}), "email"),
    ] {
        let message = patch(&api, &ann, "/api/v5/users/me", body).await.refused(422, "VALIDATION_FAILED");
        assert!(message.contains(field), "{message}");
    }
}

#[tokio::test]
async fn a_new_password_ends_the_other_logins_and_not_this_one() {
    let api = Api::new();
    let ann = signed(&api.register("ann@example.com").await);
    let phone = signed(&login(&api, "ann@example.com", "correct horse").await);
    let change = async |current: &str, new: &str| {
        let body = json!({"currentPassword": current, "newPassword": new});
        api.post("/api/v5/users/me/password", Some(&ann.token), body).await
    };
    change("wrong horse", "battery staple").await.refused(403, "WRONG_PASSWORD");
    let message = change("correct horse", "short").await.refused(422, "VALIDATION_FAILED");
    assert!(message.starts_with("newPassword"), "{message}");
    api.admit(&phone.token).await.unwrap();
    assert_eq!(change("correct horse", "battery staple").await.status, 200);
    assert_eq!(api.admit(&phone.token).await.unwrap_err(), AuthError::TokenRevoked);
    api.refresh(&phone.refresh).await.refused(401, "TOKEN_REVOKED");
    api.admit(&ann.token).await.unwrap();
    assert_eq!(api.refresh(&ann.refresh).await.status, 200, "this login goes on");
    login(&api, "ann@example.com", "correct horse").await.refused(401, "INVALID_CREDENTIALS");
    assert_eq!(login(&api, "ann@example.com", "battery staple").await.status, 200);
}

#[tokio::test]
async fn who_leaves_needs_the_password_and_takes_only_their_own_along() {
    let api = Api::new();
    let owner = owner(&api).await;
    let plain = member(&api, &owner, "plain@example.com", "member").await;
    let made = api.post("/api/v5/sessions", Some(&plain.token), json!({"name": "theirs"})).await;
    let session: Uuid = made.text("id").parse().unwrap();
    let leave = async |who: &Signed, password: &str| {
        let body = json!({"password": password});
        api.call(Method::DELETE, "/api/v5/users/me", Some(&who.token), Some(body)).await
    };
    leave(&plain, "wrong").await.refused(403, "WRONG_PASSWORD");
    assert_eq!(leave(&plain, "pass phrase").await.status, 200);
    assert_eq!(api.admit(&plain.token).await.unwrap_err(), AuthError::TokenRevoked);
    let removals = api.repositories.removals();
    removals.begun().await;
    removals.run_all(0).await.unwrap();
    assert!(api.repositories.sessions().get(plain.tenant, plain.id, session).await.unwrap().is_none());
    api.get("/api/v5/users/me", Some(&owner.token)).await.data();

    // Now the owner is alone.
    assert_eq!(leave(&owner, "correct horse").await.status, 200);
    assert_eq!(api.admit(&owner.token).await.unwrap_err(), AuthError::TokenRevoked);
    login(&api, OWNER, "correct horse").await.refused(401, "INVALID_CREDENTIALS");
    let now = (crate::support::START * 1000) + SETTLED_AFTER;
    assert_eq!(removals.run_all(now).await.unwrap(), 0);
    assert!(api.repositories.tenants().get(owner.tenant).await.unwrap().is_none());
    api.register(OWNER).await;
}

#[tokio::test]
async fn an_owner_ends_the_tenant_for_everybody_in_it() {
    let api = Api::new();
    let owner = owner(&api).await;
    let plain = member(&api, &owner, "plain@example.com", "member").await;
    let socket = api.admit(&plain.token).await.unwrap().family;
    let end = async |who: &Signed, tenant: Uuid, password: &str| {
        let body = json!({"password": password, "tenantId": tenant});
        api.call(Method::DELETE, "/api/v5/tenant", Some(&who.token), Some(body)).await
    };
    end(&plain, plain.tenant, "pass phrase").await.refused(403, "FORBIDDEN");
    end(&owner, Uuid::nil(), "correct horse").await.refused(422, "VALIDATION_FAILED");
    end(&owner, owner.tenant, "wrong").await.refused(403, "WRONG_PASSWORD");
    assert!(socket.is_live());
    assert_eq!(end(&owner, owner.tenant, "correct horse").await.status, 200);
    assert_eq!(socket.ended().await, FamilyEnd::Revoked);
    for token in [&owner.token, &plain.token] {
        assert_eq!(api.admit(token).await.unwrap_err(), AuthError::TokenRevoked);
    }
    login(&api, "plain@example.com", "pass phrase").await.refused(401, "INVALID_CREDENTIALS");
    let trail = api.repositories.audit().list(coditect_store::OPERATORS, None, Order::OldestFirst, 10).await;
    let trail = trail.unwrap().items;
    assert!(
        trail
            .iter()
            .any(|entry| entry.action == "tenant.delete" && entry.object.id == owner.tenant.to_string())
    );
}

#[tokio::test]
async fn a_suspended_tenants_members_learn_of_it_with_the_right_password_only() {
    let api = Api::new();
    let ann = signed(&api.register("ann@example.com").await);
    api.repositories.tenants().suspend(ann.tenant, None, 1).await.unwrap();
    api.families.suspend(ann.tenant);
    assert_eq!(api.admit(&ann.token).await.unwrap_err(), AuthError::TenantSuspended);
    login(&api, "ann@example.com", "wrong horse").await.refused(401, "INVALID_CREDENTIALS");
    login(&api, "nobody@example.com", "wrong horse").await.refused(401, "INVALID_CREDENTIALS");
    login(&api, "ann@example.com", "correct horse").await.refused(403, "TENANT_SUSPENDED");
    for _ in 0..2 {
        api.refresh(&ann.refresh).await.refused(403, "TENANT_SUSPENDED");
        api.clock.advance(GRACE + 1);
    }
    api.repositories.tenants().resume(ann.tenant, 2).await.unwrap();
    api.families.resume(ann.tenant);
    api.admit(&ann.token).await.unwrap();
    assert_eq!(api.refresh(&ann.refresh).await.status, 200, "the refresh token was not used up");
}
