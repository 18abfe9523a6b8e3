//! Listings and counts.

use std::collections::BTreeSet;

use coditect_auth::Entropy;
use coditect_store::Keyspace;
use coditect_store::inspect::{Entry, List, Stats};
use coditect_store::keyspace::path::{from_path, to_path};
use foundationdb_tuple::pack;

use crate::support::{Fixture, NOW, registration, session};

async fn list(f: &Fixture, path: &str, recursive: bool) -> Vec<String> {
    let keys = Keyspace::new("test");
    let mut list = List::new(&f.store, &keys, &from_path(path).unwrap(), recursive);
    let mut lines = Vec::new();
    while let Some(page) = list.next_page().await.unwrap() {
        lines.extend(page.into_iter().map(|entry| match entry {
            Entry::Key { path, key, .. } => {
                assert_eq!(to_path(&key), path);
                path
            }
            Entry::Level { path } => path + "/",
        }));
    }
    lines
}

async fn set(f: &Fixture, keys: impl IntoIterator<Item = Vec<u8>>) {
    let transaction = f.store.begin();
    keys.into_iter().for_each(|key| transaction.set(key, "v").unwrap());
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn a_level_shows_each_element_once() {
    let f = Fixture::new();
    set(&f, (0..1500).map(|n| pack(&("test", "big", n, "below")))).await;
    set(&f, (0..1200).map(|n| pack(&("test", "many", n)))).await;
    let alike =
        [pack(&("test", "a")), pack(&("test", "a", 1)), pack(&("test", "a\0b", 1)), pack(&("test", "a", 2))];
    set(&f, alike).await;
    set(&f, [[pack(&("test",)).as_slice(), &[0x05, 1]].concat(), pack(&("tess", 1)), pack(&("test2", 1))])
        .await;
    let top = list(&f, "/test", false).await;
    assert_eq!(top, ["/test/a", "/test/a/", "/test/a%00b/", "/test/big/", "/test/many/", "/test/raw:0501"]);
    assert_eq!(list(&f, "/", false).await, ["/test/"], "what is not ours is not shown");
    assert_eq!(list(&f, "/test2", true).await, [""; 0]);
    assert_eq!(list(&f, "/test/a", false).await, ["/test/a", "/test/a/1", "/test/a/2"]);
    assert_eq!(list(&f, "/test/a/2", false).await, ["/test/a/2"], "a key is itself");
    assert_eq!(list(&f, "/test/nothing", false).await, [""; 0]);
    let big = list(&f, "/test/big", false).await;
    assert_eq!((big.len(), big[0].as_str()), (1500, "/test/big/0/"));
    assert_eq!(list(&f, "/test/many", false).await.len(), 1200);
    assert_eq!(list(&f, "/test", true).await.len(), 1500 + 1200 + 5);
}

#[tokio::test]
async fn walking_down_the_levels_meets_every_key_once() {
    let f = Fixture::new();
    let repositories = f.repositories();
    let r = registration(&*f.entropy, "ann@example.com");
    let (tenant, user) = (r.tenant.id, r.user.id);
    repositories.users().register(&r).await.unwrap();
    let workspace = session(&*f.entropy, tenant, user, NOW);
    repositories.sessions().create(&workspace).await.unwrap();
    set(&f, [pack(&("test", "global", "none of ours", f.entropy.uuid()))]).await;

    let all = list(&f, "/test", true).await;
    let mut found = BTreeSet::new();
    let mut levels = vec!["/test".to_owned()];
    while let Some(level) = levels.pop() {
        for line in list(&f, &level, false).await {
            match line.strip_suffix('/') {
                Some(below) => levels.push(below.to_owned()),
                // A key that is a level too shows up in both.
                None => drop(found.insert(line)),
            }
        }
    }
    assert_eq!(found, all.iter().cloned().collect());

    let stats = Stats::count(&f.store, &Keyspace::new("test"), &mut |_| ()).await.unwrap();
    assert_eq!((stats.rows, stats.snapshots), (all.len() as u64, 1));
    assert_eq!(stats.families.values().map(|family| family.rows).sum::<u64>(), stats.rows);
    assert_eq!(stats.families.values().map(|family| family.bytes).sum::<u64>(), stats.bytes);
    assert_eq!(stats.families["tenant/users"].rows, 1);
    assert_eq!(stats.families["tenant/sessions"].rows, 1);
    assert_eq!(stats.families["global/users_by_email"].rows, 1);
    assert_eq!(stats.families["(unknown)"].rows, 1);
}
