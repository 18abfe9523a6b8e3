//! The header-map calls.
//!
//! Which maps exist in which callback is Envoy's table: an exchange's map is read and written in its own callback and
//! while it is held there, read by pairs and by name in `proxy_on_log`; a call's answer is read by pairs and by name in
//! its callback. Elsewhere a map is `BAD_ARGUMENT`, except that pairs answer OK with a null result.

use wasmtime::Linker;

use super::{Allowed, export};
use crate::abi::{HeaderMap, MapType, Status};
use crate::state::{Answer, ByteBudget, Caller, HostState, with_exchange};
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

/// The exchange's map of this very callback, for size and writes.
fn own(state: &HostState, map: u32) -> Answer<HeaderMap> {
    match MapType::from_raw(map)? {
        MapType::Exchange(map) if state.has_map(map) => Ok(map),
        _ => Err(Status::BadArgument.into()),
    }
}

/// Whether a reader gets the exchange's map in this callback.
fn readable(state: &HostState, map: HeaderMap) -> bool {
    state.logs_map(map) || state.has_map(map)
}

/// The sum of the lengths of names and values: what Envoy gives, not the serialized size the document speaks of.
fn size(caller: &mut Caller<'_>, map: u32, return_size: u32) -> Answer {
    let state = caller.data();
    let map = own(state, map)?;
    let mut bytes = 0_usize;
    state.with_exchange(|exchange| {
        exchange.visit_headers(map, &mut |name, value| bytes += name.len() + value.len());
    });
    let bytes = u32::try_from(bytes).map_err(|_| Status::InternalFailure)?;
    memory::give(caller, return_size, bytes.to_le_bytes())
}

fn get_pairs(caller: &mut Caller<'_>, map: u32, return_data: u32, return_size: u32) -> Answer {
    let map = MapType::from_raw(map)?;
    let state = caller.data_mut();
    let mut bytes = std::mem::take(&mut state.scratch);
    bytes.clear();
    state.encoder.clear();
    match map {
        MapType::Exchange(map) if readable(state, map) => {
            let HostState { call, encoder, .. } = state;
            with_exchange(call.stream.as_ref(), |exchange| {
                exchange.visit_headers(map, &mut |name, value| encoder.push(name, value));
            });
        }
        MapType::Exchange(_) => {}
        received => {
            let mut encoder = std::mem::take(&mut state.encoder);
            for (name, value) in state.received_map(received).into_iter().flatten() {
                encoder.push(name, value);
            }
            state.encoder = encoder;
        }
    }
    state.encoder.finish(&mut bytes);
    let answer = memory::hand_over(caller, &bytes, return_data, return_size);
    caller.data_mut().scratch = bytes;
    answer
}

/// Bytes that are no map are `BAD_ARGUMENT` and change nothing; the reference host would empty the map.
fn set_pairs(caller: &mut Caller<'_>, map: u32, data: u32, size: u32) -> Answer {
    let (guest, state) = memory::split(caller)?;
    let bytes = memory::slice(guest, data, size)?;
    let map = own(state, map)?;
    state.charge(ByteBudget::Header, bytes.len())?;
    let HostState { call, names, .. } = state;
    let pairs = checked_pairs(bytes, names, |name| field::is_map_name(map, name))?;
    let set = with_exchange(call.stream.as_ref(), |exchange| exchange.set_headers(map, &pairs));
    Ok(set.ok_or(Status::BadArgument)?.map_err(|_| Status::BadArgument)?)
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
    let map = MapType::from_raw(map)?;
    let (guest, state) = memory::split(caller)?;
    let key = memory::slice(guest, key, key_size)?;
    let mut value = std::mem::take(&mut state.scratch);
    value.clear();
    let found = find(state, map, key, &mut value);
    let answer = match found {
        Ok(()) => memory::hand_over(caller, &value, return_value, return_size),
        Err(status) => Err(status.into()),
    };
    caller.data_mut().scratch = value;
    answer
}

/// Appends the value to `value`. In `proxy_on_log` Envoy has all maps, those that were not sent empty.
fn find(state: &mut HostState, map: MapType, key: &[u8], value: &mut Vec<u8>) -> Result<(), Status> {
    let absent = if state.in_own_log() { Status::NotFound } else { Status::BadArgument };
    let found = match map {
        MapType::Exchange(map) if readable(state, map) => {
            let HostState { call, names, .. } = state;
            let key = field::lower(key, names);
            with_exchange(call.stream.as_ref(), |exchange| exchange.header(map, key, value)).ok_or(absent)?
        }
        MapType::Exchange(_) => return Err(absent),
        received => {
            let pairs = state.received_map(received).ok_or(absent)?;
            let pair = pairs.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
            pair.inspect(|(_, found)| value.extend_from_slice(found)).is_some()
        }
    };
    if found { Ok(()) } else { Err(Status::NotFound) }
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
    let (guest, state) = memory::split(caller)?;
    let key = memory::slice(guest, key.0, key.1)?;
    let value = memory::slice(guest, value.0, value.1)?;
    let map = own(state, map)?;
    state.charge(ByteBudget::Header, key.len() + value.len())?;
    let HostState { call, names, .. } = state;
    let name = field::lower(key, names);
    if !field::is_map_name(map, name) || !field::is_value(value) {
        return Err(Status::BadArgument.into());
    }
    let written = with_exchange(call.stream.as_ref(), |exchange| match how {
        Write::Add => exchange.add_header(map, name, value),
        Write::Replace => exchange.replace_header(map, name, value),
    });
    Ok(written.ok_or(Status::BadArgument)?.map_err(|_| Status::BadArgument)?)
}

fn remove(caller: &mut Caller<'_>, map: u32, key: u32, key_size: u32) -> Answer {
    let (guest, state) = memory::split(caller)?;
    let key = memory::slice(guest, key, key_size)?;
    let map = own(state, map)?;
    let HostState { call, names, .. } = state;
    let name = field::lower(key, names);
    let removed = with_exchange(call.stream.as_ref(), |exchange| exchange.remove_header(map, name));
    Ok(removed.ok_or(Status::BadArgument)?.map_err(|_| Status::BadArgument)?)
}
