//! The host against guests written in the text format: what each call answers, and what no guest can do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
// Many tests look at what the guest reported and not at the outcome.
#![allow(clippy::let_underscore_must_use)]

mod budgets;
mod cache;
mod callbacks;
mod calls;
mod chain;
mod clockwork;
mod guest;
mod headers;
mod hostile;
mod loading;
mod pooling;
mod properties;
mod quarantine;
mod responses;
mod state;
mod table;
mod wasi;
mod world;
