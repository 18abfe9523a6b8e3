//! The API over a temporary store, driven as the edge drives it: a request in, a response out, in process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod auth;
mod bodies;
mod cookie;
mod files;
mod files_archive;
mod files_trees;
mod routes;
mod sessions;
mod support;
mod workspace;
