//! What files held before.

use coditect_store::blobs::BlobHash;
use coditect_store::records::FileVersion;
use coditect_store::{Condition, FileError, RETENTION_SETTING, Retention, SettingOwner};
use serde_json::json;
use uuid::Uuid;

use super::files::{content, put, to, workspace};
use super::{Data, NOW_MS, checks};

checks![
    what_is_replaced_or_removed_stays_as_a_version,
    versions_stay_with_their_path,
    a_version_comes_back,
    as_many_are_kept_as_the_tenant_wants,
    old_ones_are_forgotten,
    the_pruner_finds_what_no_write_does,
    contents_of_versions_are_held_until_they_are_forgotten,
    a_file_whose_content_is_lost_can_be_replaced,
];

/// The milliseconds of a day.
const DAY: i64 = 24 * 60 * 60 * 1000;

/// Sets how many versions a tenant keeps.
pub(crate) async fn retain(data: &Data, tenant: Uuid, keep: u32, days: u32) {
    let (settings, value) = (data.repositories.settings(), json!({"keep": keep, "days": days}));
    assert_eq!(Retention::parse(&value), Ok(Retention { keep, days }));
    settings.put(tenant, SettingOwner::Tenant, RETENTION_SETTING, &value, None, NOW_MS).await.unwrap();
}

fn numbers(versions: &[FileVersion]) -> Vec<(u64, BlobHash)> {
    versions.iter().map(|version| (version.version, version.content.sha256)).collect()
}

fn held(number: u64, byte: u8) -> (u64, BlobHash) {
    (number, content(byte).sha256)
}

async fn what_is_replaced_or_removed_stays_as_a_version(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id, any) = (work.tenant_id, work.id, &Condition::Any);
    for (byte, now) in [(1, 10), (2, 20), (2, 25), (1, 30)] {
        files.put(tenant, id, "a", content(byte), any, now).await.unwrap();
    }
    files.delete(tenant, id, "a", any, 40).await.unwrap();
    let again = files.put(tenant, id, "a", content(4), any, 50).await.unwrap();
    assert_eq!(again.file.version, 4, "numbers go on");
    let page = files.versions(tenant, id, "a", None, 2).await.unwrap();
    assert_eq!((numbers(&page.items), page.next), (vec![held(3, 1), held(2, 2)], Some(2)));
    let times = |version: &FileVersion| (version.updated_at, version.replaced_at);
    assert_eq!(page.items.iter().map(times).collect::<Vec<_>>(), [(30, 40), (20, 30)]);
    let page = files.versions(tenant, id, "a", page.next, 2).await.unwrap();
    assert_eq!((numbers(&page.items), page.next), (vec![held(1, 1)], None));
    assert_eq!(files.version(tenant, id, "a", 2).await.unwrap().unwrap().content, content(2));
    assert_eq!(files.version(tenant, id, "a", 4).await.unwrap(), None, "that is the file");
    assert_eq!(files.versions(tenant, id, "b", None, 2).await.unwrap().items, []);
    data.assert_clean().await;
}

async fn versions_stay_with_their_path(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id, any) = (work.tenant_id, work.id, &Condition::Any);
    for byte in [1, 2, 3] {
        put(&files, &work, "a", byte).await;
    }
    put(&files, &work, "b", 4).await;
    files.delete(tenant, id, "b", any, 20).await.unwrap();
    let moved = files.move_file(tenant, id, to("a", "b"), any, 21).await.unwrap();
    assert_eq!(moved.version, 4);
    let of = async |path: &str| numbers(&files.versions(tenant, id, path, None, 9).await.unwrap().items);
    assert_eq!(of("a").await, [held(2, 2), held(1, 1)]);
    assert_eq!(of("b").await, [held(1, 4)]);
    assert_eq!(put(&files, &work, "a", 5).await.version, 3);
    data.assert_clean().await;
}

async fn a_version_comes_back(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id, any) = (work.tenant_id, work.id, &Condition::Any);
    for byte in [1, 2] {
        put(&files, &work, "a/b", byte).await;
    }
    let back = files.restore(tenant, id, "a/b", 1, any, 20).await.unwrap();
    assert_eq!((back.file.content, back.file.version, back.created), (content(1), 3, false));
    let versions = files.versions(tenant, id, "a/b", None, 9).await.unwrap().items;
    assert_eq!(numbers(&versions), [held(2, 2), held(1, 1)]);
    files.delete(tenant, id, "a/b", any, 21).await.unwrap();
    let back = files.restore(tenant, id, "a/b", 2, any, 22).await.unwrap();
    assert_eq!((back.file.content, back.created), (content(2), true));
    for (path, version) in [("a/b", 9), ("x", 1)] {
        let missing = files.restore(tenant, id, path, version, any, 23).await;
        assert!(matches!(missing, Err(FileError::NotFound)), "{missing:?}");
    }
    // What has taken its place meanwhile is not pushed aside.
    files.delete(tenant, id, "a/b", any, 24).await.unwrap();
    put(&files, &work, "a", 5).await;
    let occupied = files.restore(tenant, id, "a/b", 1, any, 25).await;
    assert!(matches!(occupied, Err(FileError::Occupied { .. })), "{occupied:?}");
    data.assert_clean().await;
}

async fn as_many_are_kept_as_the_tenant_wants(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id) = (work.tenant_id, work.id);
    let count = async || files.versions(tenant, id, "a", None, 200).await.unwrap().items.len();
    for n in 0..30 {
        put(&files, &work, "a", n % 3).await;
    }
    assert_eq!(count().await, 20, "without a setting");
    retain(&data, tenant, 4, 30).await;
    for n in 0..3 {
        put(&files, &work, "a", n % 3).await;
    }
    assert_eq!(count().await, 4);
    assert_eq!(files.version(tenant, id, "a", 32).await.unwrap().unwrap().version, 32, "the newest");
    retain(&data, tenant, 0, 30).await;
    put(&files, &work, "a", 9).await;
    assert_eq!(count().await, 0);
    let settings = data.repositories.settings();
    for (wrong, kept) in [(json!({"keep": 101, "days": 1}), 5), (json!({"keep": 1}), 5), (json!("many"), 5)] {
        assert!(Retention::parse(&wrong).is_err());
        settings.put(tenant, SettingOwner::Tenant, RETENTION_SETTING, &wrong, None, NOW_MS).await.unwrap();
        for n in 0..kept {
            put(&files, &work, "a", n % 2).await;
        }
        assert!(count().await >= 4, "what cannot be read counts as not set");
    }
    data.assert_clean().await;
}

async fn old_ones_are_forgotten(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id, any) = (work.tenant_id, work.id, &Condition::Any);
    retain(&data, tenant, 50, 2).await;
    for n in 0..3 {
        files.put(tenant, id, "a", content(n), any, i64::from(n)).await.unwrap();
    }
    files.put(tenant, id, "a", content(7), any, 2 * DAY + 1).await.unwrap();
    let versions = files.versions(tenant, id, "a", None, 9).await.unwrap().items;
    assert_eq!(numbers(&versions), [held(3, 2), held(2, 1)], "the first was replaced two days ago");
    data.assert_clean().await;
}

async fn the_pruner_finds_what_no_write_does(data: Data) {
    let files = data.repositories.files();
    let (first, second) =
        (workspace(&data, data.id(), data.id()).await, workspace(&data, data.id(), data.id()).await);
    for work in [&first, &second] {
        for path in ["a", "b", "bb", "c/d"] {
            for n in 0..8 {
                put(&files, work, path, n).await;
            }
        }
    }
    let versions = async |work: &coditect_store::records::Session| {
        files.versions_below(work.tenant_id, work.id, "", None, 200).await.unwrap().items
    };
    let mut pruner = data.repositories.version_pruner();
    let mut round = async |now| {
        let mut forgotten = 0;
        loop {
            let done = pruner.prune(now).await.unwrap();
            forgotten += done.forgotten;
            if done.complete {
                return forgotten;
            }
        }
    };
    assert_eq!(round(11).await, 0);
    let all = versions(&first).await.len();
    retain(&data, first.tenant_id, 3, 30).await;
    assert_eq!(round(12).await, all - 12);
    let left = versions(&first).await;
    let of_a: Vec<_> =
        left.iter().filter(|version| version.path == "a").map(|version| version.version).collect();
    assert_eq!(of_a, [5, 6, 7], "the newest");
    assert_eq!(versions(&second).await.len(), all, "another tenant's");
    data.assert_clean().await;
    assert_eq!(round(31 * DAY).await, all + 12, "all of them are old by then");
    assert!(versions(&first).await.is_empty() && versions(&second).await.is_empty());
    assert!(files.get(first.tenant_id, first.id, "a").await.unwrap().is_some());
    data.assert_clean().await;
}

async fn contents_of_versions_are_held_until_they_are_forgotten(data: Data) {
    let (files, blobs) = (data.repositories.files(), data.repositories.blobs());
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id, any) = (work.tenant_id, work.id, &Condition::Any);
    put(&files, &work, "a", 1).await;
    files.delete(tenant, id, "a", any, NOW_MS).await.unwrap();
    let mut collector = blobs.collector();
    // Long after everything that nobody holds has gone.
    while collector.collect(NOW_MS + DAY).await.unwrap().more {}
    assert!(blobs.open(tenant, &content(2).sha256).await.unwrap().is_none(), "that one nobody held");
    assert!(blobs.open(tenant, &content(1).sha256).await.unwrap().is_some());
    files.restore(tenant, id, "a", 1, any, NOW_MS).await.unwrap();
    files.delete(tenant, id, "a", any, NOW_MS).await.unwrap();
    files.forget_some(tenant, id, "a", false, NOW_MS).await.unwrap();
    while collector.collect(NOW_MS + DAY).await.unwrap().more {}
    assert!(blobs.open(tenant, &content(1).sha256).await.unwrap().is_none());
    data.assert_clean().await;
}

async fn a_file_whose_content_is_lost_can_be_replaced(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    put(&files, &work, "a", 1).await;
    let lost = content(1).sha256.to_string();
    for path in data.dump_all().await.keys().filter(|path| path.contains("/blobs/") && path.ends_with(&lost))
    {
        data.plant(path, None).await;
    }
    put(&files, &work, "a", 2).await;
    let versions = files.versions(work.tenant_id, work.id, "a", None, 9).await.unwrap().items;
    assert_eq!(numbers(&versions), [], "there is nothing to bring back");
}
