//! The embedder's side of Proxy-Wasm: which plugins a request meets, and what they see and may change.
//!
//! A plugin never sees the client's credentials or the edge's own cookies (they are taken out before), and it cannot
//! write what decides about framing or identity. A plugin that traps, or pauses although nothing could resume it,
//! fails its request as its configuration says: closed (503) unless it says open.

mod load;
mod view;

pub use load::{PluginError, PluginLoader};
pub(crate) use view::{Facts, Properties, View, may_write};

use crate::metrics::PluginMetrics;
use coditect_proxy_wasm::{Action, FailureMode, LocalResponse, Outcome, Plugin, StreamContext, StreamError};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// The tenant of requests without one.
const NO_TENANT: &str = "public";

/// A loaded plugin and its series.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) plugin: Plugin,
    pub(crate) metrics: PluginMetrics,
}

/// One use of a plugin on a route.
pub(crate) struct Link {
    pub(crate) loaded: Loaded,
    /// The tenants it is for; `None` for all.
    pub(crate) tenants: Option<HashSet<Uuid>>,
}

/// What a phase of the chain came to.
pub(crate) enum Verdict {
    /// Go on.
    Continue,
    /// A plugin answers.
    Respond(LocalResponse),
    /// A plugin failed, and it fails closed.
    Failed,
}

/// The plugins of one request, each with its stream context once it was reached.
pub(crate) struct Chain {
    running: Vec<Running>,
}

struct Running {
    link: Arc<Link>,
    stream: Option<StreamContext>,
}

impl Chain {
    /// The links that are for this tenant; `None` where there are none.
    pub(crate) fn of(links: &[Arc<Link>], tenant: Option<Uuid>) -> Option<Self> {
        let applies = |link: &&Arc<Link>| match (&link.tenants, tenant) {
            (None, _) => true,
            (Some(tenants), Some(tenant)) => tenants.contains(&tenant),
            (Some(_), None) => false,
        };
        let running: Vec<_> = links
            .iter()
            .filter(applies)
            .map(|link| Running { link: Arc::clone(link), stream: None })
            .collect();
        (!running.is_empty()).then_some(Self { running })
    }

    /// Runs the request phase in order, until one answers or fails.
    pub(crate) fn request_headers(&mut self, view: &mut View<'_>, end_of_stream: bool) -> Verdict {
        let tenant = view.facts.tenant.map(|tenant| tenant.to_string());
        for running in &mut self.running {
            let began = Instant::now();
            let opened = running.link.loaded.plugin.open(tenant.as_deref().unwrap_or(NO_TENANT), view);
            let outcome = opened.and_then(|mut stream| {
                let outcome = stream.on_request_headers(view, end_of_stream);
                running.stream = Some(stream);
                outcome
            });
            let metrics = &running.link.loaded.metrics;
            metrics.request_headers.inc();
            metrics.seconds.observe(began.elapsed().as_secs_f64());
            match running.judge(outcome, view) {
                Verdict::Continue => {}
                other => return other,
            }
        }
        Verdict::Continue
    }

    /// Runs the response phase, in the reverse order, over the plugins the request has met.
    pub(crate) fn response_headers(&mut self, view: &mut View<'_>, end_of_stream: bool) -> Verdict {
        for running in self.running.iter_mut().rev() {
            let Some(stream) = &mut running.stream else { continue };
            let began = Instant::now();
            let outcome = stream.on_response_headers(view, end_of_stream);
            let metrics = &running.link.loaded.metrics;
            metrics.response_headers.inc();
            metrics.seconds.observe(began.elapsed().as_secs_f64());
            match running.judge(outcome, view) {
                Verdict::Continue => {}
                other => return other,
            }
        }
        Verdict::Continue
    }

    /// Ends every stream: the log phase.
    pub(crate) fn close(self, view: &mut View<'_>) {
        for running in self.running {
            let Some(stream) = running.stream else { continue };
            if let Err(error) = stream.close(view) {
                running.link.loaded.failed(&error, view);
            }
        }
    }
}

impl Running {
    fn judge(&mut self, outcome: Result<Outcome, StreamError>, view: &View<'_>) -> Verdict {
        let loaded = &self.link.loaded;
        match outcome {
            Ok(Outcome { local_response: Some(response), .. }) => {
                loaded.metrics.responses.inc();
                return Verdict::Respond(response);
            }
            Ok(Outcome { action: Action::Continue, .. }) => return Verdict::Continue,
            Ok(_) => {
                loaded.metrics.traps.inc();
                let plugin = loaded.plugin.name();
                tracing::error!(
                    plugin,
                    request_id = view.facts.request_id,
                    "paused a stream that nothing can resume"
                );
            }
            Err(error) => {
                loaded.failed(&error, view);
            }
        }
        // What is left of it must not be called again.
        self.stream = None;
        match loaded.plugin.failure_mode() {
            FailureMode::Open => Verdict::Continue,
            FailureMode::Closed => Verdict::Failed,
        }
    }
}

impl Loaded {
    fn failed(&self, error: &StreamError, view: &View<'_>) {
        self.metrics.traps.inc();
        let plugin = self.plugin.name();
        let error = error as &dyn std::error::Error;
        tracing::error!(plugin, request_id = view.facts.request_id, error, "plugin failed");
    }
}
