//! Flow control by acknowledgements: how much of the output sent to a viewer it has not yet processed.

use crate::limits::{ACK_HIGH_BYTES, ACK_LOW_BYTES};

/// Counts one viewer's output.
#[derive(Debug, Default)]
pub(super) struct Window {
    sent: u64,
    acknowledged: u64,
    paused: bool,
}

impl Window {
    /// Whether more output may be sent.
    pub(super) fn is_open(&self) -> bool {
        !self.paused
    }

    /// `bytes` more were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        self.paused |= self.outstanding() > ACK_HIGH_BYTES;
    }

    /// `total` bytes were processed since the beginning; more than were sent counts as all of them.
    pub(super) fn acknowledged(&mut self, total: u64) {
        self.acknowledged = total.min(self.sent);
        self.paused &= self.outstanding() >= ACK_LOW_BYTES;
    }

    fn outstanding(&self) -> u64 {
        self.sent - self.acknowledged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_closes_above_the_high_mark_and_opens_below_the_low_one() {
        let mut window = Window::default();
        window.sent(100_000);
        assert!(window.is_open());
        window.sent(1);
        assert!(!window.is_open());
        window.acknowledged(95_001);
        assert!(!window.is_open());
        window.acknowledged(95_002);
        assert!(window.is_open());
    }

    #[test]
    fn too_large_an_acknowledgement_is_no_credit() {
        let mut window = Window::default();
        window.sent(10);
        window.acknowledged(u64::MAX);
        window.sent(100_001);
        assert!(!window.is_open());
    }
}
