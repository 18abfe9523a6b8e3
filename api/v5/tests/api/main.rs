//! The API over a temporary store, driven as the edge drives it: a request in, a response out, in process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod audit;
mod auth;
mod bodies;
mod contract;
mod cookie;
mod fork;
mod isolation;
mod plugins;
mod recording;
mod routes;
mod sessions;
mod state;
mod support;
mod users;
