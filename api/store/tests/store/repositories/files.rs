//! Files of workspaces.

use coditect_store::blobs::BlobHash;
use coditect_store::records::{Content, Session};
use coditect_store::{Files, UpdateError};
use uuid::Uuid;

use super::{Data, checks};
use crate::support::session;

checks![
    a_file_keeps_its_id_while_content_and_path_change,
    a_reference_follows_the_content_of_each_file,
    expected_versions_are_held,
    files_are_listed_by_how_their_paths_begin,
    of_many_who_create_one_path_one_does,
    a_workspace_goes_with_all_its_files_and_no_others,
    no_file_survives_the_workspace_it_is_put_into,
];

/// Contents that [`stock`] stores.
const STOCKED: u8 = 16;

pub(crate) fn content(byte: u8) -> Content {
    Content { sha256: BlobHash::of(&[byte]), size: 1, executable: false }
}

/// Stores what files of a tenant may hold.
pub(crate) async fn stock(data: &Data, tenant: Uuid) {
    let blobs = data.repositories.blobs();
    for byte in 0..STOCKED {
        let mut upload = blobs.upload(tenant);
        upload.write(&[byte]).await.unwrap();
        upload.finish().await.unwrap();
    }
}

/// A stored workspace.
async fn workspace(data: &Data, tenant: Uuid, user: Uuid) -> Session {
    let new = session(&*data.entropy, tenant, user, 1);
    data.repositories.sessions().create(&new).await.unwrap();
    stock(data, tenant).await;
    new
}

async fn put(files: &Files<'_>, session: &Session, path: &str, byte: u8) -> Uuid {
    files.put(session.tenant_id, session.id, path, content(byte), None, 10).await.unwrap().id
}

/// The last two segments of each reference: digest (its first byte) and file.
async fn references(data: &Data) -> Vec<(String, String)> {
    let dump = data.dump().await;
    let paths = dump.keys().filter(|path| path.contains("/blob_references/"));
    paths
        .map(|path| {
            let mut segments = path.rsplit('/');
            let file = segments.next().unwrap().to_owned();
            let hash = segments.next().unwrap();
            let byte = (0..STOCKED).find(|byte| hash.ends_with(&BlobHash::of(&[*byte]).to_string())).unwrap();
            (format!("{byte:02x}"), file)
        })
        .collect()
}

async fn a_file_keeps_its_id_while_content_and_path_change(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id) = (work.tenant_id, work.id);
    let first = files.put(tenant, id, "src/a b.rs", content(1), None, 10).await.unwrap();
    assert_eq!((first.version, first.created_at, first.path.as_str()), (1, 10, "src/a b.rs"));
    let same = files.put(tenant, id, "src/a b.rs", content(1), None, 11).await.unwrap();
    assert_eq!(same, first, "the same content is no change");
    let second = files.put(tenant, id, "src/a b.rs", content(2), None, 12).await.unwrap();
    assert_eq!((second.id, second.version, second.created_at, second.updated_at), (first.id, 2, 10, 12));
    let moved = files.rename(tenant, id, "src/a b.rs", "main.rs", false, None, 13).await.unwrap();
    assert_eq!((moved.id, moved.version, moved.content), (first.id, 3, content(2)));
    assert_eq!(files.get(tenant, id, "src/a b.rs").await.unwrap(), None);
    assert_eq!(files.get(tenant, id, "main.rs").await.unwrap(), Some(moved.clone()));
    data.assert_clean().await;

    assert_eq!(files.delete(tenant, id, "main.rs", None).await.unwrap(), moved);
    assert!(matches!(files.delete(tenant, id, "main.rs", None).await, Err(UpdateError::NotFound)));
    let from_nothing = files.rename(tenant, id, "main.rs", "b", false, None, 14).await;
    assert!(matches!(from_nothing, Err(UpdateError::NotFound)));
    let nowhere = files.put(tenant, data.id(), "x", content(1), None, 15).await;
    assert!(matches!(nowhere, Err(UpdateError::NotFound)), "no such workspace");
    assert_eq!(data.dump().await.len(), 2, "the workspace and its entry");
    let unknown = Content { sha256: BlobHash::of(b"never uploaded"), ..content(1) };
    let put = files.put(tenant, id, "y", unknown, None, 16).await;
    assert!(matches!(put, Err(UpdateError::NoContent)), "{put:?}");
}

async fn a_reference_follows_the_content_of_each_file(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id) = (work.tenant_id, work.id);
    let a = put(&files, &work, "a", 1).await.to_string();
    let b = put(&files, &work, "b", 1).await.to_string();
    let held = |byte: u8, file: &String| (format!("{byte:02x}"), file.clone());
    let sorted = |mut all: Vec<(String, String)>| {
        all.sort();
        all
    };
    assert_eq!(sorted(references(&data).await), sorted(vec![held(1, &a), held(1, &b)]));
    put(&files, &work, "a", 2).await;
    assert_eq!(sorted(references(&data).await), sorted(vec![held(2, &a), held(1, &b)]));
    // Only the mode differs: the same bytes.
    let executable = Content { executable: true, ..content(1) };
    files.put(tenant, id, "b", executable, None, 11).await.unwrap();
    files.rename(tenant, id, "b", "c", false, None, 12).await.unwrap();
    assert_eq!(sorted(references(&data).await), sorted(vec![held(2, &a), held(1, &b)]));
    data.assert_clean().await;
    // What a move replaces lets go of its content.
    let taken = files.rename(tenant, id, "c", "a", false, None, 13).await;
    assert!(matches!(taken, Err(UpdateError::Taken)), "{taken:?}");
    files.rename(tenant, id, "c", "a", true, None, 13).await.unwrap();
    assert_eq!(references(&data).await, [held(1, &b)]);
    data.assert_clean().await;
    files.delete(tenant, id, "a", None).await.unwrap();
    assert!(references(&data).await.is_empty());
}

async fn expected_versions_are_held(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id) = (work.tenant_id, work.id);
    let absent = files.put(tenant, id, "a", content(1), Some(1), 10).await;
    assert!(matches!(absent, Err(UpdateError::VersionMismatch { current: 0 })), "{absent:?}");
    files.put(tenant, id, "a", content(1), Some(0), 10).await.unwrap();
    let present = files.put(tenant, id, "a", content(2), Some(0), 10).await;
    assert!(matches!(present, Err(UpdateError::VersionMismatch { current: 1 })), "{present:?}");
    files.put(tenant, id, "a", content(2), Some(1), 10).await.unwrap();
    for stale in [
        files.delete(tenant, id, "a", Some(1)).await,
        files.rename(tenant, id, "a", "b", false, Some(1), 11).await,
    ] {
        assert!(matches!(stale, Err(UpdateError::VersionMismatch { current: 2 })), "{stale:?}");
    }
    files.rename(tenant, id, "a", "a", false, Some(2), 11).await.unwrap();
    files.delete(tenant, id, "a", Some(2)).await.unwrap();
}

async fn files_are_listed_by_how_their_paths_begin(data: Data) {
    let files = data.repositories.files();
    let (tenant, user) = (data.id(), data.id());
    let (work, other) = (workspace(&data, tenant, user).await, workspace(&data, tenant, user).await);
    let mut paths = vec!["", "a", "a/", "a/b", "a/b/c", "a\0", "ab", "b", "é", "\u{10ffff}"];
    for path in &paths {
        put(&files, &work, path, 1).await;
        put(&files, &other, path, 1).await;
    }
    paths.sort_unstable();
    for prefix in ["", "a", "a/", "a/b", "a\0", "x", "\u{10ffff}"] {
        let (mut found, mut after, mut n) = (Vec::new(), None::<String>, 0);
        loop {
            let page = files.list(tenant, work.id, prefix, after.as_deref(), 3).await.unwrap();
            assert!(page.items.iter().all(|file| file.session_id == work.id));
            found.extend(page.items.into_iter().map(|file| file.path));
            // New ones before and after the cursor: the first is not seen, the other is.
            if n == 0 && prefix.is_empty() {
                put(&files, &work, "\u{1}early", 1).await;
                put(&files, &work, "zlate", 1).await;
            }
            (after, n) = (page.next, n + 1);
            if after.is_none() {
                break;
            }
        }
        let mut expected: Vec<_> = paths.iter().filter(|path| path.starts_with(prefix)).copied().collect();
        if prefix.is_empty() {
            expected.push("zlate");
            expected.sort_unstable();
        }
        assert_eq!(found, expected, "after {prefix:?}");
        files.delete(tenant, work.id, "\u{1}early", None).await.ok();
        files.delete(tenant, work.id, "zlate", None).await.ok();
    }
    data.assert_clean().await;
}

async fn of_many_who_create_one_path_one_does(data: Data) {
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id) = (work.tenant_id, work.id);
    let tasks: Vec<_> = (1..=12)
        .map(|byte| {
            let repositories = data.repositories.clone();
            let new = content(byte);
            tokio::spawn(async move { repositories.files().put(tenant, id, "a", new, Some(0), 10).await })
        })
        .collect();
    let mut won = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(file) => won.push(file),
            Err(UpdateError::VersionMismatch { current: 1 }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(data.repositories.files().get(tenant, id, "a").await.unwrap(), won.pop());
    data.assert_clean().await;
}

async fn a_workspace_goes_with_all_its_files_and_no_others(data: Data) {
    let files = data.repositories.files();
    let (tenant, user) = (data.id(), data.id());
    let (gone, stays) = (workspace(&data, tenant, user).await, workspace(&data, tenant, user).await);
    put(&files, &stays, "a", 1).await;
    let before = data.dump().await;
    // More than one transaction removes.
    for n in 0..1100_u16 {
        files.put(tenant, gone.id, &format!("{n}"), content(1), None, 10).await.unwrap();
    }
    let stale = data.repositories.sessions().delete_expected(tenant, user, gone.id, Some(2)).await;
    assert!(matches!(stale, Err(UpdateError::VersionMismatch { current: 1 })));
    assert!(data.repositories.sessions().delete(tenant, user, gone.id).await.unwrap());
    let mut after = before.clone();
    after.retain(|path, _| !path.contains(&gone.id.to_string()));
    assert_eq!(data.dump().await, after);
    assert!(files.get(tenant, stays.id, "a").await.unwrap().is_some());
    data.assert_clean().await;
}

async fn no_file_survives_the_workspace_it_is_put_into(data: Data) {
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, user, id) = (work.tenant_id, work.user_id, work.id);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let repositories = data.repositories.clone();
            tokio::spawn(async move {
                // Until the workspace is gone.
                for n in 0_u32.. {
                    let path = format!("{writer}/{n}");
                    match repositories.files().put(tenant, id, &path, content(1), None, 10).await {
                        Ok(_) => {}
                        Err(UpdateError::NotFound) => return n,
                        Err(error) => panic!("{error}"),
                    }
                }
                0
            })
        })
        .collect();
    while data.repositories.files().list(tenant, id, "", None, 20).await.unwrap().items.len() < 20 {
        tokio::task::yield_now().await;
    }
    assert!(data.repositories.sessions().delete(tenant, user, id).await.unwrap());
    assert_eq!(data.repositories.sessions().get(tenant, user, id).await.unwrap(), None);
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(data.dump().await.is_empty());
}
