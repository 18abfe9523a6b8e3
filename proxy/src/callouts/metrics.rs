//! Series of calls out. Their labels come from the configuration, from plugins' names and from a fixed list.
//!
//! Tenants name their plugins as they like, and upload as many as they like one after the other, so how many names
//! become series is bounded: in all, for each tenant, and in time.

use crate::metrics::Open;
use coditect_proxy_wasm::CallSource;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Seconds; up to the longest a call may take.
const BUCKETS: [f64; 12] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];
/// Pairs of plugin and upstream that have series of their own.
const MAX_PAIRS: usize = 512;
/// Those that calls for one tenant were the first of.
const MAX_PAIRS_PER_TENANT: usize = 32;
/// A pair whose last call was begun so long ago makes room where room is lacking.
const FORGET_AFTER: Duration = Duration::from_secs(3600);
/// The most bytes of a plugin's name that are kept in its label.
const MAX_NAME_BYTES: usize = 64;
/// The plugin and the upstream of all further pairs.
const OTHER: &str = "other";

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With a response, or with gRPC's status 0.
    Ok,
    /// With another gRPC status of the upstream's.
    Status,
    Timeout,
    Unreachable,
    TooLarge,
    Reset,
    /// The guest gave it up, or nobody waited any more.
    Cancelled,
    /// It was never begun: no such upstream, no room, or what cannot be sent.
    Refused,
}

/// The values of `outcome`, in the order of [`Outcome`].
const OUTCOMES: [&str; 8] =
    ["ok", "status", "timeout", "unreachable", "too_large", "reset", "cancelled", "refused"];

/// The series of a plugin and an upstream.
type ByPair = HashMap<(Arc<str>, Arc<str>), Known>;

/// A pair that has series.
struct Known {
    series: Arc<Series>,
    /// Whose call was its first.
    tenant: Arc<str>,
    used: Instant,
}

/// The metrics of calls out.
#[derive(Clone)]
pub(crate) struct CalloutMetrics {
    ended: IntCounterVec,
    in_flight: IntGaugeVec,
    seconds: HistogramVec,
    known: Arc<Mutex<ByPair>>,
}

/// The series of one plugin's calls to one upstream.
#[derive(Debug)]
pub(super) struct Series {
    ended: [IntCounter; 8],
    in_flight: IntGauge,
    seconds: Histogram,
}

/// One call as it is counted. Dropped before its end, it was cancelled.
pub(super) struct Counted {
    series: Arc<Series>,
    _open: Open,
    began: Instant,
    ended: bool,
}

impl CalloutMetrics {
    /// Makes the metrics and registers them.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let labels = &["plugin", "upstream"];
        let ended = IntCounterVec::new(
            Opts::new("coditect_plugin_calls_out_total", "Calls out of plugins, by how they ended."),
            &["plugin", "upstream", "outcome"],
        )?;
        let in_flight = IntGaugeVec::new(
            Opts::new("coditect_plugin_calls_out_in_flight", "Calls out of plugins that have not ended."),
            labels,
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "coditect_plugin_call_out_seconds",
                "From the begin of a plugin's call out to its end; gRPC streams and cancelled calls not counted.",
            )
            .buckets(BUCKETS.to_vec()),
            labels,
        )?;
        registry.register(Box::new(ended.clone()))?;
        registry.register(Box::new(in_flight.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self { ended, in_flight, seconds, known: Arc::default() })
    }

    /// The series of a plugin's calls to `upstream`, which is one of the configuration: those of the pair, or where there
    /// are too many pairs, those that further ones share.
    pub(super) fn series(&self, source: &CallSource, upstream: &str) -> Arc<Series> {
        let now = Instant::now();
        let mut key = (Arc::from(label(source)), Arc::from(upstream));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(&key) && !has_room(&known, &source.tenant) {
            self.forget(&mut known, now);
            if !has_room(&known, &source.tenant) {
                key = (Arc::from(OTHER), Arc::from(OTHER));
            }
        }
        let labels = key.clone();
        let entry = known.entry(key).or_insert_with(|| Known {
            series: self.new_series(&labels.0, &labels.1),
            tenant: Arc::clone(&source.tenant),
            used: now,
        });
        entry.used = now;
        Arc::clone(&entry.series)
    }

    fn new_series(&self, plugin: &str, upstream: &str) -> Arc<Series> {
        Arc::new(Series {
            ended: OUTCOMES.map(|outcome| self.ended.with_label_values(&[plugin, upstream, outcome])),
            in_flight: self.in_flight.with_label_values(&[plugin, upstream]),
            seconds: self.seconds.with_label_values(&[plugin, upstream]),
        })
    }

    /// Takes out the pairs without a call under way whose last one was begun [`FORGET_AFTER`] ago.
    fn forget(&self, known: &mut ByPair, now: Instant) {
        known.retain(|(plugin, upstream), entry| {
            let idle = now.saturating_duration_since(entry.used) >= FORGET_AFTER;
            let kept = !idle || Arc::strong_count(&entry.series) > 1;
            if !kept {
                for outcome in OUTCOMES {
                    drop(self.ended.remove_label_values(&[plugin, upstream, outcome]));
                }
                drop(self.in_flight.remove_label_values(&[plugin, upstream]));
                drop(self.seconds.remove_label_values(&[plugin, upstream]));
            }
            kept
        });
    }

    /// Counts a call that was never begun. The upstream may be any text of a guest's, so it is no label.
    pub(super) fn refused(&self, source: &CallSource, upstream: Option<&str>) {
        self.series(source, upstream.unwrap_or("unknown")).count(Outcome::Refused);
    }
}

/// The name a plugin is counted under, as its other series have it: with whose it is before it, if it is not the configuration
/// file's.
fn label(source: &CallSource) -> String {
    let name = &source.plugin[..source.plugin.floor_char_boundary(MAX_NAME_BYTES)];
    match &*source.owner {
        "" => name.to_owned(),
        "operators" => format!("operators/{name}"),
        _ => format!("{}/{name}", source.tenant),
    }
}

/// Whether one more pair can have series, its first call one for this tenant.
fn has_room(known: &ByPair, tenant: &Arc<str>) -> bool {
    let others = |plugin: &str| plugin == OTHER;
    let own = known.iter().filter(|((plugin, _), known)| !others(plugin) && known.tenant == *tenant).count();
    known.len() < MAX_PAIRS && own < MAX_PAIRS_PER_TENANT
}

impl Series {
    fn count(&self, outcome: Outcome) {
        self.ended[outcome as usize].inc();
    }
}

impl Counted {
    pub(super) fn new(series: Arc<Series>) -> Self {
        let open = Open::new(series.in_flight.clone());
        Self { series, _open: open, began: Instant::now(), ended: false }
    }

    /// Counts the end; `timed` where its seconds tell something.
    pub(super) fn end(mut self, outcome: Outcome, timed: bool) {
        self.ended = true;
        self.series.count(outcome);
        if timed {
            self.series.seconds.observe(self.began.elapsed().as_secs_f64());
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if !self.ended {
            self.series.count(Outcome::Cancelled);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use prometheus::core::Collector;

    fn source(tenant: usize, plugin: impl ToString) -> CallSource {
        let tenant = tenant.to_string().into();
        CallSource { plugin: plugin.to_string().into(), owner: "".into(), tenant, request_id: None }
    }

    fn ended(metrics: &CalloutMetrics, plugin: &str, upstream: &str, outcome: &str) -> u64 {
        metrics.ended.with_label_values(&[plugin, upstream, outcome]).get()
    }

    #[test]
    fn further_pairs_share_their_series() {
        let metrics = CalloutMetrics::new(&Registry::new()).unwrap();
        for plugin in 0..MAX_PAIRS + 10 {
            Counted::new(metrics.series(&source(plugin, plugin), "keys")).end(Outcome::Ok, true);
        }
        drop(Counted::new(metrics.series(&source(0, 0), "keys")));
        assert_eq!(ended(&metrics, "other", "other", "ok"), 10);
        assert_eq!(ended(&metrics, "0", "keys", "cancelled"), 1);
        assert_eq!(metrics.in_flight.with_label_values(&["0", "keys"]).get(), 0);
        assert_eq!(metrics.known.lock().unwrap().len(), MAX_PAIRS + 1);
    }

    #[test]
    fn one_tenant_s_plugins_leave_room_for_the_names_of_others() {
        let metrics = CalloutMetrics::new(&Registry::new()).unwrap();
        for plugin in 0..MAX_PAIRS * 2 {
            metrics.refused(&source(1, plugin), None);
        }
        assert_eq!(
            ended(&metrics, "other", "other", "refused") as usize,
            MAX_PAIRS * 2 - MAX_PAIRS_PER_TENANT
        );
        metrics.refused(&source(2, "policy"), Some("keys"));
        assert_eq!(ended(&metrics, "policy", "keys", "refused"), 1);
        // A pair that is there is there for all.
        metrics.refused(&source(1, "policy"), Some("keys"));
        assert_eq!(ended(&metrics, "policy", "keys", "refused"), 2);
        metrics.refused(&source(3, "é".repeat(MAX_NAME_BYTES)), Some("keys"));
        assert_eq!(ended(&metrics, &"é".repeat(MAX_NAME_BYTES / 2), "keys", "refused"), 1);
    }

    #[test]
    fn plugins_of_one_name_are_told_apart_by_whose_they_are() {
        let metrics = CalloutMetrics::new(&Registry::new()).unwrap();
        for owner in ["", "operators", "tenant"] {
            metrics.refused(&CallSource { owner: owner.into(), ..source(1, "policy") }, Some("keys"));
        }
        for label in ["policy", "operators/policy", "1/policy"] {
            assert_eq!(ended(&metrics, label, "keys", "refused"), 1, "{label}");
        }
    }

    #[test]
    fn pairs_without_calls_make_room_in_time() {
        let metrics = CalloutMetrics::new(&Registry::new()).unwrap();
        let open = Counted::new(metrics.series(&source(1, "open"), "keys"));
        metrics.refused(&source(1, "over"), Some("keys"));
        let mut known = metrics.known.lock().unwrap();
        metrics.forget(&mut known, Instant::now());
        assert_eq!(known.len(), 2, "not yet");
        metrics.forget(&mut known, Instant::now() + FORGET_AFTER);
        assert_eq!(known.keys().map(|(plugin, _)| &**plugin).collect::<Vec<_>>(), ["open"]);
        drop(known);
        drop(open);
        let families = metrics.ended.collect();
        let values = families.iter().flat_map(|f| f.get_metric()).flat_map(|m| m.get_label());
        assert!(values.into_iter().all(|label| label.value() != "over"), "its series are gone");
    }
}
