//! The store as its callers see it: the contract's rules, the embedded backend's promises, the repositories.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod anomalies;
mod backup;
mod blobs;
mod changes;
mod crash;
mod disk_full;
mod dump;
mod embedded;
mod faults;
#[cfg(feature = "foundationdb")]
mod foundationdb;
mod identity;
mod inspect;
mod limits;
mod model;
mod opening;
mod reads;
mod repositories;
mod support;
mod unreliable;
