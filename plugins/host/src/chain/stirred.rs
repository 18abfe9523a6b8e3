//! Hearing of either message at once, for an embedder that waits for many things.

use super::{Chain, Stop};
use crate::abi::Direction;

impl Chain {
    /// Waits until a plugin lets go of something, and says of which message, for [`released`](Self::released) to give
    /// it; or until one ends the exchange, which it may do without holding anything. Cancellation safe.
    ///
    /// # Errors
    /// The exchange goes no further.
    pub async fn stirred(&mut self) -> Result<Direction, Stop> {
        loop {
            self.bell.was_rung();
            self.fates()?;
            for direction in [Direction::Request, Direction::Response] {
                if self.filters.iter().any(|filter| filter.was_released(direction)) {
                    return Ok(direction);
                }
            }
            self.bell.heard().await;
        }
    }
}
