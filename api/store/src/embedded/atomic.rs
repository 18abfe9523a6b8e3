//! What atomic mutations do to a value. The rules are FoundationDB's for API versions from 510 on
//! (`fdbclient/include/fdbclient/Atomic.h`): numbers are little-endian and as wide as the operand.

use std::cmp::Ordering;

use bytes::Bytes;

use crate::contract::AtomicOp;

/// The value after the mutation; `None` if the key is gone.
pub(super) fn apply(op: AtomicOp, stored: Option<&[u8]>, operand: &Bytes) -> Option<Bytes> {
    if op == AtomicOp::CompareAndClear {
        return stored.filter(|stored| *stored != operand.as_ref()).map(Bytes::copy_from_slice);
    }
    let Some(stored) = stored else {
        return Some(operand.clone());
    };
    let width = operand.len();
    let number = (0..width).map(|i| stored.get(i).copied().unwrap_or(0));
    let stored_wins = match op {
        AtomicOp::Add => return Some(sum(number, operand)),
        // FoundationDB lets the operand win over a value that is there but empty.
        AtomicOp::Max => !stored.is_empty() && compare(number.clone(), operand) == Ordering::Greater,
        AtomicOp::Min => compare(number.clone(), operand) == Ordering::Less,
        AtomicOp::CompareAndClear => false,
    };
    Some(if stored_wins { number.collect() } else { operand.clone() })
}

fn sum(number: impl Iterator<Item = u8>, operand: &[u8]) -> Bytes {
    let mut carry = false;
    number
        .zip(operand)
        .map(|(a, b)| {
            let (sum, over) = a.overflowing_add(*b);
            let (sum, over_again) = sum.overflowing_add(u8::from(carry));
            carry = over || over_again;
            sum
        })
        .collect()
}

/// Compares two little-endian numbers of the same width.
fn compare(number: impl DoubleEndedIterator<Item = u8>, operand: &[u8]) -> Ordering {
    number.rev().cmp(operand.iter().rev().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// operation, stored, operand, result
    type Case = (AtomicOp, Option<&'static [u8]>, &'static [u8], Option<&'static [u8]>);

    #[test]
    fn the_rules_of_each_operation() {
        use AtomicOp::{Add, CompareAndClear, Max, Min};
        let cases: [Case; 22] = [
            (Add, None, b"\x02\x00", Some(b"\x02\x00")),
            (Add, Some(b"\xff\x00"), b"\x01\x00", Some(b"\x00\x01")),
            (Add, Some(b"\xff\xff"), b"\x01\x00", Some(b"\x00\x00")),
            (Add, Some(b"\xff\xff"), b"\xff\xff", Some(b"\xfe\xff")),
            (Add, Some(b"\x05"), b"\x01\x00\x00", Some(b"\x06\x00\x00")),
            (Add, Some(b"\xff\x07\x09"), b"\x01", Some(b"\x00")),
            (Add, Some(b""), b"\x01", Some(b"\x01")),
            (Add, Some(b"\x01"), b"", Some(b"")),
            (Max, None, b"\x00", Some(b"\x00")),
            (Max, Some(b"\x00\x01"), b"\xff\x00", Some(b"\x00\x01")),
            (Max, Some(b"\xff\x00"), b"\x00\x01", Some(b"\x00\x01")),
            (Max, Some(b"\x02\x09"), b"\x01", Some(b"\x02")),
            (Max, Some(b""), b"\x00", Some(b"\x00")),
            (Min, None, b"\x07", Some(b"\x07")),
            (Min, Some(b"\x00\x01"), b"\xff\x00", Some(b"\xff\x00")),
            (Min, Some(b"\xff\x00"), b"\x00\x01", Some(b"\xff\x00")),
            (Min, Some(b""), b"\x01", Some(b"\x00")),
            (Min, Some(b"\x03"), b"", Some(b"")),
            (CompareAndClear, Some(b"ab"), b"ab", None),
            (CompareAndClear, Some(b"ab"), b"a", Some(b"ab")),
            (CompareAndClear, Some(b"a"), b"a\0", Some(b"a")),
            (CompareAndClear, None, b"", None),
        ];
        for (op, stored, operand, expected) in cases {
            let result = apply(op, stored, &Bytes::from_static(operand));
            assert_eq!(result.as_deref(), expected, "{op:?} of {stored:?} and {operand:?}");
        }
    }
}
