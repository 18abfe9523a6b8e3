//! Directories: listed, moved, removed and copied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coditect_auth::Entropy;
use coditect_store::records::Session;
use coditect_store::{Condition, DirectoryEntry, FileError, Files, Move};
use uuid::Uuid;

use super::files::{content, put, to, workspace};
use super::{Data, checks};

checks![
    a_directory_lists_what_lies_in_it_page_by_page,
    a_small_directory_is_listed_without_reading_a_large_one,
    a_tree_moves_in_parts_and_no_file_is_ever_missing,
    a_tree_does_not_replace_files_unless_told,
    a_tree_is_not_moved_into_itself,
    a_tree_is_removed_in_parts_and_leaves_versions,
    a_workspace_is_copied_in_parts_that_may_be_repeated,
    a_copy_that_exceeds_the_quota_copies_no_part_of_it,
];

/// What a directory lists, by its pages of `limit`; directories with a slash.
async fn listed(files: &Files<'_>, work: &Session, directory: &str, limit: usize) -> Vec<String> {
    let (mut names, mut after) = (Vec::new(), None::<String>);
    loop {
        let page =
            files.list_directory(work.tenant_id, work.id, directory, after.as_deref(), limit).await.unwrap();
        assert!(page.items.len() <= limit);
        names.extend(page.items.into_iter().map(|entry| match entry {
            DirectoryEntry::File(file) => file.path,
            DirectoryEntry::Directory(path) => format!("{path}/"),
        }));
        after = page.next;
        if after.is_none() {
            return names;
        }
    }
}

/// Every path of a workspace.
async fn paths(files: &Files<'_>, work: &Session) -> BTreeMap<String, Uuid> {
    let (mut all, mut after) = (BTreeMap::new(), None::<String>);
    loop {
        let page = files.list(work.tenant_id, work.id, "", after.as_deref(), 200).await.unwrap();
        all.extend(page.items.into_iter().map(|file| (file.path, file.id)));
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

async fn a_directory_lists_what_lies_in_it_page_by_page(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    let all = [
        "a",
        "b.c",
        "b/1",
        "b/2/x",
        "b/2/y",
        "b/2.",
        "b/20",
        "b0",
        "c/d/e/f",
        "d/1",
        "e/1",
        "f/1",
        "\u{10ffff}/\u{10ffff}",
    ];
    for path in all {
        put(&files, &work, path, 1).await;
    }
    for directory in ["", "b", "b/2", "c", "c/d", "x", "a", "b/", "\u{10ffff}"] {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let mut expected: BTreeSet<String> = BTreeSet::new();
        for rest in all.iter().filter_map(|path| path.strip_prefix(&prefix)) {
            let name = rest.split_inclusive('/').next().unwrap();
            expected.insert(format!("{prefix}{name}"));
        }
        let expected: Vec<String> =
            if directory.ends_with('/') { Vec::new() } else { expected.into_iter().collect() };
        for limit in [1, 2, 3, 50] {
            assert_eq!(listed(&files, &work, directory, limit).await, expected, "{directory:?} by {limit}");
        }
    }
}

async fn a_small_directory_is_listed_without_reading_a_large_one(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    for n in 0..600 {
        put(&files, &work, &format!("m/{n:04}"), 1).await;
    }
    for path in ["a", "m.", "n"] {
        put(&files, &work, path, 1).await;
    }
    // The rows that a page of the listing needs: damaged ones in the directory's middle would fail it.
    let index = format!("/test/tenant/{}/files_by_path/{}/m%2F", work.tenant_id, work.id);
    for n in 250..600 {
        data.plant(&format!("{index}{n:04}"), Some(b"damaged")).await;
    }
    assert_eq!(listed(&files, &work, "", 10).await, ["a", "m.", "m/", "n"]);
    assert_eq!(listed(&files, &work, "", 1).await, ["a", "m.", "m/", "n"]);
}

async fn a_tree_moves_in_parts_and_no_file_is_ever_missing(data: Data) {
    const COUNT: usize = 450;
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id) = (work.tenant_id, work.id);
    for n in 0..COUNT {
        put(&files, &work, &format!("from/{}/{n}", n % 7), 1).await;
    }
    put(&files, &work, "from.", 2).await;
    let before = paths(&files, &work).await;
    let stop = Arc::new(AtomicBool::new(false));
    let reader = {
        let (repositories, stop) = (data.repositories.clone(), Arc::clone(&stop));
        let entropy = Arc::clone(&data.entropy);
        tokio::spawn(async move {
            let (files, mut looked) = (repositories.files(), 0);
            while !stop.load(Ordering::Relaxed) {
                let n = usize::from(entropy.uuid().as_bytes()[0]) % COUNT;
                let rest = format!("{}/{n}", n % 7);
                let there = async |top: &str| {
                    files.get(tenant, id, &format!("{top}/{rest}")).await.unwrap().is_some()
                };
                // At the old place first: it moves to the new one, never back.
                assert!(there("from").await || there("to/x").await, "{rest} was nowhere");
                looked += 1;
            }
            looked
        })
    };
    let (mut parts, mut moved, mut after) = (0, 0, None::<String>);
    loop {
        let part = files.move_some(tenant, id, to("from", "to/x"), after.as_deref(), 20).await.unwrap();
        (parts, moved) = (parts + 1, moved + part.files);
        after = part.next;
        if after.is_none() {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(reader.await.unwrap() > 0);
    assert!(parts > 1, "in {parts} part");
    assert_eq!(moved, COUNT);
    let expected: BTreeMap<String, Uuid> = before
        .into_iter()
        .map(|(path, id)| {
            (path.strip_prefix("from/").map_or(path.clone(), |rest| format!("to/x/{rest}")), id)
        })
        .collect();
    assert_eq!(paths(&files, &work).await, expected, "the same files");
    let nothing = files.move_some(tenant, id, to("from", "to/x"), None, 21).await.unwrap();
    assert_eq!((nothing.files, nothing.next), (0, None));
    data.assert_clean().await;
}

async fn a_tree_does_not_replace_files_unless_told(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id) = (work.tenant_id, work.id);
    for path in ["a/1", "a/2", "a/3/x", "b/2", "b/other", "c", "d/2/x"] {
        put(&files, &work, path, 1).await;
    }
    put(&files, &work, "b/2", 2).await;
    let taken = files.move_some(tenant, id, to("a", "b"), None, 20).await;
    assert!(matches!(&taken, Err(FileError::Taken { path }) if path == "b/2"), "{taken:?}");
    assert!(files.get(tenant, id, "a/1").await.unwrap().is_some(), "a part is moved whole or not");
    for (target, at, file) in [("c", "c", true), ("d", "d/2", false)] {
        let how = Move { replace: true, ..to("a", target) };
        let occupied = files.move_some(tenant, id, how, None, 20).await;
        let expected =
            matches!(&occupied, Err(FileError::Occupied { path, is_file }) if path == at && *is_file == file);
        assert!(expected, "{occupied:?}");
    }
    files.move_some(tenant, id, Move { replace: true, ..to("a", "b") }, None, 21).await.unwrap();
    let now: Vec<_> = paths(&files, &work).await.into_keys().collect();
    assert_eq!(now, ["b/1", "b/2", "b/3/x", "b/other", "c", "d/2/x"]);
    let versions = files.versions(tenant, id, "b/2", None, 10).await.unwrap().items;
    assert_eq!(versions.iter().map(|v| v.content).collect::<Vec<_>>(), [content(2), content(1)]);
    let moved = files.get(tenant, id, "b/2").await.unwrap().unwrap();
    assert_eq!((moved.content, moved.version), (content(1), 3), "above every version of its path");
    data.assert_clean().await;
}

async fn a_tree_is_not_moved_into_itself(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    put(&files, &work, "a/b/c", 1).await;
    for (from, target) in [("a", "a"), ("a", "a/b"), ("a", "a/b/c/d"), ("a/b", "a")] {
        let nested = files.move_some(work.tenant_id, work.id, to(from, target), None, 20).await;
        assert!(matches!(nested, Err(FileError::Nested)), "{from} to {target}: {nested:?}");
    }
    let empty = files.move_some(work.tenant_id, work.id, to("", "x"), None, 20).await;
    assert!(matches!(empty, Err(FileError::Path(_))), "{empty:?}");
}

async fn a_tree_is_removed_in_parts_and_leaves_versions(data: Data) {
    let files = data.repositories.files();
    let work = workspace(&data, data.id(), data.id()).await;
    let (tenant, id) = (work.tenant_id, work.id);
    for n in 0..250 {
        put(&files, &work, &format!("a/{n}"), 1).await;
    }
    for path in ["a.", "a0/x"] {
        put(&files, &work, path, 1).await;
    }
    let first = files.delete_some(tenant, id, "a", None, 20).await.unwrap();
    assert!(first.files < 250 && first.next.is_some(), "{first:?}");
    let rest = files.delete_some(tenant, id, "a", first.next.as_deref(), 20).await.unwrap();
    assert_eq!((first.files + rest.files, rest.next), (250, None));
    assert_eq!(paths(&files, &work).await.into_keys().collect::<Vec<_>>(), ["a.", "a0/x"]);
    let page = files.versions_below(tenant, id, "a", None, 200).await.unwrap();
    let more = files.versions_below(tenant, id, "a", page.next, 200).await.unwrap();
    assert_eq!((page.items.len() + more.items.len(), more.next), (250, None));
    let again = files.restore(tenant, id, "a/7", 1, &Condition::Absent, 21).await.unwrap();
    assert_eq!((again.file.content, again.file.version), (content(1), 2));
    let (mut gone, mut more) = (0, true);
    while more {
        let some = files.forget_some(tenant, id, "a", true, 22).await.unwrap();
        (gone, more) = (gone + some.0, some.1);
    }
    assert_eq!(gone, 250);
    data.assert_clean().await;
}

/// Copies all, each part twice.
async fn copy(files: &Files<'_>, from: &Session, to: Uuid) -> Result<usize, FileError> {
    let (mut parts, mut after) = (0, None::<String>);
    loop {
        for _ in 0..2 {
            let next = files.copy_some(from.tenant_id, from.id, to, after.as_deref(), 30).await?;
            parts += 1;
            if parts % 2 == 0 {
                after = next;
            }
        }
        if after.is_none() {
            return Ok(parts / 2);
        }
    }
}

async fn a_workspace_is_copied_in_parts_that_may_be_repeated(data: Data) {
    let files = data.repositories.files();
    let (tenant, user) = (data.id(), data.id());
    let (from, fork) = (workspace(&data, tenant, user).await, workspace(&data, tenant, user).await);
    for n in 0..450_u16 {
        put(&files, &from, &format!("{}/{n}", n % 5), 1).await;
    }
    put(&files, &from, "0/0", 2).await;
    put(&files, &fork, "0/5", 3).await;
    let contents = data.dump_all().await.keys().filter(|path| path.contains("/blob_contents/")).count();
    assert!(copy(&files, &from, fork.id).await.unwrap() > 1);
    let (theirs, own) = (paths(&files, &from).await, paths(&files, &fork).await);
    assert_eq!(theirs.keys().collect::<Vec<_>>(), own.keys().collect::<Vec<_>>());
    assert!(theirs.values().all(|id| !own.values().any(|other| other == id)), "files of their own");
    let at = async |path: &str| files.get(tenant, fork.id, path).await.unwrap().unwrap();
    assert_eq!(at("0/0").await.content, content(2));
    assert_eq!(at("0/5").await.content, content(3), "what was there stays");
    assert_eq!(
        files.versions(tenant, fork.id, "0/0", None, 9).await.unwrap().items,
        [],
        "versions stay behind"
    );
    assert_eq!(data.repositories.usage().get(tenant).await.unwrap().files, 900);
    let after = data.dump_all().await.keys().filter(|path| path.contains("/blob_contents/")).count();
    assert_eq!(after, contents, "no content was copied");
    // Each has its own from here on.
    put(&files, &from, "0/10", 4).await;
    assert_eq!(at("0/10").await.content, content(1));
    assert!(data.repositories.sessions().delete(tenant, user, from.id).await.unwrap());
    assert_eq!(at("0/0").await.content, content(2));
    data.assert_clean().await;
    let gone = files.copy_some(tenant, from.id, fork.id, None, 31).await;
    assert!(matches!(gone, Err(FileError::NoWorkspace)), "{gone:?}");
}

async fn a_copy_that_exceeds_the_quota_copies_no_part_of_it(data: Data) {
    let files = data.repositories.files();
    let (tenant, user) = (data.id(), data.id());
    let (from, fork) = (workspace(&data, tenant, user).await, workspace(&data, tenant, user).await);
    for path in ["a", "b", "c"] {
        put(&files, &from, path, 1).await;
    }
    data.repositories.usage().set_quota(tenant, Some(5), None).await.unwrap();
    let refused = copy(&files, &from, fork.id).await;
    assert!(matches!(refused, Err(FileError::QuotaExceeded { limit: 5, .. })), "{refused:?}");
    assert!(paths(&files, &fork).await.is_empty());
    data.repositories.usage().set_quota(tenant, Some(6), None).await.unwrap();
    copy(&files, &from, fork.id).await.unwrap();
    data.assert_clean().await;
}
