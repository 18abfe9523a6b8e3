//! What the audit trail learns.

use coditect_store::records::{AuditEntry, Role};
use coditect_store::{OPERATORS, Order};
use http::Method;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::{Api, GRACE, START};

impl Api {
    /// All entries of all trails, each trail in its order: the operators' first.
    async fn audit(&self) -> Vec<AuditEntry> {
        let tenants = self.repositories.tenants().list(None, 200).await.unwrap().items;
        let mut entries = Vec::new();
        for tenant in std::iter::once(OPERATORS).chain(tenants.into_iter().map(|tenant| tenant.id)) {
            let page = self.repositories.audit().list(tenant, None, Order::OldestFirst, 200).await.unwrap();
            entries.extend(page.items);
        }
        entries
    }

    /// The names of all recorded actions.
    pub(crate) async fn audit_names(&self) -> Vec<String> {
        self.audit().await.into_iter().map(|entry| entry.action).collect()
    }
}

#[tokio::test]
async fn logins_and_what_becomes_of_them_are_recorded() {
    let api = Api::new();
    let registered = api.register("ann@example.com").await;
    let claims = api.verifier.verify(&registered.text("token"), START).unwrap();
    api.clock.advance(1);
    api.log_in_from("192.0.2.7", "ann@example.com", "wrong horse").await;
    api.log_in_from("192.0.2.8", " Nobody@Example.com", "wrong horse").await;
    api.clock.advance(1);
    let login = api.log_in_from("192.0.2.7", "ann@example.com", "correct horse").await;
    let token = login.text("token");
    let family = api.verifier.verify(&token, START).unwrap().token_family.to_string();
    api.clock.advance(1);
    api.refresh(&registered.text("refresh_token")).await;
    api.clock.advance(GRACE);
    api.refresh(&registered.text("refresh_token")).await.refused(401, "TOKEN_REVOKED");
    api.clock.advance(1);
    api.call(Method::POST, "/api/v5/auth/logout", Some(&token), None).await;

    let (user, first) = (claims.sub.to_string(), claims.token_family.to_string());
    let unknown = hex::encode(Sha256::digest("nobody@example.com"));
    let mut told: Vec<_> = api
        .audit()
        .await
        .into_iter()
        .map(|entry| {
            let by_user = entry.actor == Some(claims.sub);
            (entry.action, by_user, entry.object.kind, entry.object.id, entry.address)
        })
        .collect();
    let mut expected: Vec<_> = [
        ("login.fail", false, "address", &unknown, Some("192.0.2.8")),
        ("user.create", true, "user", &user, None),
        ("login.succeed", true, "family", &first, None),
        ("login.fail", false, "user", &user, Some("192.0.2.7")),
        ("login.succeed", true, "family", &family, Some("192.0.2.7")),
        ("login.refresh", true, "family", &first, None),
        ("login.reuse", false, "family", &first, None),
        ("login.revoke", true, "family", &family, None),
    ]
    .into_iter()
    .map(|(action, by_user, kind, id, address)| {
        (action.to_owned(), by_user, kind.to_owned(), id.to_owned(), address.map(str::to_owned))
    })
    .collect();
    // Those of one moment have no order.
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn what_is_removed_and_what_concerns_the_tenant_is_recorded() {
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    let member = api.member("ann@example.com", "bob@example.com", Role::Member).await;
    api.clock.advance(1);
    let before = api.audit().await.len();
    let talk = api.post("/api/v5/conversations", Some(&token), json!({})).await.text("id");
    let agent = api.post("/api/v5/agents", Some(&token), json!({"name": "Critic"})).await.text("id");
    let theme = "/api/v5/settings/theme";
    let of_tenant = format!("{theme}?scope=tenant");
    for (path, method, body) in [
        (format!("/api/v5/conversations/{talk}"), Method::DELETE, None),
        (format!("/api/v5/agents/{agent}"), Method::DELETE, None),
        (theme.to_owned(), Method::PUT, Some(json!({"value": "secret"}))),
        (of_tenant.clone(), Method::PUT, Some(json!({"value": "secret"}))),
        (of_tenant.clone(), Method::DELETE, None),
    ] {
        let answer = api.call(method, &path, Some(&token), body).await;
        assert!(answer.status.is_success(), "{}", answer.body);
        api.clock.advance(1);
    }
    api.call(Method::DELETE, &of_tenant, Some(&member), None).await.refused(403, "FORBIDDEN");
    let recorded = api.audit().await.split_off(before);
    let told: Vec<_> =
        recorded.iter().map(|entry| (entry.action.as_str(), entry.object.id.as_str())).collect();
    let expected = [
        ("conversation.delete", talk.as_str()),
        ("agent.delete", agent.as_str()),
        ("setting.update", "theme"),
        ("setting.update", "theme"),
    ];
    assert_eq!(told, expected, "a user's own settings are the user's own affair");
    assert!(!format!("{recorded:?}").contains("secret"));
}
