//! What Prometheus scrapes. Every label comes from the configuration or from a fixed list, so the number of series is
//! bounded by the configuration.

use crate::callouts::CalloutMetrics;
use crate::plugins::{GuestCollector, Guests};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Seconds; from the health answer's tens of microseconds to a slow upstream.
const BUCKETS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];
/// Status classes, by their first digit; `0` stands for requests that ended without an answer.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Callbacks of messages, without the ABI's `proxy_on_`.
const CALLBACKS: [&str; 6] = [
    "request_headers",
    "request_body",
    "request_trailers",
    "response_headers",
    "response_body",
    "response_trailers",
];
/// What a plugin in shadow mode can come to.
const VERDICTS: [&str; 6] = ["pass", "respond", "hold", "close", "fail", "skipped"];

/// The most plugins of tenants that have series of their own: what tenants upload has no other bound. The configuration's
/// and the operators' do not count.
const MAX_TENANTS_LABELS: usize = 500;
/// The label of all further ones.
pub(crate) const OTHER_PLUGINS: &str = "(other)";

/// All metrics of the proxy. Each metric's help text says what it counts and in which unit.
#[derive(Clone)]
pub struct Metrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    upstream_requests: IntCounterVec,
    upstream_duration: HistogramVec,
    sockets: IntGaugeVec,
    socket_ends: IntCounterVec,
    socket_bytes: IntCounterVec,
    plugin_calls: IntCounterVec,
    plugin_traps: IntCounterVec,
    plugin_seconds: HistogramVec,
    plugin_responses: IntCounterVec,
    plugin_shadow_verdicts: IntCounterVec,
    plugin_load_failures: IntCounterVec,
    plugins_wanted: IntGauge,
    plugins_unfulfilled: IntGaugeVec,
    plugin_labels: Arc<Mutex<PluginLabels>>,
    /// What plugins tell of themselves.
    pub(crate) guests: Guests,
    /// Calls out of plugins.
    pub(crate) calls_out: CalloutMetrics,
    refused_heads: IntCounterVec,
    resolve_failures: IntCounterVec,
    /// Open connections of clients.
    pub(crate) connections: IntGauge,
    log_dropped: IntCounter,
    reloads: IntCounterVec,
}

impl Metrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// A name is registered twice: one registry takes one set.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let made = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(made.clone())).map(|()| made)
        };
        let histograms = |name: &str, help: &str, labels: &[&str]| {
            let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
            let made = HistogramVec::new(options, labels)?;
            registry.register(Box::new(made.clone())).map(|()| made)
        };
        let sockets = IntGaugeVec::new(Opts::new("coditect_open_sockets", "Open WebSockets."), &["route"])?;
        registry.register(Box::new(sockets.clone()))?;
        let gauge = |name: &str, help: &str| {
            let made = IntGauge::new(name, help)?;
            registry.register(Box::new(made.clone())).map(|()| made)
        };
        let unfulfilled = Opts::new(
            "coditect_plugins_unfulfilled",
            "Activations of the store that are not at work as they are wanted, by reason.",
        );
        let plugins_unfulfilled = IntGaugeVec::new(unfulfilled, &["reason"])?;
        registry.register(Box::new(plugins_unfulfilled.clone()))?;
        let log_dropped = IntCounter::new(
            "coditect_access_log_dropped_total",
            "Access-log lines dropped because the queue was full.",
        )?;
        registry.register(Box::new(log_dropped.clone()))?;
        let guests = Guests::default();
        registry.register(Box::new(GuestCollector::new(guests.clone())?))?;
        Ok(Self {
            requests: counters(
                "coditect_requests_total",
                "Requests by route and class of status.",
                &["route", "class"],
            )?,
            duration: histograms(
                "coditect_request_duration_seconds",
                "From a request's head to the end of its answer; sockets not counted.",
                &["route"],
            )?,
            upstream_requests: counters(
                "coditect_upstream_requests_total",
                "Requests sent to an upstream by class of its answer; none: it gave none.",
                &["upstream", "class"],
            )?,
            upstream_duration: histograms(
                "coditect_upstream_duration_seconds",
                "From a request's head to the end of an upstream's answer.",
                &["upstream"],
            )?,
            sockets,
            socket_ends: counters(
                "coditect_socket_ends_total",
                "WebSockets that ended, by reason.",
                &["route", "reason"],
            )?,
            socket_bytes: counters(
                "coditect_socket_bytes_total",
                "Bytes carried by tunnels that ended.",
                &["route", "direction"],
            )?,
            plugin_calls: counters(
                "coditect_plugin_calls_total",
                "Callbacks of plugins.",
                &["plugin", "callback"],
            )?,
            plugin_traps: counters(
                "coditect_plugin_traps_total",
                "Callbacks that trapped or could not be run.",
                &["plugin"],
            )?,
            plugin_seconds: histograms(
                "coditect_plugin_callback_seconds",
                "Time of one callback.",
                &["plugin"],
            )?,
            plugin_responses: counters(
                "coditect_plugin_responses_total",
                "Requests answered by a plugin.",
                &["plugin"],
            )?,
            plugin_shadow_verdicts: counters(
                "coditect_plugin_shadow_verdicts_total",
                "What plugins in shadow mode would have done with requests.",
                &["plugin", "verdict"],
            )?,
            plugin_load_failures: counters(
                "coditect_plugin_load_failures_total",
                "Plugins that could not be loaded; what was at work before goes on.",
                &["plugin"],
            )?,
            plugins_wanted: gauge(
                "coditect_plugins_wanted",
                "Plugins of the configuration and activations of the store.",
            )?,
            plugins_unfulfilled,
            plugin_labels: Arc::default(),
            guests,
            calls_out: CalloutMetrics::new(registry)?,
            refused_heads: counters(
                "coditect_refused_heads_total",
                "Requests refused for how they were framed.",
                &["code"],
            )?,
            resolve_failures: counters(
                "coditect_upstream_resolve_failures_total",
                "Failed look-ups of an upstream's name.",
                &["upstream"],
            )?,
            reloads: counters(
                "coditect_config_reloads_total",
                "Reloads of the configuration; a refused one leaves the old one running.",
                &["result"],
            )?,
            connections: gauge("coditect_open_connections", "Open connections of clients.")?,
            log_dropped,
        })
    }

    pub(crate) fn route(&self, route: &str) -> RouteMetrics {
        RouteMetrics {
            requests: CLASSES.map(|class| self.requests.with_label_values(&[route, class])),
            duration: self.duration.with_label_values(&[route]),
            sockets: self.sockets.with_label_values(&[route]),
            to_upstream: self.socket_bytes.with_label_values(&[route, "to_upstream"]),
            to_client: self.socket_bytes.with_label_values(&[route, "to_client"]),
        }
    }

    pub(crate) fn upstream(&self, upstream: &str) -> UpstreamMetrics {
        UpstreamMetrics {
            requests: CLASSES.map(|class| self.upstream_requests.with_label_values(&[upstream, class])),
            duration: self.upstream_duration.with_label_values(&[upstream]),
            resolve_failures: self.resolve_failures.with_label_values(&[upstream]),
        }
    }

    pub(crate) fn plugin(&self, plugin: &str) -> PluginMetrics {
        PluginMetrics {
            calls: CALLBACKS
                .map(|callback| (callback, self.plugin_calls.with_label_values(&[plugin, callback]))),
            traps: self.plugin_traps.with_label_values(&[plugin]),
            seconds: self.plugin_seconds.with_label_values(&[plugin]),
            responses: self.plugin_responses.with_label_values(&[plugin]),
            verdicts: VERDICTS
                .map(|verdict| (verdict, self.plugin_shadow_verdicts.with_label_values(&[plugin, verdict]))),
        }
    }

    /// The series of a plugin: those of `label`, or where tenants have too many plugins, those they share.
    pub(crate) fn plugin_series(&self, label: &str, of_tenant: bool) -> Arc<PluginSeries> {
        let mut labels = self.plugin_labels.lock().unwrap_or_else(PoisonError::into_inner);
        let known = labels.series.contains_key(label);
        let full = of_tenant && labels.of_tenants >= MAX_TENANTS_LABELS && !known;
        let (label, of_tenant) = if full { (OTHER_PLUGINS, false) } else { (label, of_tenant) };
        if let Some(series) = labels.series.get(label).and_then(Weak::upgrade) {
            return series;
        }
        let series = Arc::new(PluginSeries { label: label.to_owned(), of_tenant, metrics: self.clone() });
        // One that is just going left its place.
        let before = labels.series.insert(label.to_owned(), Arc::downgrade(&series));
        labels.of_tenants += usize::from(of_tenant && before.is_none());
        series
    }

    fn forget_plugin(&self, label: &str) {
        // What was never counted is not there to be removed.
        for callback in CALLBACKS {
            drop(self.plugin_calls.remove_label_values(&[label, callback]));
        }
        drop(self.plugin_traps.remove_label_values(&[label]));
        drop(self.plugin_seconds.remove_label_values(&[label]));
        drop(self.plugin_responses.remove_label_values(&[label]));
        for verdict in VERDICTS {
            drop(self.plugin_shadow_verdicts.remove_label_values(&[label, verdict]));
        }
    }

    /// Counts a plugin that could not be loaded. Labels are names of the configuration's or the operators' plugins; all
    /// tenants' share one.
    pub(crate) fn plugin_load_failed(&self, label: &str) {
        self.plugin_load_failures.with_label_values(&[label]).inc();
    }

    /// Sets how many plugins are wanted, and how many of them are not at work so, by reasons of a fixed list.
    pub(crate) fn plugins_wanted(&self, wanted: usize, unfulfilled: &[(&str, usize)]) {
        let signed = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.plugins_wanted.set(signed(wanted));
        for (reason, count) in unfulfilled {
            self.plugins_unfulfilled.with_label_values(&[*reason]).set(signed(*count));
        }
    }

    /// Counts a socket's end. `reason` is one of a fixed list.
    pub(crate) fn socket_ended(&self, route: &str, reason: &str) {
        self.socket_ends.with_label_values(&[route, reason]).inc();
    }

    /// Counts a refused head. `code` is one of a fixed list.
    pub(crate) fn head_refused(&self, code: &str) {
        self.refused_heads.with_label_values(&[code]).inc();
    }

    /// Access-log lines that were dropped.
    pub fn access_log_dropped(&self) -> IntCounter {
        self.log_dropped.clone()
    }

    /// Counts a reload.
    pub fn reloaded(&self, taken: bool) {
        self.reloads.with_label_values(&[if taken { "taken" } else { "refused" }]).inc();
    }
}

fn class(status: u16) -> usize {
    match status / 100 {
        class @ 1..=5 => usize::from(class),
        _ => 0,
    }
}

/// Counts something as open for as long as it lives, also where its task panics.
pub(crate) struct Open(IntGauge);

impl Open {
    pub(crate) fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// One route's series, looked up once.
#[derive(Clone, Debug)]
pub(crate) struct RouteMetrics {
    requests: [IntCounter; 6],
    duration: Histogram,
    pub(crate) sockets: IntGauge,
    pub(crate) to_upstream: IntCounter,
    pub(crate) to_client: IntCounter,
}

impl RouteMetrics {
    /// Counts a request; `status` 0 where there was no answer, `duration` unless it became a socket.
    pub(crate) fn finished(&self, status: u16, duration: Option<Duration>) {
        self.requests[class(status)].inc();
        if let Some(duration) = duration {
            self.duration.observe(duration.as_secs_f64());
        }
    }
}

/// One upstream's series, looked up once.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamMetrics {
    requests: [IntCounter; 6],
    duration: Histogram,
    pub(crate) resolve_failures: IntCounter,
}

impl UpstreamMetrics {
    pub(crate) fn finished(&self, status: u16, duration: Option<Duration>) {
        self.requests[class(status)].inc();
        if let Some(duration) = duration {
            self.duration.observe(duration.as_secs_f64());
        }
    }
}

/// The labels in use.
#[derive(Default)]
struct PluginLabels {
    series: HashMap<String, Weak<PluginSeries>>,
    /// How many of them are of tenants' plugins.
    of_tenants: usize,
}

/// The label of a plugin's series. They go with the last of its versions, so that tenants' uploads do not add up.
pub(crate) struct PluginSeries {
    label: String,
    of_tenant: bool,
    metrics: Metrics,
}

impl PluginSeries {
    pub(crate) fn label(&self) -> &str {
        &self.label
    }
}

impl Drop for PluginSeries {
    fn drop(&mut self) {
        let mut labels = self.metrics.plugin_labels.lock().unwrap_or_else(PoisonError::into_inner);
        // Another may have taken its place by now.
        if labels.series.get(&self.label).is_some_and(|known| known.strong_count() == 0) {
            labels.series.remove(&self.label);
            labels.of_tenants -= usize::from(self.of_tenant);
            self.metrics.forget_plugin(&self.label);
        }
    }
}

/// One plugin's series, looked up once.
#[derive(Clone, Debug)]
pub(crate) struct PluginMetrics {
    calls: [(&'static str, IntCounter); CALLBACKS.len()],
    pub(crate) traps: IntCounter,
    seconds: Histogram,
    pub(crate) responses: IntCounter,
    verdicts: [(&'static str, IntCounter); VERDICTS.len()],
}

impl PluginMetrics {
    /// Counts what a shadow came to, by one of [`VERDICTS`].
    pub(crate) fn shadowed(&self, verdict: &str) {
        if let Some((_, verdicts)) = self.verdicts.iter().find(|(known, _)| *known == verdict) {
            verdicts.inc();
        }
    }

    /// Counts a callback, by its name in the ABI without the prefix.
    pub(crate) fn called(&self, callback: &str, elapsed: Duration) {
        if let Some((_, calls)) = self.calls.iter().find(|(known, _)| *known == callback) {
            calls.inc();
            self.seconds.observe(elapsed.as_secs_f64());
        }
    }
}
