//! The reference host's table of the other host calls by callback, cell by cell.
//!
//! Resuming and closing streams would end what the table is about; `hostile_streams` has those.

use crate::everywhere::{Row, compare, lines, usual};
use crate::guest::{Guest, OUT, wire};

/// Statuses. `<texts>` are put into the guest, in capitals those that are header maps.
const CALLS: &str = "\
proxy_log                          | proxy_log (i32.const 0) <below the level> | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
define_metric                      | proxy_define_metric (i32.const 0) <counter> (i32.const 64) | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
define_metric bad kind             | proxy_define_metric (i32.const 3) <counter> (i32.const 64) | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
increment_metric                   | proxy_increment_metric (i32.const 4) (i64.const 1) | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
increment_metric down              | proxy_increment_metric (i32.const 4) (i64.const -1) | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
increment_metric unknown           | proxy_increment_metric (i32.const 4000) (i64.const 1) | 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
record_metric counter              | proxy_record_metric (i32.const 4) (i64.const 1) | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
record_metric unknown              | proxy_record_metric (i32.const 4000) (i64.const 1) | 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
get_metric                         | proxy_get_metric (i32.const 4) (i32.const 64) | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
get_metric unknown                 | proxy_get_metric (i32.const 4000) (i32.const 64) | 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
call_foreign_function              | proxy_call_foreign_function <nobody> <x> OUT | 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
set_tick_period                    | proxy_set_tick_period_milliseconds (i32.const 10) | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
add_request_header                 | proxy_add_header_map_value (i32.const 0) <x-new> <v> | 2 2 2 2 2 0 2 0 2 2 2 2 2 2 2 2
set_request_header                 | proxy_replace_header_map_value (i32.const 0) <x-new> <v> | 2 2 2 2 2 0 2 0 2 2 2 2 2 2 2 2
remove_request_header              | proxy_remove_header_map_value (i32.const 0) <x-new> | 2 2 2 2 2 0 2 0 2 2 2 2 2 2 2 2
set_request_headers                | proxy_set_header_map_pairs (i32.const 0) <PAIRS0> | 2 2 2 2 2 0 2 0 2 2 2 2 2 2 2 2
add_request_trailer                | proxy_add_header_map_value (i32.const 1) <x-new> <v> | 2 2 2 2 2 2 2 2 2 0 2 2 2 2 2 2
set_request_trailer                | proxy_replace_header_map_value (i32.const 1) <x-new> <v> | 2 2 2 2 2 2 2 2 2 0 2 2 2 2 2 2
remove_request_trailer             | proxy_remove_header_map_value (i32.const 1) <x-new> | 2 2 2 2 2 2 2 2 2 0 2 2 2 2 2 2
set_request_trailers               | proxy_set_header_map_pairs (i32.const 1) <PAIRS1> | 2 2 2 2 2 2 2 2 2 0 2 2 2 2 2 2
add_response_header                | proxy_add_header_map_value (i32.const 2) <x-new> <v> | 2 2 2 2 2 2 2 2 2 2 0 2 2 2 2 2
set_response_header                | proxy_replace_header_map_value (i32.const 2) <x-new> <v> | 2 2 2 2 2 2 2 2 2 2 0 2 2 2 2 2
remove_response_header             | proxy_remove_header_map_value (i32.const 2) <x-new> | 2 2 2 2 2 2 2 2 2 2 0 2 2 2 2 2
set_response_headers               | proxy_set_header_map_pairs (i32.const 2) <PAIRS2> | 2 2 2 2 2 2 2 2 2 2 0 2 2 2 2 2
add_response_trailer               | proxy_add_header_map_value (i32.const 3) <x-new> <v> | 2 2 2 2 2 2 2 2 2 2 2 2 0 2 2 2
set_response_trailer               | proxy_replace_header_map_value (i32.const 3) <x-new> <v> | 2 2 2 2 2 2 2 2 2 2 2 2 0 2 2 2
remove_response_trailer            | proxy_remove_header_map_value (i32.const 3) <x-new> | 2 2 2 2 2 2 2 2 2 2 2 2 0 2 2 2
set_response_trailers              | proxy_set_header_map_pairs (i32.const 3) <PAIRS3> | 2 2 2 2 2 2 2 2 2 2 2 2 0 2 2 2
add_grpc_initial_metadata          | proxy_add_header_map_value (i32.const 4) <x-new> <v> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
set_grpc_initial_metadata          | proxy_replace_header_map_value (i32.const 4) <x-new> <v> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
remove_grpc_initial_metadata       | proxy_remove_header_map_value (i32.const 4) <x-new> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
set_grpc_initial_metadatas         | proxy_set_header_map_pairs (i32.const 4) <PAIRS4> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
add_grpc_trailing_metadata         | proxy_add_header_map_value (i32.const 5) <x-new> <v> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
set_grpc_trailing_metadata         | proxy_replace_header_map_value (i32.const 5) <x-new> <v> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
remove_grpc_trailing_metadata      | proxy_remove_header_map_value (i32.const 5) <x-new> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
set_grpc_trailing_metadatas        | proxy_set_header_map_pairs (i32.const 5) <PAIRS5> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
add_call_header                    | proxy_add_header_map_value (i32.const 6) <x-new> <v> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
set_call_header                    | proxy_replace_header_map_value (i32.const 6) <x-new> <v> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
remove_call_header                 | proxy_remove_header_map_value (i32.const 6) <x-new> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
set_call_headers                   | proxy_set_header_map_pairs (i32.const 6) <PAIRS6> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
add_call_trailer                   | proxy_add_header_map_value (i32.const 7) <x-new> <v> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
set_call_trailer                   | proxy_replace_header_map_value (i32.const 7) <x-new> <v> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
remove_call_trailer                | proxy_remove_header_map_value (i32.const 7) <x-new> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
set_call_trailers                  | proxy_set_header_map_pairs (i32.const 7) <PAIRS7> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
add_bad_map                        | proxy_add_header_map_value (i32.const 8) <x-new> <v> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
set_bad_map                        | proxy_replace_header_map_value (i32.const 8) <x-new> <v> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
remove_bad_map                     | proxy_remove_header_map_value (i32.const 8) <x-new> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
set_bad_maps                       | proxy_set_header_map_pairs (i32.const 8) <PAIRS8> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
get_request_body_buffer            | proxy_get_buffer_bytes (i32.const 0) (i32.const 0) (i32.const -1) OUT | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
set_request_body_buffer            | proxy_set_buffer_bytes (i32.const 0) (i32.const 0) (i32.const -1) <new> | 2 2 2 2 2 2 2 2 0 2 2 2 2 2 2 2
get_response_body_buffer           | proxy_get_buffer_bytes (i32.const 1) (i32.const 0) (i32.const -1) OUT | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
set_response_body_buffer           | proxy_set_buffer_bytes (i32.const 1) (i32.const 0) (i32.const -1) <new> | 2 2 2 2 2 2 2 2 2 2 2 0 2 2 2 2
get_downstream_data_buffer         | proxy_get_buffer_bytes (i32.const 2) (i32.const 0) (i32.const -1) OUT | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
set_downstream_data_buffer         | proxy_set_buffer_bytes (i32.const 2) (i32.const 0) (i32.const -1) <new> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
get_upstream_data_buffer           | proxy_get_buffer_bytes (i32.const 3) (i32.const 0) (i32.const -1) OUT | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
set_upstream_data_buffer           | proxy_set_buffer_bytes (i32.const 3) (i32.const 0) (i32.const -1) <new> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
get_dispatch_response_body_buffer  | proxy_get_buffer_bytes (i32.const 4) (i32.const 0) (i32.const -1) OUT | 1 1 1 1 1 1 0 0 1 1 1 1 1 1 1 1
set_dispatch_response_body_buffer  | proxy_set_buffer_bytes (i32.const 4) (i32.const 0) (i32.const -1) <new> | 1 1 1 1 1 1 2 2 1 1 1 1 1 1 1 1
get_grpc_message_buffer            | proxy_get_buffer_bytes (i32.const 5) (i32.const 0) (i32.const -1) OUT | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
set_grpc_message_buffer            | proxy_set_buffer_bytes (i32.const 5) (i32.const 0) (i32.const -1) <new> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
get_vm_configuration_buffer        | proxy_get_buffer_bytes (i32.const 6) (i32.const 0) (i32.const -1) OUT | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
set_vm_configuration_buffer        | proxy_set_buffer_bytes (i32.const 6) (i32.const 0) (i32.const -1) <new> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
get_plugin_configuration_buffer    | proxy_get_buffer_bytes (i32.const 7) (i32.const 0) (i32.const -1) OUT | 0 1 0 1 1 1 1 1 1 1 1 1 1 1 1 1
set_plugin_configuration_buffer    | proxy_set_buffer_bytes (i32.const 7) (i32.const 0) (i32.const -1) <new> | 2 1 2 1 1 1 1 1 1 1 1 1 1 1 1 1
get_call_data_buffer               | proxy_get_buffer_bytes (i32.const 8) (i32.const 0) (i32.const -1) OUT | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
set_call_data_buffer               | proxy_set_buffer_bytes (i32.const 8) (i32.const 0) (i32.const -1) <new> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
get_bad_buffer_buffer              | proxy_get_buffer_bytes (i32.const 9) (i32.const 0) (i32.const -1) OUT | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
set_bad_buffer_buffer              | proxy_set_buffer_bytes (i32.const 9) (i32.const 0) (i32.const -1) <new> | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
dispatch_http_call                 | proxy_http_call <nobody> <CALL> <> <> (i32.const 9) (i32.const 64) | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
dispatch_http_call without :method | proxy_http_call <keys> <NOMETHOD> <> <> (i32.const 9) (i32.const 64) | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
grpc_call                          | proxy_grpc_call <nobody> <a.B> <C> <> <> (i32.const 9) (i32.const 64) | 4 4 4 4 4 4 4 4 4 4 4 4 4 4 4 4
grpc_stream                        | proxy_grpc_stream <nobody> <a.B> <C> <> (i32.const 64) | 4 4 4 4 4 4 4 4 4 4 4 4 4 4 4 4
grpc_send unknown                  | proxy_grpc_send (i32.const 77) <m> (i32.const 0) | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
grpc_close unknown                 | proxy_grpc_close (i32.const 77) | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
grpc_cancel unknown                | proxy_grpc_cancel (i32.const 77) | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
get_shared_data missing            | proxy_get_shared_data <none> OUT (i32.const 72) | 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
set_shared_data                    | proxy_set_shared_data <key> <v> (i32.const 0) | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
get_shared_data                    | proxy_get_shared_data <key> OUT (i32.const 72) | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
set_shared_data same version       | proxy_set_shared_data <key> <v> (i32.load (i32.const 72)) | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
set_shared_data old version        | proxy_set_shared_data <key> <v> (i32.load (i32.const 72)) | 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8 8
register_shared_queue              | proxy_register_shared_queue <q> (i32.const 64) | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
resolve_shared_queue unknown       | proxy_resolve_shared_queue <vm> <none> (i32.const 64) | 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
dequeue_shared_queue empty         | proxy_dequeue_shared_queue (i32.const 1) OUT | 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7
enqueue_shared_queue               | proxy_enqueue_shared_queue (i32.const 1) <m> | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
dequeue_shared_queue               | proxy_dequeue_shared_queue (i32.const 1) OUT | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
dequeue_shared_queue unknown       | proxy_dequeue_shared_queue (i32.const 77) OUT | 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
enqueue_shared_queue unknown       | proxy_enqueue_shared_queue (i32.const 77) <m> | 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
set_property                       | proxy_set_property <my\0thing> <v> | 1 1 1 1 0 0 1 0 0 0 0 0 0 0 0 0
get_current_time                   | proxy_get_current_time_nanoseconds (i32.const 64) | 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
set_effective_context unknown      | proxy_set_effective_context (i32.const 77) | 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2 2
done                               | proxy_done | 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1";

/// Texts in capitals, as header maps. A request keeps its pseudo-headers.
fn map(text: &str) -> Option<Vec<u8>> {
    let request = [(":method", "GET"), (":path", "/"), (":authority", "keys"), ("x-a", "1"), ("x-new", "v")];
    Some(match text {
        "CALL" | "PAIRS0" => wire(&request),
        "NOMETHOD" => wire(&request[1..]),
        "PAIRS2" => wire(&[(":status", "200"), ("x-new", "v")]),
        _ if text.starts_with("PAIRS") => wire(&[("x-new", "v")]),
        _ => return None,
    })
}

#[test]
fn calls_answer_as_the_reference_host_s() {
    let mut guest = Guest::new();
    let mut rows = Vec::new();
    for (name, call, expected) in lines(CALLS) {
        let mut call = call.replace("OUT", OUT);
        while let Some((before, rest)) = call.split_once('<') {
            let (text, after) = rest.split_once('>').expect("a closed text");
            let operands = guest.bytes(&map(text).unwrap_or_else(|| text.as_bytes().to_vec()));
            call = format!("{before}{operands}{after}");
        }
        rows.push(Row { name, call, expected });
    }
    compare(guest, &rows, usual(), |(status, _)| status.to_string());
}
