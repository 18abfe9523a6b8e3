//! Static files: a directory or files compiled into the binary, answered as HTTP (RFC 9110) wants it.
//!
//! A request goes through `path` (decoding, refusals), `resolve` (index files, redirects, single-page
//! fallback) over one of two sources (`directory`, `embedded`), content negotiation (`encoding`,
//! `compress`), preconditions and ranges (`conditions`, `range`), and leaves as an `answer`.
//!
//! Invariants: no request path reaches the file system undecoded or unchecked; nothing outside the root can be
//! opened, also not in a race (`openat2` with `RESOLVE_BENEATH`); ETag, length and bytes of one answer come
//! from one open file; memory per request is at most `content::SMALL_FILE_BYTES` plus one chunk, and
//! compression has its own limits.

mod answer;
mod body;
mod caching;
mod compress;
mod conditions;
mod content;
mod directory;
mod embedded;
mod encoding;
mod error;
mod media;
mod navigation;
mod path;
mod range;
mod resolve;
mod tag;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Response};

use self::answer::Reply;
pub use self::body::FileBody;
use self::compress::Variants;
use self::directory::Root;
use self::embedded::Bundle;
pub use self::embedded::EmbeddedFile;
use self::error::FileError;
use self::path::FilePath;
use self::resolve::Outcome;

/// How long finding, opening and (for a small file) reading may take before the answer is 503.
const FILE_DEADLINE: Duration = Duration::from_secs(10);

/// How often a request starts again because the file was rewritten while it was being read.
const ATTEMPTS: usize = 3;

/// Where files come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A directory of the file system. It is opened anew for each request, so a swapped directory or a symlink
    /// pointed elsewhere is served at once. The path itself may be a symlink; below it, links are followed only
    /// while they are relative and stay inside.
    Directory(PathBuf),
    /// Files compiled into the binary.
    Embedded(&'static [EmbeddedFile]),
}

/// Answers requests for static files from one [`Source`].
///
/// Holds the cache of compressed variants; share one instance (in an `Arc`) between the requests of a route.
#[derive(Debug)]
pub struct Files {
    store: Store,
    variants: Variants,
}

#[derive(Debug)]
enum Store {
    Directory(Arc<Path>),
    Embedded(Bundle),
}

impl Files {
    /// Serves files from `source`. Hashes every embedded file once, here; a directory is not touched before the
    /// first request, and may come into being later.
    pub fn new(source: Source) -> Self {
        let store = match source {
            Source::Directory(path) => Store::Directory(path.into()),
            Source::Embedded(files) => Store::Embedded(Bundle::new(files)),
        };
        Files { store, variants: Variants::new(compress::CACHE_BYTES) }
    }

    /// Answers one request. Never fails: what cannot be served is a 4xx or 5xx response with a short text body.
    ///
    /// `path` is the request's path below the route's prefix, still percent-encoded, starting with `/`, without
    /// a query. Of the request only the method and these headers are looked at: `Accept`, `Accept-Encoding`,
    /// `If-Modified-Since`, `If-None-Match`, `If-Range`, `Range`, `Sec-Fetch-Mode`.
    ///
    /// A directory asked for without its trailing slash is redirected by a reference relative to the
    /// request's own URL, so the prefix need not be known here; the query is not repeated in it.
    ///
    /// Needs a Tokio runtime with its timer, for this call and for the body. Cancellation safe: dropping the
    /// future or the body leaves at most one bounded read or compression running to its end.
    pub async fn respond(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<FileBody> {
        let head = match *method {
            Method::GET => false,
            Method::HEAD => true,
            _ => return answer::method_not_allowed(),
        };
        let Some(path) = FilePath::parse(path) else { return answer::not_found(head) };
        let path = Arc::new(path);
        let fallback = path.may_be_page() && navigation::is_navigation(headers);
        let mut outcome = Err(FileError::Changed);
        for _ in 0..ATTEMPTS {
            outcome = self.attempt(head, &path, fallback, headers).await;
            if !matches!(outcome, Err(FileError::Changed)) {
                break;
            }
        }
        outcome.unwrap_or_else(|error| answer::failure(&error, head))
    }

    async fn attempt(
        &self,
        head: bool,
        path: &Arc<FilePath>,
        fallback: bool,
        headers: &HeaderMap,
    ) -> Result<Response<FileBody>, FileError> {
        Ok(match self.find(path, fallback).await? {
            Outcome::File { file, fallback } => {
                Reply { file, fallback, head, headers }.into_response(&self.variants).await?
            }
            Outcome::Redirect(location) => answer::redirect(&location, head),
            Outcome::Missing => answer::not_found(head),
        })
    }

    async fn find(&self, path: &Arc<FilePath>, fallback: bool) -> Result<Outcome, FileError> {
        let root = match &self.store {
            Store::Embedded(bundle) => return resolve::resolve(path, fallback, |p| Ok(bundle.entry(p))),
            Store::Directory(root) => Arc::clone(root),
        };
        let path = Arc::clone(path);
        let work = tokio::task::spawn_blocking(move || {
            let root = Root::open(&root)?;
            resolve::resolve(&path, fallback, |p| root.entry(p))
        });
        match tokio::time::timeout(FILE_DEADLINE, work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(join)) => Err(FileError::Worker(join)),
            Err(_) => Err(FileError::Deadline { seconds: FILE_DEADLINE.as_secs() }),
        }
    }
}
