//! What plugins did and what their guests count, read when metrics are scraped.

use crate::metrics::OTHER_PLUGINS;
use coditect_proxy_wasm::{MetricValue, Plugin, PluginStats, WeakPlugin};
use prometheus::core::{Collector, Desc};
use prometheus::{IntCounterVec, IntGaugeVec, Opts, proto};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// The most series of guests' own metrics of one plugin of the configuration or the operators.
const MAX_PLUGIN_SERIES: usize = 500;
/// The most of all of them.
const MAX_OPERATORS_SERIES: usize = 2000;
/// The most series of guests' own metrics of one tenant's own plugins; fewer where there are so many tenants that these
/// would be more than [`MAX_TENANTS_SERIES`]: nobody has another's.
const MAX_TENANT_SERIES: usize = 100;
/// The most of all tenants.
const MAX_TENANTS_SERIES: usize = 2000;
/// The most bytes of a guest's name for a metric that are kept in its label.
const MAX_NAME_BYTES: usize = 128;

/// A number of [`PluginStats`], its name and help.
type Stat = (&'static str, &'static str, fn(&PluginStats) -> u64);

const COUNTERS: [Stat; 6] = [
    (
        "coditect_plugin_instances_shared_total",
        "Streams that shared a busy instance because their tenant had all it may have.",
        |stats| stats.instances_shared,
    ),
    ("coditect_plugin_instances_evicted_total", "Idle instances that made room for others.", |stats| {
        stats.instances_evicted
    }),
    (
        "coditect_plugin_exhausted_total",
        "Streams refused because no instance could be had: plugin_host.max_instances is too small.",
        |stats| stats.exhausted,
    ),
    (
        "coditect_plugin_refused_in_quarantine_total",
        "Streams refused because the plugin is in quarantine for their tenant.",
        |stats| stats.refused_in_quarantine,
    ),
    (
        "coditect_plugin_refused_busy_total",
        "Streams and events refused because too much of the plugin's work waited: its starts, or, after it crossed its CPU \
         budget for a tenant, its callbacks for that tenant.",
        |stats| stats.refused_busy,
    ),
    ("coditect_plugin_log_lines_dropped_total", "Log lines of guests beyond their plugin's rate.", |stats| {
        stats.log_lines_dropped
    }),
];

const GAUGES: [Stat; 2] = [
    ("coditect_plugin_tenants", "Tenants that have instances of the plugin.", |stats| stats.tenants),
    ("coditect_plugin_quarantined", "Tenants the plugin is in quarantine for.", |stats| stats.quarantined),
];

/// The plugins at work.
#[derive(Clone, Default)]
pub(crate) struct Guests(Arc<Mutex<Vec<Watched<WeakPlugin>>>>);

/// A plugin whose numbers are told.
struct Watched<P> {
    /// What it is counted under: its owner's name and its own.
    label: String,
    /// Whose own it is, where it is a tenant's.
    tenant: Option<Uuid>,
    plugin: P,
}

impl Guests {
    /// Has a plugin's numbers told for as long as it lives.
    pub(crate) fn watch(&self, label: &str, tenant: Option<Uuid>, plugin: &Plugin) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|watched| watched.plugin.upgrade().is_some());
        watched.push(Watched { label: label.to_owned(), tenant, plugin: plugin.downgrade() });
    }

    /// Ends the quarantines of all plugins: an operator asked for it.
    pub(crate) fn release_quarantines(&self) {
        for Watched { label, plugin, .. } in self.alive() {
            for quarantine in plugin.quarantined() {
                if plugin.release(&quarantine.tenant) {
                    tracing::info!(plugin = label, tenant = &*quarantine.tenant, "quarantine lifted");
                }
            }
        }
    }

    fn alive(&self) -> Vec<Watched<Plugin>> {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = watched.iter().filter_map(|Watched { label, tenant, plugin }| {
            Some(Watched { label: label.clone(), tenant: *tenant, plugin: plugin.upgrade()? })
        });
        alive.collect()
    }
}

/// How many series of guests' own metrics there may still be in a scrape.
struct Room {
    operators: usize,
    tenants: usize,
    /// A tenant's share of all tenants'.
    share: usize,
    /// What each plugin of the configuration or the operators, by its label, and each tenant has taken of its share.
    taken: HashMap<Sharer, usize>,
    /// What has a place.
    series: HashSet<(String, String)>,
}

/// Who has a share.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Sharer {
    Plugin(String),
    Tenant(Uuid),
}

impl Room {
    /// Room for so many tenants, and for operators.
    fn new(tenants: usize) -> Self {
        Self {
            operators: MAX_OPERATORS_SERIES,
            tenants: MAX_TENANTS_SERIES,
            share: (MAX_TENANTS_SERIES / tenants.max(1)).clamp(1, MAX_TENANT_SERIES),
            taken: HashMap::new(),
            series: HashSet::new(),
        }
    }

    /// Whether there is a place for one; it is taken then.
    fn take(&mut self, label: &str, tenant: Option<Uuid>, metric: &str) -> bool {
        // Those who share a label would be added up.
        if label == OTHER_PLUGINS {
            return false;
        }
        let series = (label.to_owned(), metric.to_owned());
        // An old version that still has requests counts under the same name.
        if self.series.contains(&series) {
            return true;
        }
        let (sharer, share, total) = match tenant {
            Some(tenant) => (Sharer::Tenant(tenant), self.share, &mut self.tenants),
            None => (Sharer::Plugin(label.to_owned()), MAX_PLUGIN_SERIES, &mut self.operators),
        };
        let taken = self.taken.entry(sharer).or_default();
        if *taken >= share || *total == 0 {
            return false;
        }
        *taken += 1;
        *total -= 1;
        self.series.insert(series)
    }
}

/// Collects from the plugins alive. A counter goes back when a plugin is swapped, as at a restart.
pub(crate) struct GuestCollector {
    guests: Guests,
    families: Families,
}

/// The metric families, made anew for each scrape.
struct Families {
    counters: Vec<IntCounterVec>,
    gauges: Vec<IntGaugeVec>,
    budgets: IntCounterVec,
    guest_counters: IntCounterVec,
    guest_gauges: IntGaugeVec,
    guest_counts: IntCounterVec,
    guest_sums: IntCounterVec,
    left_out: IntGaugeVec,
}

impl Families {
    fn new() -> Result<Self, prometheus::Error> {
        let counter =
            |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let gauge = |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        let guest = ["plugin", "metric"];
        Ok(Self {
            counters: COUNTERS
                .iter()
                .map(|(name, help, _)| counter(name, help, &["plugin"]))
                .collect::<Result<_, _>>()?,
            gauges: GAUGES
                .iter()
                .map(|(name, help, _)| gauge(name, help, &["plugin"]))
                .collect::<Result<_, _>>()?,
            budgets: counter(
                "coditect_plugin_budget_crossed_total",
                "Times that guests crossed a budget, by its name.",
                &["plugin", "budget"],
            )?,
            guest_counters: counter("coditect_plugin_guest_counter", "Counters that guests define.", &guest)?,
            guest_gauges: gauge(
                "coditect_plugin_guest_gauge",
                "Gauges that guests define, summed over tenants.",
                &guest,
            )?,
            guest_counts: counter(
                "coditect_plugin_guest_histogram_count",
                "Observations in histograms that guests define.",
                &guest,
            )?,
            guest_sums: counter(
                "coditect_plugin_guest_histogram_sum",
                "Sum of the observations in histograms that guests define.",
                &guest,
            )?,
            left_out: gauge(
                "coditect_plugin_guest_metrics_left_out",
                "Metrics that guests define beyond their plugin's or their tenant's share, and are not told.",
                &["plugin"],
            )?,
        })
    }

    fn collectors(&self) -> impl Iterator<Item = &dyn Collector> {
        let counters = self.counters.iter().map(|family| family as &dyn Collector);
        let gauges = self.gauges.iter().map(|family| family as &dyn Collector);
        let others: [&dyn Collector; 6] = [
            &self.budgets,
            &self.guest_counters,
            &self.guest_gauges,
            &self.guest_counts,
            &self.guest_sums,
            &self.left_out,
        ];
        counters.chain(gauges).chain(others)
    }

    fn add(&self, watched: &Watched<Plugin>, room: &mut Room) {
        let Watched { label, tenant, plugin } = watched;
        let label = label.as_str();
        let stats = plugin.stats();
        for ((_, _, read), family) in COUNTERS.iter().zip(&self.counters) {
            family.with_label_values(&[label]).inc_by(read(&stats));
        }
        for ((_, _, read), family) in GAUGES.iter().zip(&self.gauges) {
            family.with_label_values(&[label]).add(signed(read(&stats)));
        }
        for (budget, crossed) in plugin.budgets_crossed() {
            self.budgets.with_label_values(&[label, budget]).inc_by(crossed);
        }
        for sample in plugin.metrics() {
            let name = &sample.name[..sample.name.floor_char_boundary(MAX_NAME_BYTES)];
            if !room.take(label, *tenant, name) {
                self.left_out.with_label_values(&[label]).inc();
                continue;
            }
            let labels = [label, name];
            match sample.value {
                MetricValue::Counter(value) => self.guest_counters.with_label_values(&labels).inc_by(value),
                MetricValue::Gauge(value) => self.guest_gauges.with_label_values(&labels).add(signed(value)),
                MetricValue::Histogram { count, sum } => {
                    self.guest_counts.with_label_values(&labels).inc_by(count);
                    self.guest_sums.with_label_values(&labels).inc_by(sum);
                }
            }
        }
    }
}

impl GuestCollector {
    /// # Errors
    /// A name is none Prometheus takes.
    pub(crate) fn new(guests: Guests) -> Result<Self, prometheus::Error> {
        Ok(Self { guests, families: Families::new()? })
    }
}

impl Collector for GuestCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.families.collectors().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        // Their names were taken once, so they are taken again.
        let Ok(families) = Families::new() else { return Vec::new() };
        let alive = self.guests.alive();
        let tenants: HashSet<Uuid> = alive.iter().filter_map(|watched| watched.tenant).collect();
        let mut room = Room::new(tenants.len());
        for watched in &alive {
            families.add(watched, &mut room);
        }
        families.collectors().flat_map(Collector::collect).collect()
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `wanted` metrics a sharer has a place for.
    fn taken(room: &mut Room, label: &str, tenant: Option<Uuid>, wanted: usize) -> usize {
        (0..wanted).filter(|n| room.take(label, tenant, &n.to_string())).count()
    }

    #[test]
    fn however_many_tenants_there_are_none_has_anothers_share() {
        for (tenants, share) in [(1, 100), (20, 100), (40, 50), (1999, 1)] {
            let mut room = Room::new(tenants);
            for tenant in 0..tenants {
                let taken =
                    taken(&mut room, &format!("{tenant}/p"), Some(Uuid::from_u128(tenant as u128)), 200);
                assert_eq!(taken, share, "{tenant} of {tenants}");
            }
            assert_eq!(taken(&mut room, "configured", None, 1000), MAX_PLUGIN_SERIES);
        }
    }

    #[test]
    fn all_have_a_bound_and_what_shares_a_label_is_left_out() {
        let mut room = Room::new(3000);
        let told = (0..3000).filter(|n| room.take(&format!("{n}/p"), Some(Uuid::from_u128(*n)), "m"));
        assert_eq!(told.count(), MAX_TENANTS_SERIES);
        let of_operators = (0..10).map(|n| taken(&mut room, &format!("operators/{n}"), None, 1000));
        assert_eq!(of_operators.sum::<usize>(), MAX_OPERATORS_SERIES);
        assert!(!Room::new(1).take(OTHER_PLUGINS, Some(Uuid::from_u128(1)), "m"));
        let mut room = Room::new(1);
        assert_eq!(taken(&mut room, "p", None, 10) + taken(&mut room, "p", None, 10), 20);
        assert_eq!(room.series.len(), 10, "two versions of one plugin have the same series");
    }
}
