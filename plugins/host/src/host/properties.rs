//! `proxy_get_property`, `proxy_set_property`: paths, where each is visible, and those the host knows by itself.

use wasmtime::Linker;

use super::{Allowed, export};
use crate::abi::{HeaderMap, Status};
use crate::exchange::Exchange;
use crate::state::{Answer, ByteBudget, Caller, HostState, Phase, with_exchange};
use crate::{field, memory, pairs};

pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    export!(
        linker, "proxy_get_property", Allowed::Callbacks, get,
        (path: u32, path_size: u32, return_value: u32, return_size: u32)
    );
    export!(
        linker, "proxy_set_property", Allowed::Callbacks, set,
        (path: u32, path_size: u32, value: u32, value_size: u32)
    );
    Ok(())
}

fn get(caller: &mut Caller<'_>, path: u32, path_size: u32, return_value: u32, return_size: u32) -> Answer {
    let (guest, state) = memory::split(caller)?;
    let path = memory::slice(guest, path, path_size)?;
    let path = pairs::path_segments(path).ok_or(Status::NotFound)?;
    let mut value = std::mem::take(&mut state.scratch);
    value.clear();
    let answer = match find(state, &path, &mut value) {
        Ok(()) => memory::hand_over(caller, &value, return_value, return_size),
        Err(status) => Err(status.into()),
    };
    caller.data_mut().scratch = value;
    answer
}

fn find(state: &mut HostState, path: &[&[u8]], value: &mut Vec<u8>) -> Result<(), Status> {
    let plugin = &state.scope.plugin;
    let own = match *path {
        [b"plugin_name"] => Some(plugin.name.as_bytes()),
        [b"plugin_root_id"] => Some(plugin.root_id.as_bytes()),
        [b"plugin_vm_id"] => Some(plugin.guest_vm_id.as_bytes()),
        _ => None,
    };
    if let Some(own) = own {
        value.extend_from_slice(own);
        return Ok(());
    }
    if !visible(state, path) {
        return Err(Status::NotFound);
    }
    if has_no_form(path) {
        return Err(Status::SerializationFailure);
    }
    let HostState { call, names, encoder, .. } = state;
    let map = match *path {
        [b"request", b"headers"] => Some(HeaderMap::Request),
        [b"response", b"headers"] => Some(HeaderMap::Response),
        [b"response", b"trailers"] => Some(HeaderMap::ResponseTrailers),
        _ => None,
    };
    if let Some(map) = map {
        encoder.clear();
        with_exchange(call.stream.as_ref(), |exchange| {
            exchange.visit_headers(map, &mut |name, value| encoder.push(name, value));
        });
        encoder.finish_map(value);
        return Ok(());
    }
    let found = with_exchange(call.stream.as_ref(), |exchange| {
        from_headers(exchange, path, names, value) || exchange.property(path, value)
    });
    if found == Some(true) { Ok(()) } else { Err(Status::NotFound) }
}

/// Envoy's table: what is read out of a message's headers is there while they are, and in the log; what is known of the
/// exchange is there from the moment it is known to the stream's end.
fn visible(state: &HostState, path: &[&[u8]]) -> bool {
    let Some(stream) = &state.call.stream else { return false };
    let ended =
        matches!(state.call.phase, Phase::Log | Phase::Done | Phase::Delete) && state.call.own_context();
    let log = state.in_own_log();
    let mut inner = stream.lock();
    match *path {
        [b"request", b"duration"] => ended,
        [b"request", b"protocol" | b"size" | b"total_size" | b"time"] | [b"request", b"headers"] => true,
        [b"request", b"trailers", ..] => log || inner.has_map(HeaderMap::RequestTrailers),
        [b"request", _, ..] => log || inner.has_map(HeaderMap::Request),
        [b"response", b"flags" | b"size" | b"total_size" | b"headers" | b"trailers"] => true,
        [b"response", b"headers", ..] => log || inner.has_map(HeaderMap::Response),
        [b"response", b"trailers", ..] => log || inner.has_map(HeaderMap::ResponseTrailers),
        [b"response", _, ..] => ended || inner.response_began,
        [b"upstream", b"request_attempt_count"] => true,
        // No upstream is chosen while a plugin still looks at the request's headers.
        [b"upstream", ..] => {
            ended || inner.response_began || (inner.request_began && !inner.has_map(HeaderMap::Request))
        }
        _ => true,
    }
}

/// Whole messages and the filter state, which have no wire form.
fn has_no_form(path: &[&[u8]]) -> bool {
    matches!(*path, [b"request" | b"response" | b"filter_state"])
}

/// The properties that are another view of the header maps.
fn from_headers(exchange: &dyn Exchange, path: &[&[u8]], names: &mut Vec<u8>, value: &mut Vec<u8>) -> bool {
    let request = HeaderMap::Request;
    match *path {
        [b"request", b"path"] => exchange.header(request, b":path", value),
        [b"request", b"method"] => exchange.header(request, b":method", value),
        [b"request", b"scheme"] => exchange.header(request, b":scheme", value),
        [b"request", b"host"] => exchange.header(request, b":authority", value),
        [b"request", b"useragent"] => exchange.header(request, b"user-agent", value),
        [b"request", b"referer"] => exchange.header(request, b"referer", value),
        [b"request", b"id"] => {
            value.extend_from_slice(exchange.request_id().as_bytes());
            true
        }
        [b"request", b"url_path"] => path_part(exchange, value, |path, mark| path.truncate(mark)),
        [b"request", b"query"] => path_part(exchange, value, |path, mark| {
            path.drain(..(mark + 1).min(path.len()));
        }),
        [b"request", b"headers", name] => exchange.header(request, field::lower(name, names), value),
        [b"response", b"headers", name] => {
            exchange.header(HeaderMap::Response, field::lower(name, names), value)
        }
        [b"request", b"trailers", name] => {
            exchange.header(HeaderMap::RequestTrailers, field::lower(name, names), value)
        }
        [b"response", b"trailers", name] => {
            exchange.header(HeaderMap::ResponseTrailers, field::lower(name, names), value)
        }
        [b"response", b"code"] => response_code(exchange, value),
        _ => false,
    }
}

/// Cuts `:path` at its question mark; one that has none ends there.
fn path_part(exchange: &dyn Exchange, value: &mut Vec<u8>, cut: impl Fn(&mut Vec<u8>, usize)) -> bool {
    if !exchange.header(HeaderMap::Request, b":path", value) {
        return false;
    }
    let mark = value.iter().position(|byte| *byte == b'?').unwrap_or(value.len());
    cut(value, mark);
    true
}

/// A number is an `int64`, little-endian.
fn response_code(exchange: &dyn Exchange, value: &mut Vec<u8>) -> bool {
    let mut text = Vec::new();
    exchange.header(HeaderMap::Response, b":status", &mut text);
    match std::str::from_utf8(&text).ok().and_then(|text| text.parse::<i64>().ok()) {
        Some(code) => {
            value.extend_from_slice(&code.to_le_bytes());
            true
        }
        None => false,
    }
}

/// Only for a stream: a root context has none to set it on (`NOT_FOUND`, as in Envoy).
fn set(caller: &mut Caller<'_>, path: u32, path_size: u32, value: u32, value_size: u32) -> Answer {
    let (guest, state) = memory::split(caller)?;
    let path = memory::slice(guest, path, path_size)?;
    let value = memory::slice(guest, value, value_size)?;
    if state.call.stream.is_none() {
        return Err(Status::NotFound.into());
    }
    state.charge(ByteBudget::Property, path.len() + value.len())?;
    let segments = pairs::path_segments(path).ok_or(Status::BadArgument)?;
    let set = state.with_exchange(|exchange| exchange.set_property(&segments, value));
    Ok(set.ok_or(Status::NotFound)?.map_err(|_| Status::BadArgument)?)
}
