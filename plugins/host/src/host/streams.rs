//! Resuming and closing streams: `proxy_continue_stream`, `proxy_close_stream` and their forms in ABI 0.1.0.

use wasmtime::Linker;

use super::{Allowed, export};
use crate::abi::{AbiVersion, Direction, Status, stream_type};
use crate::state::{Answer, Caller, HostState};

pub(super) fn link(linker: &mut Linker<HostState>, version: AbiVersion) -> wasmtime::Result<()> {
    let callbacks = Allowed::Callbacks;
    if version == AbiVersion::V0_1_0 {
        export!(linker, "proxy_continue_request", callbacks, continue_request, ());
        export!(linker, "proxy_continue_response", callbacks, continue_response, ());
        export!(linker, "proxy_clear_route_cache", callbacks, clear_route_cache, ());
    } else {
        export!(linker, "proxy_continue_stream", callbacks, continue_stream, (stream: u32));
        export!(linker, "proxy_close_stream", callbacks, close_stream, (stream: u32));
    }
    Ok(())
}

/// Of an HTTP stream there are two halves; a downstream connection is not this context's and nothing happens, an
/// upstream one is `UNIMPLEMENTED`, both as in Envoy.
fn continue_stream(caller: &mut Caller<'_>, stream: u32) -> Answer {
    match stream {
        stream_type::HTTP_REQUEST => resume(caller, Direction::Request),
        stream_type::HTTP_RESPONSE => resume(caller, Direction::Response),
        stream_type::DOWNSTREAM => Ok(()),
        stream_type::UPSTREAM => Err(Status::Unimplemented.into()),
        _ => Err(Status::BadArgument.into()),
    }
}

/// Either half closes the whole exchange. The two kinds of connections are not this context's.
fn close_stream(caller: &mut Caller<'_>, stream: u32) -> Answer {
    match stream {
        stream_type::HTTP_REQUEST | stream_type::HTTP_RESPONSE => {
            if let Some(stream) = &caller.data().call.stream {
                stream.close();
            }
            Ok(())
        }
        stream_type::DOWNSTREAM | stream_type::UPSTREAM => Ok(()),
        _ => Err(Status::BadArgument.into()),
    }
}

fn continue_request(caller: &mut Caller<'_>) -> Answer {
    resume(caller, Direction::Request)
}

fn continue_response(caller: &mut Caller<'_>) -> Answer {
    resume(caller, Direction::Response)
}

/// A route is chosen once, before plugins run.
fn clear_route_cache(_caller: &mut Caller<'_>) -> Answer {
    Ok(())
}

/// A root context has no stream; that is OK and does nothing.
fn resume(caller: &mut Caller<'_>, direction: Direction) -> Answer {
    if let Some(stream) = &caller.data().call.stream {
        stream.resume(direction);
    }
    Ok(())
}
