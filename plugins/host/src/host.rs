//! The host functions, by concern, and the linker that offers them to a module of each ABI version.
//!
//! A host function gets numbers from a hostile guest. It answers a [`Status`] where the guest is merely wrong, and
//! ends the guest where a budget or the ABI itself is broken.

mod buffers;
mod calls;
mod contexts;
mod foreign;
mod grpc;
mod headers;
mod log;
mod metrics;
mod properties;
mod queues;
mod response;
mod shared;
mod streams;
mod tick;
mod wasi;

use wasmtime::{Engine, Linker};

use crate::abi::{AbiVersion, Status};
use crate::error::TrapCause;
use crate::state::{Answer, Caller, Fault, HostState, Place};
use crate::trace::TraceEvent;

/// The module name of Proxy-Wasm's own imports.
const ENV: &str = "env";

/// From where a host function may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Allowed {
    /// Callbacks only.
    Callbacks,
    /// Start-up code too.
    Start,
    /// The guest's allocator too.
    Anywhere,
}

/// Refuses a call from where it is not allowed; that ends the guest, as in Envoy.
fn check_place(caller: &Caller<'_>, call: &'static str, allowed: Allowed) -> Answer {
    let place = match (caller.data().place, allowed) {
        (Place::Callback, _) | (_, Allowed::Anywhere) | (Place::Start, Allowed::Start) => return Ok(()),
        (Place::Start, _) => "during start-up",
        (Place::Allocator, _) => "inside the guest's allocator",
    };
    Err(TrapCause::Restricted { call, place }.into())
}

/// Turns an answer into what wasm gets: a status, or an error that ends the guest.
fn settle(caller: &mut Caller<'_>, answer: Answer) -> wasmtime::Result<u32> {
    match answer {
        Ok(()) => Ok(Status::Ok as u32),
        Err(Fault::Status(status)) => Ok(status as u32),
        Err(fault) => Err(fatal(caller, fault)),
    }
}

/// Notes why the guest ends.
fn fatal(caller: &mut Caller<'_>, fault: Fault) -> wasmtime::Error {
    match fault {
        Fault::Guest(error) => error,
        Fault::Trap(cause) => {
            caller.data_mut().call.cause = Some(cause.clone());
            wasmtime::Error::new(cause)
        }
        // Statuses are answered, not raised; this only keeps the match whole.
        Fault::Status(status) => wasmtime::Error::msg(format!("host call failed with {status:?}")),
    }
}

/// Links `env.<name>` to a function of this crate: `export!(linker, "proxy_log", Allowed, function, (u32, u32))`.
macro_rules! export {
    ($linker:ident, $name:literal, $allowed:expr, $function:path, ($($arg:ident: $type:ty),*)) => {
        $linker.func_wrap(
            $crate::host::ENV,
            $name,
            move |mut caller: $crate::state::Caller<'_>, $($arg: $type),*| -> wasmtime::Result<u32> {
                let answer = $crate::host::check_place(&caller, $name, $allowed)
                    .and_then(|()| $function(&mut caller, $($arg),*));
                let settled = $crate::host::settle(&mut caller, answer);
                if caller.data().scope.plugin.tracer.is_some() {
                    // As the guest gave them: two's complement, and nothing above 32 bits for an i32.
                    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, clippy::cast_lossless)]
                    let arguments: &[u64] = &[$($arg as u64),*];
                    $crate::host::traced(&mut caller, $name, arguments, settled.as_ref().ok().copied());
                }
                settled
            },
        )?
    };
}
use export;

/// Tells the plugin's tracer of a host call.
fn traced(caller: &mut Caller<'_>, name: &'static str, arguments: &[u64], status: Option<u32>) {
    let Some(tracer) = caller.data().scope.plugin.tracer.clone() else { return };
    let memory = match crate::memory::split(caller) {
        Ok((memory, _)) => &*memory,
        Err(_) => &[],
    };
    tracer.event(&TraceEvent::HostCall { name, arguments, status, memory });
}

/// A linker with every host function of `version`.
pub(crate) fn linker(engine: &Engine, version: AbiVersion) -> wasmtime::Result<Linker<HostState>> {
    let mut linker = Linker::new(engine);
    log::link(&mut linker, version)?;
    contexts::link(&mut linker)?;
    streams::link(&mut linker, version)?;
    headers::link(&mut linker)?;
    buffers::link(&mut linker, version)?;
    properties::link(&mut linker)?;
    response::link(&mut linker)?;
    shared::link(&mut linker)?;
    metrics::link(&mut linker)?;
    queues::link(&mut linker)?;
    tick::link(&mut linker)?;
    calls::link(&mut linker)?;
    grpc::link(&mut linker)?;
    foreign::link(&mut linker)?;
    wasi::link(&mut linker)?;
    Ok(linker)
}
