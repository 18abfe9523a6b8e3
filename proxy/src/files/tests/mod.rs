//! The module as its caller sees it: requests against a directory or embedded files, whole responses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod compression;
mod directory;
mod fallback;
mod protocol;
mod streaming;

use std::path::PathBuf;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use super::{FileBody, Files, Source};

/// A directory of static files inside a temporary one, so that there is an outside to escape to.
pub(super) struct Site {
    temporary: tempfile::TempDir,
    pub(super) files: Files,
}

impl Site {
    pub(super) fn new(files: &[(&str, &[u8])]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let site = Site { files: Files::new(Source::Directory(root)), temporary };
        for (path, bytes) in files {
            site.write(path, bytes);
        }
        site
    }

    /// The path of something below the root.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.temporary.path().join("root").join(path)
    }

    /// The path of something beside the root.
    pub(super) fn outside(&self, path: &str) -> PathBuf {
        self.temporary.path().join(path)
    }

    pub(super) fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(super) async fn get(&self, path: &str, headers: &[(&'static str, &str)]) -> Answer {
        answer(&self.files, Method::GET, path, headers).await
    }
}

/// A response with its body read.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(super) async fn send(
    files: &Files,
    method: Method,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Response<FileBody> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    files.respond(&method, path, &map).await
}

/// Sends a request, reads the body, and holds what is true of every response.
pub(super) async fn answer(
    files: &Files,
    method: Method,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Answer {
    let head = method == Method::HEAD;
    let (parts, body) = send(files, method, path, headers).await.into_parts();
    let hint = http_body::Body::size_hint(&body).exact().expect("the size hint is exact");
    let body = body.collect().await.unwrap().to_bytes();
    assert_eq!(hint, body.len() as u64, "{path}: the hint is the length");
    let answer = Answer { status: parts.status, headers: parts.headers, body };
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
    if parts.status == StatusCode::NOT_MODIFIED {
        assert!(answer.body.is_empty() && !answer.headers.contains_key("content-length"));
    } else if head {
        assert!(answer.body.is_empty() && answer.headers.contains_key("content-length"));
    } else {
        assert_eq!(answer.header("content-length"), answer.body.len().to_string(), "{path}");
    }
    answer
}

/// Bytes nobody can compress, the same for one seed.
pub(super) fn noise(seed: u32, length: usize) -> Vec<u8> {
    (0_u32..)
        .flat_map(|block| Sha256::digest([seed.to_le_bytes(), block.to_le_bytes()].concat()))
        .take(length)
        .collect()
}

/// Text that compresses to about half, the same for one seed.
pub(super) fn text(seed: u32, length: usize) -> Vec<u8> {
    hex::encode(noise(seed, length.div_ceil(2))).into_bytes().into_iter().take(length).collect()
}
