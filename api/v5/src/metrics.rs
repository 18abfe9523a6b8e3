//! What Prometheus learns of the API.

use prometheus::{IntCounter, Registry};

/// The API's counters.
#[derive(Debug)]
pub struct ApiMetrics {
    panics: IntCounter,
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
        Ok(Self { panics })
    }

    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }

    #[cfg(test)]
    pub(crate) fn panics(&self) -> u64 {
        self.panics.get()
    }
}
