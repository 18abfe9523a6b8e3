//! Isolation, over every operation the document has: another tenant's or another user's object is not there, whoever
//! asks and however, and no request touches a key of a tenant that is not the caller's.
//!
//! Nothing here names an operation, unless it needs something said that its schema does not say: an operation that is
//! added is tested from then on, and one the tests cannot make a request for fails them. The terminals, which this
//! router does not serve, are tested through the edge (`tests/integration/contract.rs`).

mod objects;
mod requests;
mod schemas;

use std::sync::Arc;

use coditect_store::keyspace::path::from_path;
use http::StatusCode;
use serde_json::Value;
use uuid::Uuid;

use self::objects::{Owner, Place, Scope};
use self::requests::{Operation, Sent, operations};
use crate::recording::{Recorder, Recording, Touched};
use crate::support::{Api, ROOT, password_settings};

/// Global families that requests use beside their tenant's own keys, each for all tenants alike:
/// markers of transactions that are to happen once, and the feed that tells replicas what ended.
const SHARED: [&str; 4] = ["idempotency", "changes", "changes_head", "changes_horizon"];
/// Global families a request may look an id up in. An entry names a tenant and no more.
const LOOKED_UP: [&str; 3] = ["auth_session_tenant", "users_by_email", "tickets_used"];
/// Global families whose keys begin with a tenant's id: the caller's own, in a request.
const OF_TENANTS: [&str; 1] = ["removals"];

fn recorded() -> (Api, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let over = Arc::clone(&recorder);
    let api = Api::over(password_settings(2, 64), |backend| Arc::new(Recording::over(backend, over)));
    (api, recorder)
}

/// The keys that begin as a path's does: the first, and the first behind them.
fn below(path: &str) -> (Vec<u8>, Vec<u8>) {
    let begin = from_path(path).unwrap();
    let mut end = begin.clone();
    end.push(0xff);
    (begin, end)
}

/// What was touched that is neither the tenant's nor everybody's.
fn strays(touched: &[Touched], tenant: Uuid) -> Vec<String> {
    let families = SHARED.iter().chain(&LOOKED_UP).map(|family| below(&format!("/{ROOT}/global/{family}")));
    let own = OF_TENANTS.iter().map(|family| below(&format!("/{ROOT}/global/{family}/{tenant}")));
    let allowed: Vec<_> = families.chain(own).chain([below(&format!("/{ROOT}/tenant/{tenant}"))]).collect();
    let inside =
        |keys: &&Touched| allowed.iter().any(|(begin, end)| keys.begin >= *begin && keys.end <= *end);
    touched.iter().filter(|keys| !inside(keys)).map(Touched::to_string).collect()
}

#[test]
fn a_key_outside_the_tenant_is_noticed() {
    let (own, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let touched = |begin: String, end: String| Touched {
        doing: "reads",
        begin: from_path(&begin).unwrap(),
        end: from_path(&end).unwrap(),
    };
    let sessions =
        |tenant: Uuid, id: u128| format!("/{ROOT}/tenant/{tenant}/sessions/{}", Uuid::from_u128(id));
    let global = |family: &str, id: u8| format!("/{ROOT}/global/{family}/{id}");
    let removal =
        |tenant: Uuid, id: u128| format!("/{ROOT}/global/removals/{tenant}/{}", Uuid::from_u128(id));
    for (keys, noticed) in [
        (touched(sessions(own, 1), sessions(own, 2)), false),
        (touched(global("idempotency", 1), global("idempotency", 2)), false),
        (touched(removal(own, 1), removal(own, 2)), false),
        (touched(removal(other, 1), removal(other, 2)), true),
        (touched(sessions(other, 1), sessions(other, 2)), true),
        (touched(sessions(own, 1), sessions(other, 2)), true),
        (touched(format!("/{ROOT}"), sessions(own, 2)), true),
        (touched(global("tenants", 1), global("tenants", 2)), true),
        (touched(global("changes", 1), global("users_by_email", 2)), true),
    ] {
        assert_eq!(strays(std::slice::from_ref(&keys), own).len(), usize::from(noticed), "{keys}");
    }
}

/// The operations this router serves that name an object in their path.
fn with_objects(document: &Value) -> Vec<Operation<'_>> {
    let all = operations(document);
    assert!(all.len() > 10, "only {} operations were looked at", all.len());
    all.into_iter()
        .filter(|operation| operation.path.contains('{') && operation.tag() != "terminals")
        .collect()
}

#[tokio::test]
async fn what_is_another_tenants_is_not_there_and_not_even_looked_at() {
    let document = coditect_api::document();
    let (api, recorder) = recorded();
    let ann = Owner::register(&api, "ann@example.com").await;
    let eve = Owner::register(&api, "eve@example.com").await;
    let mut asked = 0;
    for operation in with_objects(&document) {
        let place = Place::make(&api, &document, &operation, &ann).await;
        let refused = operation.access() == "operator";
        recorder.take();
        let sent = operation.send(&api, &document, &place, &eve).await;
        let touched = recorder.take();
        assert!(touched.iter().any(|keys| keys.doing == "reads"), "{sent}: nothing was recorded");
        let strays = strays(&touched, eve.tenant);
        assert!(strays.is_empty(), "{sent}: outside the caller's tenant it {strays:#?}");
        match place.scope {
            _ if refused => sent.expect(StatusCode::FORBIDDEN),
            // The name means something of the caller's own, if anything.
            Scope::Name => assert!(!sent.status.is_server_error(), "{sent}"),
            Scope::User | Scope::Tenant => sent.expect(StatusCode::NOT_FOUND),
        }
        asked += 1;
        if !refused && place.scope != Scope::Name {
            // The same from the owner is good, so that it was refused for whose it is and nothing else.
            let sent = operation.send(&api, &document, &place, &ann).await;
            assert_good(&sent);
        }
    }
    assert!(asked >= 4, "only {asked} operations were asked");
}

#[tokio::test]
async fn what_is_another_users_of_the_same_tenant_is_not_there() {
    let document = coditect_api::document();
    let (api, _) = recorded();
    let ann = Owner::register(&api, "ann@example.com").await;
    let bob = ann.member(&api, "bob@example.com").await;
    let mut asked = 0;
    for operation in with_objects(&document) {
        let place = Place::make(&api, &document, &operation, &ann).await;
        if place.scope != Scope::User || operation.access() != "member" {
            continue;
        }
        operation.send(&api, &document, &place, &bob).await.expect(StatusCode::NOT_FOUND);
        assert_good(&operation.send(&api, &document, &place, &ann).await);
        asked += 1;
    }
    assert!(asked >= 4, "only {asked} operations were asked");
}

/// A request that its own user sends is carried out, or refused for what the object is like.
fn assert_good(sent: &Sent) {
    let good = sent.status.is_success()
        || sent.status.is_redirection()
        || matches!(sent.status.as_u16(), 409 | 412)
        || sent.needs_more;
    assert!(good, "the test's own request is no good: {sent}; say in `requests.rs` what it needs");
}
