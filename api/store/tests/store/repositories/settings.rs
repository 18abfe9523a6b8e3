//! Settings of users and tenants.

use coditect_store::{SettingOwner, UpdateError};
use serde_json::json;

use super::{Data, checks};

checks![settings_are_their_owners, settings_count_their_changes_and_are_listed_by_name];

async fn settings_are_their_owners(data: Data) {
    let settings = data.repositories.settings();
    let (tenant, ann, bob) = (data.id(), data.id(), data.id());
    let owners = [SettingOwner::User(ann), SettingOwner::User(bob), SettingOwner::Tenant];
    // A user whose id is the tenant's is still not the tenant.
    let same_id = SettingOwner::User(tenant);
    for (n, owner) in owners.into_iter().enumerate() {
        settings.put(tenant, owner, "theme", &json!(n), None, 1).await.unwrap();
    }
    assert_eq!(settings.get(tenant, same_id, "theme").await.unwrap(), None);
    for (n, owner) in owners.into_iter().enumerate() {
        assert_eq!(settings.get(tenant, owner, "theme").await.unwrap().unwrap().value, json!(n));
        assert_eq!(settings.get(data.id(), owner, "theme").await.unwrap(), None);
        assert_eq!(settings.list(tenant, owner, None, 10).await.unwrap().items.len(), 1);
    }
    settings.delete(tenant, owners[0], "theme", None).await.unwrap();
    assert_eq!(settings.get(tenant, owners[0], "theme").await.unwrap(), None);
    assert!(settings.get(tenant, owners[1], "theme").await.unwrap().is_some());
    data.assert_clean().await;
}

async fn settings_count_their_changes_and_are_listed_by_name(data: Data) {
    let settings = data.repositories.settings();
    let (tenant, owner) = (data.id(), SettingOwner::User(data.id()));
    let put = |key: &'static str, value, expected, at| {
        let repositories = data.repositories.clone();
        async move { repositories.settings().put(tenant, owner, key, &value, expected, at).await }
    };
    let first = put("b", json!({"x": 1}), Some(0), 1).await.unwrap();
    assert_eq!((first.version, first.created_at, first.updated_at), (1, 1, 1));
    assert_eq!(put("b", json!({"x": 1}), None, 2).await.unwrap(), first);
    let second = put("b", json!(null), Some(1), 3).await.unwrap();
    assert_eq!((second.version, second.created_at, second.updated_at), (2, 1, 3));
    for expected in [0, 1, 3] {
        let stale = put("b", json!(0), Some(expected), 4).await;
        assert!(matches!(stale, Err(UpdateError::VersionMismatch { current: 2 })), "{stale:?}");
    }
    let absent = put("a", json!(0), Some(1), 4).await;
    assert!(matches!(absent, Err(UpdateError::VersionMismatch { current: 0 })), "{absent:?}");

    for key in ["d", "a", "c\0", "c"] {
        put(key, json!(1), None, 5).await.unwrap();
    }
    let first = settings.list(tenant, owner, None, 3).await.unwrap();
    let rest = settings.list(tenant, owner, first.next.as_deref(), 3).await.unwrap();
    let names: Vec<_> = first.items.iter().chain(&rest.items).map(|setting| setting.key.as_str()).collect();
    assert_eq!((names.as_slice(), rest.next), (["a", "b", "c", "c\0", "d"].as_slice(), None));
    let stale = settings.delete(tenant, owner, "b", Some(1)).await;
    assert!(matches!(stale, Err(UpdateError::VersionMismatch { current: 2 })));
    settings.delete(tenant, owner, "b", Some(2)).await.unwrap();
    assert!(matches!(settings.delete(tenant, owner, "b", None).await, Err(UpdateError::NotFound)));
    data.assert_clean().await;
}
