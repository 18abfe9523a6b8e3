//! One line of a script: a host call, its arguments, and the log line that says what it answered.
//!
//! Arguments are separated by spaces; `-` is an empty one; `\s` is a space within one, `\0` a zero byte.

use crate::state::State;
use guest_abi::{
    Bytes, Status, action, buffer, buffer_bytes, decode_pairs, encode_pairs, http_call, log, log_at, map,
    map_pairs, map_size, map_value, property, raw,
};

/// The words of a line, taken from the left.
struct Words<'a>(&'a str);

impl Words<'_> {
    fn next(&mut self) -> String {
        let (word, rest) = self.0.split_once(' ').unwrap_or((self.0, ""));
        self.0 = rest;
        plain(word)
    }

    fn number<T: std::str::FromStr + Default>(&mut self) -> T {
        self.next().parse().unwrap_or_default()
    }

    fn rest(&mut self) -> String {
        plain(std::mem::take(&mut self.0))
    }

    /// `name=value` words, as many as are left.
    fn pairs(&mut self) -> Vec<(String, String)> {
        let pair = |word: &str| {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            (plain(name), plain(value))
        };
        std::mem::take(&mut self.0).split(' ').filter(|word| !word.is_empty()).map(pair).collect()
    }
}

fn plain(word: &str) -> String {
    if word == "-" { String::new() } else { word.replace("\\s", " ").replace("\\0", "\0") }
}

pub fn perform(line: &str) {
    let mut words = Words(line);
    let operation = words.next();
    let answer = match operation.as_str() {
        "add" | "set" | "remove" | "get" | "size" | "pairs" | "keep" | "setall" => {
            headers(&operation, &mut words)
        }
        "body" | "put" | "status_of" => buffers(&operation, &mut words),
        "pause" | "continue" | "action" => return control(&operation, &mut words),
        "respond" | "resume" | "close" | "effective" | "done" | "tick" => stream(&operation, &mut words),
        "call" | "grpc" | "grpc_stream" | "grpc_send" | "grpc_close" | "grpc_cancel" => {
            calls(&operation, &mut words)
        }
        "define" | "increment" | "record" | "metric" => metrics(&operation, &mut words),
        "shared" | "share" | "register" | "resolve" | "enqueue" | "dequeue" => shared(&operation, &mut words),
        _ => other(&operation, &mut words),
    };
    if let Some(answer) = answer {
        log(&format!("{line} -> {answer}"));
    }
}

fn map_number(name: &str) -> u32 {
    match name {
        "request" => map::REQUEST_HEADERS,
        "request_trailers" => map::REQUEST_TRAILERS,
        "response" => map::RESPONSE_HEADERS,
        "response_trailers" => map::RESPONSE_TRAILERS,
        "grpc_initial" => map::GRPC_INITIAL,
        "grpc_trailing" => map::GRPC_TRAILING,
        "call" => map::CALL_HEADERS,
        "call_trailers" => map::CALL_TRAILERS,
        _ => map::NONE_SUCH,
    }
}

fn with_value((status, bytes): (Status, Bytes)) -> String {
    if status != guest_abi::OK {
        return status.to_string();
    }
    let null = if bytes.is_null() { " (null)" } else { "" };
    format!("{status} {:?}{null}", String::from_utf8_lossy(bytes.get()))
}

fn headers(operation: &str, words: &mut Words<'_>) -> Option<String> {
    let kind = map_number(&words.next());
    let status = match operation {
        "get" => return Some(with_value(map_value(kind, words.next().as_bytes()))),
        "size" => map_size(kind).0,
        "pairs" => return Some(pairs_with_prefix(kind, &words.next())),
        "remove" => {
            let name = words.next();
            unsafe { raw::proxy_remove_header_map_value(kind, name.as_ptr(), name.len()) }
        }
        "add" | "set" => {
            let (name, value) = (words.next(), words.rest());
            let call = if operation == "add" {
                raw::proxy_add_header_map_value
            } else {
                raw::proxy_replace_header_map_value
            };
            unsafe { call(kind, name.as_ptr(), name.len(), value.as_ptr(), value.len()) }
        }
        _ => {
            let mut pairs = match operation {
                "keep" => decode_pairs(map_pairs(kind).1.get()).unwrap_or_default(),
                _ => Vec::new(),
            };
            pairs.extend(words.pairs());
            let bytes = encode_pairs(&pairs);
            unsafe { raw::proxy_set_header_map_pairs(kind, bytes.as_ptr(), bytes.len()) }
        }
    };
    Some(status.to_string())
}

fn pairs_with_prefix(kind: u32, prefix: &str) -> String {
    let (status, bytes) = map_pairs(kind);
    let pairs = decode_pairs(bytes.get()).unwrap_or_default();
    let wanted = pairs.iter().filter(|(name, _)| name.starts_with(prefix));
    let listed: Vec<_> = wanted.map(|(name, value)| format!("{name}={value}")).collect();
    format!("{status} {}", listed.join(", "))
}

fn buffers(operation: &str, words: &mut Words<'_>) -> Option<String> {
    let kind = match words.next().as_str() {
        "request" => buffer::REQUEST_BODY,
        "response" => buffer::RESPONSE_BODY,
        "call" => buffer::CALL_BODY,
        "grpc" => buffer::GRPC_MESSAGE,
        "vm" => buffer::VM_CONFIGURATION,
        "plugin" => buffer::PLUGIN_CONFIGURATION,
        _ => buffer::NONE_SUCH,
    };
    if operation == "status_of" {
        let (mut size, mut flags) = (0, 0);
        let status = unsafe { raw::proxy_get_buffer_status(kind, &mut size, &mut flags) };
        return Some(format!("{status} {size} {flags}"));
    }
    let (start, most) = (words.number(), words.number::<u32>() as usize);
    if operation == "body" {
        return Some(with_value(buffer_bytes(kind, start, most)));
    }
    let data = words.rest();
    let status = unsafe { raw::proxy_set_buffer_bytes(kind, start, most, data.as_ptr(), data.len()) };
    Some(status.to_string())
}

fn control(operation: &str, words: &mut Words<'_>) {
    let answer = match operation {
        "pause" => action::PAUSE,
        "continue" => action::CONTINUE,
        _ => words.number(),
    };
    State::with(|state| state.answer = answer);
}

fn stream(operation: &str, words: &mut Words<'_>) -> Option<String> {
    let direction = |name: &str| u32::from(name == "response");
    let status = match operation {
        "respond" => return Some(respond(words).to_string()),
        "resume" => unsafe { raw::proxy_continue_stream(direction(&words.next())) },
        "close" => unsafe { raw::proxy_close_stream(direction(&words.next())) },
        "effective" => {
            let to_stream = words.next() == "stream";
            let context = State::with(|state| if to_stream { state.stream } else { state.root });
            unsafe { raw::proxy_set_effective_context(context) }
        }
        "done" => unsafe { raw::proxy_done() },
        _ => unsafe { raw::proxy_set_tick_period_milliseconds(words.number()) },
    };
    Some(status.to_string())
}

/// `respond STATUS DETAILS GRPC_STATUS name=value,name=value BODY`
fn respond(words: &mut Words<'_>) -> Status {
    let (status, details, grpc) = (words.number(), words.next(), words.number::<i32>());
    let headers = words.next().replace(',', " ");
    let headers = encode_pairs(&Words(&headers).pairs());
    let body = words.rest();
    unsafe {
        raw::proxy_send_local_response(
            status,
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            grpc,
        )
    }
}

/// `call UPSTREAM PATH MILLISECONDS BODY`, `grpc UPSTREAM SERVICE METHOD MILLISECONDS MESSAGE`,
/// `grpc_stream UPSTREAM SERVICE METHOD`, `grpc_send END MESSAGE`.
fn calls(operation: &str, words: &mut Words<'_>) -> Option<String> {
    let mut token = State::with(|state| state.grpc);
    let status = match operation {
        "grpc_send" => {
            let (end, message) = (words.number(), words.rest());
            unsafe { raw::proxy_grpc_send(token, message.as_ptr(), message.len(), end) }
        }
        "grpc_close" => unsafe { raw::proxy_grpc_close(token) },
        "grpc_cancel" => unsafe { raw::proxy_grpc_cancel(token) },
        "call" => {
            let (upstream, path, milliseconds) = (words.next(), words.next(), words.number());
            let body = words.rest();
            let method = if body.is_empty() { "GET" } else { "POST" };
            let head =
                [(":method", method), (":path", &path), (":authority", "calls.test"), ("x-call", "yes")];
            let (status, token) =
                http_call(upstream.as_bytes(), &encode_pairs(&head), body.as_bytes(), &[], milliseconds);
            if status == guest_abi::OK {
                State::with(|state| state.called(token));
            }
            status
        }
        _ => {
            let status = grpc_open(operation == "grpc", words, &mut token);
            if status == guest_abi::OK {
                State::with(|state| {
                    state.grpc = token;
                    state.called(token);
                });
            }
            status
        }
    };
    Some(status.to_string())
}

fn grpc_open(unary: bool, words: &mut Words<'_>, token: &mut u32) -> Status {
    let (upstream, service, method) = (words.next(), words.next(), words.next());
    let metadata = encode_pairs(&[("x-guest", "yes")]);
    if !unary {
        return unsafe {
            raw::proxy_grpc_stream(
                upstream.as_ptr(),
                upstream.len(),
                service.as_ptr(),
                service.len(),
                method.as_ptr(),
                method.len(),
                metadata.as_ptr(),
                metadata.len(),
                token,
            )
        };
    }
    let (milliseconds, message) = (words.number(), words.rest());
    unsafe {
        raw::proxy_grpc_call(
            upstream.as_ptr(),
            upstream.len(),
            service.as_ptr(),
            service.len(),
            method.as_ptr(),
            method.len(),
            metadata.as_ptr(),
            metadata.len(),
            message.as_ptr(),
            message.len(),
            milliseconds,
            token,
        )
    }
}

/// `define KIND NAME`, `increment NAME BY`, `record NAME VALUE`, `metric NAME`.
fn metrics(operation: &str, words: &mut Words<'_>) -> Option<String> {
    if operation == "define" {
        let (kind, name, mut id) = (words.number(), words.next(), 0);
        let status = unsafe { raw::proxy_define_metric(kind, name.as_ptr(), name.len(), &mut id) };
        State::with(|state| state.names.insert(name, id));
        return Some(status.to_string());
    }
    let name = words.next();
    let id = State::with(|state| state.names.get(&name).copied()).unwrap_or(u32::MAX);
    let status = match operation {
        "increment" => unsafe { raw::proxy_increment_metric(id, words.number()) },
        "record" => unsafe { raw::proxy_record_metric(id, words.number()) },
        _ => {
            let mut value = 0;
            let status = unsafe { raw::proxy_get_metric(id, &mut value) };
            return Some(format!("{status} {value}"));
        }
    };
    Some(status.to_string())
}

/// `shared KEY`, `share KEY VERSION VALUE` (`last`: the version last read), `register QUEUE`, `resolve VM QUEUE`, `enqueue QUEUE VALUE`, `dequeue QUEUE`.
fn shared(operation: &str, words: &mut Words<'_>) -> Option<String> {
    let (name, mut number) = (words.next(), 0);
    let token = State::with(|state| state.names.get(&name).copied()).unwrap_or(u32::MAX);
    let status = match operation {
        "shared" => {
            let value = Bytes::from_call(|data, size| unsafe {
                raw::proxy_get_shared_data(name.as_ptr(), name.len(), data, size, &mut number)
            });
            // Where versions count from is the host's own affair: whether it changed is not.
            let before = State::with(|state| state.versions.insert(name, number));
            let version = if before == Some(number) { "same" } else { "new" };
            return Some(format!("{} {version} version", with_value(value)));
        }
        "share" => {
            let (version, value) = (words.next(), words.rest());
            let known = State::with(|state| state.versions.get(&name).copied()).unwrap_or_default();
            let version = if version == "last" { known } else { version.parse().unwrap_or_default() };
            unsafe {
                raw::proxy_set_shared_data(name.as_ptr(), name.len(), value.as_ptr(), value.len(), version)
            }
        }
        "register" => {
            let status = unsafe { raw::proxy_register_shared_queue(name.as_ptr(), name.len(), &mut number) };
            State::with(|state| state.names.insert(name, number));
            status
        }
        "resolve" => {
            let queue = words.next();
            let status = unsafe {
                raw::proxy_resolve_shared_queue(
                    name.as_ptr(),
                    name.len(),
                    queue.as_ptr(),
                    queue.len(),
                    &mut number,
                )
            };
            State::with(|state| state.names.insert(queue, number));
            status
        }
        "enqueue" => {
            let value = words.rest();
            unsafe { raw::proxy_enqueue_shared_queue(token, value.as_ptr(), value.len()) }
        }
        _ => {
            return Some(with_value(Bytes::from_call(|data, size| unsafe {
                raw::proxy_dequeue_shared_queue(token, data, size)
            })));
        }
    };
    Some(status.to_string())
}

/// `prop PATH`, `hex PATH`, `has PATH`, `setprop PATH VALUE`, `foreign NAME ARGUMENTS`, `log LEVEL TEXT`, `level`, `grpc_status`, `trap`.
fn other(operation: &str, words: &mut Words<'_>) -> Option<String> {
    let segments = |path: String| path.replace('.', "\0").into_bytes();
    Some(match operation {
        "prop" => with_value(property(&segments(words.next()))),
        "has" => property(&segments(words.next())).0.to_string(),
        "hex" => {
            let (status, bytes) = property(&segments(words.next()));
            let hex: String = bytes.get().iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{status} {hex}")
        }
        "setprop" => {
            let (path, value) = (segments(words.next()), words.rest());
            let status =
                unsafe { raw::proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) };
            status.to_string()
        }
        "foreign" => {
            let (name, arguments) = (words.next(), words.rest());
            with_value(Bytes::from_call(|data, size| unsafe {
                raw::proxy_call_foreign_function(
                    name.as_ptr(),
                    name.len(),
                    arguments.as_ptr(),
                    arguments.len(),
                    data,
                    size,
                )
            }))
        }
        "log" => {
            let level = words.number();
            return Some(log_at(level, &words.rest()).to_string());
        }
        "level" => {
            let mut level = 0;
            let status = unsafe { raw::proxy_get_log_level(&mut level) };
            format!("{status} {level}")
        }
        "grpc_status" => {
            let mut code = 0;
            let answer =
                Bytes::from_call(|data, size| unsafe { raw::proxy_get_status(&mut code, data, size) });
            format!("{} code {code}", with_value(answer))
        }
        "trap" => core::arch::wasm32::unreachable(),
        unknown => format!("no such operation: {unknown}"),
    })
}
