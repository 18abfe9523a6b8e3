//! `/api/v5/sessions/{id}/files` and `/versions`: directories, moves, what files held before.

use axum::body::Body;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::workspace::{Raw, Work};

fn paths(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["path"].as_str().unwrap()).collect()
}

async fn delete(work: &Work, path: &str) -> Raw {
    work.send(Method::DELETE, path, &[], Body::empty()).await
}

#[tokio::test]
async fn a_directory_is_listed_in_pages() {
    let work = Work::new().await;
    for path in ["b/1", "b/2/x", "b/2/y", "b/3", "a", "c d/e"] {
        work.put(path, b"xy").await;
    }
    for limit in [1, 2, 100] {
        let root = work.all("/files?path=", limit).await;
        assert_eq!(paths(&root), ["a", "b", "c d"]);
        assert_eq!(root[1], json!({"name": "b", "path": "b", "type": "directory"}));
        let file = &root[0];
        assert_eq!((&file["type"], &file["size"], &file["name"]), (&json!("file"), &json!(2), &json!("a")));
        assert_eq!(paths(&work.all("/files?path=b", limit).await), ["b/1", "b/2", "b/3"]);
        assert_eq!(paths(&work.all("/files?path=c%20d", limit).await), ["c d/e"]);
        let all = work.all("/files?recursive=true", limit).await;
        assert_eq!(paths(&all), ["a", "b/1", "b/2/x", "b/2/y", "b/3", "c d/e"]);
        assert_eq!(paths(&work.all("/files?path=b&recursive=true", limit).await).len(), 4);
    }
    assert!(work.all("/files?path=nothing", 9).await.is_empty());
    for query in ["path=/b", "path=b/", "path=..", "limit=0", "limit=x", "cursor=%21", "recursive=maybe"] {
        let answer = work.send(Method::GET, &format!("/files?{query}"), &[], Body::empty()).await;
        answer.refused(422, "VALIDATION_FAILED");
    }
}

#[tokio::test]
async fn files_and_trees_are_moved() {
    let work = Work::new().await;
    let tag = work.put("one", b"1").await.header("etag").to_owned();
    for path in ["dir/a", "dir/b/c", "dir.x"] {
        work.put(path, b"x").await;
    }
    let moved = work.post("/files:move", json!({"from": "one", "to": "sub/two"})).await;
    assert_eq!(moved.data(), json!({"files": 1, "complete": true}));
    assert_eq!(work.get("sub/two", &[]).await.body, b"1");
    work.get("one", &[]).await.refused(404, "NOT_FOUND");
    let moved = work.post("/files:move", json!({"from": "dir", "to": "new/dir"})).await;
    assert_eq!(moved.data(), json!({"files": 2, "complete": true}));
    assert_eq!(
        paths(&work.all("/files?recursive=true", 9).await),
        ["dir.x", "new/dir/a", "new/dir/b/c", "sub/two"]
    );
    work.post("/files:move", json!({"from": "dir", "to": "x"})).await.refused(404, "NOT_FOUND");
    let onto = json!({"from": "dir.x", "to": "sub/two"});
    let taken = work.post("/files:move", onto.clone()).await.refused(409, "CONFLICT");
    assert_eq!(taken, "there is a file at `sub/two` already");
    work.post("/files:move", json!({"from": "new", "to": "sub/two/x"})).await.refused(409, "CONFLICT");
    for (from, to, field) in
        [("new", "new/dir", "to"), ("new/dir", "new", "to"), ("a/../b", "c", "from"), ("dir.x", "/c", "to")]
    {
        let refused = work.post("/files:move", json!({"from": from, "to": to})).await;
        let message = refused.refused(422, "VALIDATION_FAILED");
        assert!(message.starts_with(&format!("{field}: ")), "{message}");
    }
    let unknown = work.post("/files:move", json!({"from": "a", "to": "b", "overwrite": true})).await;
    unknown.refused(422, "VALIDATION_FAILED");
    let headers = [("content-type", "application/json"), ("if-match", "\"0\"")];
    let stale = work.send(Method::POST, "/files:move", &headers, Body::from(onto.to_string())).await;
    stale.refused(412, "PRECONDITION_FAILED");
    let mut replace = onto;
    replace["replace"] = json!(true);
    assert_eq!(work.post("/files:move", replace).await.status, StatusCode::OK);
    let versions = work.all("/versions?path=sub/two", 9).await;
    assert_eq!(
        format!("\"{}\"", versions[0]["sha256"].as_str().unwrap()),
        tag,
        "what was replaced is a version"
    );
}

#[tokio::test]
async fn a_tree_is_removed_only_if_that_is_said() {
    let work = Work::new().await;
    for n in 0..250 {
        work.put(&format!("dir/{n}"), b"x").await;
    }
    work.put("dir.x", b"x").await;
    delete(&work, "/files?path=dir").await.refused(422, "VALIDATION_FAILED");
    assert_eq!(
        delete(&work, "/files?path=dir&recursive=true").await.data(),
        json!({"files": 250, "complete": true})
    );
    delete(&work, "/files?path=dir&recursive=true").await.refused(404, "NOT_FOUND");
    assert_eq!(delete(&work, "/files?path=dir.x&recursive=true").await.data()["files"], 1);
    assert_eq!(
        delete(&work, "/files?recursive=true").await.data()["files"],
        0,
        "the workspace itself is there"
    );
    assert_eq!(work.all("/versions?path=dir&recursive=true", 200).await.len(), 250);
}

#[tokio::test]
async fn versions_are_listed_read_restored_and_forgotten() {
    let work = Work::new().await;
    for content in [b"one", b"two", b"six"] {
        work.put("dir/a", content).await;
    }
    assert_eq!(work.delete("dir/a", &[]).await.status, 200);
    let versions = work.all("/versions?path=dir/a", 1).await;
    let numbers: Vec<_> = versions.iter().map(|version| version["version"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [3, 2, 1]);
    assert_eq!(versions[0].as_object().unwrap().len(), 7, "{}", versions[0]);
    assert_eq!(work.all("/versions?recursive=true", 2).await.len(), 3);
    let read = async |path: &str, headers: &[(&str, &str)]| {
        work.send(Method::GET, path, headers, Body::empty()).await
    };
    let second = read("/versions/2?path=dir/a", &[]).await;
    assert_eq!((&second.body[..], second.header("content-disposition")), (&b"two"[..], "attachment"));
    let part = read("/versions/2?path=dir/a", &[("range", "bytes=1-1")]).await;
    assert_eq!((part.status, &part.body[..]), (StatusCode::PARTIAL_CONTENT, &b"w"[..]));
    for path in
        ["/versions/9?path=dir/a", "/versions/x?path=dir/a", "/versions/-1?path=a", "/versions/1?path=b"]
    {
        read(path, &[]).await.refused(404, "NOT_FOUND");
    }
    read("/versions/1", &[]).await.refused(422, "VALIDATION_FAILED");
    read("/versions", &[]).await.refused(422, "VALIDATION_FAILED");
    read("/versions?path=dir/a&cursor=eA", &[]).await.refused(422, "VALIDATION_FAILED");
    read("/versions?recursive=true&cursor=eA", &[]).await.refused(422, "VALIDATION_FAILED");

    let restore = async |number: u64, headers: &[(&str, &str)]| {
        work.send(Method::POST, &format!("/versions/{number}/restore?path=dir/a"), headers, Body::empty())
            .await
    };
    let back = restore(1, &[("if-none-match", "*")]).await;
    assert_eq!((back.status, &back.data()["version"]), (StatusCode::CREATED, &json!(4)));
    assert_eq!(work.get("dir/a", &[]).await.body, b"one");
    restore(2, &[("if-none-match", "*")]).await.refused(412, "PRECONDITION_FAILED");
    assert_eq!(restore(2, &[("if-match", back.header("etag"))]).await.status, 200);
    assert_eq!(work.get("dir/a", &[]).await.body, b"two");
    restore(9, &[]).await.refused(404, "NOT_FOUND");

    delete(&work, "/versions").await.refused(422, "VALIDATION_FAILED");
    let forgotten = delete(&work, "/versions?path=dir/a").await;
    assert_eq!(forgotten.data(), json!({"versions": 4, "complete": true}));
    assert!(work.all("/versions?path=dir/a", 9).await.is_empty());
    assert_eq!(work.get("dir/a", &[]).await.body, b"two");
}
