//! The plugin author's tools: look at a Proxy-Wasm plugin, run it, test it, measure it, without a server.
//!
//! They stand on the production host ([`coditect_proxy_wasm`]): what passes here is what the edge runs. The world around
//! the plugin is in memory and moves only by hand ([`World`]), so that a run is the same each time: a clock that stands
//! still, randomness from a fixed seed, calls out that a script answers, and guests bounded by instructions in place of
//! time.
//!
//! | command | here |
//! |---|---|
//! | `plugin check` | [`inspect`] |
//! | `plugin run` | [`rehearse`] |
//! | `plugin test` | [`files::suites`], [`run_file`], [`report`] |
//! | `plugin bench` | [`bench`] |
//!
//! # Cases
//!
//! `plugin test` reads files `*.test.toml` ([`suite`]). All cases of a file run in one set of the plugin's instances, in
//! order. One shows all there is:
//!
//! ```toml
//! plugin = "../../target/plugins/x.wasm"   # from this file's folder; --plugin wins
//! config = { allow = ["10.0.0.0/8"] }      # a table is JSON, a string is what it is; --config wins
//! root_id = ""                             # also vm_id, vm_config, failure = "closed" | "open", log_level = "info"
//! upstreams = ["keys"]                     # whom it may call
//! stop_iteration = false
//! limits = { callback_cpu_us = 1000 }      # named as in the edge's configuration
//!
//! [[case]]
//! name = "what it shows"                   # no other case of the file has it
//! tenant = "6f0e3c1a-8f1b-4d0e-9d3a-2f8f6a0b7c11"   # else `public`
//! config = "…"                             # instead of the file's
//! fresh = true                             # nothing is left of the cases before
//! time = "2026-01-01T00:00:00Z"            # sets the clock; else it goes on
//! advance = 2.5                            # seconds that pass before the exchange, with the ticks that fall due
//! properties = { "source.address" = "192.0.2.7:4711", "connection.mtls" = true }
//!
//! [case.request]                           # all has a default: GET / of edge.example
//! method = "POST"
//! path = "/x?y=1"
//! authority = "a.example"
//! headers = { "x-a" = "1", "x-b" = ["2", "3"] }     # or [["x-a", "1"], …]
//! body = "…"                               # or body_base64, or body_chunks = ["a", "b"]
//! trailers = { "x-t" = "1" }
//!
//! [case.response]                          # the upstream's; 200 and empty by default
//! status = 200                             # also headers, body…, trailers
//!
//! [[case.calls]]                           # in order for each upstream; every call needs one, and each must be made
//! upstream = "keys"
//! response = { status = 200, body = "…" }  # or fails = "timeout" | "unreachable" | "too_large" | "reset"; to gRPC:
//!                                          # grpc = { messages = ["…"], status = 0, initial = {}, trailing = {} }
//! expect_request = { path = "/keys" }
//!
//! [case.expect]                            # what is left out may be anything, but for a failure
//! upstream = true                          # the request reaches the upstream
//! request = { method = "POST", path = "/x", headers = { "x-a" = "1" }, no_headers = ["x-c"], body = "…" }
//! response = { status = 200, headers = { "x-d" = "4" }, body_contains = "…", details = "…" }
//! closed = false                           # the connection is broken off
//! log = ["part of a line"]
//! no_log = ["part of no line"]
//! metrics = { "refused" = 3, "sizes" = { count = 2, sum = 7 } }   # totals after this case
//! properties = { "x.y" = "set by the plugin" }
//! failure = "part of the trap's report"    # the plugin fails
//! refused = "part of the reason"           # the plugin does not take this configuration
//! ```
//!
//! A body arrives in its chunks and then an end of its own, as in Envoy. Where the plugin waits, the next answer of the
//! script comes at once, else the clock jumps to the next tick; a plugin that waits for neither has failed.
//!
//! The other format is that of GoogleCloudPlatform/service-extensions ([`service_extensions`]).

pub mod bench;
mod calls;
mod compare;
mod diff;
mod drive;
mod environment;
mod exchange;
pub mod files;
pub mod inspect;
pub mod rehearse;
pub mod report;
mod rules;
mod run;
pub mod service_extensions;
mod stage;
pub mod suite;
mod trace;

pub use calls::MadeCall;
pub use compare::{Evidence, Mismatch, compare};
pub use drive::{Failures, HOLD_LIMIT, Outcome, Phase, Probe, Scene, Seen, conduct, write_request};
pub use environment::{Line, START, World};
pub use exchange::MemoryExchange;
pub use rules::Writes;
pub use run::{PUBLIC, RunOptions, exchange, run_file};
pub use stage::Stage;
pub use trace::{Entry, Trace};
