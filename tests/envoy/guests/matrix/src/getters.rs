//! Whatever can be read, changing nothing.

use crate::cell;
use guest_abi::{
    Bytes, buffer, buffer_bytes, decode_pairs, map, map_pairs, map_size, map_value, property, raw,
};

/// Map, its number, a name that it has where it exists.
const MAPS: [(&str, u32, &str); 9] = [
    ("req_headers", map::REQUEST_HEADERS, ":path"),
    ("req_trailers", map::REQUEST_TRAILERS, "x-t"),
    ("resp_headers", map::RESPONSE_HEADERS, ":status"),
    ("resp_trailers", map::RESPONSE_TRAILERS, "x-t"),
    ("grpc_initial", map::GRPC_INITIAL, "x-t"),
    ("grpc_trailing", map::GRPC_TRAILING, "x-t"),
    ("call_headers", map::CALL_HEADERS, ":status"),
    ("call_trailers", map::CALL_TRAILERS, "x-t"),
    ("bad8", map::NONE_SUCH, "x-t"),
];

const BUFFERS: [(&str, u32); 10] = [
    ("req_body", buffer::REQUEST_BODY),
    ("resp_body", buffer::RESPONSE_BODY),
    ("downstream", buffer::DOWNSTREAM),
    ("upstream", buffer::UPSTREAM),
    ("call_body", buffer::CALL_BODY),
    ("grpc_recv", buffer::GRPC_MESSAGE),
    ("vm_conf", buffer::VM_CONFIGURATION),
    ("plugin_conf", buffer::PLUGIN_CONFIGURATION),
    ("call_data", buffer::CALL_DATA),
    ("bad9", buffer::NONE_SUCH),
];

/// Paths with dots between segments; a name after `headers` is one segment.
const PROPERTIES: &[&str] = &[
    "plugin_name",
    "plugin_root_id",
    "plugin_vm_id",
    "node.id",
    "listener_direction",
    "cluster_name",
    "route_name",
    "connection_id",
    "request.path",
    "request.url_path",
    "request.host",
    "request.method",
    "request.scheme",
    "request.protocol",
    "request.id",
    "request.size",
    "request.total_size",
    "request.time",
    "request.duration",
    "request.query",
    "request.useragent",
    "request.referer",
    "request.headers.x-a",
    "request.headers.x-none",
    "request.headers",
    "response.code",
    "response.code_details",
    "response.flags",
    "response.grpc_status",
    "response.size",
    "response.total_size",
    "response.headers.x-upstream",
    "response.headers.x-none",
    "response.headers",
    "response.trailers.x-t",
    "response.trailers",
    "response.backend_latency",
    "source.address",
    "source.port",
    "destination.address",
    "destination.port",
    "connection.mtls",
    "connection.id",
    "connection.requested_server_name",
    "connection.tls_version",
    "connection.subject_peer_certificate",
    "connection.termination_details",
    "upstream.address",
    "upstream.port",
    "upstream.local_address",
    "upstream.tls_version",
    "upstream.transport_failure_reason",
    "upstream.request_attempt_count",
    "xds.cluster_name",
    "xds.cluster_metadata",
    "xds.route_name",
    "xds.route_metadata",
    "xds.virtual_host_name",
    "xds.upstream_host_metadata",
    "xds.filter_chain_name",
    "xds.listener_direction",
    "xds.node.id",
    "nonexistent",
    "request",
    "request.nonexistent",
    "metadata",
    "filter_state",
];

pub fn measure(callback: &str) {
    for (name, kind, present) in MAPS {
        let (status, _) = map_size(kind);
        cell(callback, &format!("map_size {name}"), &status.to_string());
        let (status, pairs) = map_pairs(kind);
        cell(callback, &format!("pairs {name}"), &format!("{status}/{}", names(&pairs)));
        let value = |name: &str| map_value(kind, name.as_bytes()).0;
        cell(callback, &format!("value/missing {name}"), &format!("{}/{}", value(present), value("x-none")));
    }
    for (name, kind) in BUFFERS {
        let (status, bytes) = buffer_bytes(kind, 0, u32::MAX as usize);
        cell(callback, &format!("buf {name}"), &format!("{status}/{}", bytes.size()));
        let (mut size, mut flags) = (guest_abi::UNTOUCHED, guest_abi::UNTOUCHED as u32);
        let status = unsafe { raw::proxy_get_buffer_status(kind, &mut size, &mut flags) };
        cell(callback, &format!("buf_status {name}"), &format!("{status}/{size}/{flags}"));
    }
    for path in PROPERTIES {
        let (status, value) = property(&segments(path));
        let hex: String = value.get().iter().map(|byte| format!("{byte:02x}")).collect();
        cell(callback, &format!("prop {path}"), &format!("{status} {hex}"));
    }
    let mut code = 0;
    let (status, _) = Bytes::from_call(|data, size| unsafe { raw::proxy_get_status(&mut code, data, size) });
    cell(callback, "misc get_status", &status.to_string());
    let mut level = 0;
    cell(callback, "misc get_log_level", &unsafe { raw::proxy_get_log_level(&mut level) }.to_string());
}

/// The names of a map, or `null`.
fn names(pairs: &Bytes) -> String {
    if pairs.is_null() {
        return "null".into();
    }
    let names = decode_pairs(pairs.get()).unwrap_or_default();
    names.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(",")
}

/// A dotted path as the host wants it: zero bytes between the segments.
fn segments(path: &str) -> Vec<u8> {
    path.bytes().map(|byte| if byte == b'.' { 0 } else { byte }).collect()
}
