//! What the arguments of host functions mean (proxy-wasm/spec, `abi-versions/`), so that a call can be told in words.

use crate::diff::quoted;

/// One parameter, or those that belong together.
#[derive(Clone, Copy)]
enum Parameter {
    /// A number.
    Number,
    /// A number with a sign, of 32 bits.
    Signed,
    /// A number that stands for a name.
    Name(&'static [&'static str]),
    /// Pointer and length of bytes.
    Bytes,
    /// Pointer and length of a property's path: segments with a NUL after each.
    Path,
    /// Pointer and length of a header map.
    Pairs,
    /// Pointers to where a pointer and a length of bytes come.
    OutBytes(&'static str),
    /// Pointers to where a pointer and a length of a header map come.
    OutPairs(&'static str),
    /// Pointer to where a number of 32 bits comes.
    OutNumber(&'static str),
    /// Pointer to where a number of 64 bits comes.
    OutLong(&'static str),
}

use Parameter::{Bytes, Name, Number, OutBytes, OutLong, OutNumber, OutPairs, Pairs, Path, Signed};

const LEVELS: &[&str] = &["trace", "debug", "info", "warn", "error", "critical"];
const MAPS: &[&str] = &[
    "request_headers",
    "request_trailers",
    "response_headers",
    "response_trailers",
    "grpc_initial_metadata",
    "grpc_trailing_metadata",
    "call_headers",
    "call_trailers",
];
const BUFFERS: &[&str] = &[
    "request_body",
    "response_body",
    "downstream_data",
    "upstream_data",
    "call_body",
    "grpc_message",
    "vm_configuration",
    "plugin_configuration",
    "foreign_arguments",
];
const STREAMS: &[&str] = &["request", "response", "downstream", "upstream"];
const METRICS: &[&str] = &["counter", "gauge", "histogram"];
const STATUSES: [&str; 13] = [
    "OK",
    "NOT_FOUND",
    "BAD_ARGUMENT",
    "SERIALIZATION_FAILURE",
    "PARSE_FAILURE",
    "BAD_EXPRESSION",
    "INVALID_MEMORY_ACCESS",
    "EMPTY",
    "CAS_MISMATCH",
    "RESULT_MISMATCH",
    "INTERNAL_FAILURE",
    "BROKEN_CONNECTION",
    "UNIMPLEMENTED",
];

const SIGNATURES: &[(&str, &[Parameter])] = &[
    ("proxy_log", &[Name(LEVELS), Bytes]),
    ("proxy_get_log_level", &[OutNumber("level")]),
    ("proxy_get_current_time_nanoseconds", &[OutLong("nanoseconds")]),
    ("proxy_set_tick_period_milliseconds", &[Number]),
    ("proxy_get_property", &[Path, OutBytes("value")]),
    ("proxy_set_property", &[Path, Bytes]),
    ("proxy_get_header_map_size", &[Name(MAPS), OutNumber("bytes")]),
    ("proxy_get_header_map_pairs", &[Name(MAPS), OutPairs("pairs")]),
    ("proxy_set_header_map_pairs", &[Name(MAPS), Pairs]),
    ("proxy_get_header_map_value", &[Name(MAPS), Bytes, OutBytes("value")]),
    ("proxy_add_header_map_value", &[Name(MAPS), Bytes, Bytes]),
    ("proxy_replace_header_map_value", &[Name(MAPS), Bytes, Bytes]),
    ("proxy_remove_header_map_value", &[Name(MAPS), Bytes]),
    ("proxy_get_buffer_bytes", &[Name(BUFFERS), Number, Number, OutBytes("bytes")]),
    ("proxy_get_buffer_status", &[Name(BUFFERS), OutNumber("length"), OutNumber("flags")]),
    ("proxy_set_buffer_bytes", &[Name(BUFFERS), Number, Number, Bytes]),
    ("proxy_send_local_response", &[Number, Bytes, Bytes, Pairs, Signed]),
    ("proxy_continue_stream", &[Name(STREAMS)]),
    ("proxy_close_stream", &[Name(STREAMS)]),
    ("proxy_http_call", &[Bytes, Pairs, Bytes, Pairs, Number, OutNumber("call")]),
    ("proxy_grpc_call", &[Bytes, Bytes, Bytes, Pairs, Bytes, Number, OutNumber("call")]),
    ("proxy_grpc_stream", &[Bytes, Bytes, Bytes, Pairs, OutNumber("call")]),
    ("proxy_grpc_send", &[Number, Bytes, Number]),
    ("proxy_grpc_close", &[Number]),
    ("proxy_grpc_cancel", &[Number]),
    ("proxy_get_shared_data", &[Bytes, OutBytes("value"), OutNumber("version")]),
    ("proxy_set_shared_data", &[Bytes, Bytes, Number]),
    ("proxy_register_shared_queue", &[Bytes, OutNumber("queue")]),
    ("proxy_resolve_shared_queue", &[Bytes, Bytes, OutNumber("queue")]),
    ("proxy_dequeue_shared_queue", &[Number, OutBytes("message")]),
    ("proxy_enqueue_shared_queue", &[Number, Bytes]),
    ("proxy_define_metric", &[Name(METRICS), Bytes, OutNumber("metric")]),
    ("proxy_increment_metric", &[Number, Signed]),
    ("proxy_record_metric", &[Number, Number]),
    ("proxy_get_metric", &[Number, OutLong("value")]),
    ("proxy_set_effective_context", &[Number]),
    ("proxy_call_foreign_function", &[Bytes, Bytes, OutBytes("results")]),
    ("proxy_get_status", &[OutNumber("code"), OutBytes("message")]),
];

impl Parameter {
    fn width(self) -> usize {
        match self {
            Bytes | Path | Pairs | OutBytes(_) | OutPairs(_) => 2,
            Number | Signed | Name(_) | OutNumber(_) | OutLong(_) => 1,
        }
    }
}

/// A status's name in the specification.
pub(super) fn status_name(status: u32) -> String {
    let name = usize::try_from(status).ok().and_then(|status| STATUSES.get(status));
    name.map_or_else(|| format!("status {status}"), |name| (*name).to_owned())
}

/// A call's arguments and results in words. Results are there where it answered `OK`.
pub(super) fn describe(
    name: &str,
    arguments: &[u64],
    status: Option<u32>,
    memory: &[u8],
) -> (String, String) {
    let signature = SIGNATURES.iter().find(|(known, _)| *known == name).map(|(_, signature)| *signature);
    let width = |signature: &[Parameter]| signature.iter().map(|parameter| parameter.width()).sum::<usize>();
    let Some(signature) = signature.filter(|signature| width(signature) == arguments.len()) else {
        return (arguments.iter().map(u64::to_string).collect::<Vec<_>>().join(", "), String::new());
    };
    let (mut shown, mut results) = (Vec::new(), Vec::new());
    let mut rest = arguments;
    for parameter in signature {
        let (given, after) = rest.split_at(parameter.width());
        rest = after;
        match (parameter, given) {
            (Number, [number]) => shown.push(number.to_string()),
            (Signed, [number]) => shown.push(signed(*number)),
            (Name(names), [number]) => shown.push(named(names, *number)),
            (Bytes, [pointer, length]) => shown.push(bytes(memory, *pointer, *length)),
            (Path, [pointer, length]) => shown.push(path(memory, *pointer, *length)),
            (Pairs, [pointer, length]) => shown.push(pairs(memory, *pointer, *length)),
            (_, given) if status == Some(0) => results.extend(result(*parameter, given, memory)),
            _ => {}
        }
    }
    (shown.join(", "), results.join(", "))
}

fn result(parameter: Parameter, given: &[u64], memory: &[u8]) -> Option<String> {
    let word = |place: u64| number(memory, place, 4);
    Some(match (parameter, given) {
        (OutNumber(name), [place]) => format!("{name}: {}", word(*place)?),
        (OutLong(name), [place]) => format!("{name}: {}", number(memory, *place, 8)?),
        (OutBytes(name), [pointer, length]) => {
            format!("{name}: {}", bytes(memory, word(*pointer)?, word(*length)?))
        }
        (OutPairs(name), [pointer, length]) => {
            format!("{name}: {}", pairs(memory, word(*pointer)?, word(*length)?))
        }
        _ => return None,
    })
}

/// An argument of 32 or 64 bits as it was meant: the widths are told apart by what is set above the lower half.
fn signed(number: u64) -> String {
    match u32::try_from(number) {
        Ok(half) => half.cast_signed().to_string(),
        Err(_) => number.cast_signed().to_string(),
    }
}

fn named(names: &[&str], number: u64) -> String {
    let name = usize::try_from(number).ok().and_then(|number| names.get(number));
    name.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

fn range(memory: &[u8], pointer: u64, length: u64) -> Option<&[u8]> {
    let start = usize::try_from(pointer).ok()?;
    memory.get(start..start.checked_add(usize::try_from(length).ok()?)?)
}

fn number(memory: &[u8], place: u64, width: u64) -> Option<u64> {
    let bytes = range(memory, place, width)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn bytes(memory: &[u8], pointer: u64, length: u64) -> String {
    range(memory, pointer, length).map_or_else(|| outside(pointer, length), quoted)
}

fn outside(pointer: u64, length: u64) -> String {
    format!("{length} bytes at {pointer}, outside the memory")
}

fn path(memory: &[u8], pointer: u64, length: u64) -> String {
    let Some(path) = range(memory, pointer, length) else { return outside(pointer, length) };
    let path = path.strip_suffix(b"\0").unwrap_or(path);
    quoted(&path.iter().map(|byte| if *byte == 0 { b'.' } else { *byte }).collect::<Vec<u8>>())
}

/// A header map in the ABI's form: the number of pairs, all lengths, then names and values, each with a NUL after it.
fn pairs(memory: &[u8], pointer: u64, length: u64) -> String {
    let Some(map) = range(memory, pointer, length) else { return outside(pointer, length) };
    if map.is_empty() {
        return "{}".to_owned();
    }
    decode(map).unwrap_or_else(|| format!("{length} bytes that are no header map"))
}

fn decode(map: &[u8]) -> Option<String> {
    let count = number(map, 0, 4)?;
    // Each pair has at least two lengths and two NULs, so a count beyond the bytes is none.
    if count > map.len() as u64 / 10 {
        return (count == 0).then(|| "{}".to_owned());
    }
    let mut place = 4 + count * 8;
    let mut shown = Vec::new();
    for pair in 0..count {
        let mut part = |at: u64| {
            let length = number(map, at, 4)?;
            let bytes = range(map, place, length)?;
            place = place.checked_add(length)?.checked_add(1)?;
            Some(String::from_utf8_lossy(bytes).escape_debug().to_string())
        };
        let name = part(4 + pair * 8)?;
        let value = part(8 + pair * 8)?;
        shown.push(format!("{name}: {value}"));
    }
    Some(format!("{{{}}}", shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_maps_are_decoded_and_what_is_none_is_not() {
        let mut map = vec![2, 0, 0, 0];
        for length in [1u32, 2, 1, 0] {
            map.extend_from_slice(&length.to_le_bytes());
        }
        map.extend_from_slice(b"a\0bc\0d\0\0");
        assert_eq!(pairs(&map, 0, map.len() as u64), "{a: bc, d: }");
        for cut in 4..map.len() - 1 {
            let shown = pairs(&map[..cut], 0, cut as u64);
            assert!(shown.contains("no header map"), "{cut}: {shown}");
        }
        assert_eq!(pairs(&[0, 0, 0, 0], 0, 4), "{}");
        assert!(pairs(&[255; 40], 0, 40).contains("no header map"));
        assert!(pairs(&map, 2, map.len() as u64).contains("outside the memory"));
    }

    #[test]
    fn numbers_keep_their_sign_at_either_width() {
        assert_eq!(signed(u64::from(u32::MAX)), "-1");
        assert_eq!(signed(u64::MAX), "-1");
        assert_eq!(signed(7), "7");
    }
}
