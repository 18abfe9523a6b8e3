//! What plugins did and what their guests count, read when metrics are scraped.

use coditect_proxy_wasm::{MetricValue, Plugin, PluginStats, WeakPlugin};
use prometheus::core::{Collector, Desc};
use prometheus::{IntCounterVec, IntGaugeVec, Opts, proto};
use std::sync::{Arc, Mutex, PoisonError};

/// The most series of guests' own metrics, over all plugins. Beyond it they are left out.
const MAX_GUEST_SERIES: usize = 2000;
/// The most bytes of a guest's name for a metric that are kept in its label.
const MAX_NAME_BYTES: usize = 128;

/// A number of [`PluginStats`], its name and help.
type Stat = (&'static str, &'static str, fn(&PluginStats) -> u64);

const COUNTERS: [Stat; 5] = [
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
    ("coditect_plugin_log_lines_dropped_total", "Log lines of guests beyond their plugin's rate.", |stats| {
        stats.log_lines_dropped
    }),
];

const GAUGES: [Stat; 2] = [
    ("coditect_plugin_tenants", "Tenants that have instances of the plugin.", |stats| stats.tenants),
    ("coditect_plugin_quarantined", "Tenants the plugin is in quarantine for.", |stats| stats.quarantined),
];

/// The plugins at work, by the label they are counted under.
#[derive(Clone, Default)]
pub(crate) struct Guests(Arc<Mutex<Vec<(String, WeakPlugin)>>>);

impl Guests {
    /// Has a plugin's numbers told for as long as it lives.
    pub(crate) fn watch(&self, label: &str, plugin: &Plugin) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|(_, plugin)| plugin.upgrade().is_some());
        watched.push((label.to_owned(), plugin.downgrade()));
    }

    /// Ends the quarantines of all plugins: an operator asked for it.
    pub(crate) fn release_quarantines(&self) {
        for (label, plugin) in self.alive() {
            for quarantine in plugin.quarantined() {
                if plugin.release(&quarantine.tenant) {
                    tracing::info!(plugin = label, tenant = &*quarantine.tenant, "quarantine lifted");
                }
            }
        }
    }

    fn alive(&self) -> Vec<(String, Plugin)> {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.iter().filter_map(|(label, plugin)| Some((label.clone(), plugin.upgrade()?))).collect()
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
        })
    }

    fn collectors(&self) -> impl Iterator<Item = &dyn Collector> {
        let counters = self.counters.iter().map(|family| family as &dyn Collector);
        let gauges = self.gauges.iter().map(|family| family as &dyn Collector);
        let others: [&dyn Collector; 5] =
            [&self.budgets, &self.guest_counters, &self.guest_gauges, &self.guest_counts, &self.guest_sums];
        counters.chain(gauges).chain(others)
    }

    fn add(&self, label: &str, plugin: &Plugin, room: &mut usize) {
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
            let Some(left) = room.checked_sub(1) else { return };
            *room = left;
            let name = &sample.name[..sample.name.floor_char_boundary(MAX_NAME_BYTES)];
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
        let mut room = MAX_GUEST_SERIES;
        for (label, plugin) in self.guests.alive() {
            families.add(&label, &plugin, &mut room);
        }
        families.collectors().flat_map(Collector::collect).collect()
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
