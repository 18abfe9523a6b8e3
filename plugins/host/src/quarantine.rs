//! Quarantine: a plugin that keeps failing for a tenant is not started for that tenant any more.
//!
//! It ends when somebody releases the tenant, or with the plugin: a new version or configuration is a new
//! [`Plugin`](crate::Plugin) and starts clean.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most failures that a plugin can be allowed before it is quarantined.
pub const MAX_QUARANTINE_TRAPS: u32 = 1000;

/// Tenants of one plugin whose failures are remembered. Beyond it the one that failed least recently, and is not in
/// quarantine, is forgotten, or else the one longest in quarantine.
const MAX_TENANTS: usize = 16 * 1024;

/// A plugin that is in quarantine for a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// The plugin.
    pub plugin: Arc<str>,
    /// [`PluginConfig::version`](crate::PluginConfig).
    pub version: Arc<str>,
    /// The tenant it is not started for.
    pub tenant: Arc<str>,
    /// How many failures led to it: traps, and instances that did not start.
    pub traps: u32,
    /// The time they fell into.
    pub window: Duration,
    /// When it began, by [`Environment::monotonic_nanoseconds`](crate::Environment::monotonic_nanoseconds).
    pub since: u64,
    /// The last of the failures.
    pub cause: String,
}

/// Whose failures are counted, and how many are too many.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) plugin: Arc<str>,
    pub(crate) version: Arc<str>,
    /// 0: never.
    pub(crate) traps: u32,
    pub(crate) window: Duration,
}

/// One plugin's tenants that failed lately.
pub(crate) struct QuarantineTable {
    rule: Rule,
    tenants: Mutex<HashMap<Arc<str>, Record>>,
    /// How many of them are in quarantine: with none, a new stream takes no lock to find out.
    confined: AtomicUsize,
    closed: AtomicBool,
}

struct Record {
    /// Failures in the window, the oldest first; at most [`Rule::traps`]. In nanoseconds of the environment's clock.
    failures: VecDeque<u64>,
    quarantine: Option<Quarantine>,
}

impl Record {
    /// What is forgotten first is smallest.
    fn order(&self) -> (bool, u64) {
        let last = self.failures.back().copied().unwrap_or(0);
        self.quarantine.as_ref().map_or((false, last), |quarantine| (true, quarantine.since))
    }
}

impl QuarantineTable {
    pub(crate) fn new(rule: Rule) -> Self {
        Self {
            rule,
            tenants: Mutex::default(),
            confined: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Counts a failure. Gives the quarantine if this one began it.
    pub(crate) fn failed(
        &self,
        tenant: &Arc<str>,
        now: u64,
        cause: impl FnOnce() -> String,
    ) -> Option<Quarantine> {
        if self.rule.traps == 0 || self.closed.load(Ordering::Acquire) {
            return None;
        }
        let mut tenants = self.lock();
        if tenants.len() >= MAX_TENANTS && !tenants.contains_key(tenant) {
            self.forget_one(&mut tenants, now);
        }
        let new = || Record { failures: VecDeque::new(), quarantine: None };
        let record = tenants.entry(Arc::clone(tenant)).or_insert_with(new);
        if record.quarantine.is_some() {
            return None;
        }
        record.failures.push_back(now);
        let from = self.window_start(now);
        record.failures.retain(|at| *at >= from);
        if record.failures.len() < self.rule.traps as usize {
            return None;
        }
        record.failures.clear();
        let quarantine = self.quarantine(tenant, now, cause());
        record.quarantine = Some(quarantine.clone());
        self.confined.fetch_add(1, Ordering::Release);
        Some(quarantine)
    }

    fn quarantine(&self, tenant: &Arc<str>, since: u64, cause: String) -> Quarantine {
        let Rule { plugin, version, traps, window } = self.rule.clone();
        Quarantine { plugin, version, tenant: Arc::clone(tenant), traps, window, since, cause }
    }

    fn window_start(&self, now: u64) -> u64 {
        now.saturating_sub(u64::try_from(self.rule.window.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Makes room: all whose failures are out of the window go, or else the one that matters least.
    fn forget_one(&self, tenants: &mut HashMap<Arc<str>, Record>, now: u64) {
        let from = self.window_start(now);
        tenants.retain(|_, record| record.quarantine.is_some() || record.failures.back() >= Some(&from));
        if tenants.len() < MAX_TENANTS {
            return;
        }
        let least =
            tenants.iter().min_by_key(|(_, record)| record.order()).map(|(tenant, _)| Arc::clone(tenant));
        if let Some(removed) = least.and_then(|tenant| tenants.remove(&tenant))
            && removed.quarantine.is_some()
        {
            self.confined.fetch_sub(1, Ordering::Release);
        }
    }

    /// Whether nothing is to be started for the tenant. An atomic load where nobody is in quarantine.
    pub(crate) fn holds(&self, tenant: &str) -> bool {
        self.confined.load(Ordering::Acquire) != 0
            && self.lock().get(tenant).is_some_and(|record| record.quarantine.is_some())
    }

    /// How many tenants are in quarantine.
    pub(crate) fn count(&self) -> usize {
        self.confined.load(Ordering::Acquire)
    }

    /// All in quarantine, sorted by tenant.
    pub(crate) fn list(&self) -> Vec<Quarantine> {
        let mut list: Vec<Quarantine> =
            self.lock().values().filter_map(|record| record.quarantine.clone()).collect();
        list.sort_by(|left, right| left.tenant.cmp(&right.tenant));
        list
    }

    /// Lets the tenant go, with nothing counted against it. Whether it was in quarantine.
    pub(crate) fn release(&self, tenant: &str) -> bool {
        let mut tenants = self.lock();
        let held = tenants.remove(tenant).is_some_and(|record| record.quarantine.is_some());
        if held {
            self.confined.fetch_sub(1, Ordering::Release);
        }
        held
    }

    /// Counts no more: the plugin is gone, and what its instances do at their end concerns nobody.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Record>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn table(traps: u32) -> QuarantineTable {
        let window = Duration::from_secs(60);
        QuarantineTable::new(Rule { plugin: "p".into(), version: "1".into(), traps, window })
    }

    fn failed(table: &QuarantineTable, tenant: &str, second: u64) -> bool {
        table.failed(&tenant.into(), second * SECOND, || "boom".to_owned()).is_some()
    }

    #[test]
    fn as_many_as_allowed_within_the_window_begin_it_once() {
        let table = table(3);
        assert!(!failed(&table, "a", 0));
        assert!(!failed(&table, "a", 30));
        assert!(!failed(&table, "a", 61), "the first is out of the window");
        assert!(!table.holds("a"));
        assert!(failed(&table, "a", 90), "30, 61 and 90");
        assert!(!failed(&table, "a", 91), "it is already");
        assert!(table.holds("a") && !table.holds("b"));
        let list = table.list();
        assert_eq!((list.len(), &*list[0].tenant, list[0].since), (1, "a", 90 * SECOND));
        assert_eq!((list[0].traps, &*list[0].cause), (3, "boom"));
    }

    #[test]
    fn who_is_released_starts_clean() {
        let table = table(2);
        assert!(!failed(&table, "a", 0) && failed(&table, "a", 0));
        assert!(table.release("a") && !table.release("a") && !table.release("b"));
        assert_eq!((table.holds("a"), table.count()), (false, 0));
        assert!(!failed(&table, "a", 1) && failed(&table, "a", 1));
    }

    #[test]
    fn zero_is_never_and_a_closed_one_counts_no_more() {
        let never = table(0);
        let closed = table(1);
        closed.close();
        for _ in 0..10 {
            assert!(!failed(&never, "a", 0) && !failed(&closed, "a", 0));
        }
    }

    #[test]
    fn the_tenants_remembered_are_bounded_and_those_in_quarantine_go_last() {
        let table = table(2);
        assert!(!failed(&table, "held", 0) && failed(&table, "held", 0));
        for number in 0..MAX_TENANTS + 10 {
            failed(&table, &format!("tenant {number}"), 1);
        }
        assert_eq!(table.lock().len(), MAX_TENANTS);
        assert!(table.holds("held"));
        failed(&table, "later", 1000);
        assert_eq!(table.lock().len(), 2, "only who is in quarantine or failed in the window is remembered");
    }
}
