//! One running guest: its store, its callbacks, and the way into them.

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{
    PoolConcurrencyLimitError, Store, TypedFunc, UpdateDeadline, WasmBacktrace, WasmParams, WasmResults,
};

use crate::abi::Action;
use crate::callbacks::{Callbacks, OnHeaders};
use crate::capacity::Place as PoolPlace;
use crate::error::{StartError, Trap, TrapCause};
use crate::exchange::{Exchange, LocalResponse};
use crate::limits::MAX_BACKTRACE_BYTES;
use crate::module::CompiledModule;
use crate::scope::{Counters, Scope};
use crate::slot;
use crate::state::{Call, HostState, Phase, Place, ROOT_CONTEXT};
use crate::ticker::Ticking;

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

/// What a header callback did.
pub(crate) struct HeadersResult {
    pub(crate) action: Action,
    pub(crate) local_response: Option<LocalResponse>,
}

/// The arguments of a header callback.
pub(crate) struct HeadersCall {
    pub(crate) phase: Phase,
    pub(crate) context: u32,
    pub(crate) count: u32,
    pub(crate) end_of_stream: bool,
    /// Whether this stream has not sent its local response yet.
    pub(crate) may_respond: bool,
}

/// A store for this scope's guests: limits, budget checks, and nothing running yet.
pub(crate) fn store(engine: &wasmtime::Engine, scope: Arc<Scope>, ticking: &Ticking) -> Store<HostState> {
    let mut store = Store::new(engine, HostState::new(scope));
    store.limiter(|state| state);
    let ticking = ticking.clone();
    store.epoch_deadline_callback(move |mut context| {
        ticking.touch();
        check_cpu(context.data_mut())
    });
    store
}

/// Runs at an epoch wake. The clock is read only here, so that the callbacks that meet no wake, nearly all, pay
/// nothing for their budget; it counts from the first wake.
fn check_cpu(state: &mut HostState) -> wasmtime::Result<UpdateDeadline> {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let now = Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0));
    let call = &mut state.call;
    match call.cpu_from {
        Some(from) if now.saturating_sub(from) >= call.cpu_budget => {
            let cause = TrapCause::Cpu(call.cpu_budget);
            call.cause = Some(cause.clone());
            Err(wasmtime::Error::new(cause))
        }
        Some(_) => Ok(UpdateDeadline::Continue(1)),
        None => {
            call.cpu_from = Some(now);
            Ok(UpdateDeadline::Continue(1))
        }
    }
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
            self.guest.call(
                "proxy_on_context_create",
                call(Phase::RootCreate),
                None,
                create,
                (ROOT_CONTEXT, 0),
            )?;
        }
        let plugin = Arc::clone(&self.guest.store.data().scope.plugin);
        if let Some(start) = &self.callbacks.vm_start {
            let arguments = (ROOT_CONTEXT, size(&plugin.vm_configuration));
            if self.guest.call("proxy_on_vm_start", call(Phase::VmStart), None, start, arguments)? == 0 {
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
            if self.guest.call("proxy_on_configure", call, None, configure, arguments)? == 0 {
                return Err(StartError::Refused { function: "proxy_on_configure" });
            }
        }
        Ok(())
    }

    /// Creates a stream context and returns its id.
    pub(crate) fn create_stream(&mut self, exchange: &mut dyn Exchange) -> Result<u32, Box<Trap>> {
        let id = self.free_context();
        self.guest.store.data_mut().contexts.insert(id);
        if let Some(create) = &self.callbacks.context_create {
            let call = self.guest.stream_call(Phase::StreamCreate, id);
            self.guest.call("proxy_on_context_create", call, Some(exchange), create, (id, ROOT_CONTEXT))?;
        }
        Ok(id)
    }

    /// The next id that no open context has.
    fn free_context(&mut self) -> u32 {
        loop {
            let id = self.next_context;
            self.next_context = id.checked_add(1).unwrap_or(ROOT_CONTEXT + 1);
            if !self.guest.store.data().knows_context(id) {
                return id;
            }
        }
    }

    /// Runs a header callback; a module without it lets everything pass.
    pub(crate) fn headers(
        &mut self,
        on: &HeadersCall,
        exchange: &mut dyn Exchange,
    ) -> Result<HeadersResult, Box<Trap>> {
        let (callback, function) = match on.phase {
            Phase::ResponseHeaders => (&self.callbacks.response_headers, "proxy_on_response_headers"),
            _ => (&self.callbacks.request_headers, "proxy_on_request_headers"),
        };
        let mut call = self.guest.stream_call(on.phase, on.context);
        call.may_respond = on.may_respond;
        let raw = match callback {
            None => return Ok(HeadersResult { action: Action::Continue, local_response: None }),
            Some(OnHeaders::V01(callback)) => {
                self.guest.call(function, call, Some(exchange), callback, (on.context, on.count))?
            }
            Some(OnHeaders::V02(callback)) => {
                let arguments = (on.context, on.count, u32::from(on.end_of_stream));
                self.guest.call(function, call, Some(exchange), callback, arguments)?
            }
        };
        let local_response = self.guest.store.data_mut().call.local_response.take();
        // Anything but 0 stops, numbers no action has included.
        let stop = raw != 0 || local_response.is_some();
        Ok(HeadersResult { action: if stop { Action::Pause } else { Action::Continue }, local_response })
    }

    /// Ends a stream: `on_log` where there is an exchange to log, `on_done`, `on_delete`.
    pub(crate) fn end_stream(
        &mut self,
        context: u32,
        exchange: Option<&mut dyn Exchange>,
    ) -> Result<(), Box<Trap>> {
        if let (Some(log), Some(exchange)) = (&self.callbacks.log, exchange) {
            let call = self.guest.stream_call(Phase::Log, context);
            self.guest.call("proxy_on_log", call, Some(exchange), log, context)?;
        }
        if let Some(done) = &self.callbacks.done {
            let call = self.guest.stream_call(Phase::Done, context);
            // A stream goes whatever is returned, as in Envoy.
            self.guest.call("proxy_on_done", call, None, done, context)?;
        }
        if let Some(delete) = &self.callbacks.delete {
            let call = self.guest.stream_call(Phase::Delete, context);
            self.guest.call("proxy_on_delete", call, None, delete, context)?;
        }
        self.guest.store.data_mut().contexts.remove(&context);
        Ok(())
    }

    /// Ends the root context, before the instance is dropped: `on_done` and, where it returns true, `on_delete`.
    pub(crate) fn end_root(&mut self) -> Result<(), Box<Trap>> {
        if let Some(done) = &self.callbacks.done {
            let call = self.guest.stream_call(Phase::Done, ROOT_CONTEXT);
            if self.guest.call("proxy_on_done", call, None, done, ROOT_CONTEXT)? == 0 {
                return Ok(());
            }
        }
        if let Some(delete) = &self.callbacks.delete {
            let call = self.guest.stream_call(Phase::Delete, ROOT_CONTEXT);
            self.guest.call("proxy_on_delete", call, None, delete, ROOT_CONTEXT)?;
        }
        Ok(())
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
            self.call("_initialize", call(), None, &initialize, ())?;
            if let Ok(main) = instance.get_typed_func::<(u32, u32), u32>(&mut self.store, "main") {
                self.call("main", call(), None, &main, (0, 0))?;
            } else if let Ok(main) = instance.get_typed_func::<(), u32>(&mut self.store, "__main_void") {
                self.call("__main_void", call(), None, &main, ())?;
            }
        } else if let Ok(start) = instance.get_typed_func::<(), ()>(&mut self.store, "_start") {
            self.call("_start", call(), None, &start, ())?;
        }
        Ok(())
    }

    fn stream_call(&self, phase: Phase, context: u32) -> Call {
        Call::new(phase, context, self.store.data().scope.plugin.limits.callback_cpu)
    }

    /// The one way into the guest.
    fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        function: &'static str,
        call: Call,
        exchange: Option<&mut dyn Exchange>,
        callback: &TypedFunc<P, R>,
        arguments: P,
    ) -> Result<R, Box<Trap>> {
        begin(&mut self.store, &self.ticking, call);
        Counters::add(&self.store.data().scope.plugin.counters.callbacks);
        match exchange {
            None => {
                let result = callback.call(&mut self.store, arguments);
                result.map_err(|error| trap(&mut self.store, function, &error))
            }
            Some(exchange) => slot::lend(&mut self.store, exchange, |store| {
                let result = callback.call(&mut *store, arguments);
                result.map_err(|error| trap(store, function, &error))
            }),
        }
    }
}

/// The length of a configuration, as the guest is told.
fn size(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn begin(store: &mut Store<HostState>, ticking: &Ticking, call: Call) {
    store.data_mut().begin(call);
    store.set_epoch_deadline(1);
    ticking.touch();
}

/// The report of a guest's end. The exchange, where there is one, still is in its slot and gives the request's id.
fn trap(store: &mut Store<HostState>, function: &'static str, error: &wasmtime::Error) -> Box<Trap> {
    let state = store.data_mut();
    let cause = state.call.cause.take().unwrap_or_else(|| match error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::StackOverflow) => TrapCause::Stack,
        Some(trap) => TrapCause::Wasm(trap.to_string()),
        None => TrapCause::Wasm(format!("{error:#}")),
    });
    let mut backtrace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string).unwrap_or_default();
    if backtrace.len() > MAX_BACKTRACE_BYTES {
        let mut end = MAX_BACKTRACE_BYTES;
        while !backtrace.is_char_boundary(end) {
            end -= 1;
        }
        backtrace.truncate(end);
    }
    Counters::add(&state.scope.plugin.counters.traps);
    Box::new(Trap {
        plugin: Arc::clone(&state.scope.plugin.name),
        tenant: Arc::clone(&state.scope.tenant),
        function,
        request_id: state.exchange.get().map(|exchange| exchange.request_id().to_owned()),
        cause,
        backtrace,
    })
}
