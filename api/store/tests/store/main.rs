//! The store as its callers see it: the contract's rules, the embedded backend's promises, the repositories.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod audit_log;
mod backup;
mod blobs;
mod changes;
mod conformance;
mod crash;
#[cfg(feature = "foundationdb")]
mod differential;
mod disk_full;
mod dump;
mod embedded;
mod embedded_limits;
mod faults;
mod faulty;
#[cfg(feature = "foundationdb")]
mod foundationdb;
mod identity;
mod inspect;
mod model;
mod opening;
mod repositories;
mod seeds;
mod support;
mod workload;
