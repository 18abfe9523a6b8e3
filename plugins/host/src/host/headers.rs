//! The header-map calls.
//!
//! Which maps exist in which callback is Envoy's table: a map is read and written in its own callback, read by pairs
//! and by name in `proxy_on_log`, and is `BAD_ARGUMENT` elsewhere, except that pairs answer OK with a null result.

use wasmtime::Linker;

use super::{Allowed, export};
use crate::abi::{HeaderMap, MAX_MAP_TYPE, Status};
use crate::state::{Answer, Budget, Caller, HostState, Phase};
use crate::{field, memory, pairs};

pub(super) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let callbacks = Allowed::Callbacks;
    export!(linker, "proxy_get_header_map_size", callbacks, size, (map: u32, return_size: u32));
    export!(
        linker, "proxy_get_header_map_pairs", callbacks, get_pairs,
        (map: u32, return_data: u32, return_size: u32)
    );
    export!(linker, "proxy_set_header_map_pairs", callbacks, set_pairs, (map: u32, data: u32, size: u32));
    export!(
        linker, "proxy_get_header_map_value", callbacks, get,
        (map: u32, key: u32, key_size: u32, return_value: u32, return_size: u32)
    );
    export!(
        linker, "proxy_add_header_map_value", callbacks, add,
        (map: u32, key: u32, key_size: u32, value: u32, value_size: u32)
    );
    export!(
        linker, "proxy_replace_header_map_value", callbacks, replace,
        (map: u32, key: u32, key_size: u32, value: u32, value_size: u32)
    );
    export!(linker, "proxy_remove_header_map_value", callbacks, remove, (map: u32, key: u32, key_size: u32));
    Ok(())
}

/// The map a reader gets in this callback; `None` where Envoy has none.
fn readable(state: &HostState, map: u32) -> Option<HeaderMap> {
    match (map, state.call.phase) {
        (0, Phase::Log) if state.call.own_context() => Some(HeaderMap::Request),
        (2, Phase::Log) if state.call.own_context() => Some(HeaderMap::Response),
        _ => own(state, map),
    }
}

/// The map of this very callback, for size and writes.
fn own(state: &HostState, map: u32) -> Option<HeaderMap> {
    state.own_map().filter(|own| map == if *own == HeaderMap::Request { 0 } else { 2 })
}

fn known(map: u32) -> Answer {
    if map <= MAX_MAP_TYPE { Ok(()) } else { Err(Status::BadArgument.into()) }
}

/// The sum of the lengths of names and values: what Envoy gives, not the serialized size the document speaks of.
fn size(caller: &mut Caller<'_>, map: u32, return_size: u32) -> Answer {
    known(map)?;
    let state = caller.data_mut();
    let map = own(state, map).ok_or(Status::BadArgument)?;
    let exchange = state.exchange.get().ok_or(Status::BadArgument)?;
    let mut bytes = 0_usize;
    exchange.visit_headers(map, &mut |name, value| bytes += name.len() + value.len());
    let bytes = u32::try_from(bytes).map_err(|_| Status::InternalFailure)?;
    memory::give(caller, return_size, bytes.to_le_bytes())
}

fn get_pairs(caller: &mut Caller<'_>, map: u32, return_data: u32, return_size: u32) -> Answer {
    known(map)?;
    let state = caller.data_mut();
    let mut bytes = std::mem::take(&mut state.scratch);
    bytes.clear();
    if let Some(map) = readable(state, map)
        && let Some(exchange) = state.exchange.get()
    {
        let encoder = &mut state.encoder;
        encoder.clear();
        exchange.visit_headers(map, &mut |name, value| encoder.push(name, value));
        encoder.finish(&mut bytes);
    }
    let answer = memory::hand_over(caller, &bytes, return_data, return_size);
    caller.data_mut().scratch = bytes;
    answer
}

/// Bytes that are no map are `BAD_ARGUMENT` and change nothing; the reference host would empty the map.
fn set_pairs(caller: &mut Caller<'_>, map: u32, data: u32, size: u32) -> Answer {
    known(map)?;
    let (guest, state) = memory::split(caller)?;
    let bytes = memory::slice(guest, data, size)?;
    let map = own(state, map).ok_or(Status::BadArgument)?;
    state.charge(Budget::Header, bytes.len())?;
    let HostState { exchange, names, .. } = state;
    let exchange = exchange.get().ok_or(Status::BadArgument)?;
    let pairs = checked_pairs(bytes, names, |name| field::is_map_name(map, name))?;
    exchange.set_headers(map, &pairs).map_err(|_| Status::BadArgument)?;
    Ok(())
}

/// Decodes a guest's pairs, names put into lower case and both checked. The slices are of `copy`.
pub(super) fn checked_pairs<'a>(
    bytes: &[u8],
    copy: &'a mut Vec<u8>,
    is_name: impl Fn(&[u8]) -> bool,
) -> Answer<Vec<(&'a [u8], &'a [u8])>> {
    let ranges = pairs::decode(bytes).map_err(|error| {
        tracing::debug!(%error, "a guest gave bytes that are no header map");
        Status::BadArgument
    })?;
    copy.clear();
    copy.extend_from_slice(bytes);
    for (name, _) in &ranges {
        copy.get_mut(name.clone()).ok_or(Status::BadArgument)?.make_ascii_lowercase();
    }
    let copy: &'a [u8] = copy;
    let mut checked = Vec::with_capacity(ranges.len());
    for (name, value) in ranges {
        let name = copy.get(name).filter(|name| is_name(name)).ok_or(Status::BadArgument)?;
        let value = copy.get(value).filter(|value| field::is_value(value)).ok_or(Status::BadArgument)?;
        checked.push((name, value));
    }
    Ok(checked)
}

/// The first value: several are not joined, as in Envoy.
fn get(
    caller: &mut Caller<'_>,
    map: u32,
    key: u32,
    key_size: u32,
    return_value: u32,
    return_size: u32,
) -> Answer {
    known(map)?;
    let (guest, state) = memory::split(caller)?;
    let key = memory::slice(guest, key, key_size)?;
    let Some(map) = readable(state, map) else {
        // In `proxy_on_log` Envoy has all maps, the others empty.
        let in_log = state.call.phase == Phase::Log && state.call.own_context();
        return Err(if in_log { Status::NotFound } else { Status::BadArgument }.into());
    };
    let HostState { exchange, names, scratch, .. } = state;
    let exchange = exchange.get().ok_or(Status::BadArgument)?;
    let mut value = std::mem::take(scratch);
    value.clear();
    let found = exchange.header(map, field::lower(key, names), &mut value);
    let answer = if found {
        memory::hand_over(caller, &value, return_value, return_size)
    } else {
        Err(Status::NotFound.into())
    };
    caller.data_mut().scratch = value;
    answer
}

/// How one pair is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Write {
    Add,
    Replace,
}

fn add(caller: &mut Caller<'_>, map: u32, key: u32, key_size: u32, value: u32, value_size: u32) -> Answer {
    write(caller, Write::Add, map, (key, key_size), (value, value_size))
}

fn replace(
    caller: &mut Caller<'_>,
    map: u32,
    key: u32,
    key_size: u32,
    value: u32,
    value_size: u32,
) -> Answer {
    write(caller, Write::Replace, map, (key, key_size), (value, value_size))
}

fn write(caller: &mut Caller<'_>, how: Write, map: u32, key: (u32, u32), value: (u32, u32)) -> Answer {
    known(map)?;
    let (guest, state) = memory::split(caller)?;
    let key = memory::slice(guest, key.0, key.1)?;
    let value = memory::slice(guest, value.0, value.1)?;
    let map = own(state, map).ok_or(Status::BadArgument)?;
    state.charge(Budget::Header, key.len() + value.len())?;
    let HostState { exchange, names, .. } = state;
    let exchange = exchange.get().ok_or(Status::BadArgument)?;
    let name = field::lower(key, names);
    if !field::is_map_name(map, name) || !field::is_value(value) {
        return Err(Status::BadArgument.into());
    }
    let written = match how {
        Write::Add => exchange.add_header(map, name, value),
        Write::Replace => exchange.replace_header(map, name, value),
    };
    Ok(written.map_err(|_| Status::BadArgument)?)
}

fn remove(caller: &mut Caller<'_>, map: u32, key: u32, key_size: u32) -> Answer {
    known(map)?;
    let (guest, state) = memory::split(caller)?;
    let key = memory::slice(guest, key, key_size)?;
    let map = own(state, map).ok_or(Status::BadArgument)?;
    let HostState { exchange, names, .. } = state;
    let exchange = exchange.get().ok_or(Status::BadArgument)?;
    Ok(exchange.remove_header(map, field::lower(key, names)).map_err(|_| Status::BadArgument)?)
}
