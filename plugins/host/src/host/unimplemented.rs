//! Host calls that are linked, so that modules load, and not built yet: they answer `UNIMPLEMENTED` and do nothing.

use wasmtime::Linker;

use super::{Allowed, export};
use crate::abi::{AbiVersion, MAX_STREAM_TYPE, Status};
use crate::memory;
use crate::state::{Answer, Caller, HostState};

/// Links functions of any arity that answer `UNIMPLEMENTED`.
macro_rules! absent {
    ($linker:ident: $($name:literal($($arg:ident),*);)*) => {
        $(
            $linker.func_wrap(
                super::ENV,
                $name,
                |mut caller: Caller<'_>, $($arg: u32),*| -> wasmtime::Result<u32> {
                    let _unused: &[u32] = &[$($arg),*];
                    let answer = super::check_place(&caller, $name, Allowed::Callbacks)
                        .and(Err(Status::Unimplemented.into()));
                    super::settle(&mut caller, answer)
                },
            )?;
        )*
    };
}

pub(super) fn link(linker: &mut Linker<HostState>, version: AbiVersion) -> wasmtime::Result<()> {
    absent! { linker:
        "proxy_http_call"(a, b, c, d, e, f, g, h, i, j);
        "proxy_grpc_call"(a, b, c, d, e, f, g, h, i, j, k, l);
        "proxy_grpc_stream"(a, b, c, d, e, f, g, h, i);
        "proxy_grpc_send"(a, b, c, d);
        "proxy_grpc_cancel"(a);
        "proxy_grpc_close"(a);
        "proxy_register_shared_queue"(a, b, c);
        "proxy_resolve_shared_queue"(a, b, c, d, e);
        "proxy_enqueue_shared_queue"(a, b, c);
        "proxy_dequeue_shared_queue"(a, b, c);
    }
    let callbacks = Allowed::Callbacks;
    export!(linker, "proxy_set_tick_period_milliseconds", callbacks, set_tick_period, (period: u32));
    export!(
        linker, "proxy_call_foreign_function", callbacks, call_foreign_function,
        (name: u32, name_size: u32, arguments: u32, arguments_size: u32, return_data: u32, return_size: u32)
    );
    if version == AbiVersion::V0_1_0 {
        absent! { linker:
            "proxy_continue_request"();
            "proxy_continue_response"();
            "proxy_clear_route_cache"();
        }
    } else {
        export!(linker, "proxy_continue_stream", callbacks, act_on_stream, (stream: u32));
        export!(linker, "proxy_close_stream", callbacks, act_on_stream, (stream: u32));
    }
    Ok(())
}

/// Ticks are not run, so only turning them off can be granted.
fn set_tick_period(_caller: &mut Caller<'_>, period: u32) -> Answer {
    if period == 0 { Ok(()) } else { Err(Status::Unimplemented.into()) }
}

/// The registry is empty, and an unknown function is `NOT_FOUND`.
fn call_foreign_function(
    caller: &mut Caller<'_>,
    name: u32,
    name_size: u32,
    arguments: u32,
    arguments_size: u32,
    _return_data: u32,
    _return_size: u32,
) -> Answer {
    let (guest, _) = memory::split(caller)?;
    memory::slice(guest, name, name_size)?;
    memory::slice(guest, arguments, arguments_size)?;
    Err(Status::NotFound.into())
}

fn act_on_stream(_caller: &mut Caller<'_>, stream: u32) -> Answer {
    Err(if stream > MAX_STREAM_TYPE { Status::BadArgument } else { Status::Unimplemented }.into())
}
