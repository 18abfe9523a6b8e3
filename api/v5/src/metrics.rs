//! What Prometheus learns of the API.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// The API's counters.
#[derive(Debug)]
pub struct ApiMetrics {
    panics: IntCounter,
    throttled: IntCounterVec,
}

impl ApiMetrics {
    /// Counters that are registered with `registry`.
    ///
    /// # Errors
    /// If one of their names is taken there.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let panics =
            IntCounter::new("coditect_api_panics_total", "Panics of API handlers, each answered with 500")?;
        registry.register(Box::new(panics.clone()))?;
        let throttled = Opts::new(
            "coditect_api_throttled_total",
            "Attempts answered with 429, by what was tried and whose limit it was",
        );
        let throttled = IntCounterVec::new(throttled, &["attempt", "limit"])?;
        registry.register(Box::new(throttled.clone()))?;
        Ok(Self { panics, throttled })
    }

    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }

    /// An attempt was refused because its account's or its address's limit was reached.
    pub(crate) fn throttled(&self, attempt: &str, limit: &str) {
        self.throttled.with_label_values(&[attempt, limit]).inc();
    }

    #[cfg(test)]
    pub(crate) fn panics(&self) -> u64 {
        self.panics.get()
    }
}
