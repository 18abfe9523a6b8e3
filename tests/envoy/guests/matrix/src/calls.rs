//! The calls that change something, with arguments that leave the request whole.

use crate::{TICK, TICKED, cell};
use guest_abi::{
    Bytes, Status, UNTOUCHED, buffer, buffer_bytes, encode_pairs, http_call, map, map_pairs, raw,
};

const MAPS: [(&str, u32); 9] = [
    ("request_header", map::REQUEST_HEADERS),
    ("request_trailer", map::REQUEST_TRAILERS),
    ("response_header", map::RESPONSE_HEADERS),
    ("response_trailer", map::RESPONSE_TRAILERS),
    ("grpc_initial_metadata", map::GRPC_INITIAL),
    ("grpc_trailing_metadata", map::GRPC_TRAILING),
    ("call_header", map::CALL_HEADERS),
    ("call_trailer", map::CALL_TRAILERS),
    ("bad_map", map::NONE_SUCH),
];

const BUFFERS: [(&str, u32); 10] = [
    ("request_body", buffer::REQUEST_BODY),
    ("response_body", buffer::RESPONSE_BODY),
    ("downstream_data", buffer::DOWNSTREAM),
    ("upstream_data", buffer::UPSTREAM),
    ("dispatch_response_body", buffer::CALL_BODY),
    ("grpc_message", buffer::GRPC_MESSAGE),
    ("vm_configuration", buffer::VM_CONFIGURATION),
    ("plugin_configuration", buffer::PLUGIN_CONFIGURATION),
    ("call_data", buffer::CALL_DATA),
    ("bad_buffer", buffer::NONE_SUCH),
];

/// No host gives this one out.
const NO_TOKEN: u32 = 0xfff0;

pub fn measure(callback: &str, context: u32) {
    let show = |call: &str, status: Status| cell(callback, call, &status.to_string());
    show("proxy_log", guest_abi::log_at(0, "at trace"));
    metrics(callback, &show);
    let foreign = |name: &str| {
        Bytes::from_call(|data, size| unsafe {
            raw::proxy_call_foreign_function(name.as_ptr(), name.len(), b"x".as_ptr(), 1, data, size)
        })
    };
    show("call_foreign_function", foreign("no_such_function").0);
    // Not before the tick was measured: another callback must not end it.
    let period = if TICKED.get() { 0 } else { TICK };
    show("set_tick_period", unsafe { raw::proxy_set_tick_period_milliseconds(period) });
    maps(&show);
    buffers(&show);
    callouts(&show);
    shared(callback, &show);
    let (path, value) = (b"x.matrix", b"v");
    show("set_property", unsafe {
        raw::proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len())
    });
    let mut time = 0;
    show("get_current_time", unsafe { raw::proxy_get_current_time_nanoseconds(&mut time) });
    show("set_effective_context itself", unsafe { raw::proxy_set_effective_context(context) });
    show("set_effective_context unknown", unsafe { raw::proxy_set_effective_context(NO_TOKEN) });
    show("done", unsafe { raw::proxy_done() });
    if matches!(callback, "root+" | "vm_start" | "configure" | "tick") {
        for (name, kind) in [("request", 0), ("response", 1), ("downstream", 2), ("upstream", 3), ("bad", 4)]
        {
            show(&format!("continue_stream {name}"), unsafe { raw::proxy_continue_stream(kind) });
            show(&format!("close_stream {name}"), unsafe { raw::proxy_close_stream(kind) });
        }
    }
}

fn metrics(callback: &str, show: &dyn Fn(&str, Status)) {
    let define = |kind: u32, name: &str| {
        let (name, mut id) = (format!("matrix_{name}_{}", callback.replace('+', "_plus")), 0);
        (unsafe { raw::proxy_define_metric(kind, name.as_ptr(), name.len(), &mut id) }, id)
    };
    let (counter, gauge, histogram) = (define(0, "counter"), define(1, "gauge"), define(2, "histogram"));
    show("define_metric", counter.0);
    show("define_metric bad kind", define(3, "bad").0);
    show("increment_metric", unsafe { raw::proxy_increment_metric(counter.1, 2) });
    show("increment_metric down", unsafe { raw::proxy_increment_metric(counter.1, -1) });
    show("increment_metric gauge", unsafe { raw::proxy_increment_metric(gauge.1, -1) });
    show("increment_metric histogram", unsafe { raw::proxy_increment_metric(histogram.1, 1) });
    show("increment_metric unknown", unsafe { raw::proxy_increment_metric(NO_TOKEN, 1) });
    show("record_metric", unsafe { raw::proxy_record_metric(gauge.1, 7) });
    show("record_metric counter", unsafe { raw::proxy_record_metric(counter.1, 7) });
    show("record_metric histogram", unsafe { raw::proxy_record_metric(histogram.1, 7) });
    show("record_metric unknown", unsafe { raw::proxy_record_metric(NO_TOKEN, 7) });
    let mut value = 0;
    show("get_metric", unsafe { raw::proxy_get_metric(counter.1, &mut value) });
    show("get_metric histogram", unsafe { raw::proxy_get_metric(histogram.1, &mut value) });
    show("get_metric unknown", unsafe { raw::proxy_get_metric(NO_TOKEN, &mut value) });
}

fn maps(show: &dyn Fn(&str, Status)) {
    let (name, value) = ("x-matrix", "1");
    for (map, kind) in MAPS {
        show(&format!("add_{map}"), unsafe {
            raw::proxy_add_header_map_value(kind, name.as_ptr(), name.len(), value.as_ptr(), value.len())
        });
        show(&format!("set_{map}"), unsafe {
            raw::proxy_replace_header_map_value(kind, name.as_ptr(), name.len(), value.as_ptr(), value.len())
        });
        show(&format!("remove_{map}"), unsafe {
            raw::proxy_remove_header_map_value(kind, name.as_ptr(), name.len())
        });
        let (_, pairs) = map_pairs(kind);
        let other = encode_pairs(&[("x-matrix", "1")]);
        let pairs = if pairs.is_null() { &other } else { pairs.get() };
        show(&format!("set_{map}s"), unsafe {
            raw::proxy_set_header_map_pairs(kind, pairs.as_ptr(), pairs.len())
        });
    }
}

fn buffers(show: &dyn Fn(&str, Status)) {
    for (name, kind) in BUFFERS {
        let (status, bytes) = buffer_bytes(kind, 0, u32::MAX as usize);
        show(&format!("get_{name}_buffer"), status);
        let bytes = bytes.get();
        show(&format!("set_{name}_buffer"), unsafe {
            raw::proxy_set_buffer_bytes(kind, 0, bytes.len(), bytes.as_ptr(), bytes.len())
        });
    }
}

fn callouts(show: &dyn Fn(&str, Status)) {
    let (upstream, service, method) = ("no-such-upstream", "test.Service", "Method");
    let head = encode_pairs(&[(":method", "GET"), (":path", "/"), (":authority", "a.test")]);
    show("dispatch_http_call", http_call(upstream.as_bytes(), &head, b"", &[], 1000).0);
    for missing in 0..3 {
        let mut head = vec![(":method", "GET"), (":path", "/"), (":authority", "a.test")];
        let (name, _) = head.remove(missing);
        let status = http_call(b"calls", &encode_pairs(&head), b"", &[], 1000).0;
        show(&format!("dispatch_http_call without {name}"), status);
    }
    let mut token = 0;
    show("grpc_call", unsafe {
        raw::proxy_grpc_call(
            upstream.as_ptr(),
            upstream.len(),
            service.as_ptr(),
            service.len(),
            method.as_ptr(),
            method.len(),
            head.as_ptr(),
            0,
            head.as_ptr(),
            0,
            1000,
            &mut token,
        )
    });
    show("grpc_stream", unsafe {
        raw::proxy_grpc_stream(
            upstream.as_ptr(),
            upstream.len(),
            service.as_ptr(),
            service.len(),
            method.as_ptr(),
            method.len(),
            head.as_ptr(),
            0,
            &mut token,
        )
    });
    show("grpc_send unknown", unsafe { raw::proxy_grpc_send(NO_TOKEN, head.as_ptr(), 0, 0) });
    show("grpc_close unknown", unsafe { raw::proxy_grpc_close(NO_TOKEN) });
    show("grpc_cancel unknown", unsafe { raw::proxy_grpc_cancel(NO_TOKEN) });
}

fn shared(callback: &str, show: &dyn Fn(&str, Status)) {
    let (key, mut version) = (format!("key-{callback}"), UNTOUCHED as u32);
    let (missing, value) = ("no-such-key", "v");
    let get = |key: &str, version: &mut u32| {
        Bytes::from_call(|data, size| unsafe {
            raw::proxy_get_shared_data(key.as_ptr(), key.len(), data, size, version)
        })
        .0
    };
    let set = |version: u32| unsafe {
        raw::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), version)
    };
    show("get_shared_data missing", get(missing, &mut version));
    show("set_shared_data", set(0));
    show("get_shared_data", get(&key, &mut version));
    show("set_shared_data same version", set(version));
    show("set_shared_data old version", set(version));
    let (queue, vm, mut token) = (format!("queue-{callback}"), "no-such-vm", UNTOUCHED as u32);
    show("register_shared_queue", unsafe {
        raw::proxy_register_shared_queue(queue.as_ptr(), queue.len(), &mut token)
    });
    let mut other = 0;
    show("resolve_shared_queue unknown", unsafe {
        raw::proxy_resolve_shared_queue(vm.as_ptr(), vm.len(), queue.as_ptr(), queue.len(), &mut other)
    });
    let take = |token| {
        Bytes::from_call(|data, size| unsafe { raw::proxy_dequeue_shared_queue(token, data, size) }).0
    };
    show("dequeue_shared_queue empty", take(token));
    show("enqueue_shared_queue", unsafe {
        raw::proxy_enqueue_shared_queue(token, value.as_ptr(), value.len())
    });
    show("dequeue_shared_queue", take(token));
    show("dequeue_shared_queue unknown", take(NO_TOKEN));
    show("enqueue_shared_queue unknown", unsafe {
        raw::proxy_enqueue_shared_queue(NO_TOKEN, value.as_ptr(), value.len())
    });
}
