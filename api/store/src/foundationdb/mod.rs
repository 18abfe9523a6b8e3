//! The FoundationDB backend. Behind the cargo feature `foundationdb`, since linking needs the client library
//! `libfdb_c`; the types of its crate stay in this module.
//!
//! - `database`: the backend. `transaction`: the contract's operations are the client library's, so that its
//!   rules (read-your-writes, conflicts, limits) are the cluster's own. `watches`: who waits for a key.
//! - `network`: the client library's thread, one for the process. `options`: what it and a database take.
//! - `errors`: what the library's error codes mean. Also tested where the feature is off.
//!
//! Nothing is retried in here: [`crate::Store::run`] does, with a bound. Every wait has a limit: FoundationDB's
//! own for a transaction, and a little longer one around it in case the network thread is gone.

#[cfg(feature = "foundationdb")]
mod database;
mod errors;
#[cfg(feature = "foundationdb")]
mod network;
#[cfg(feature = "foundationdb")]
mod options;
#[cfg(feature = "foundationdb")]
mod transaction;
#[cfg(feature = "foundationdb")]
mod watches;

#[cfg(feature = "foundationdb")]
pub use self::database::{FoundationDb, OpenFoundationDbError};
#[cfg(feature = "foundationdb")]
pub use self::errors::Fault as FoundationDbFault;
#[cfg(feature = "foundationdb")]
pub use self::options::{FoundationDbOptions, NetworkOptions, TlsOptions};
