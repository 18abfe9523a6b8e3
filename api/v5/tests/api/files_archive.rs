//! `/api/v5/sessions/{id}/archive`: tar, out and in, and archives that lie.

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::Method;
use serde_json::json;

use crate::workspace::{Raw, Work};

/// A header with a right checksum.
fn header(name: &[u8], size: &str, kind: u8) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..124 + size.len()].copy_from_slice(size.as_bytes());
    block[136..148].copy_from_slice(b"00000000000\0");
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    sum(&mut block);
    block
}

fn sum(block: &mut [u8]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn entry(name: &str, content: &[u8], kind: u8) -> Vec<u8> {
    let mut bytes = header(name.as_bytes(), &format!("{:011o}", content.len()), kind);
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        let length = (rest.len()..).find(|n| n.to_string().len() + rest.len() == *n).unwrap();
        data.extend(format!("{length}{rest}").into_bytes());
    }
    entry("PaxHeaders/x", &data, b'x')
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.extend([0; 1024]);
    bytes
}

async fn import(work: &Work, bytes: Vec<u8>, query: &str) -> Raw {
    // In pieces, none of which is a whole block.
    let pieces: Vec<_> =
        bytes.chunks(333).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
    let body = Body::from_stream(stream::iter(pieces));
    work.send(Method::PUT, &format!("/archive{query}"), &[("content-type", "application/x-tar")], body).await
}

async fn export(work: &Work, query: &str) -> Raw {
    work.send(Method::GET, &format!("/archive{query}"), &[], Body::empty()).await
}

#[tokio::test]
async fn an_archive_goes_out_and_comes_back_the_same() {
    let work = Work::new().await;
    let long = format!("{}/end", vec!["long"; 60].join("/"));
    let big: Vec<u8> = (0..150_000_u32).map(|n| (n % 253) as u8).collect();
    work.put("a", b"1").await;
    work.put("dir/ä/ö", b"").await;
    work.put(&long, &big).await;
    work.put_if("run.sh", b"#!/bin/sh\n", &[("x-coditect-executable", "true")]).await;
    let out = export(&work, "").await;
    assert_eq!((out.status.as_u16(), out.header("content-type")), (200, "application/x-tar"));
    assert_eq!(out.body.len() % 512, 0);
    let back = import(&work, out.body.clone(), "?path=copy").await;
    assert_eq!(back.data(), json!({"files": 4, "bytes": 150_011}));
    for (path, content) in [("a", &b"1"[..]), ("dir/ä/ö", b""), (&long, &big), ("run.sh", b"#!/bin/sh\n")] {
        let copy = work.get(&format!("copy/{path}"), &[]).await;
        assert_eq!(
            (&copy.body[..], copy.header("x-coditect-executable")),
            (content, if path == "run.sh" { "true" } else { "false" })
        );
    }
    assert_eq!(export(&work, "?path=copy").await.body, out.body, "names are relative to the directory");
    export(&work, "?path=nothing").await.refused(404, "NOT_FOUND");
    let empty = Work::new().await;
    assert_eq!(export(&empty, "").await.body, [0; 1024]);
}

#[tokio::test]
async fn what_other_programs_write_is_read() {
    let work = Work::new().await;
    let mut gnu = entry("gnu", b"g", b'0');
    gnu[257..265].copy_from_slice(b"ustar  \0");
    sum(&mut gnu[..512]);
    let mut prefixed = entry("name", b"p", b'0');
    prefixed[345..348].copy_from_slice(b"pre");
    sum(&mut prefixed[..512]);
    let long = "l/".repeat(70) + "x";
    let bytes = archive(&[
        entry("./", b"", b'5'),
        entry("./dot/", b"", b'5'),
        entry("./dot/a", b"1", b'0'),
        gnu,
        prefixed,
        entry("old", b"o", 0),
        pax(&[("path", "päx"), ("mtime", "1.5"), ("SCHILY.xattr.user.x", "y")]),
        entry("ignored", b"x", b'0'),
        entry("././@LongLink", format!("{long}\0").as_bytes(), b'L'),
        entry("short", b"s", b'0'),
        entry("PaxHeaders/g", b"52 comment=0123456789012345678901234567890123456789\n", b'g'),
    ]);
    assert_eq!(import(&work, bytes, "").await.data(), json!({"files": 6, "bytes": 6}));
    for path in ["dot/a", "gnu", "pre/name", "old", "päx", &long] {
        assert_eq!(work.get(path, &[]).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn hostile_archives_are_refused_with_the_entrys_name() {
    let work = Work::new().await;
    let mut bad_sum = entry("x", b"", b'0');
    bad_sum[0] = b'y';
    let mut no_magic = entry("x", b"", b'0');
    no_magic[257..265].fill(0);
    sum(&mut no_magic[..512]);
    let twice = [pax(&[("path", "a")]), pax(&[("path", "b")]), entry("x", b"", b'0')].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (entry("../up", b"x", b'0'), "entry `../up`: a path has no `.` or `..` segments"),
        (entry("/etc/passwd", b"x", b'0'), "entry `/etc/passwd`: a path has no empty segments"),
        (entry("a/../../b", b"x", b'0'), "entry `a/../../b`: "),
        (entry("a\\b", b"x", b'0'), "entry `a\\b`: a path has no control characters and no backslash"),
        (entry("../d/", b"", b'5'), "entry `../d`: "),
        (entry("l", b"", b'1'), "entry `l`: links"),
        (entry("l", b"", b'2'), "entry `l`: links"),
        (entry("dev", b"", b'3'), "entry `dev`: devices"),
        (entry("dev", b"", b'4'), "entry `dev`: devices"),
        (entry("pipe", b"", b'6'), "entry `pipe`: devices"),
        (entry("s", b"", b'S'), "entry `s`: sparse"),
        (entry("k", b"x", b'K'), "entry `k`: entries of this type"),
        (entry("v", b"", b'V'), "entry `v`: entries of this type"),
        (entry("d", b"x", b'5'), "entry `d`: a directory with content"),
        (entry("f/", b"x", b'0'), "entry `f/`: a file whose name ends with a slash"),
        (header(b"big", "02000000001", b'0'), "entry `big`: a file has at most 268435456 bytes"),
        (header(b"n", "-0000000001", b'0'), "entry `n`: its size is no octal number"),
        (header(b"n", "\u{0}", b'0'), "entry `n`: its size is no octal number"),
        (header(b"\xff\xfe", "00000000000", b'0'), "name is not UTF-8"),
        (bad_sum, "entry `y`: its checksum is wrong"),
        (no_magic, "entry `x`: it is neither"),
        (twice, "more than one header names the entry"),
        (
            [pax(&[("size", "9")]), entry("x", b"y", b'0')].concat(),
            "entry `x`: its two headers give it different sizes",
        ),
        ([pax(&[("path", "a"), ("path", "b")]), entry("x", b"", b'0')].concat(), "one name"),
        ([pax(&[("linkpath", "a")]), entry("x", b"", b'0')].concat(), "links are not taken"),
        ([pax(&[("GNU.sparse.major", "1")]), entry("x", b"", b'0')].concat(), "sparse"),
        ([pax(&[("surprise", "1")]), entry("x", b"", b'0')].concat(), "what is not known"),
        (entry("PaxHeaders", b"9 path=a\n", b'g'), "comments only"),
        (pax(&[("path", "a")]), "archive: the archive ends with a header that is about nothing"),
        (entry("ok/below", b"", b'0'), "a file, and cannot be a directory too"),
    ];
    for (hostile, expected) in cases {
        let answer = import(&work, archive(&[entry("ok", b"1", b'0'), hostile.clone()]), "").await;
        let status =
            if expected.contains("cannot be") { (409, "CONFLICT") } else { (422, "VALIDATION_FAILED") };
        let message = answer.refused(status.0, status.1);
        assert!(message.contains(expected), "expected {expected:?}, got {message:?}");
        assert!(message.ends_with("; 1 files were written before it"), "{message}");
    }
    let names: Vec<_> =
        work.all("/files?recursive=true", 9).await.into_iter().map(|f| f["path"].clone()).collect();
    assert_eq!(names, ["ok"], "nothing else came of all that");
}

#[tokio::test]
async fn archives_that_are_cut_off_or_go_on_are_refused() {
    let work = Work::new().await;
    let whole = archive(&[entry("a", b"1", b'0')]);
    for length in [0, 100, 512, 700, 1024, 1536] {
        let message = import(&work, whole[..length].to_vec(), "").await.refused(422, "VALIDATION_FAILED");
        assert!(message.contains(": is cut off"), "{length}: {message}");
    }
    let after_one_empty = [entry("a", b"1", b'0'), vec![0; 512], entry("b", b"", b'0')].concat();
    let after_the_end = [whole.clone(), vec![0; 512], b"more".to_vec()].concat();
    for bytes in [after_one_empty, after_the_end] {
        let message = import(&work, bytes, "").await.refused(422, "VALIDATION_FAILED");
        assert!(message.contains("something follows"), "{message}");
    }
    let padded = [whole, vec![0; 10_240]].concat();
    assert_eq!(import(&work, padded, "").await.data()["files"], 1);
    let untyped = work.send(Method::PUT, "/archive", &[], Body::empty()).await;
    untyped.refused(415, "UNSUPPORTED_MEDIA_TYPE");
}

#[tokio::test]
async fn an_archive_beyond_the_quota_stops_there() {
    let work = Work::new().await;
    work.api.repositories.usage().set_quota(work.tenant, Some(5), None).await.unwrap();
    let bytes = archive(&[entry("a", b"123", b'0'), entry("b", b"456", b'0'), entry("c", b"", b'0')]);
    let message = import(&work, bytes, "").await.refused(507, "QUOTA_EXCEEDED");
    assert!(
        message.starts_with("entry `b`: ") && message.ends_with("; 1 files were written before it"),
        "{message}"
    );
    assert_eq!(work.all("/files?recursive=true", 9).await.len(), 1);
}
