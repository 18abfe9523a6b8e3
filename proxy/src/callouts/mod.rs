//! Calls out of plugins: HTTP and gRPC, to upstreams of the configuration and to nowhere else.
//!
//! A guest begins a call in the middle of a callback, so nothing here waits or calls it back on that stack: each call
//! is a task of its own ([`http`], [`grpc`]), with a place and bytes of a common [`budget`], a deadline, and an end as
//! soon as nobody waits for it. [`target`] is one upstream with its connections: hyper-util's pool for HTTP/1.1,
//! [`http2`] for the rest. [`fields`] and [`frames`] judge what comes from either side.
//!
//! # Bounds
//!
//! The host bounds what one plugin does for one tenant (`calls_in_flight`, `calls_per_request`, `call_body_kib`), this
//! module what all do together. Whoever meets a bound at the begin of a call is refused as busy; nothing waits there.
//!
//! - Calls under way: 2048, 512 of one tenant; to one upstream 512, `calls_per_tenant` of one tenant (128). Bytes of
//!   bodies and messages: 128 MiB, 32 MiB of one tenant ([`budget`]). In each, a tenant has at most as much as it
//!   leaves to the others ([`ledger`]).
//! - Connections: over HTTP/1.1 one for each call under way, and 32 idle ones to each upstream; over HTTP/2 8 to each
//!   upstream with 100 streams each, fewer where the upstream says so. Calls wait there for a stream's place, 30 s at
//!   most, tenants in turn ([`pool`]).
//! - Time: an HTTP or a unary gRPC call 30 s with all its waiting, a gRPC stream an hour, and 5 minutes without a
//!   message ([`life`]). A call also ends when its instance does: with its plugin's swap, its eviction or its trap.
//! - A request's head 32 KiB and 256 fields; a response's head, and its trailers, 64 KiB, over HTTP/1.1 128 fields. What
//!   waits to be sent on a gRPC stream: 256 messages, 1 MiB ([`queue`]).

mod body;
mod budget;
mod fields;
mod frames;
mod grpc;
mod http;
mod http2;
mod ledger;
mod life;
mod metrics;
mod pool;
mod queue;
mod sink;
mod status;
mod target;
mod tasks;
#[cfg(test)]
mod tests;

pub(crate) use metrics::CalloutMetrics;

use crate::metrics::Metrics;
use crate::upstream::Upstream;
use arc_swap::ArcSwap;
use budget::Budget;
use coditect_config::{UpstreamConfig, UpstreamProtocol};
use coditect_proxy_wasm::{CallRefused, CallSource, GrpcCall, GrpcHandle, HttpCall};
use metrics::Counted;
use queue::{CallHandle, Queue};
use sink::{GrpcSink, HttpSink};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use target::Target;
use tasks::Tasks;
use tokio::runtime::Handle;

/// The head of one response, and its trailers, in bytes.
const MAX_HEAD_BYTES: u32 = 64 * 1024;

/// The upstreams that may be called, by name.
type Targets = HashMap<String, Arc<Target>>;

/// All calls out of a process. Cheap to clone.
#[derive(Clone)]
pub struct Callouts {
    inner: Arc<Inner>,
}

struct Inner {
    targets: ArcSwap<Targets>,
    budget: Arc<Budget>,
    metrics: Metrics,
    tasks: Tasks,
}

/// Upstreams that a configuration offers, beside those at work, until it is taken. Dropped before, they are withdrawn.
pub(crate) struct Offer {
    inner: Arc<Inner>,
    before: Arc<Targets>,
    offered: Arc<Targets>,
    after: Option<Arc<Targets>>,
}

impl Callouts {
    /// For calls that run on `runtime`. Nothing can be called before it is offered.
    #[must_use]
    pub fn new(runtime: Handle, metrics: Metrics) -> Self {
        let inner = Inner {
            targets: ArcSwap::default(),
            budget: Arc::default(),
            metrics,
            tasks: Tasks::new(runtime),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Makes the upstreams of a configuration callable beside those at work, for plugins that start before it is taken.
    pub(crate) fn offer(&self, upstreams: &[UpstreamConfig]) -> Offer {
        let made = upstreams.iter().map(|config| {
            let upstream = Upstream::new(config.clone(), self.inner.metrics.upstream(&config.name));
            let target = Target::new(Arc::new(upstream), &self.inner.tasks);
            (config.name.clone(), Arc::new(target))
        });
        let after: Arc<Targets> = Arc::new(made.collect());
        let before = self.inner.targets.load_full();
        let mut both = Targets::clone(&before);
        both.extend(after.iter().map(|(name, target)| (name.clone(), Arc::clone(target))));
        let offered = Arc::new(both);
        self.inner.targets.store(Arc::clone(&offered));
        Offer { inner: Arc::clone(&self.inner), before, offered, after: Some(after) }
    }

    /// Begins an HTTP call and returns at once; `sink` gets the answer later, on another stack.
    ///
    /// # Errors
    /// No such upstream, headers that cannot be sent, or no room for another of the tenant's calls.
    pub(crate) fn http_call<S: HttpSink>(
        &self,
        source: &CallSource,
        call: HttpCall,
        sink: S,
    ) -> Result<(), CallRefused> {
        let target = self.target(source, &call.upstream)?;
        let refused = |refused| self.refused(source, &target, refused);
        let call = http::Prepared::read(call).map_err(|_| refused(CallRefused::UnknownUpstream))?;
        let busy = |_| refused(CallRefused::Busy);
        let begun = http::Begun {
            place: self.inner.budget.place(&source.tenant, &target.places).map_err(busy)?,
            request: self.inner.budget.hold(&source.tenant, call.len()).map_err(busy)?,
            response: self.inner.budget.hold(&source.tenant, 0).map_err(busy)?,
            tenant: Arc::clone(&source.tenant),
            counted: self.counted(source, &target),
            target: Arc::clone(&target),
            call,
            sink,
        };
        self.inner.tasks.spawn(begun.run());
        Ok(())
    }

    /// Begins a gRPC call and returns at once; `sink` is told of what happens later, on another stack.
    ///
    /// # Errors
    /// No such upstream or one without HTTP/2, metadata that cannot be sent, or no room for another of the tenant's calls.
    pub(crate) fn grpc_call<S: GrpcSink>(
        &self,
        source: &CallSource,
        call: &GrpcCall,
        sink: S,
    ) -> Result<Box<dyn GrpcHandle>, CallRefused> {
        let target = self.target(source, &call.upstream)?;
        let refused = |refused| self.refused(source, &target, refused);
        if target.upstream.config.protocol != UpstreamProtocol::H2c {
            let (plugin, upstream) = (&*source.plugin, &call.upstream);
            tracing::debug!(
                plugin,
                upstream,
                "gRPC needs `protocol = \"h2c\"` in the upstream's configuration"
            );
            return Err(refused(CallRefused::UnknownUpstream));
        }
        let call = grpc::Prepared::read(call).map_err(|_| refused(CallRefused::UnknownUpstream))?;
        let busy = |_| refused(CallRefused::Busy);
        let queue = Arc::new(Queue::new(Arc::clone(&self.inner.budget), Arc::clone(&source.tenant)));
        let begun = grpc::Begun {
            place: self.inner.budget.place(&source.tenant, &target.places).map_err(busy)?,
            request: self.inner.budget.hold(&source.tenant, call.len()).map_err(busy)?,
            response: self.inner.budget.hold(&source.tenant, 0).map_err(busy)?,
            tenant: Arc::clone(&source.tenant),
            counted: self.counted(source, &target),
            target: Arc::clone(&target),
            queue: Arc::clone(&queue),
            call,
            sink,
        };
        self.inner.tasks.spawn(begun.run());
        Ok(Box::new(CallHandle(queue)))
    }

    /// Ends all calls and closes all connections. What is begun later fails. Takes no longer than a callback of a guest.
    pub async fn shutdown(&self) {
        self.inner.targets.store(Arc::default());
        self.inner.tasks.stop().await;
    }

    fn target(&self, source: &CallSource, name: &str) -> Result<Arc<Target>, CallRefused> {
        let found = self.inner.targets.load().get(name).cloned();
        found.ok_or_else(|| {
            self.inner.metrics.calls_out.refused(source, None);
            CallRefused::UnknownUpstream
        })
    }

    fn refused(&self, source: &CallSource, target: &Target, refused: CallRefused) -> CallRefused {
        self.inner.metrics.calls_out.refused(source, Some(&target.upstream.config.name));
        refused
    }

    fn counted(&self, source: &CallSource, target: &Target) -> Counted {
        Counted::new(self.inner.metrics.calls_out.series(source, &target.upstream.config.name))
    }
}

impl Offer {
    /// The configuration is taken: its upstreams, and no others, can be called.
    pub(crate) fn take(mut self) {
        if let Some(after) = self.after.take() {
            self.inner.targets.store(after);
        }
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if self.after.is_some() {
            // Unless another one was offered or taken meanwhile.
            self.inner.targets.compare_and_swap(&self.offered, Arc::clone(&self.before));
        }
    }
}

/// Runs `side` beside `main` for as long as it has something to do, and ends with `main`.
async fn beside<T>(side: impl Future<Output = ()>, main: impl Future<Output = T>) -> T {
    let (mut side, mut main) = (pin!(side), pin!(main));
    tokio::select! {
        biased;
        done = &mut main => return done,
        () = &mut side => {}
    }
    main.await
}
