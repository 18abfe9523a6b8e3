//! Something there is only so much of, shared between tenants so that none can keep it from the others.
//!
//! A tenant gets more only where it then has no more than its share, and no more than was left before. So one alone
//! gets at most half of all, a second one half of the rest, and whoever comes first to it finds something left for as
//! long as few are greedy at once (Choudhury and Hahne, "Dynamic queue length thresholds", 1998, with a factor of 1).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What there is, and who has how much of it.
#[derive(Debug)]
pub(super) struct Ledger {
    most: usize,
    share: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Never 0.
    by_tenant: HashMap<Arc<str>, usize>,
}

/// What one holder has; given back when dropped.
#[derive(Debug)]
pub(super) struct Part {
    tenant: Arc<str>,
    amount: usize,
    ledger: Arc<Ledger>,
}

/// There is not so much left for this tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// Whether a tenant that has `own` may have `more` where `free` is left to all.
pub(super) fn fair(own: usize, more: usize, free: usize) -> bool {
    own.checked_add(more).is_some_and(|wanted| wanted <= free)
}

impl Ledger {
    /// For `most` over all tenants, and `share` of one.
    pub(super) fn new(most: usize, share: usize) -> Arc<Self> {
        Arc::new(Self { most, share, taken: Mutex::default() })
    }

    /// `amount` for this tenant.
    ///
    /// # Errors
    /// It is not to be had.
    pub(super) fn take(self: &Arc<Self>, tenant: &Arc<str>, amount: usize) -> Result<Part, Full> {
        let mut part = Part { tenant: Arc::clone(tenant), amount: 0, ledger: Arc::clone(self) };
        part.set(amount)?;
        Ok(part)
    }

    /// What is taken now.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// Has `amount` in place of what it had.
    ///
    /// # Errors
    /// It is not to be had. Nothing changes.
    pub(super) fn set(&mut self, amount: usize) -> Result<(), Full> {
        let mut taken = self.ledger.lock();
        let own = taken.by_tenant.get(&self.tenant).copied().unwrap_or(0);
        if let Some(more) = amount.checked_sub(self.amount).filter(|more| *more > 0) {
            let within = own.checked_add(more).is_some_and(|wanted| wanted <= self.ledger.share);
            if !within || !fair(own, more, self.ledger.most.saturating_sub(taken.all)) {
                return Err(Full);
            }
        }
        taken.all = taken.all - self.amount + amount;
        match own - self.amount + amount {
            0 => drop(taken.by_tenant.remove(&self.tenant)),
            own => drop(taken.by_tenant.insert(Arc::clone(&self.tenant), own)),
        }
        self.amount = amount;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _always_to_be_had = self.set(0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tenants() -> [Arc<str>; 3] {
        ["a", "b", "c"].map(Arc::from)
    }

    #[test]
    fn a_tenant_has_no_more_than_its_share_and_gives_it_back() {
        let [a, b, _] = tenants();
        let ledger = Ledger::new(100, 10);
        let mut first = ledger.take(&a, 4).unwrap();
        let second = ledger.take(&a, 6).unwrap();
        assert_eq!(first.set(5), Err(Full));
        assert_eq!(ledger.taken(), 10, "nothing changed");
        let other = ledger.take(&b, 10).unwrap();
        first.set(1).unwrap();
        assert_eq!(ledger.taken(), 17);
        drop(second);
        first.set(10).unwrap();
        drop((first, other));
        assert_eq!((ledger.taken(), ledger.lock().by_tenant.len()), (0, 0));
        assert_eq!(ledger.take(&a, usize::MAX).unwrap_err(), Full);
    }

    #[test]
    fn whoever_takes_all_it_can_leaves_something_to_the_next() {
        let ledger = Ledger::new(64, 64);
        let all: Vec<Vec<Part>> = tenants()
            .iter()
            .map(|tenant| std::iter::from_fn(|| ledger.take(tenant, 1).ok()).collect())
            .collect();
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [32, 16, 8]);
        assert_eq!(Ledger::new(1, 1).take(&tenants()[0], 1).map(|part| part.amount), Ok(1), "also of one");
    }
}
