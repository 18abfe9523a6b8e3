//! The reference host's table of getters by callback, cell by cell.
//!
//! Where the two differ the reason stands at the row: `call_data` is a buffer that this host always has empty.

use crate::everywhere::{Cell, Row, compare, lines, usual};
use crate::guest::{Guest, OUT};

/// Puts `<texts>` into the guest and its return words in the place of `OUT`.
fn rows(guest: &mut Guest, table: &'static str) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, call, expected) in lines(table) {
        let mut call = call.replace("OUT", OUT);
        while let Some((before, rest)) = call.split_once('<') {
            let (text, after) = rest.split_once('>').expect("a closed text");
            call = format!("{before}{}{after}", guest.text(text));
        }
        rows.push(Row { name, call, expected });
    }
    rows
}

fn status((status, _): Cell) -> String {
    status.to_string()
}

/// Sizes, pairs (`-`: a null result, `+`: some, `u`: untouched), a header that exists, one that does not.
const MAPS: &str = "\
map_size req_headers   | proxy_get_header_map_size (i32.const 0) (i32.const 68) | 2 2 2 2 2 0 2 0 2 2 2 2 2 2 2 2
pairs req_headers      | proxy_get_header_map_pairs (i32.const 0) OUT | 0- 0- 0- 0- 0- 0+ 0- 0+ 0- 0- 0- 0- 0- 0+ 0- 0-
value req_headers      | proxy_get_header_map_value (i32.const 0) <x-a> OUT | 2 2 2 2 2 0 2 0 2 2 2 2 2 0 2 2
missing req_headers    | proxy_get_header_map_value (i32.const 0) <x-none> OUT | 2 2 2 2 2 1 2 1 2 2 2 2 2 1 2 2
map_size req_trailers  | proxy_get_header_map_size (i32.const 1) (i32.const 68) | 2 2 2 2 2 2 2 2 2 0 2 2 2 2 2 2
pairs req_trailers     | proxy_get_header_map_pairs (i32.const 1) OUT | 0- 0- 0- 0- 0- 0- 0- 0- 0- 0+ 0- 0- 0- 0- 0- 0-
value req_trailers     | proxy_get_header_map_value (i32.const 1) <x-t> OUT | 2 2 2 2 2 2 2 2 2 0 2 2 2 1 2 2
missing req_trailers   | proxy_get_header_map_value (i32.const 1) <x-none> OUT | 2 2 2 2 2 2 2 2 2 1 2 2 2 1 2 2
map_size resp_headers  | proxy_get_header_map_size (i32.const 2) (i32.const 68) | 2 2 2 2 2 2 2 2 2 2 0 2 2 2 2 2
pairs resp_headers     | proxy_get_header_map_pairs (i32.const 2) OUT | 0- 0- 0- 0- 0- 0- 0- 0- 0- 0- 0+ 0- 0- 0+ 0- 0-
value resp_headers     | proxy_get_header_map_value (i32.const 2) <:status> OUT | 2 2 2 2 2 2 2 2 2 2 0 2 2 0 2 2
missing resp_headers   | proxy_get_header_map_value (i32.const 2) <x-none> OUT | 2 2 2 2 2 2 2 2 2 2 1 2 2 1 2 2
map_size resp_trailers | proxy_get_header_map_size (i32.const 3) (i32.const 68) | 2 2 2 2 2 2 2 2 2 2 2 2 0 2 2 2
pairs resp_trailers    | proxy_get_header_map_pairs (i32.const 3) OUT | 0- 0- 0- 0- 0- 0- 0- 0- 0- 0- 0- 0- 0+ 0+ 0- 0-
value resp_trailers    | proxy_get_header_map_value (i32.const 3) <x-u> OUT | 2 2 2 2 2 2 2 2 2 2 2 2 0 0 2 2
missing resp_trailers  | proxy_get_header_map_value (i32.const 3) <x-none> OUT | 2 2 2 2 2 2 2 2 2 2 2 2 1 1 2 2
map_size grpc_initial  | proxy_get_header_map_size (i32.const 4) (i32.const 68) | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
pairs grpc_initial     | proxy_get_header_map_pairs (i32.const 4) OUT | 0- 0- 0- 0- 0- 0- 0- 0- 0- 0- 0- 0- 0- 0- 0- 0-
value grpc_initial     | proxy_get_header_map_value (i32.const 4) <x-a> OUT | 2 2 2 2 2 2 2 2 2 2 2 2 2 1 2 2
missing grpc_initial   | proxy_get_header_map_value (i32.const 4) <x-none> OUT | 2 2 2 2 2 2 2 2 2 2 2 2 2 1 2 2
map_size grpc_trailing | proxy_get_header_map_size (i32.const 5) (i32.const 68) | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
pairs grpc_trailing    | proxy_get_header_map_pairs (i32.const 5) OUT | 0- 0- 0- 0- 0- 0- 0- 0- 0- 0- 0- 0- 0- 0- 0- 0-
value grpc_trailing    | proxy_get_header_map_value (i32.const 5) <x-a> OUT | 2 2 2 2 2 2 2 2 2 2 2 2 2 1 2 2
missing grpc_trailing  | proxy_get_header_map_value (i32.const 5) <x-none> OUT | 2 2 2 2 2 2 2 2 2 2 2 2 2 1 2 2
map_size call_headers  | proxy_get_header_map_size (i32.const 6) (i32.const 68) | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
pairs call_headers     | proxy_get_header_map_pairs (i32.const 6) OUT | 0- 0- 0- 0- 0- 0- 0+ 0+ 0- 0- 0- 0- 0- 0- 0- 0-
value call_headers     | proxy_get_header_map_value (i32.const 6) <x-call> OUT | 2 2 2 2 2 2 0 0 2 2 2 2 2 1 2 2
missing call_headers   | proxy_get_header_map_value (i32.const 6) <x-none> OUT | 2 2 2 2 2 2 1 1 2 2 2 2 2 1 2 2
map_size call_trailers | proxy_get_header_map_size (i32.const 7) (i32.const 68) | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
pairs call_trailers    | proxy_get_header_map_pairs (i32.const 7) OUT | 0- 0- 0- 0- 0- 0- 0+ 0+ 0- 0- 0- 0- 0- 0- 0- 0-
value call_trailers    | proxy_get_header_map_value (i32.const 7) <x-end> OUT | 2 2 2 2 2 2 0 0 2 2 2 2 2 1 2 2
missing call_trailers  | proxy_get_header_map_value (i32.const 7) <x-none> OUT | 2 2 2 2 2 2 1 1 2 2 2 2 2 1 2 2
map_size bad8          | proxy_get_header_map_size (i32.const 8) (i32.const 68) | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
pairs bad8             | proxy_get_header_map_pairs (i32.const 8) OUT | 2u 2u 2u 2u 2u 2u 2u 2u 2u 2u 2u 2u 2u 2u 2u 2u
value bad8             | proxy_get_header_map_value (i32.const 8) <x-a> OUT | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
missing bad8           | proxy_get_header_map_value (i32.const 8) <x-none> OUT | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2";

/// Status and length; 7777 is untouched.
const BUFFERS: &str = "\
buf req_body           | proxy_get_buffer_bytes (i32.const 0) (i32.const 0) (i32.const -1) OUT | 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/3 0/0 0/0 0/0 0/0 0/0 0/0 0/0
buf_status req_body    | proxy_get_buffer_status (i32.const 0) (i32.const 68) (i32.const 72) | 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/3 0/0 0/0 0/0 0/0 0/0 0/0 0/0
buf resp_body          | proxy_get_buffer_bytes (i32.const 1) (i32.const 0) (i32.const -1) OUT | 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/11 0/0 0/0 0/0 0/0
buf_status resp_body   | proxy_get_buffer_status (i32.const 1) (i32.const 68) (i32.const 72) | 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/11 0/0 0/0 0/0 0/0
buf downstream         | proxy_get_buffer_bytes (i32.const 2) (i32.const 0) (i32.const -1) OUT | 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0
buf_status downstream  | proxy_get_buffer_status (i32.const 2) (i32.const 68) (i32.const 72) | 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0
buf upstream           | proxy_get_buffer_bytes (i32.const 3) (i32.const 0) (i32.const -1) OUT | 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0
buf_status upstream    | proxy_get_buffer_status (i32.const 3) (i32.const 68) (i32.const 72) | 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0
buf call_body          | proxy_get_buffer_bytes (i32.const 4) (i32.const 0) (i32.const -1) OUT | 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 0/11 0/11 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777
buf_status call_body   | proxy_get_buffer_status (i32.const 4) (i32.const 68) (i32.const 72) | 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 0/11 0/11 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777
buf grpc_recv          | proxy_get_buffer_bytes (i32.const 5) (i32.const 0) (i32.const -1) OUT | 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0
buf_status grpc_recv   | proxy_get_buffer_status (i32.const 5) (i32.const 68) (i32.const 72) | 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0
buf vm_conf            | proxy_get_buffer_bytes (i32.const 6) (i32.const 0) (i32.const -1) OUT | 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0
buf_status vm_conf     | proxy_get_buffer_status (i32.const 6) (i32.const 68) (i32.const 72) | 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0
buf plugin_conf        | proxy_get_buffer_bytes (i32.const 7) (i32.const 0) (i32.const -1) OUT | 0/4 1/7777 0/4 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777
buf_status plugin_conf | proxy_get_buffer_status (i32.const 7) (i32.const 68) (i32.const 72) | 0/4 1/7777 0/4 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777 1/7777
buf call_data          | proxy_get_buffer_bytes (i32.const 8) (i32.const 0) (i32.const -1) OUT | 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0
buf_status call_data   | proxy_get_buffer_status (i32.const 8) (i32.const 68) (i32.const 72) | 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0 0/0
buf bad9               | proxy_get_buffer_bytes (i32.const 9) (i32.const 0) (i32.const -1) OUT | 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777
buf_status bad9        | proxy_get_buffer_status (i32.const 9) (i32.const 68) (i32.const 72) | 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777 2/7777";

/// Statuses. The embedder has all that it is asked for: what is not found was not asked for.
const PROPERTIES: &str = "\
plugin_name                       | proxy_get_property <plugin_name> OUT | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
plugin_root_id                    | proxy_get_property <plugin_root_id> OUT | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
plugin_vm_id                      | proxy_get_property <plugin_vm_id> OUT | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
connection_id                     | proxy_get_property <connection_id> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
request.path                      | proxy_get_property <request\0path> OUT | 1 1 1 1 1 0 1 0 1 1 1 1 1 0 1 1
request.url_path                  | proxy_get_property <request\0url_path> OUT | 1 1 1 1 1 0 1 0 1 1 1 1 1 0 1 1
request.host                      | proxy_get_property <request\0host> OUT | 1 1 1 1 1 0 1 0 1 1 1 1 1 0 1 1
request.method                    | proxy_get_property <request\0method> OUT | 1 1 1 1 1 0 1 0 1 1 1 1 1 0 1 1
request.scheme                    | proxy_get_property <request\0scheme> OUT | 1 1 1 1 1 0 1 0 1 1 1 1 1 0 1 1
request.protocol                  | proxy_get_property <request\0protocol> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
request.id                        | proxy_get_property <request\0id> OUT | 1 1 1 1 1 0 1 0 1 1 1 1 1 0 1 1
request.size                      | proxy_get_property <request\0size> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
request.total_size                | proxy_get_property <request\0total_size> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
request.time                      | proxy_get_property <request\0time> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
request.duration                  | proxy_get_property <request\0duration> OUT | 1 1 1 1 1 1 1 1 1 1 1 1 1 0 0 0
request.query                     | proxy_get_property <request\0query> OUT | 1 1 1 1 1 0 1 0 1 1 1 1 1 0 1 1
request.useragent                 | proxy_get_property <request\0useragent> OUT | 1 1 1 1 1 0 1 0 1 1 1 1 1 0 1 1
request.headers.x-a               | proxy_get_property <request\0headers\0x-a> OUT | 1 1 1 1 1 0 1 0 1 1 1 1 1 0 1 1
request.headers.x-none            | proxy_get_property <request\0headers\0x-none> OUT | 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
request.headers                   | proxy_get_property <request\0headers> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
response.code                     | proxy_get_property <response\0code> OUT | 1 1 1 1 1 1 1 1 1 1 0 0 0 0 0 0
response.code_details             | proxy_get_property <response\0code_details> OUT | 1 1 1 1 1 1 1 1 1 1 0 0 0 0 0 0
response.flags                    | proxy_get_property <response\0flags> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
response.grpc_status              | proxy_get_property <response\0grpc_status> OUT | 1 1 1 1 1 1 1 1 1 1 0 0 0 0 0 0
response.size                     | proxy_get_property <response\0size> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
response.total_size               | proxy_get_property <response\0total_size> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
response.headers.x-upstream       | proxy_get_property <response\0headers\0content-type> OUT | 1 1 1 1 1 1 1 1 1 1 0 1 1 0 1 1
response.headers.x-none           | proxy_get_property <response\0headers\0x-none> OUT | 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
response.headers                  | proxy_get_property <response\0headers> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
response.trailers.x-t             | proxy_get_property <response\0trailers\0x-u> OUT | 1 1 1 1 1 1 1 1 1 1 1 1 0 0 1 1
response.trailers                 | proxy_get_property <response\0trailers> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
source.address                    | proxy_get_property <source\0address> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
source.port                       | proxy_get_property <source\0port> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
destination.address               | proxy_get_property <destination\0address> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
destination.port                  | proxy_get_property <destination\0port> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
connection.mtls                   | proxy_get_property <connection\0mtls> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
connection.id                     | proxy_get_property <connection\0id> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
connection.requested_server_name  | proxy_get_property <connection\0requested_server_name> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
upstream.address                  | proxy_get_property <upstream\0address> OUT | 1 1 1 1 1 1 1 1 0 0 0 0 0 0 0 0
upstream.port                     | proxy_get_property <upstream\0port> OUT | 1 1 1 1 1 1 1 1 0 0 0 0 0 0 0 0
upstream.transport_failure_reason | proxy_get_property <upstream\0transport_failure_reason> OUT | 1 1 1 1 1 1 1 1 0 0 0 0 0 0 0 0
upstream.request_attempt_count    | proxy_get_property <upstream\0request_attempt_count> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
xds.cluster_name                  | proxy_get_property <xds\0cluster_name> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
xds.cluster_metadata              | proxy_get_property <xds\0cluster_metadata> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
xds.route_name                    | proxy_get_property <xds\0route_name> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
xds.route_metadata                | proxy_get_property <xds\0route_metadata> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
xds.virtual_host_name             | proxy_get_property <xds\0virtual_host_name> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
xds.filter_chain_name             | proxy_get_property <xds\0filter_chain_name> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
xds.listener_direction            | proxy_get_property <xds\0listener_direction> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
nonexistent                       | proxy_get_property <nonexistent> OUT | 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
request                           | proxy_get_property <request> OUT | 1 1 1 1 3 3 1 3 3 3 3 3 3 3 3 3
metadata                          | proxy_get_property <metadata> OUT | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
filter_state                      | proxy_get_property <filter_state> OUT | 1 1 1 1 3 3 1 3 3 3 3 3 3 3 3 3
get_status                        | proxy_get_status (i32.const 72) OUT | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
get_log_level                     | proxy_get_log_level (i32.const 72) | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0";

#[test]
fn header_maps_are_where_the_reference_host_has_them() {
    let mut guest = Guest::new();
    let rows = rows(&mut guest, MAPS);
    let (pairs, others): (Vec<Row>, Vec<Row>) =
        rows.into_iter().partition(|row| row.name.starts_with("pairs"));
    compare(guest.clone(), &others, usual(), status);
    compare(guest, &pairs, usual(), |(status, length)| match length {
        0 => format!("{status}-"),
        crate::everywhere::UNTOUCHED => format!("{status}u"),
        _ => format!("{status}+"),
    });
}

#[test]
fn buffers_are_where_the_reference_host_has_them() {
    let mut guest = Guest::new();
    let rows = rows(&mut guest, BUFFERS);
    compare(guest, &rows, usual(), |(status, length)| format!("{status}/{length}"));
}

#[test]
fn properties_are_where_the_reference_host_has_them() {
    let mut guest = Guest::new();
    let rows = rows(&mut guest, PROPERTIES);
    let mut request = usual();
    for (name, _, expected) in lines(PROPERTIES) {
        if expected.contains('0') {
            let path = name.split('.').map(|segment| segment.as_bytes().to_vec()).collect();
            request.properties.push((path, b"supplied".to_vec()));
        }
    }
    request.request.push((b"user-agent".to_vec(), b"test".to_vec()));
    compare(guest, &rows, request, status);
}
