//! The change feed: an ordered log of what every replica must learn of at once.
//!
//! A change is appended in the transaction that makes it ([`append`]), so it is in the feed exactly if it happened,
//! in the order of the commits. Every replica follows the feed ([`Follower`]) and is woken by a watch. The feed is
//! kept for [`RETAINED`]; a follower that was away for longer is told to reload.
//!
//! In the store: `changes` (stamp → record), `changes_head` (the stamp of the newest), `changes_horizon` (the stamp of
//! the newest that was removed). The stamps are versionstamps, put in by the store at commit.

mod append;
mod change;
mod follow;
mod position;
mod trim;

use std::time::Duration;

pub use self::append::append;
pub use self::change::{Change, Recorded};
pub use self::follow::{Followed, Follower, POLL};
pub use self::position::Position;
pub use self::trim::trim;

/// How long changes are kept.
pub const RETAINED: Duration = Duration::from_secs(60 * 60);
