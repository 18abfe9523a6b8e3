//! Tests of the whole: the real binary, real sockets, nothing mocked but the upstreams. One file per subject.
//!
//! They need the binary (`cargo build -p coditect-edge`) and the guest plugins (`plugins/examples/build`); `tests/run`
//! sees to both.

// A test fails by panicking, and tells why on standard error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::print_stdout)]
// A test has a stack of its own.
#![allow(clippy::large_futures)]

mod architecture;
mod audit;
mod contract;
mod files;
mod gate;
mod hostile;
mod journey;
mod keys;
mod observability;
mod outages;
mod people;
mod plugin_tools;
mod plugins;
mod plugins_api;
mod plugins_attributes;
mod plugins_calls;
mod plugins_live;
mod plugins_phases;
mod proxying;
mod sandbox;
mod shutdown;
mod startup;
mod store_commands;
mod storms;
mod support;
mod tickets;
mod tunnels;
mod workspaces;
