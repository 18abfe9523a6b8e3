//! Looking into a store as it is: keys by their paths, values in a readable form, sizes by family. For the
//! `store` commands; nothing here writes.

mod list;
mod stats;
mod value;

pub use list::{Entry, List};
pub use stats::{FamilyStats, Stats};
pub use value::{Content, Described, describe, redact};
