//! Files of workspaces.

use coditect_store::blobs::{BlobError, BlobHash};
use coditect_store::file_path::PathProblem;
use coditect_store::records::{Content, File, Session};
use coditect_store::{Condition, FileError, Files, Move, UpdateError};
use uuid::Uuid;

use super::{Data, checks};
use crate::support::session;

checks![
    a_file_keeps_its_id_while_content_and_path_change,
    a_reference_follows_the_content_of_each_file,
    conditions_are_held,
    an_upload_becomes_a_file_or_nothing,
    what_is_admitted_is_what_would_be_written,
    a_path_is_a_file_or_a_directory,
    of_file_and_directory_made_at_once_one_is,
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
pub(crate) async fn workspace(data: &Data, tenant: Uuid, user: Uuid) -> Session {
    let new = session(&*data.entropy, tenant, user, 1);
    data.repositories.sessions().create(&new).await.unwrap();
    stock(data, tenant).await;
    new
}

pub(crate) async fn put(files: &Files<'_>, session: &Session, path: &str, byte: u8) -> File {
    let any = &Condition::Any;
    files.put(session.tenant_id, session.id, path, content(byte), any, 10).await.unwrap().file
}

/// A move that replaces nothing.
pub(crate) fn to<'a>(from: &'a str, to: &'a str) -> Move<'a> {
    Move { from, to, replace: false }
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
    let (tenant, id, any) = (work.tenant_id, work.id, &Condition::Any);
    let first = files.put(tenant, id, "src/a b.rs", content(1), any, 10).await.unwrap();
    assert!(first.created);
    let first = first.file;
    assert_eq!((first.version, first.created_at, first.path.as_str()), (1, 10, "src/a b.rs"));
    let same = files.put(tenant, id, "src/a b.rs", content(1), any, 11).await.unwrap();
    assert_eq!((same.file, same.created), (first.clone(), false), "the same content is no change");
    let second = files.put(tenant, id, "src/a b.rs", content(2), any, 12).await.unwrap().file;
    assert_eq!((second.id, second.version, second.created_at, second.updated_at), (first.id, 2, 10, 12));
    let moved = files.move_file(tenant, id, to("src/a b.rs", "main.rs"), any, 13).await.unwrap();
    assert_eq!((moved.id, moved.version, moved.content), (first.id, 3, content(2)));
    assert_eq!(files.get(tenant, id, "src/a b.rs").await.unwrap(), None);
    assert_eq!(files.get(tenant, id, "main.rs").await.unwrap(), Some(moved.clone()));
    data.assert_clean().await;

    assert_eq!(files.delete(tenant, id, "main.rs", any, 14).await.unwrap(), moved);
    assert!(matches!(files.delete(tenant, id, "main.rs", any, 14).await, Err(FileError::NotFound)));
    let from_nothing = files.move_file(tenant, id, to("main.rs", "b"), any, 14).await;
    assert!(matches!(from_nothing, Err(FileError::NotFound)));
    let nowhere = files.put(tenant, data.id(), "x", content(1), any, 15).await;
    assert!(matches!(nowhere, Err(FileError::NoWorkspace)), "no such workspace");
    assert_eq!(
        data.dump().await.len(),
        2 + 2 * 2,
        "the workspace and its entry, two versions and their references"
    );
    let unknown = Content { sha256: BlobHash::of(b"never uploaded"), ..content(1) };
    let put = files.put(tenant, id, "y", unknown, any, 16).await;
    assert!(matches!(put, Err(FileError::Blob(BlobError::NotFound { .. }))), "{put:?}");
    let dotted = files.put(tenant, id, "a/../b", content(1), any, 16).await;
    assert!(matches!(dotted, Err(FileError::Path(PathProblem::DotSegment))), "{dotted:?}");
}

async fn a_reference_follows_the_content_of_each_file(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id, any) = (work.tenant_id, work.id, &Condition::Any);
    no_versions(&data, tenant).await;
    let a = put(&files, &work, "a", 1).await.id.to_string();
    let b = put(&files, &work, "b", 1).await.id.to_string();
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
    files.put(tenant, id, "b", executable, any, 11).await.unwrap();
    files.move_file(tenant, id, to("b", "c"), any, 12).await.unwrap();
    assert_eq!(sorted(references(&data).await), sorted(vec![held(2, &a), held(1, &b)]));
    data.assert_clean().await;
    // What a move replaces lets go of its content.
    let taken = files.move_file(tenant, id, to("c", "a"), any, 13).await;
    assert!(matches!(taken, Err(FileError::Taken { .. })), "{taken:?}");
    files.move_file(tenant, id, Move { replace: true, ..to("c", "a") }, any, 13).await.unwrap();
    assert_eq!(references(&data).await, [held(1, &b)]);
    data.assert_clean().await;
    files.delete(tenant, id, "a", any, 14).await.unwrap();
    assert!(references(&data).await.is_empty());
}

/// Sets that a tenant keeps no versions.
async fn no_versions(data: &Data, tenant: Uuid) {
    super::file_versions::retain(data, tenant, 0, 0).await;
}

async fn conditions_are_held(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id) = (work.tenant_id, work.id);
    let is = |byte: u8| Condition::OneOf(vec![content(9).sha256, content(byte).sha256]);
    let is_not = |byte: u8| Condition::NoneOf(vec![content(byte).sha256]);
    let refused = |done: Result<_, FileError>, there: Option<u8>| {
        let there = there.map(|byte| content(byte).sha256);
        assert!(matches!(&done, Err(FileError::Precondition { current }) if *current == there), "{done:?}");
    };
    let put = async |condition: &Condition, byte| {
        files.put(tenant, id, "a", content(byte), condition, 10).await.map(|written| written.file)
    };
    for condition in [is(1), Condition::Present] {
        refused(put(&condition, 1).await, None);
    }
    put(&Condition::Absent, 1).await.unwrap();
    for condition in [Condition::Absent, is(2), is_not(1)] {
        refused(put(&condition, 2).await, Some(1));
        refused(files.delete(tenant, id, "a", &condition, 11).await, Some(1));
        refused(files.move_file(tenant, id, to("a", "b"), &condition, 11).await, Some(1));
        refused(files.restore(tenant, id, "a", 1, &condition, 11).await.map(|w| w.file), Some(1));
        let admitted = files.admit(tenant, id, "a", &condition).await;
        assert!(matches!(admitted, Err(FileError::Precondition { .. })), "{admitted:?}");
        assert_eq!(files.get(tenant, id, "a").await.unwrap().unwrap().version, 1);
    }
    put(&is(1), 2).await.unwrap();
    put(&is_not(1), 3).await.unwrap();
    files.move_file(tenant, id, to("a", "b"), &is(3), 12).await.unwrap();
    files.delete(tenant, id, "b", &is(3), 12).await.unwrap();
    data.assert_clean().await;
}

async fn an_upload_becomes_a_file_or_nothing(data: Data) {
    let (files, blobs) = (data.repositories.files(), data.repositories.blobs());
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id, any) = (work.tenant_id, work.id, &Condition::Any);
    let upload = async |bytes: &[u8]| {
        let mut upload = blobs.upload(tenant);
        upload.write(bytes).await.unwrap();
        upload
    };
    let one = files.finish(upload(b"one").await, tenant, id, "a/b", Some(true), any, 10).await.unwrap();
    assert!(one.created && one.file.content.executable);
    let two = files.finish(upload(b"two").await, tenant, id, "a/b", None, any, 11).await.unwrap();
    assert!(!two.created && two.file.content.executable, "it stays executable");
    assert_eq!(two.file.content.sha256, BlobHash::of(b"two"));
    let lost = files.finish(upload(b"three").await, tenant, id, "a/b", None, &Condition::Absent, 12).await;
    assert!(matches!(lost, Err(FileError::Precondition { .. })), "{lost:?}");
    assert_eq!(files.get(tenant, id, "a/b").await.unwrap(), Some(two.file));
    assert!(blobs.open(tenant, &BlobHash::of(b"three")).await.unwrap().is_none(), "nothing came to be");
    let gone = files.finish(upload(b"four").await, tenant, data.id(), "a", None, any, 12).await;
    assert!(matches!(gone, Err(FileError::NoWorkspace)), "{gone:?}");
    data.assert_clean().await;
}

async fn what_is_admitted_is_what_would_be_written(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id, any) = (work.tenant_id, work.id, &Condition::Any);
    data.repositories.usage().set_quota(tenant, Some(5), Some(2)).await.unwrap();
    let first = put(&files, &work, "a", 1).await;
    let admitted = files.admit(tenant, id, "a", any).await.unwrap();
    assert_eq!((admitted.file, admitted.room, admitted.quota), (Some(first), 4, 5));
    assert_eq!(files.admit(tenant, id, "b/c", any).await.unwrap().file, None);
    for (path, what) in [("a/b", "a"), ("a/b/c", "a")] {
        let refused = files.admit(tenant, id, path, any).await;
        assert!(matches!(&refused, Err(FileError::Occupied { path, .. }) if path == what), "{refused:?}");
    }
    assert!(matches!(files.admit(tenant, id, "/a", any).await, Err(FileError::Path(_))));
    assert!(matches!(files.admit(tenant, data.id(), "a", any).await, Err(FileError::NoWorkspace)));
    put(&files, &work, "b", 1).await;
    assert!(matches!(
        files.admit(tenant, id, "c", any).await,
        Err(FileError::QuotaExceeded { limit: 2, .. })
    ));
    assert_eq!(files.admit(tenant, id, "b", any).await.unwrap().room, 3, "what is there can be replaced");
    no_versions(&data, tenant).await;
    assert_eq!(files.admit(tenant, id, "b", any).await.unwrap().room, 4, "what is replaced makes room");
}

async fn a_path_is_a_file_or_a_directory(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id, any) = (work.tenant_id, work.id, &Condition::Any);
    put(&files, &work, "a/b/c", 1).await;
    put(&files, &work, "a/b.c", 1).await;
    put(&files, &work, "a/b0", 1).await;
    put(&files, &work, "x", 1).await;
    let occupied = |done: Result<(), FileError>, at: &str, file: bool| {
        let as_expected =
            matches!(&done, Err(FileError::Occupied { path, is_file }) if path == at && *is_file == file);
        assert!(as_expected, "{done:?}");
    };
    for (path, at, is_file) in
        [("a", "a", false), ("a/b", "a/b", false), ("a/b/c/d/e", "a/b/c", true), ("x/y", "x", true)]
    {
        let put = files.put(tenant, id, path, content(1), any, 11).await;
        occupied(put.map(|_| ()), at, is_file);
        let moved = files.move_file(tenant, id, to("a/b0", path), any, 11).await;
        occupied(moved.map(|_| ()), at, is_file);
    }
    let nested = files.move_file(tenant, id, to("x", "x/y"), any, 11).await;
    assert!(matches!(nested, Err(FileError::Nested)), "{nested:?}");
    // Once the directory is gone, its name is free.
    files.delete(tenant, id, "a/b/c", any, 12).await.unwrap();
    put(&files, &work, "a/b", 1).await;
    data.assert_clean().await;
}

async fn of_file_and_directory_made_at_once_one_is(data: Data) {
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id) = (work.tenant_id, work.id);
    for round in 0..8 {
        let paths: Vec<String> =
            ["", "/a", "/a/b", "/a/b/c", "/d"].iter().map(|rest| format!("{round}{rest}")).collect();
        let tasks: Vec<_> = paths
            .iter()
            .map(|path| {
                let (repositories, path) = (data.repositories.clone(), path.clone());
                tokio::spawn(async move {
                    let files = repositories.files();
                    files.put(tenant, id, &path, content(1), &Condition::Any, 10).await
                })
            })
            .collect();
        let mut made = Vec::new();
        for (task, path) in tasks.into_iter().zip(&paths) {
            match task.await.unwrap() {
                Ok(_) => made.push(path.as_str()),
                Err(FileError::Occupied { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert!(!made.is_empty());
        for path in &made {
            assert!(made.iter().all(|other| !path.starts_with(&format!("{other}/"))), "{made:?}");
        }
    }
    data.assert_clean().await;
}

async fn files_are_listed_by_how_their_paths_begin(data: Data) {
    let files = data.repositories.files();
    let (tenant, user) = (data.id(), data.id());
    let (work, other) = (workspace(&data, tenant, user).await, workspace(&data, tenant, user).await);
    let mut paths = vec!["a ", "a/b", "a/c/d", "a0", "ab", "b", "é", "\u{10ffff}"];
    for path in &paths {
        put(&files, &work, path, 1).await;
        put(&files, &other, path, 1).await;
    }
    paths.sort_unstable();
    for prefix in ["", "a", "a/", "a/b", "a ", "x", "\u{10ffff}"] {
        let (mut found, mut after, mut n) = (Vec::new(), None::<String>, 0);
        loop {
            let page = files.list(tenant, work.id, prefix, after.as_deref(), 3).await.unwrap();
            assert!(page.items.iter().all(|file| file.session_id == work.id));
            found.extend(page.items.into_iter().map(|file| file.path));
            // New ones before and after the cursor: the first is not seen, the other is.
            if n == 0 && prefix.is_empty() {
                put(&files, &work, "!early", 1).await;
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
        files.delete(tenant, work.id, "!early", &Condition::Any, 11).await.ok();
        files.delete(tenant, work.id, "zlate", &Condition::Any, 11).await.ok();
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
            tokio::spawn(async move {
                repositories.files().put(tenant, id, "a", new, &Condition::Absent, 10).await
            })
        })
        .collect();
    let mut won = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(written) => won.push(written.file),
            Err(FileError::Precondition { current: Some(_) }) => {}
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
    // More than one transaction removes, of files and of versions.
    for n in 0..150_u8 {
        put(&files, &gone, "often", n % STOCKED).await;
    }
    for n in 0..500_u16 {
        files.put(tenant, gone.id, &format!("{n}"), content(1), &Condition::Any, 10).await.unwrap();
    }
    let stale = data.repositories.sessions().delete_expected(tenant, user, gone.id, Some(2)).await;
    assert!(matches!(stale, Err(UpdateError::VersionMismatch { current: 1 })));
    assert!(data.repositories.sessions().delete(tenant, user, gone.id).await.unwrap());
    let mut after = before.clone();
    after.retain(|path, _| !path.contains(&gone.id.to_string()));
    assert_eq!(data.dump().await, after);
    let usage = data.repositories.usage().get(tenant).await.unwrap();
    assert_eq!((usage.files, usage.bytes()), (1, 1));
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
                    match repositories.files().put(tenant, id, &path, content(1), &Condition::Any, 10).await {
                        Ok(_) => {}
                        Err(FileError::NoWorkspace) => return n,
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
