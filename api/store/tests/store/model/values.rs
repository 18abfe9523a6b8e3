//! What a write makes of a value, said a second time: with numbers instead of bytes, so that a mistake in the
//! store's own arithmetic is not repeated here.

use coditect_store::contract::AtomicOp;

/// A write to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Write {
    Set(Vec<u8>),
    Clear,
    /// With an operand of at most 8 bytes.
    Atomic(AtomicOp, Vec<u8>),
}

impl Write {
    /// The value after the write.
    pub(crate) fn apply(&self, stored: Option<Vec<u8>>) -> Option<Vec<u8>> {
        match self {
            Self::Set(value) => Some(value.clone()),
            Self::Clear => None,
            Self::Atomic(AtomicOp::CompareAndClear, operand) => stored.filter(|stored| stored != operand),
            Self::Atomic(op, operand) => {
                let Some(stored) = stored else { return Some(operand.clone()) };
                if *op == AtomicOp::Max && stored.is_empty() {
                    return Some(operand.clone());
                }
                let width = operand.len();
                let (a, b) = (number(&stored, width), number(operand, width));
                let result = match op {
                    AtomicOp::Add => a.wrapping_add(b),
                    AtomicOp::Min => a.min(b),
                    AtomicOp::Max => a.max(b),
                    AtomicOp::CompareAndClear => unreachable!("handled above"),
                };
                Some(result.to_le_bytes()[..width].to_vec())
            }
        }
    }

    /// True if the value after it does not depend on the one before.
    pub(crate) fn is_blind(&self) -> bool {
        !matches!(self, Self::Atomic(..))
    }
}

/// The first `width` bytes as a little-endian number.
fn number(bytes: &[u8], width: usize) -> u64 {
    bytes.iter().take(width).rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
