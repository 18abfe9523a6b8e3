//! The API over a temporary store, driven as the edge drives it: a request in, a response out, in process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod agents;
mod audit;
mod auth;
mod bodies;
mod contention;
mod contract;
mod conversations;
mod cookie;
/// The store's own backend that fails.
#[path = "../../../store/tests/store/faulty.rs"]
#[allow(dead_code)]
mod faulty;
mod files;
mod files_archive;
mod files_trees;
mod fork;
mod habits;
mod idempotency;
mod isolation;
mod logins;
mod plugins;
mod recording;
mod routes;
mod sessions;
mod settings;
mod state;
mod support;
mod throttle;
mod tickets;
mod trail;
mod users;
mod workspace;
