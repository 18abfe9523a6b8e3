//! `/api/v5/sessions/{id}/files`: one file at a time.

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::{Method, Request, StatusCode};
use serde_json::json;

use crate::support::Api;
use crate::workspace::{Raw, Work};

#[tokio::test]
async fn a_file_is_written_read_and_removed() {
    let work = Work::new().await;
    let put = work.put("src/main ä.rs", b"fn main() {}").await;
    assert_eq!(put.status, 201);
    let created = put.data();
    assert_eq!(created["path"], "src/main ä.rs");
    assert_eq!(
        (&created["size"], &created["version"], &created["executable"]),
        (&json!(12), &json!(1), &json!(false))
    );
    let tag = format!("\"{}\"", created["sha256"].as_str().unwrap());
    assert_eq!(put.header("etag"), tag);
    assert_eq!(created.as_object().unwrap().len(), 7, "{created}");

    let got = work.get("src/main ä.rs", &[]).await;
    assert_eq!((got.status, &got.body[..]), (StatusCode::OK, &b"fn main() {}"[..]));
    for (name, value) in [
        ("etag", tag.as_str()),
        ("content-length", "12"),
        ("accept-ranges", "bytes"),
        ("content-type", "application/octet-stream"),
        ("x-content-type-options", "nosniff"),
        ("content-disposition", "attachment"),
        ("cache-control", "private, no-cache"),
        ("x-coditect-executable", "false"),
        ("last-modified", "Fri, 15 Jan 2027 08:00:00 GMT"),
    ] {
        assert_eq!(got.header(name), value, "{name}");
    }
    let head = work.send(Method::HEAD, "/files/src/main%20%C3%A4.rs", &[], Body::empty()).await;
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (StatusCode::OK, 0, "12"));
    assert_eq!(head.header("etag"), tag);

    let replaced = work.put("src/main ä.rs", b"").await;
    assert_eq!((replaced.status, &replaced.data()["version"]), (StatusCode::OK, &json!(2)));
    let empty = work.get("src/main ä.rs", &[]).await;
    assert_eq!((empty.body.len(), empty.header("content-length")), (0, "0"));

    assert_eq!(work.delete("src/main ä.rs", &[]).await.status, 200);
    work.get("src/main ä.rs", &[]).await.refused(404, "NOT_FOUND");
    work.delete("src/main ä.rs", &[]).await.refused(404, "NOT_FOUND");
    let audit = work.api.repositories.audit();
    let trail = audit.list(work.tenant, None, coditect_store::Order::NewestFirst, 10).await.unwrap().items;
    let removal = trail.iter().find(|entry| entry.action == "file.delete").unwrap();
    assert_eq!(
        (removal.object.id.as_str(), &removal.details["path"]),
        (work.id.as_str(), &json!("src/main ä.rs"))
    );
}

#[tokio::test]
async fn preconditions_are_held_by_content() {
    let work = Work::new().await;
    let refused = work.put_if("a", b"1", &[("if-match", "*")]).await;
    refused.refused(412, "PRECONDITION_FAILED");
    let first = work.put_if("a", b"1", &[("if-none-match", "*")]).await;
    let tag = first.header("etag").to_owned();
    work.put_if("a", b"2", &[("if-none-match", "*")]).await.refused(412, "PRECONDITION_FAILED");
    work.put_if("a", b"2", &[("if-match", "\"7\"")]).await.refused(412, "PRECONDITION_FAILED");
    work.put_if("a", b"2", &[("if-match", "*"), ("if-none-match", "*")])
        .await
        .refused(422, "VALIDATION_FAILED");
    let second = work.put_if("a", b"2", &[("if-match", &tag)]).await;
    assert_eq!(second.status, 200);
    let newer = second.header("etag").to_owned();
    work.delete("a", &[("if-match", &tag)]).await.refused(412, "PRECONDITION_FAILED");
    work.get("a", &[("if-match", &tag)]).await.refused(412, "PRECONDITION_FAILED");
    let known = work.get("a", &[("if-none-match", &newer)]).await;
    assert_eq!(
        (known.status, known.body.len(), known.header("etag")),
        (StatusCode::NOT_MODIFIED, 0, newer.as_str())
    );
    assert_eq!(work.get("a", &[("if-none-match", &tag)]).await.status, 200);
    assert_eq!(work.delete("a", &[("if-match", &newer)]).await.status, 200);
    work.delete("a", &[("if-match", "*")]).await.refused(412, "PRECONDITION_FAILED");
}

#[tokio::test]
async fn ranges_are_served_and_may_be_resumed() {
    let work = Work::new().await;
    // More than one chunk.
    let content: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let tag = work.put("big", &content).await.header("etag").to_owned();
    let whole = work.get("big", &[]).await;
    assert_eq!(whole.body, content);
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=100000-", 100_000, 200_000),
        ("bytes=-5", 199_995, 200_000),
        ("bytes=64000-65999", 64_000, 66_000),
    ] {
        let part = work.get("big", &[("range", range), ("if-range", &tag)]).await;
        assert_eq!(
            (part.status, &part.body[..]),
            (StatusCode::PARTIAL_CONTENT, &content[from..to]),
            "{range}"
        );
        assert_eq!(part.header("content-range"), format!("bytes {from}-{}/200000", to - 1));
        assert_eq!(part.header("content-length"), (to - from).to_string());
        assert_eq!(part.header("etag"), tag);
    }
    for (name, value) in [("if-range", "\"other\""), ("range", "bytes=0-1,5-6"), ("range", "lines=1-2")] {
        let mut headers = vec![(name, value)];
        if name == "if-range" {
            headers.push(("range", "bytes=0-1"));
        }
        assert_eq!(work.get("big", &headers).await.status, 200, "{name}: {value}");
    }
    let beyond = work.get("big", &[("range", "bytes=200000-")]).await;
    assert_eq!(beyond.header("content-range"), "bytes */200000");
    beyond.refused(416, "RANGE_NOT_SATISFIABLE");
    let head = work.send(Method::HEAD, "/files/big", &[("range", "bytes=0-1")], Body::empty()).await;
    assert_eq!((head.status, head.header("content-length")), (StatusCode::OK, "200000"));
}

#[tokio::test]
async fn paths_are_decoded_once_and_held_to_the_rules() {
    let work = Work::new().await;
    for (sent, path) in [
        ("a%2Fb", "a/b"),
        ("%252e%252e", "%2e%2e"),
        ("x:move", "x:move"),
        ("%F0%9F%A6%80/%20", "🦀/ "),
        ("...", "..."),
        ("a+b", "a+b"),
    ] {
        let put = work.send(Method::PUT, &format!("/files/{sent}"), &[], Body::from("x")).await;
        assert_eq!(put.data()["path"], path, "{sent}");
    }
    // The edge refuses most of these itself, with 400.
    for sent in [
        "a//b",
        "a/",
        "a/%2e%2e/b",
        "./a",
        "%00",
        "a%5Cb",
        "a%0Ab",
        "%FF",
        &"l".repeat(256),
        &"d/".repeat(200),
    ] {
        for method in [Method::PUT, Method::GET, Method::DELETE] {
            let answer = work.send(method, &format!("/files/{sent}"), &[], Body::empty()).await;
            assert!(answer.refused(422, "VALIDATION_FAILED").starts_with("path: "), "{sent}");
        }
    }
    work.put("f", b"").await;
    let below = work.put("f/g", b"").await;
    assert_eq!(below.refused(409, "CONFLICT"), "`f` is a file, and cannot be a directory too");
    assert_eq!(
        work.put("a", b"").await.refused(409, "CONFLICT"),
        "`a` is a directory, and cannot be a file too"
    );
}

#[tokio::test]
async fn headers_that_would_change_the_meaning_are_refused() {
    let work = Work::new().await;
    let put = async |name: &str, value: &str| work.put_if("a", b"x", &[(name, value)]).await;
    put("content-encoding", "gzip").await.refused(415, "UNSUPPORTED_MEDIA_TYPE");
    put("content-range", "bytes 0-0/2").await.refused(422, "VALIDATION_FAILED");
    put("x-coditect-executable", "yes").await.refused(422, "VALIDATION_FAILED");
    assert_eq!(put("x-coditect-executable", "true").await.data()["executable"], true);
    assert_eq!(work.put("a", b"y").await.data()["executable"], true, "it stays so");
    assert_eq!(put("x-coditect-executable", "false").await.data()["executable"], false);
    assert_eq!(put("content-type", "text/html").await.status, 200);
    assert_eq!(work.get("a", &[]).await.header("content-type"), "application/octet-stream");
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_read() {
    let work = Work::new().await;
    let endless = || Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let large = work.sized("/files/a", endless(), (256 << 20) + 1).await;
    large.refused(413, "PAYLOAD_TOO_LARGE");
    work.api.repositories.usage().set_quota(work.tenant, Some(100), Some(2)).await.unwrap();
    work.sized("/files/a", endless(), 101).await.refused(507, "QUOTA_EXCEEDED");
    // Without a length, what comes is counted.
    let pieces = stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![0; 60])));
    let unsized_body = work.send(Method::PUT, "/files/a", &[], Body::from_stream(pieces)).await;
    unsized_body.refused(507, "QUOTA_EXCEEDED");
    work.get("a", &[]).await.refused(404, "NOT_FOUND");
    work.put("a", &[1; 60]).await;
    let kept = work.put("a", &[2; 60]).await;
    let message = kept.refused(507, "QUOTA_EXCEEDED");
    assert!(message.contains("at most 100 bytes"), "{message}");
    assert_eq!(work.get("a", &[]).await.body, [1; 60], "what was there is there");
    work.put("b", &[]).await;
    let message = work.put("c", &[]).await.refused(507, "QUOTA_EXCEEDED");
    assert!(message.contains("at most 2 files"), "{message}");
    assert_eq!(work.delete("a", &[]).await.status, 200);
    assert_eq!(
        work.send(Method::DELETE, "/versions?recursive=true", &[], Body::empty()).await.data()["versions"],
        1
    );
    assert_eq!(work.put("a", &[2; 100]).await.status, 201);
}

#[tokio::test]
async fn an_upload_that_is_cut_off_leaves_what_was_there() {
    let work = Work::new().await;
    work.put("a", b"old").await;
    let cut = stream::iter([Ok(Bytes::from(vec![7; 3 << 20])), Err(std::io::Error::other("gone"))]);
    work.send(Method::PUT, "/files/a", &[], Body::from_stream(cut)).await.refused(400, "BAD_REQUEST");
    assert_eq!(work.get("a", &[]).await.body, &b"old"[..]);
    // What had been written is given up at once, so that the collector's next run removes it.
    let mut collector = work.api.repositories.blobs().collector();
    loop {
        if collector.collect(1).await.unwrap().contents == 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_workspace_is_its_users_alone() {
    let work = Work::new().await;
    work.put("a", b"secret").await;
    let other = work.api.register("eve@example.com").await.text("token");
    for (method, path) in [
        (Method::GET, "/files/a"),
        (Method::HEAD, "/files/a"),
        (Method::PUT, "/files/a"),
        (Method::DELETE, "/files/a"),
        (Method::GET, "/files"),
        (Method::DELETE, "/files?recursive=true"),
        (Method::GET, "/versions?path=a"),
        (Method::GET, "/versions/1?path=a"),
        (Method::POST, "/versions/1/restore?path=a"),
        (Method::DELETE, "/versions?path=a"),
        (Method::GET, "/archive"),
    ] {
        let request =
            Request::builder().method(method.clone()).uri(format!("/api/v5/sessions/{}{path}", work.id));
        let answer = work.call(request.body(Body::from("x")).unwrap(), &other).await;
        assert_eq!(answer.status, 404, "{method} {path}");
        assert!(method == Method::HEAD || answer.refused(404, "NOT_FOUND") == "not found");
    }
    assert_eq!(work.get("a", &[]).await.body, &b"secret"[..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_clients_write_and_read_at_once() {
    const CLIENTS: usize = 32;
    let work = Work::new().await;
    let clients = (0..CLIENTS).map(|client| {
        let work = &work;
        async move {
            let content = vec![client as u8; 64 << 10];
            let own = format!("own/{client}");
            assert_eq!(work.put(&own, &content).await.status, 201);
            assert_eq!(work.get(&own, &[]).await.body, content);
            // One of them makes the file that all want to make.
            let shared = work.put_if("shared", &content, &[("if-none-match", "*")]).await;
            assert!(
                shared.status == 201 || !shared.refused(412, "PRECONDITION_FAILED").is_empty(),
                "{}",
                shared.status
            );
            usize::from(shared.status == 201)
        }
    });
    let made: usize = futures::future::join_all(clients).await.into_iter().sum();
    assert_eq!(made, 1);
    let usage = work.api.repositories.usage().get(work.tenant).await.unwrap();
    assert_eq!((usage.files, usage.file_bytes), (33, 33 << 16));
}

/// So that a raw answer reads like another one.
impl Work {
    async fn sized(&self, path: &str, body: Body, size: u64) -> Raw {
        let body = Body::new(Declared { body, size });
        self.send(Method::PUT, path, &[], body).await
    }
}

/// A body with a length that it need not have.
struct Declared {
    body: Body,
    size: u64,
}

impl http_body::Body for Declared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(context)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.size)
    }
}

/// The access table has an entry for each of these; see `access.rs`.
#[tokio::test]
async fn nobody_reaches_files_without_a_token() {
    let api = Api::new();
    let path = "/api/v5/sessions/842f0e35-08c5-4932-9d8d-6fdfff7ea4c9/files/a";
    api.get(path, None).await.refused(401, "MISSING_AUTH_HEADER");
}
