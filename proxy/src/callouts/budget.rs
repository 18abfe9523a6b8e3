//! What all calls out of a process may take together, and each tenant's share of it. What one plugin may take of its
//! tenant's is the host's to bound.

use super::ledger::{Full, Ledger, Part};
use std::sync::Arc;

/// Calls at once, over all plugins and upstreams. An HTTP/1.1 call has a connection, which is a descriptor.
const MAX_CALLS: usize = 2048;
/// Those of one tenant.
const MAX_CALLS_PER_TENANT: usize = 512;
/// Calls at once to one upstream, so that one that hangs leaves room for the others. A tenant's share of them is
/// the upstream's `calls_per_tenant`.
pub(super) const MAX_CALLS_PER_UPSTREAM: usize = 512;
/// Bytes of bodies and messages held for calls, over all plugins and upstreams.
const MAX_BYTES: usize = 128 * 1024 * 1024;
/// Those of one tenant.
const MAX_BYTES_PER_TENANT: usize = 32 * 1024 * 1024;

/// The process's budget.
#[derive(Debug)]
pub(super) struct Budget {
    calls: Arc<Ledger>,
    bytes: Arc<Ledger>,
}

/// The place of one call; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _all: Part,
    _upstream: Part,
}

/// Bytes that are held; free again when dropped.
pub(super) type Held = Part;

impl Default for Budget {
    fn default() -> Self {
        Self {
            calls: Ledger::new(MAX_CALLS, MAX_CALLS_PER_TENANT),
            bytes: Ledger::new(MAX_BYTES, MAX_BYTES_PER_TENANT),
        }
    }
}

impl Budget {
    /// Of which a tenant may have all that the others leave.
    #[cfg(test)]
    pub(super) fn new(calls: usize, bytes: usize) -> Self {
        Self { calls: Ledger::new(calls, calls), bytes: Ledger::new(bytes, bytes) }
    }

    /// A place for one more of a tenant's calls, to the upstream with these places.
    ///
    /// # Errors
    /// None is left for this tenant: the upstream's, or the process's.
    pub(super) fn place(&self, tenant: &Arc<str>, upstream: &Arc<Ledger>) -> Result<Place, Full> {
        Ok(Place { _all: self.calls.take(tenant, 1)?, _upstream: upstream.take(tenant, 1)? })
    }

    /// Holds `bytes` for a tenant.
    ///
    /// # Errors
    /// There is no room for them.
    pub(super) fn hold(&self, tenant: &Arc<str>, bytes: usize) -> Result<Held, Full> {
        self.bytes.take(tenant, bytes)
    }

    /// Bytes held now.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.bytes.taken()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_end_for_one_upstream_and_for_all() {
        let budget = Budget::new(4, 0);
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        let (a, b) = (Ledger::new(1, 1), Ledger::new(10, 10));
        let first = budget.place(&one, &a).unwrap();
        assert_eq!(budget.place(&one, &a).unwrap_err(), Full, "the upstream's");
        let _second = budget.place(&one, &b).unwrap();
        assert_eq!(budget.place(&one, &b).unwrap_err(), Full, "the process's for this tenant");
        let _other = budget.place(&two, &b).unwrap();
        drop(first);
        assert!(budget.place(&one, &a).is_ok());
    }
}
