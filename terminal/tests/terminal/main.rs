//! Terminals on real PTYs, through the service's public face: requests in, WebSockets over in-memory streams.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

mod client;
mod ends;
mod isolation;
mod requests;
mod shells;
mod viewers;
mod world;

/// The edge's allocator: what runs between fork and exec must get along with it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
