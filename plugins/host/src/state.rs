//! What a store carries: the state host functions work on.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Memory, ResourceLimiter, TypedFunc};

use crate::abi::{HeaderMap, Status};
use crate::error::TrapCause;
use crate::exchange::LocalResponse;
use crate::pairs::Encoder;
use crate::scope::Scope;
use crate::slot::ExchangeSlot;

pub(crate) type Caller<'a> = wasmtime::Caller<'a, HostState>;

/// The id of an instance's root context, as in Envoy the first one given.
pub(crate) const ROOT_CONTEXT: u32 = 1;

/// A buffer of an instance that is larger is freed before the next callback.
const KEPT_BUFFER_BYTES: usize = 64 * 1024;

/// How a host call ends other than well: with a status for the guest, or with the guest's end.
#[derive(Debug)]
pub(crate) enum Fault {
    Status(Status),
    Trap(TrapCause),
    /// The guest trapped in its allocator, under this host call.
    Guest(wasmtime::Error),
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<TrapCause> for Fault {
    fn from(cause: TrapCause) -> Self {
        Self::Trap(cause)
    }
}

/// What a host function answers.
pub(crate) type Answer<T = ()> = Result<T, Fault>;

/// The callback that is running; it decides what host calls may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Instantiation, `_initialize`, `_start`, `main`.
    Start,
    RootCreate,
    VmStart,
    Configure,
    StreamCreate,
    RequestHeaders,
    ResponseHeaders,
    Log,
    Done,
    Delete,
}

/// Where the guest is that makes a host call, as far as that forbids some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a callback.
    Callback,
    /// In start-up code, before the ABI's own life begins.
    Start,
    /// In its allocator, called by the host in the middle of a host call.
    Allocator,
}

/// What belongs to one callback and is reset before each.
pub(crate) struct Call {
    pub(crate) phase: Phase,
    /// The context the callback is for.
    pub(crate) context: u32,
    /// The context host calls act on; another one after `proxy_set_effective_context`.
    pub(crate) effective: u32,
    /// CPU time it may take.
    pub(crate) cpu_budget: Duration,
    /// The thread's CPU clock at the first epoch wake of this callback.
    pub(crate) cpu_from: Option<Duration>,
    /// Whether this stream may still send a local response.
    pub(crate) may_respond: bool,
    pub(crate) local_response: Option<LocalResponse>,
    /// Why the guest was cut off, where the host did it.
    pub(crate) cause: Option<TrapCause>,
    log_bytes: usize,
    header_bytes: usize,
    property_bytes: usize,
}

impl Call {
    pub(crate) fn new(phase: Phase, context: u32, cpu_budget: Duration) -> Self {
        Self {
            phase,
            context,
            effective: context,
            cpu_budget,
            cpu_from: None,
            may_respond: false,
            local_response: None,
            cause: None,
            log_bytes: 0,
            header_bytes: 0,
            property_bytes: 0,
        }
    }

    /// Whether host calls act on the context the callback is for. The exchange lent to a callback is that context's.
    pub(crate) fn own_context(&self) -> bool {
        self.effective == self.context
    }
}

/// A byte budget of one callback.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Budget {
    Log,
    Header,
    Property,
}

/// The data of an instance's store.
pub(crate) struct HostState {
    pub(crate) scope: Arc<Scope>,
    pub(crate) exchange: ExchangeSlot,
    pub(crate) call: Call,
    pub(crate) place: Place,
    /// Unknown until the instance is made: host calls of a wasm `start` function find none.
    pub(crate) memory: Option<Memory>,
    pub(crate) allocate: Option<TypedFunc<u32, u32>>,
    /// Open stream contexts.
    pub(crate) contexts: HashSet<u32>,
    /// Buffers kept from call to call, so that a host call allocates nothing once warm.
    pub(crate) scratch: Vec<u8>,
    pub(crate) names: Vec<u8>,
    pub(crate) encoder: Encoder,
}

impl HostState {
    pub(crate) fn new(scope: Arc<Scope>) -> Self {
        let call = Call::new(Phase::Start, 0, scope.plugin.limits.start_cpu);
        Self {
            scope,
            exchange: ExchangeSlot::default(),
            call,
            place: Place::Start,
            memory: None,
            allocate: None,
            contexts: HashSet::new(),
            scratch: Vec::new(),
            names: Vec::new(),
            encoder: Encoder::default(),
        }
    }

    /// Makes ready for the next callback. Buffers that one callback blew up are not kept for the instance's life.
    pub(crate) fn begin(&mut self, call: Call) {
        self.call = call;
        for buffer in [&mut self.scratch, &mut self.names] {
            if buffer.capacity() > KEPT_BUFFER_BYTES {
                *buffer = Vec::new();
            }
        }
        self.encoder.trim(KEPT_BUFFER_BYTES);
    }

    /// Takes `bytes` off a budget of this callback.
    pub(crate) fn charge(&mut self, budget: Budget, bytes: usize) -> Answer {
        let limits = &self.scope.plugin.limits;
        let (used, limit, name) = match budget {
            Budget::Log => (&mut self.call.log_bytes, limits.log_bytes, "log_bytes"),
            Budget::Header => (&mut self.call.header_bytes, limits.header_bytes, "header_bytes"),
            Budget::Property => (&mut self.call.property_bytes, limits.property_bytes, "property_bytes"),
        };
        *used = used.saturating_add(bytes);
        if *used > limit { Err(TrapCause::Bytes { name, limit }.into()) } else { Ok(()) }
    }

    /// Whether this context exists: 0 is the module itself, as in Envoy.
    pub(crate) fn knows_context(&self, id: u32) -> bool {
        id <= ROOT_CONTEXT || self.contexts.contains(&id)
    }

    /// The map a callback of this phase has for itself.
    pub(crate) fn own_map(&self) -> Option<HeaderMap> {
        match self.call.phase {
            Phase::RequestHeaders if self.call.own_context() => Some(HeaderMap::Request),
            Phase::ResponseHeaders if self.call.own_context() => Some(HeaderMap::Response),
            _ => None,
        }
    }
}

impl ResourceLimiter for HostState {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let limit = self.scope.plugin.limits.memory_bytes;
        if desired <= limit {
            return Ok(true);
        }
        let cause = TrapCause::Memory { limit, asked: desired };
        let error = wasmtime::Error::new(cause.clone());
        self.call.cause = Some(cause);
        Err(error)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let limit = self.scope.plugin.limits.table_elements;
        if desired <= limit {
            return Ok(true);
        }
        let cause = TrapCause::Table(limit);
        let error = wasmtime::Error::new(cause.clone());
        self.call.cause = Some(cause);
        Err(error)
    }
}
