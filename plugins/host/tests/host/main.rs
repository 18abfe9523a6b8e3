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
mod everywhere;
mod guest;
mod headers;
mod hostile;
mod hostile_callbacks;
mod hostile_calls;
mod hostile_floods;
mod hostile_modules;
mod hostile_places;
mod hostile_starts;
mod hostile_streams;
mod hostile_threads;
mod loading;
mod pooling;
mod properties;
mod quarantine;
mod responses;
// What it says of writes is for the fuzz targets.
#[allow(dead_code)]
mod signatures;
mod slow;
mod state;
mod swaps;
mod table;
mod table_calls;
mod table_getters;
mod wasi;
mod world;
