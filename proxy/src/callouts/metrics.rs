//! Series of calls out. Their labels come from the configuration, from plugins' names and from a fixed list.

use crate::metrics::Open;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Seconds; up to the longest a call may take.
const BUCKETS: [f64; 12] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];
/// Pairs of plugin and upstream that have series of their own. Plugins come and go with tenants' uploads.
const MAX_PAIRS: usize = 512;
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
type BySource = HashMap<(Arc<str>, Arc<str>), Arc<Series>>;

/// The metrics of calls out.
#[derive(Clone)]
pub(crate) struct CalloutMetrics {
    ended: IntCounterVec,
    in_flight: IntGaugeVec,
    seconds: HistogramVec,
    known: Arc<Mutex<BySource>>,
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

    /// The series of `plugin`'s calls to `upstream`, which is one of the configuration.
    pub(super) fn series(&self, plugin: &str, upstream: &str) -> Arc<Series> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (Arc::from(plugin), Arc::from(upstream));
        if known.len() >= MAX_PAIRS && !known.contains_key(&key) {
            key = (Arc::from(OTHER), Arc::from(OTHER));
        }
        let labels = key.clone();
        let series = known.entry(key).or_insert_with(|| {
            let labels = [&*labels.0, &*labels.1];
            let [plugin, upstream] = labels;
            Arc::new(Series {
                ended: OUTCOMES.map(|outcome| self.ended.with_label_values(&[plugin, upstream, outcome])),
                in_flight: self.in_flight.with_label_values(&labels),
                seconds: self.seconds.with_label_values(&labels),
            })
        });
        Arc::clone(series)
    }

    /// Counts a call that was never begun. The upstream may be any text of a guest's, so it is no label.
    pub(super) fn refused(&self, plugin: &str, upstream: Option<&str>) {
        self.series(plugin, upstream.unwrap_or("unknown")).count(Outcome::Refused);
    }
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

    #[test]
    fn further_pairs_share_their_series() {
        let metrics = CalloutMetrics::new(&Registry::new()).unwrap();
        for plugin in 0..MAX_PAIRS + 10 {
            Counted::new(metrics.series(&plugin.to_string(), "keys")).end(Outcome::Ok, true);
        }
        drop(Counted::new(metrics.series("0", "keys")));
        assert_eq!(metrics.ended.with_label_values(&["other", "other", "ok"]).get(), 10);
        assert_eq!(metrics.ended.with_label_values(&["0", "keys", "cancelled"]).get(), 1);
        assert_eq!(metrics.in_flight.with_label_values(&["0", "keys"]).get(), 0);
        assert_eq!(metrics.known.lock().unwrap().len(), MAX_PAIRS + 1);
    }
}
