//! What tenants use and may use.

use std::sync::Arc;

use coditect_store::records::Session;
use coditect_store::verify::Disagreement;
use coditect_store::{Condition, FileError, Quota, Usage};
use futures::future::join_all;
use uuid::Uuid;

use super::file_versions::retain;
use super::files::{content, put, to, workspace};
use super::{Data, checks};

checks![
    counters_follow_every_change,
    a_quota_is_refused_clearly_and_nothing_is_lost,
    a_quota_holds_for_many_at_once,
    counters_stay_exact_under_many_writers,
    a_wrong_counter_is_found,
    tenants_have_the_common_quota_or_their_own,
];

async fn usage(data: &Data, tenant: Uuid) -> (u64, u64, u64) {
    let Usage { files, file_bytes, version_bytes } = data.repositories.usage().get(tenant).await.unwrap();
    (files, file_bytes, version_bytes)
}

async fn counters_follow_every_change(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id, any) = (work.tenant_id, work.id, &Condition::Any);
    assert_eq!(usage(&data, tenant).await, (0, 0, 0));
    put(&files, &work, "a", 1).await;
    put(&files, &work, "b", 1).await;
    assert_eq!(usage(&data, tenant).await, (2, 2, 0), "a shared content counts for each");
    put(&files, &work, "a", 1).await;
    assert_eq!(usage(&data, tenant).await, (2, 2, 0));
    put(&files, &work, "a", 2).await;
    assert_eq!(usage(&data, tenant).await, (2, 2, 1));
    files.move_file(tenant, id, to("a", "c"), any, 11).await.unwrap();
    assert_eq!(usage(&data, tenant).await, (2, 2, 1));
    files.delete(tenant, id, "b", any, 12).await.unwrap();
    assert_eq!(usage(&data, tenant).await, (1, 1, 2));
    files.forget_some(tenant, id, "", true, 13).await.unwrap();
    assert_eq!(usage(&data, tenant).await, (1, 1, 0));
    assert!(data.repositories.sessions().delete(tenant, work.user_id, id).await.unwrap());
    assert_eq!(usage(&data, tenant).await, (0, 0, 0));
    data.assert_clean().await;
}

async fn a_quota_is_refused_clearly_and_nothing_is_lost(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id, any) = (work.tenant_id, work.id, &Condition::Any);
    data.repositories.usage().set_quota(tenant, Some(3), Some(2)).await.unwrap();
    let a = put(&files, &work, "a", 1).await;
    put(&files, &work, "b", 1).await;
    let third = files.put(tenant, id, "c", content(1), any, 11).await;
    assert!(matches!(third, Err(FileError::QuotaExceeded { limit: 2, what: "files" })), "{third:?}");
    let a = files.put(tenant, id, "a", content(2), any, 12).await.map(|w| w.file).unwrap_or(a);
    let fourth = files.put(tenant, id, "a", content(3), any, 13).await;
    assert!(matches!(&fourth, Err(FileError::QuotaExceeded { limit: 3, what }) if what.contains("bytes")));
    assert_eq!(files.get(tenant, id, "a").await.unwrap(), Some(a), "what was there is there");
    assert_eq!(files.versions(tenant, id, "a", None, 9).await.unwrap().items.len(), 1);
    // What makes nothing more is always allowed, and forgetting versions makes room.
    files.delete(tenant, id, "b", any, 14).await.unwrap();
    files.forget_some(tenant, id, "b", false, 15).await.unwrap();
    put(&files, &work, "a", 3).await;
    // Below what is used already: nothing is lost by it.
    data.repositories.usage().set_quota(tenant, Some(0), Some(0)).await.unwrap();
    assert!(files.put(tenant, id, "a", content(4), any, 16).await.is_err());
    files.move_file(tenant, id, to("a", "z"), any, 17).await.unwrap();
    files.delete(tenant, id, "z", any, 18).await.unwrap();
    data.assert_clean().await;
}

async fn a_quota_holds_for_many_at_once(data: Data) {
    let work = workspace(&data, data.id(), data.id()).await;
    let tenant = work.tenant_id;
    data.repositories.usage().set_quota(tenant, Some(5), None).await.unwrap();
    let done = writers(&data, &work, 12, |n| vec![format!("{n}")]).await;
    assert_eq!(done, 5);
    assert_eq!(usage(&data, tenant).await, (5, 5, 0));
    data.repositories.usage().set_quota(tenant, None, Some(8)).await.unwrap();
    let done = writers(&data, &work, 12, |n| vec![format!("more {n}")]).await;
    assert_eq!(done, 3);
    assert_eq!(usage(&data, tenant).await, (8, 8, 0));
    data.assert_clean().await;
}

async fn counters_stay_exact_under_many_writers(data: Data) {
    let work = workspace(&data, data.id(), data.id()).await;
    retain(&data, work.tenant_id, 2, 30).await;
    // All of them on the same few paths.
    writers(&data, &work, 12, |n| (0..6).map(|k| format!("{}", (n + k) % 4)).collect()).await;
    data.assert_clean().await;
    let (files, file_bytes, version_bytes) = usage(&data, work.tenant_id).await;
    assert_eq!((files, file_bytes), (4, 4));
    assert!((4..=8).contains(&version_bytes), "two of each path at most: {version_bytes}");
}

/// Writes to paths, each writer to its own or to others' too; returns how many of all writes were not refused.
async fn writers(data: &Data, work: &Session, count: u8, paths: impl Fn(u8) -> Vec<String>) -> usize {
    let work = Arc::new(work.clone());
    let tasks = (0..count).map(|writer| {
        let (repositories, work, paths) = (data.repositories.clone(), Arc::clone(&work), paths(writer));
        tokio::spawn(async move {
            let (files, mut done) = (repositories.files(), 0);
            for (n, path) in (0_u8..).zip(paths) {
                let new = content((writer + n) % 12);
                match files.put(work.tenant_id, work.id, &path, new, &Condition::Any, 10).await {
                    Ok(_) => done += 1,
                    Err(FileError::QuotaExceeded { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            done
        })
    });
    join_all(tasks).await.into_iter().map(Result::unwrap).sum()
}

async fn a_wrong_counter_is_found(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    put(&files, &work, "a", 1).await;
    put(&files, &work, "a", 2).await;
    let at = |what: &str| format!("/test/tenant/{}/usage/{what}", work.tenant_id);
    for what in ["files", "file_bytes", "version_bytes"] {
        let right = data.dump_all().await[&at(what)].clone();
        assert_eq!(right.as_ref(), 1_u64.to_le_bytes());
        for (wrong, counted) in [(Some(7_u64), 7), (None, 0)] {
            let value = wrong.map(u64::to_le_bytes);
            data.plant(&at(what), value.as_ref().map(|value| value.as_slice())).await;
            let found = data.verify().await.problems;
            let expected = Disagreement::Usage { counted, found: 1 };
            assert!(
                matches!(found.as_slice(), [problem] if problem.path == at(what) && problem.disagreement == expected),
                "{found:#?}"
            );
        }
        data.plant(&at(what), Some(b"123")).await;
        let found = data.verify().await.problems;
        assert!(matches!(&found[0].disagreement, Disagreement::Unreadable { .. }), "{found:#?}");
        data.plant(&at(what), Some(&right)).await;
    }
    data.assert_clean().await;
}

async fn tenants_have_the_common_quota_or_their_own(data: Data) {
    let common = Quota { bytes: 7, files: 3 };
    let repositories = data.repositories.clone().with_quota(common);
    let usage = repositories.usage();
    let (one, other) = (data.id(), data.id());
    usage.set_quota(one, Some(1), None).await.unwrap();
    assert_eq!(usage.quota(one).await.unwrap(), Quota { bytes: 1, files: 3 });
    assert_eq!(usage.quota(other).await.unwrap(), common);
    usage.set_quota(one, None, Some(2)).await.unwrap();
    assert_eq!(usage.quota(one).await.unwrap(), Quota { bytes: 7, files: 2 });
    usage.set_quota(one, None, None).await.unwrap();
    assert_eq!(usage.quota(one).await.unwrap(), common);
    assert_eq!(data.repositories.usage().quota(one).await.unwrap(), Quota::default());
}
