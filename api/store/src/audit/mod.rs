//! The audit trail: who did what to which object from where, in a chain of hashes for each tenant.
//!
//! - [`AuditEvent`] is what the trail is told, [`AuditLog`] where, [`AuditWriter`] the task that writes what waits
//!   together in one transaction for each tenant.
//! - Each entry has a place in its tenant's chain (from 1, without gaps), the hash of the entry before and its own
//!   ([`chain`] says over what). The tenant's head, the place and hash of the newest entry, changes in the same
//!   transaction. Entries written before there were chains (format 1) stay readable, as entries before the chain's
//!   beginning; nothing vouches for them.
//! - [`verify`] walks a chain and finds what was changed, removed, inserted or exchanged. A tail that was cut off
//!   together with the head can only be found against a head that was kept elsewhere: that is what exported, signed
//!   heads are for.

pub mod chain;
mod event;
pub(crate) mod fit;
mod heads;
mod log;
mod problem;
mod verify;
mod walk;
mod writer;

pub use event::{AuditAction, AuditEvent, OPERATORS};
pub use fit::MAX_DETAILS_BYTES;
pub use heads::{Heads, heads};
pub use log::{AuditCounts, AuditLog};
pub use problem::{AuditFault, AuditProblem};
pub use verify::{AuditReport, MAX_FAULTS, TrailReport, verify, verify_tenant};
pub use writer::{AuditWriter, FLUSH_DEADLINE};
