//! What a store carries: the state host functions work on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::{Memory, ResourceLimiter, TypedFunc};

use crate::abi::{Direction, HeaderMap, MapType, Status};
use crate::calls::{GrpcHandle, HttpCallResponse, Pairs};
use crate::error::TrapCause;
use crate::exchange::{Exchange, LocalResponse};
use crate::mailbox::Mailbox;
use crate::pairs::Encoder;
use crate::schedule::TickKey;
use crate::scope::{InFlight, Scope};
use crate::stream::StreamState;

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
    /// Headers, body or trailers of a stream.
    Message(Direction),
    /// Ticks, queues and answers to calls out, for a root context.
    Event,
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
    /// The stream host calls act on: the callback's own, or the one of `proxy_set_effective_context`.
    pub(crate) stream: Option<Arc<StreamState>>,
    /// CPU time it may take.
    pub(crate) cpu_budget: Duration,
    /// The thread's CPU clock at this callback's begin, where it is watched, or at its first epoch wake.
    pub(crate) cpu_from: Option<Duration>,
    /// It is measured from end to end.
    pub(crate) watched: bool,
    /// An epoch wake came in the middle of it.
    pub(crate) woken: bool,
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
            stream: None,
            cpu_budget,
            cpu_from: None,
            watched: false,
            woken: false,
            cause: None,
            log_bytes: 0,
            header_bytes: 0,
            property_bytes: 0,
        }
    }

    /// The same call on a stream.
    pub(crate) fn on(mut self, stream: &Arc<StreamState>) -> Self {
        self.stream = Some(Arc::clone(stream));
        self
    }

    /// Whether host calls act on the context the callback is for.
    pub(crate) fn own_context(&self) -> bool {
        self.stream.as_ref().map_or(ROOT_CONTEXT, |stream| stream.id) == self.context
    }
}

/// A byte budget of one callback.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ByteBudget {
    Log,
    Header,
    Property,
}

/// What the callback of a call out's answer can read.
#[derive(Default)]
pub(crate) struct Received {
    /// The answer to an HTTP call; empty maps and body where it failed.
    pub(crate) http: Option<HttpCallResponse>,
    pub(crate) initial_metadata: Option<Pairs>,
    pub(crate) trailing_metadata: Option<Pairs>,
    pub(crate) message: Bytes,
}

impl Received {
    fn map(&self, map: MapType) -> Option<&Pairs> {
        match map {
            MapType::CallHeaders => self.http.as_ref().map(|response| &response.headers),
            MapType::CallTrailers => self.http.as_ref().map(|response| &response.trailers),
            MapType::GrpcInitialMetadata => self.initial_metadata.as_ref(),
            MapType::GrpcTrailingMetadata => self.trailing_metadata.as_ref(),
            MapType::Exchange(_) => None,
        }
    }
}

/// A gRPC call under way. Without a handle it is unary, or its end was told already.
pub(crate) struct GrpcUnderWay {
    pub(crate) handle: Box<dyn GrpcHandle>,
    pub(crate) unary: bool,
    pub(crate) _in_flight: InFlight,
}

/// What a root context has going.
#[derive(Default)]
pub(crate) struct Root {
    /// None where ticks are off.
    pub(crate) tick: Option<Duration>,
    /// The next one, as it is planned.
    pub(crate) next_tick: Option<TickKey>,
    /// Counts the periods that were set: a tick of an older one is void.
    pub(crate) tick_generation: u64,
    pub(crate) last_token: u32,
    pub(crate) http: HashMap<u32, InFlight>,
    pub(crate) grpc: HashMap<u32, GrpcUnderWay>,
    pub(crate) received: Received,
    /// For `proxy_get_status`: of the call whose answer is told.
    pub(crate) status: (u32, Vec<u8>),
    /// It answered `proxy_on_done` with false.
    pub(crate) finishing: bool,
    /// It called `proxy_done` since.
    pub(crate) done: bool,
}

impl Root {
    /// A token that no call under way has.
    pub(crate) fn token(&mut self) -> u32 {
        loop {
            self.last_token = self.last_token.wrapping_add(1).max(1);
            if !self.http.contains_key(&self.last_token) && !self.grpc.contains_key(&self.last_token) {
                return self.last_token;
            }
        }
    }
}

/// The data of an instance's store.
pub(crate) struct HostState {
    pub(crate) scope: Arc<Scope>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) call: Call,
    pub(crate) place: Place,
    /// Unknown until the instance is made: host calls of a wasm `start` function find none.
    pub(crate) memory: Option<Memory>,
    pub(crate) allocate: Option<TypedFunc<u32, u32>>,
    pub(crate) streams: HashMap<u32, Arc<StreamState>>,
    pub(crate) root: Root,
    /// Buffers kept from call to call, so that a host call allocates nothing once warm.
    pub(crate) scratch: Vec<u8>,
    pub(crate) names: Vec<u8>,
    pub(crate) encoder: Encoder,
}

impl HostState {
    pub(crate) fn new(scope: Arc<Scope>, mailbox: Arc<Mailbox>) -> Self {
        let call = Call::new(Phase::Start, 0, scope.plugin.limits.start_cpu);
        Self {
            scope,
            mailbox,
            call,
            place: Place::Start,
            memory: None,
            allocate: None,
            streams: HashMap::new(),
            root: Root::default(),
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
    pub(crate) fn charge(&mut self, budget: ByteBudget, bytes: usize) -> Answer {
        let limits = &self.scope.plugin.limits;
        let (used, limit, name) = match budget {
            ByteBudget::Log => (&mut self.call.log_bytes, limits.log_bytes, "log_bytes"),
            ByteBudget::Header => (&mut self.call.header_bytes, limits.header_bytes, "header_bytes"),
            ByteBudget::Property => (&mut self.call.property_bytes, limits.property_bytes, "property_bytes"),
        };
        *used = used.saturating_add(bytes);
        if *used > limit { Err(TrapCause::Bytes { name, limit }.into()) } else { Ok(()) }
    }

    /// Makes host calls act on another context: 0 is the module itself, as in Envoy.
    pub(crate) fn set_effective_context(&mut self, id: u32) -> Answer {
        self.call.stream = match self.streams.get(&id) {
            Some(stream) => Some(Arc::clone(stream)),
            None if id <= ROOT_CONTEXT => None,
            None => return Err(Status::BadArgument.into()),
        };
        Ok(())
    }

    /// Whether the effective context's exchange has this map now, to be read and written: in the map's own callback,
    /// and while the stream is held there.
    pub(crate) fn has_map(&self, map: HeaderMap) -> bool {
        self.call.stream.as_ref().is_some_and(|stream| stream.lock().has_map(map))
    }

    /// Whether the map can be read in the log phase of its own stream.
    pub(crate) fn logs_map(&self, map: HeaderMap) -> bool {
        self.in_own_log() && map != HeaderMap::RequestTrailers
    }

    pub(crate) fn in_own_log(&self) -> bool {
        self.call.phase == Phase::Log && self.call.own_context()
    }

    /// A map of what a call out brought, in its callback.
    pub(crate) fn received_map(&self, map: MapType) -> Option<&Pairs> {
        self.root.received.map(map)
    }

    /// Runs `act` on the effective context's exchange.
    pub(crate) fn with_exchange<R>(&self, act: impl FnOnce(&mut dyn Exchange) -> R) -> Option<R> {
        with_exchange(self.call.stream.as_ref(), act)
    }

    /// Takes a local response for the effective stream.
    ///
    /// Only the first of a stream counts; a later one is answered OK and ignored, as in Envoy.
    pub(crate) fn respond(&mut self, response: LocalResponse) -> Answer {
        let stream = self.call.stream.as_ref().ok_or(Status::BadArgument)?;
        stream.respond(response);
        Ok(())
    }

    /// Who makes a call out now.
    pub(crate) fn source(&self) -> crate::calls::CallSource {
        crate::calls::CallSource {
            plugin: Arc::clone(&self.scope.plugin.name),
            owner: self.scope.plugin.owner.as_str().into(),
            tenant: Arc::clone(&self.scope.tenant),
            request_id: self.with_exchange(|exchange| exchange.request_id().to_owned()),
        }
    }
}

/// As [`HostState::with_exchange`], where other fields of the state are in use.
pub(crate) fn with_exchange<R>(
    stream: Option<&Arc<StreamState>>,
    act: impl FnOnce(&mut dyn Exchange) -> R,
) -> Option<R> {
    stream.map(|stream| stream.lock().with_exchange(act))
}

impl Drop for HostState {
    /// Whoever waits on a stream of this instance waits no longer, and nothing is planned for it.
    fn drop(&mut self) {
        self.mailbox.close();
        if let Some(tick) = self.root.next_tick {
            self.mailbox.schedule().forget(tick);
        }
        for stream in self.streams.values() {
            stream.lose();
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
