//! A stream's beginning: on an instance of its tenant's that runs, or on one that is started for it.

use std::sync::Arc;

use super::{Plugin, PluginInner};
use crate::error::{StartError, StreamError};
use crate::exchange::SharedExchange;
use crate::instance::{self, Instance};
use crate::mailbox::Mailbox;
use crate::pool::{Lease, Opening, Order};
use crate::scope::{Counters, Scope};
use crate::stream::{Bell, StreamContext};
use crate::threads::Worker;

/// How many instances a new stream may lose to the traps of others before it gives up.
const MAX_OPEN_TRIES: u32 = 8;

impl Plugin {
    /// Begins a stream for a tenant: takes one of its instances, or starts one (its start-up functions take up to
    /// [`Limits::start_cpu`] each, on this thread; [`Chain`](crate::Chain) leaves that to the engine's), and runs
    /// `proxy_on_context_create`. Requests without a tenant belong to the pseudo-tenant `public`.
    ///
    /// The stream keeps to that instance. Several streams share one; their callbacks are one at a time, so a call
    /// may wait for another stream's callback, at most for the CPU budget.
    ///
    /// # Errors
    /// No instance could be had, the plugin is in quarantine for that tenant, or the guest trapped.
    pub fn open(&self, tenant: &str, exchange: SharedExchange) -> Result<StreamContext, StreamError> {
        self.open_here(tenant, &exchange, &Arc::default())
    }

    /// As [`open`](Self::open), with the bell of the request's streams. What may take long is done by another thread.
    pub(crate) async fn open_for(
        &self,
        tenant: &Arc<str>,
        exchange: &SharedExchange,
        bell: &Arc<Bell>,
    ) -> Result<StreamContext, StreamError> {
        let PluginInner { engine, facts, pool, .. } = &*self.inner;
        if !facts.threads.are_own() {
            return self.open_here(tenant, exchange, bell);
        }
        if facts.quarantine.holds(tenant) {
            return Err(self.refused_in_quarantine(tenant));
        }
        for _ in 0..MAX_OPEN_TRIES {
            match pool.opening(tenant, facts.limits.instances_per_tenant, |tenant| self.new_scope(tenant)) {
                Opening::Here(lease, order) => {
                    if let Some(order) = order {
                        self.start_beside(tenant, order);
                    }
                    lease.used(engine.next_use());
                    match self.begin_on(lease, exchange, bell) {
                        // Another stream's trap was faster. This one has not begun, so it can begin elsewhere.
                        Err(StreamError::InstanceLost { .. }) => {}
                        begun => return begun,
                    }
                }
                Opening::Start(order) => {
                    let turn = facts.threads.turn(tenant).await;
                    return self.open_there(Worker::Starter, tenant, exchange, bell, (turn, order)).await;
                }
                Opening::Slow(scope) => {
                    return self.open_there(Worker::Slow(&scope), tenant, exchange, bell, ()).await;
                }
                Opening::Wait(started) => started.await,
            }
        }
        Err(self.busy())
    }

    /// Has another instance started, for streams to come.
    fn start_beside(&self, tenant: &Arc<str>, order: Order) {
        let threads = &self.inner.facts.threads;
        let Some(turn) = threads.try_turn(tenant) else { return };
        let (plugin, tenant) = (self.clone(), Arc::clone(tenant));
        let start = move || {
            if let Err(error) = plugin.warm(&tenant) {
                tracing::debug!(plugin = plugin.name(), %error, "no further instance was started");
            }
            drop((order, turn));
        };
        // Where too many wait, it is ordered again by the next stream that finds all busy.
        drop(threads.submit(Worker::Starter, start));
    }

    /// As [`open_here`](Self::open_here), by another thread; `until` is kept for as long.
    async fn open_there(
        &self,
        worker: Worker<'_>,
        tenant: &Arc<str>,
        exchange: &SharedExchange,
        bell: &Arc<Bell>,
        until: impl Send + 'static,
    ) -> Result<StreamContext, StreamError> {
        let (plugin, tenant) = (self.clone(), Arc::clone(tenant));
        let (exchange, bell) = (Arc::clone(exchange), Arc::clone(bell));
        let open = move || {
            let opened = plugin.open_here(&tenant, &exchange, &bell);
            drop(until);
            opened
        };
        let threads = &self.inner.facts.threads;
        threads.run(worker, open).await.unwrap_or_else(|_| Err(self.busy()))
    }

    fn open_here(
        &self,
        tenant: &str,
        exchange: &SharedExchange,
        bell: &Arc<Bell>,
    ) -> Result<StreamContext, StreamError> {
        let mut tries = 1;
        loop {
            let lease = self.lease(tenant)?;
            match self.begin_on(lease, exchange, bell) {
                // Another stream's trap was faster. This one has not begun, so it can begin elsewhere.
                Err(StreamError::InstanceLost { .. }) if tries < MAX_OPEN_TRIES => tries += 1,
                begun => return begun,
            }
        }
    }

    fn begin_on(
        &self,
        lease: Lease,
        exchange: &SharedExchange,
        bell: &Arc<Bell>,
    ) -> Result<StreamContext, StreamError> {
        let state = lease.with(|instance| instance.create_stream(Arc::clone(exchange), bell))?;
        Ok(StreamContext::new(self.clone(), lease, state))
    }

    /// Whether it lately failed for a tenant.
    pub(crate) fn failed_lately(&self, tenant: &str) -> bool {
        self.inner.facts.threads.are_own() && self.inner.pool.failed_lately(tenant)
    }

    /// Too much of its work waits.
    pub(crate) fn busy(&self) -> StreamError {
        Counters::add(&self.inner.facts.counters.refused_busy);
        StreamError::Busy { plugin: self.shared_name() }
    }

    fn refused_in_quarantine(&self, tenant: &str) -> StreamError {
        Counters::add(&self.inner.facts.counters.refused_in_quarantine);
        StreamError::Quarantined { plugin: self.shared_name(), tenant: tenant.into() }
    }

    /// Starts an instance for a tenant that has none, so that its first request need not.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn warm(&self, tenant: &str) -> Result<(), StreamError> {
        self.lease(tenant).map(drop)
    }

    fn lease(&self, tenant: &str) -> Result<Lease, StreamError> {
        let PluginInner { engine, facts, pool, .. } = &*self.inner;
        if facts.quarantine.holds(tenant) {
            return Err(self.refused_in_quarantine(tenant));
        }
        let most = facts.limits.instances_per_tenant;
        let new_scope = |tenant: &Arc<str>| self.new_scope(tenant);
        let lease = pool.lease(tenant, most, new_scope, |scope| self.start(scope))?;
        lease.used(engine.next_use());
        Ok(lease)
    }

    fn new_scope(&self, tenant: &Arc<str>) -> Arc<Scope> {
        let PluginInner { engine, facts, .. } = &*self.inner;
        let shared_data = engine.shared_data.scope(&facts.vm_id, tenant);
        let (plugin, tenant) = (Arc::clone(facts), Arc::clone(tenant));
        let queues = engine.queues.of(&tenant, &facts.owner);
        Arc::new(Scope::new(plugin, tenant, shared_data, queues, false))
    }

    fn start(&self, scope: &Arc<Scope>) -> Result<Instance, StreamError> {
        let PluginInner { engine, module, facts, .. } = &*self.inner;
        let plugin = || Arc::clone(&facts.name);
        let place = engine.place().map_err(|limit| {
            Counters::add(&facts.counters.exhausted);
            StreamError::Exhausted { plugin: plugin(), limit }
        })?;
        let ticking = engine.ticking();
        let mailbox = Mailbox::new(Arc::clone(&engine.schedule));
        let store = instance::store(&engine.runtime, Arc::clone(scope), mailbox, &ticking);
        Counters::add(&facts.counters.instances_started);
        let started = Instance::start(module, place, store, ticking);
        let configured = started.and_then(|mut instance| instance.configure().map(|()| instance));
        configured.map_err(|reason| {
            scope.did_not_start(&reason);
            match reason {
                StartError::Trap(trap) => StreamError::Trap(trap),
                reason => StreamError::Start { plugin: plugin(), reason },
            }
        })
    }
}
