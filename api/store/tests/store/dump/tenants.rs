//! Exports of one tenant.

use coditect_store::dump::Export;
use coditect_store::{Keyspace, claim};

use super::{MADE_AT, import_bytes, keys};
use crate::repositories::Data;
use crate::repositories::home::Home;
use crate::support::Fixture;

#[tokio::test]
async fn a_tenants_export_makes_a_store_with_that_tenant_alone() {
    let data = Data::embedded();
    claim(&data.store, &data.keys).await.unwrap();
    let ann = Home::create(&data, "ann@example.com").await;
    let eve = Home::create(&data, "eve@example.com").await;
    let mut export = Export::start_tenant(&data.store, &keys(), ann.tenant, MADE_AT).unwrap();
    let mut file = Vec::new();
    while let Some(chunk) = export.next_chunk().await.unwrap() {
        file.extend_from_slice(&chunk);
    }
    let exported = export.exported().unwrap();
    for of_eve in [eve.tenant, eve.user, eve.auth_session] {
        let holds = |needle: &[u8]| file.windows(needle.len()).any(|part| part == needle);
        assert!(!holds(of_eve.as_bytes()) && !holds(of_eve.to_string().as_bytes()), "another tenant's");
    }

    let other = Fixture::new();
    let imported = import_bytes(&other.store, &Keyspace::new("test"), &file, false).await.unwrap();
    assert_eq!(imported.rows, exported.summary.rows);
    let copy = Data::on(other.store.clone(), other.entropy.clone());
    copy.assert_clean().await;
    let copied = copy.dump_all().await;
    let tenant = ann.tenant.to_string();
    for (path, value) in data.dump_all().await {
        let expected = path.contains(&tenant) || path.ends_with("/ann@example.com");
        if expected && !path.contains("/changes") {
            assert_eq!(copied.get(&path), Some(&value), "{path}");
        }
    }
    let user = copy.repositories.users().by_email("ann@example.com").await.unwrap().unwrap();
    assert_eq!(user.id, ann.user);
    assert!(copy.repositories.auth_sessions().find(ann.auth_session).await.unwrap().is_some());
    assert_eq!(copy.repositories.users().by_email("eve@example.com").await.unwrap(), None);
    let tenants = copy.repositories.tenants().list(None, 10).await.unwrap().items;
    assert_eq!(tenants.iter().map(|tenant| tenant.id).collect::<Vec<_>>(), [ann.tenant]);
}
