//! One running guest: its store, its callbacks, and the way into them.

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{
    PoolConcurrencyLimitError, Store, TypedFunc, UpdateDeadline, WasmBacktrace, WasmParams, WasmResults,
};

use crate::abi::Direction;
use crate::callbacks::{Callbacks, OnHeaders, OnMessage};
use crate::capacity::Place as PoolPlace;
use crate::error::{StartError, Trap, TrapCause};
use crate::exchange::{Outcome, SharedExchange};
use crate::limits::{MAX_BACKTRACE_BYTES, Meter};
use crate::mailbox::Mailbox;
use crate::module::CompiledModule;
use crate::scope::{Counters, Scope};
use crate::state::{Call, HostState, Phase, Place, ROOT_CONTEXT};
use crate::stream::{Bell, Part, StreamState};
use crate::ticker::Ticking;
use crate::trace::TraceEvent;

mod events;

/// A started and configured guest. Callbacks on it are one at a time.
pub(crate) struct Instance {
    guest: Guest,
    callbacks: Callbacks,
    next_context: u32,
    /// Its place in the engine's count of instances, given back on drop.
    _place: PoolPlace,
}

/// The store, and the one way to call into it. Apart from the callbacks, so that these are borrowed and not cloned
/// (a typed function's clone counts references several times) while the store is in use.
struct Guest {
    store: Store<HostState>,
    ticking: Ticking,
}

/// A store for this scope's guests: limits, budget checks, and nothing running yet.
pub(crate) fn store(
    engine: &wasmtime::Engine,
    scope: Arc<Scope>,
    mailbox: Arc<Mailbox>,
    ticking: &Ticking,
) -> Store<HostState> {
    let mut store = Store::new(engine, HostState::new(scope, mailbox));
    store.limiter(|state| state);
    let ticking = ticking.clone();
    store.epoch_deadline_callback(move |mut context| {
        ticking.touch();
        check_cpu(context.data_mut())
    });
    store
}

/// Runs at an epoch wake. The clock is read only here, and where a wake came lately, so that nearly all callbacks pay
/// nothing for their budget; it counts from the first wake.
fn check_cpu(state: &mut HostState) -> wasmtime::Result<UpdateDeadline> {
    let now = thread_cpu();
    let call = &mut state.call;
    let first = !std::mem::replace(&mut call.woken, true);
    match call.cpu_from {
        // Once is not enough: a hypervisor that takes the core away counts as CPU time of whoever ran.
        Some(from) if !first && now.saturating_sub(from) >= call.cpu_budget => {
            let cause = TrapCause::Cpu(call.cpu_budget);
            call.cause = Some(cause.clone());
            Err(wasmtime::Error::new(cause))
        }
        Some(_) => Ok(UpdateDeadline::Continue(1)),
        None => {
            call.cpu_from = Some(now);
            state.scope.watch();
            Ok(UpdateDeadline::Continue(1))
        }
    }
}

/// A callback that returned, and was measured from end to end, may still have taken too long.
fn check_watched(state: &mut HostState) -> wasmtime::Result<()> {
    let call = &mut state.call;
    let Some(from) = call.cpu_from.filter(|_| call.watched) else { return Ok(()) };
    if thread_cpu().saturating_sub(from) < call.cpu_budget || !state.scope.overran() {
        return Ok(());
    }
    let cause = TrapCause::Cpu(call.cpu_budget);
    call.cause = Some(cause.clone());
    Err(wasmtime::Error::new(cause))
}

/// CPU time of this thread so far.
fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

impl Instance {
    /// Makes and starts a guest, in Envoy's order: start-up code, root context, `vm_start`. It wants to be configured
    /// next ([`Self::configure`]).
    ///
    /// `place` stands before `store`, so that on failure it is given back after the store has freed its slot.
    pub(crate) fn start(
        module: &CompiledModule,
        place: PoolPlace,
        mut store: Store<HostState>,
        ticking: Ticking,
    ) -> Result<Self, StartError> {
        let limits = store.data().scope.plugin.limits.clone();
        begin(&mut store, &ticking, Call::new(Phase::Start, 0, limits.start_cpu));
        let instance = match module.pre.instantiate(&mut store) {
            Ok(instance) => instance,
            Err(error) if error.is::<PoolConcurrencyLimitError>() => {
                return Err(StartError::Instantiate(format!("{error:#}")));
            }
            Err(error) => return Err(trap(&mut store, "(start)", &error).into()),
        };
        // Everything looked up here was checked when the module was compiled.
        store.data_mut().memory = instance.get_memory(&mut store, &module.memory);
        store.data_mut().allocate = instance.get_typed_func(&mut store, module.allocator).ok();
        let callbacks = Callbacks::of(&instance, &mut store, module.abi);
        let guest = Guest { store, ticking };
        let mut started = Self { guest, callbacks, next_context: ROOT_CONTEXT + 1, _place: place };
        started.guest.run_start_functions(&instance, limits.start_cpu)?;
        started.guest.store.data_mut().place = Place::Callback;
        started.start_root(limits.start_cpu)?;
        Ok(started)
    }

    fn start_root(&mut self, budget: Duration) -> Result<(), StartError> {
        let call = |phase| Call::new(phase, ROOT_CONTEXT, budget);
        if let Some(create) = &self.callbacks.context_create {
            self.guest.call("proxy_on_context_create", call(Phase::RootCreate), create, (ROOT_CONTEXT, 0))?;
        }
        let plugin = Arc::clone(&self.guest.store.data().scope.plugin);
        if let Some(start) = &self.callbacks.vm_start {
            let arguments = (ROOT_CONTEXT, size(&plugin.vm_configuration));
            if self.guest.call("proxy_on_vm_start", call(Phase::VmStart), start, arguments)? == 0 {
                return Err(StartError::Refused { function: "proxy_on_vm_start" });
            }
        }
        Ok(())
    }

    /// Gives a started guest its configuration.
    pub(crate) fn configure(&mut self) -> Result<(), StartError> {
        let plugin = Arc::clone(&self.guest.store.data().scope.plugin);
        if let Some(configure) = &self.callbacks.configure {
            let call = Call::new(Phase::Configure, ROOT_CONTEXT, plugin.limits.start_cpu);
            let arguments = (ROOT_CONTEXT, size(&plugin.configuration));
            if self.guest.call("proxy_on_configure", call, configure, arguments)? == 0 {
                return Err(StartError::Refused { function: "proxy_on_configure" });
            }
        }
        Ok(())
    }

    /// Creates a stream context.
    pub(crate) fn create_stream(
        &mut self,
        exchange: SharedExchange,
        bell: &Arc<Bell>,
    ) -> Result<Arc<StreamState>, Box<Trap>> {
        let id = self.free_context();
        let stream = StreamState::new(id, exchange, Arc::clone(bell));
        self.guest.store.data_mut().streams.insert(id, Arc::clone(&stream));
        if let Some(create) = &self.callbacks.context_create {
            let call = self.guest.callback(Phase::StreamCreate, id).on(&stream);
            self.guest.call("proxy_on_context_create", call, create, (id, ROOT_CONTEXT))?;
        }
        Ok(stream)
    }

    /// The next id that no open context has.
    fn free_context(&mut self) -> u32 {
        loop {
            let id = self.next_context;
            self.next_context = id.checked_add(1).unwrap_or(ROOT_CONTEXT + 1);
            if id > ROOT_CONTEXT && !self.guest.store.data().streams.contains_key(&id) {
                return id;
            }
        }
    }

    /// Runs a header callback.
    pub(crate) fn on_headers(
        &mut self,
        stream: &Arc<StreamState>,
        direction: Direction,
        end_of_stream: bool,
    ) -> Result<Outcome, Box<Trap>> {
        stream.enter(direction, Part::Headers);
        let message = message(&self.callbacks, direction);
        let raw = match &message.headers {
            None => 0,
            Some(callback) => {
                let count =
                    stream.lock().with_exchange(|exchange| exchange.header_count(direction.headers()));
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                let call = self.guest.callback(Phase::Message(direction), stream.id).on(stream);
                let (name, end) = (message.names.headers, u32::from(end_of_stream));
                match callback {
                    OnHeaders::V01(callback) => self.guest.call(name, call, callback, (stream.id, count))?,
                    OnHeaders::V02(callback) => {
                        self.guest.call(name, call, callback, (stream.id, count, end))?
                    }
                }
            }
        };
        Ok(stream.leave(direction, raw))
    }

    /// Runs a body callback over what the stream's buffer holds.
    pub(crate) fn on_body(
        &mut self,
        stream: &Arc<StreamState>,
        direction: Direction,
        end_of_stream: bool,
    ) -> Result<Outcome, Box<Trap>> {
        stream.enter(direction, Part::Body);
        let message = message(&self.callbacks, direction);
        let raw = match &message.body {
            None => 0,
            Some(callback) => {
                let length = stream.lock().leg(direction).body.len();
                let length = u32::try_from(length).unwrap_or(u32::MAX);
                let call = self.guest.callback(Phase::Message(direction), stream.id).on(stream);
                let arguments = (stream.id, length, u32::from(end_of_stream));
                self.guest.call(message.names.body, call, callback, arguments)?
            }
        };
        Ok(stream.leave(direction, raw))
    }

    /// Runs a trailer callback.
    pub(crate) fn on_trailers(
        &mut self,
        stream: &Arc<StreamState>,
        direction: Direction,
    ) -> Result<Outcome, Box<Trap>> {
        stream.enter(direction, Part::Trailers);
        let message = message(&self.callbacks, direction);
        let raw = match &message.trailers {
            None => 0,
            Some(callback) => {
                let count =
                    stream.lock().with_exchange(|exchange| exchange.header_count(direction.trailers()));
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                let call = self.guest.callback(Phase::Message(direction), stream.id).on(stream);
                self.guest.call(message.names.trailers, call, callback, (stream.id, count))?
            }
        };
        Ok(stream.leave(direction, raw))
    }

    /// Ends a stream: `on_log` where it is to be logged, `on_done`, `on_delete`.
    pub(crate) fn end_stream(&mut self, stream: &Arc<StreamState>, log: bool) -> Result<(), Box<Trap>> {
        let id = stream.id;
        if let (Some(callback), true) = (&self.callbacks.log, log) {
            let call = self.guest.callback(Phase::Log, id).on(stream);
            self.guest.call("proxy_on_log", call, callback, id)?;
        }
        if let Some(done) = &self.callbacks.done {
            let call = self.guest.callback(Phase::Done, id).on(stream);
            // A stream goes whatever is returned, as in Envoy.
            self.guest.call("proxy_on_done", call, done, id)?;
        }
        if let Some(delete) = &self.callbacks.delete {
            let call = self.guest.callback(Phase::Delete, id).on(stream);
            self.guest.call("proxy_on_delete", call, delete, id)?;
        }
        self.guest.store.data_mut().streams.remove(&id);
        Ok(())
    }

    /// Begins to end the root context, before the instance is dropped: `on_done`, and `on_delete` where that returned
    /// true. Whether it is over; if not, it is once the guest calls `proxy_done` ([`Self::is_over`]).
    pub(crate) fn end_root(&mut self) -> Result<bool, Box<Trap>> {
        if let Some(done) = &self.callbacks.done {
            let call = self.guest.callback(Phase::Done, ROOT_CONTEXT);
            let finished = self.guest.call("proxy_on_done", call, done, ROOT_CONTEXT)? != 0;
            let root = &mut self.guest.store.data_mut().root;
            if !finished && !root.done {
                root.finishing = true;
                return Ok(false);
            }
        }
        self.delete_root()?;
        Ok(true)
    }

    /// Whether a root context that was not done at once has called `proxy_done` since.
    pub(crate) fn is_over(&self) -> bool {
        self.guest.store.data().root.done
    }

    /// Runs `on_delete` of the root context.
    pub(crate) fn delete_root(&mut self) -> Result<(), Box<Trap>> {
        if let Some(delete) = &self.callbacks.delete {
            let call = self.guest.callback(Phase::Delete, ROOT_CONTEXT);
            self.guest.call("proxy_on_delete", call, delete, ROOT_CONTEXT)?;
        }
        Ok(())
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.guest.store.data().mailbox
    }
}

fn message(callbacks: &Callbacks, direction: Direction) -> &OnMessage {
    match direction {
        Direction::Request => &callbacks.request,
        Direction::Response => &callbacks.response,
    }
}

impl Guest {
    /// `_initialize`, then `main` or `__main_void`, for a reactor; `_start` for a command.
    fn run_start_functions(
        &mut self,
        instance: &wasmtime::Instance,
        budget: Duration,
    ) -> Result<(), Box<Trap>> {
        let call = || Call::new(Phase::Start, 0, budget);
        if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut self.store, "_initialize") {
            self.call("_initialize", call(), &initialize, ())?;
            if let Ok(main) = instance.get_typed_func::<(u32, u32), u32>(&mut self.store, "main") {
                self.call("main", call(), &main, (0, 0))?;
            } else if let Ok(main) = instance.get_typed_func::<(), u32>(&mut self.store, "__main_void") {
                self.call("__main_void", call(), &main, ())?;
            }
        } else if let Ok(start) = instance.get_typed_func::<(), ()>(&mut self.store, "_start") {
            self.call("_start", call(), &start, ())?;
        }
        Ok(())
    }

    /// A callback with the CPU budget of one.
    fn callback(&self, phase: Phase, context: u32) -> Call {
        Call::new(phase, context, self.store.data().scope.plugin.limits.callback_cpu)
    }

    /// The one way into the guest.
    fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        function: &'static str,
        call: Call,
        callback: &TypedFunc<P, R>,
        arguments: P,
    ) -> Result<R, Box<Trap>> {
        let context = call.context;
        begin(&mut self.store, &self.ticking, call);
        let plugin = &self.store.data().scope.plugin;
        Counters::add(&plugin.counters.callbacks);
        if let Some(tracer) = &plugin.tracer {
            tracer.event(&TraceEvent::Enter { function, context });
        }
        let result = callback.call(&mut self.store, arguments);
        if let Some(tracer) = &self.store.data().scope.plugin.tracer {
            tracer.event(&TraceEvent::Leave { function, returned: result.is_ok() });
        }
        let result = result.and_then(|result| check_watched(self.store.data_mut()).map(|()| result));
        result.map_err(|error| trap(&mut self.store, function, &error))
    }
}

/// The length of a configuration, as the guest is told.
fn size(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn begin(store: &mut Store<HostState>, ticking: &Ticking, mut call: Call) {
    match store.data().scope.plugin.meter {
        Meter::CpuTime => {
            store.set_epoch_deadline(1);
            ticking.touch();
            if store.data().scope.is_watched() {
                call.watched = true;
                call.cpu_from = Some(thread_cpu());
            }
        }
        Meter::Fuel => {
            let fuel = fuel_of(store.data(), call.phase);
            // It fails only in an engine without fuel, and this one has it.
            if let Err(error) = store.set_fuel(fuel) {
                tracing::error!(%error, "a plugin runs unmeasured");
            }
        }
    }
    store.data_mut().begin(call);
}

/// The fuel a callback may burn.
fn fuel_of(state: &HostState, phase: Phase) -> u64 {
    let limits = &state.scope.plugin.limits;
    match phase {
        Phase::Start | Phase::RootCreate | Phase::VmStart | Phase::Configure => limits.start_fuel,
        _ => limits.callback_fuel,
    }
}

/// The report of a guest's end, with the id of the request whose callback it was.
fn trap(store: &mut Store<HostState>, function: &'static str, error: &wasmtime::Error) -> Box<Trap> {
    let state = store.data_mut();
    let fuel = fuel_of(state, state.call.phase);
    let cause = state.call.cause.take().unwrap_or_else(|| match error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::OutOfFuel) => TrapCause::Fuel(fuel),
        Some(wasmtime::Trap::StackOverflow) => TrapCause::Stack,
        Some(trap) => TrapCause::Wasm(trap.to_string()),
        None => TrapCause::Wasm(format!("{error:#}")),
    });
    // Whatever else it did in the end.
    if state.call.cpu_from.is_some_and(|from| thread_cpu().saturating_sub(from) >= state.call.cpu_budget) {
        state.scope.make_slow();
    }
    let mut backtrace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string).unwrap_or_default();
    if backtrace.len() > MAX_BACKTRACE_BYTES {
        let mut end = MAX_BACKTRACE_BYTES;
        while !backtrace.is_char_boundary(end) {
            end -= 1;
        }
        backtrace.truncate(end);
    }
    let trap = Trap {
        plugin: Arc::clone(&state.scope.plugin.name),
        version: Arc::clone(&state.scope.plugin.version),
        tenant: Arc::clone(&state.scope.tenant),
        function,
        request_id: state.with_exchange(|exchange| exchange.request_id().to_owned()),
        cause,
        backtrace,
    };
    state.scope.trapped(&trap);
    Box::new(trap)
}
