//! The API over a temporary store, driven as the edge drives it: a request in, a response out, in process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod agents;
mod auth;
mod bodies;
mod conversations;
mod cookie;
mod habits;
mod idempotency;
mod logins;
mod routes;
mod sessions;
mod settings;
mod support;
mod throttle;
mod tickets;
mod trail;
