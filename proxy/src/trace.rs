//! `traceparent` (W3C Trace Context, level 1): passed on, or made.

use coditect_auth::Entropy;
use std::fmt;

/// A request's place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceParent {
    trace: u128,
    parent: u64,
    sampled: bool,
}

impl TraceParent {
    /// A new trace.
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        let mut random = [0u8; 24];
        entropy.fill(&mut random);
        let (trace, parent) = random.split_at(16);
        Self {
            trace: u128::from_be_bytes(trace.try_into().unwrap_or_default()).max(1),
            parent: u64::from_be_bytes(parent.try_into().unwrap_or_default()).max(1),
            sampled: false,
        }
    }

    /// The client's trace with this span as its parent; this one where the client sent none that is valid.
    pub(crate) fn joined(self, header: Option<&[u8]>) -> Self {
        header.and_then(Self::parse).map_or(self, |client| Self { parent: self.parent, ..client })
    }

    fn parse(header: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(header).ok()?;
        let mut parts = text.split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        // Version 00 has four parts; a later one may have more, which are not ours to read.
        let sound = hex(version, 2)
            && version != "ff"
            && hex(trace, 32)
            && hex(parent, 16)
            && hex(flags, 2)
            && (version != "00" || parts.next().is_none());
        if !sound {
            return None;
        }
        let parsed = Self {
            trace: u128::from_str_radix(trace, 16).ok()?,
            parent: u64::from_str_radix(parent, 16).ok()?,
            sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
        };
        (parsed.trace != 0 && parsed.parent != 0).then_some(parsed)
    }

    /// The trace's id, as logs show it.
    pub(crate) fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.parent, u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use coditect_auth::SeededEntropy;

    #[test]
    fn a_valid_trace_goes_on_with_a_new_parent() {
        let client = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let ours = TraceParent::new(&SeededEntropy::new(1)).joined(Some(client));
        assert_eq!(ours.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(ours.to_string().ends_with("-01") && !ours.to_string().contains("00f067aa0ba902b7"));
        assert_eq!(TraceParent::parse(ours.to_string().as_bytes()), Some(ours));
    }

    #[test]
    fn anything_else_starts_a_new_one() {
        for header in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert_eq!(TraceParent::parse(header.as_bytes()), None, "{header}");
        }
        assert!(
            TraceParent::parse(b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").is_some()
        );
    }
}
