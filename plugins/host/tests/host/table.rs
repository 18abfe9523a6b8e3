//! Envoy's tables of getters by callback, cell by cell, for the callbacks that are delivered: one guest calls every
//! getter in every callback.

use std::fmt::Write;

use coditect_proxy_wasm::PluginConfig;

use crate::guest::{Guest, OUT};
use crate::world::{engine, exchange, http};

/// The columns: root context created, vm_start, configure, stream context created, request headers, response headers,
/// log, done, delete.
const COLUMNS: usize = 9;
const UNTOUCHED: u32 = 7777;

/// Calls a getter with its return words preset, reports the status and the length word.
fn getter(call: &str) -> String {
    format!(
        "(i32.store (i32.const 64) (i32.const {UNTOUCHED})) (i32.store (i32.const 68) (i32.const {UNTOUCHED}))
         (call $report (call ${call})) (call $report (i32.load (i32.const 68)))"
    )
}

/// Runs the getters everywhere; gives for each getter its (status, length word) in each column.
fn run(guest: Guest, getters: &[String]) -> Vec<Vec<(u32, u32)>> {
    let calls: String = getters.iter().map(|call| getter(call)).collect();
    let wasm = guest.with(&format!("(func $getters {calls})")).fill("(call $getters)").wasm();
    let (engine, world) = engine();
    let mut config = PluginConfig::new("name", wasm);
    config.configuration = b"conf".to_vec();
    config.root_id = "root".to_owned();
    config.limits.log_lines_per_second = u32::MAX;
    config.limits.start_cpu = std::time::Duration::from_secs(10);
    config.limits.callback_cpu = std::time::Duration::from_secs(10);
    let plugin = engine.load(config).unwrap();
    world.clear();
    let http = http();
    exchange(&plugin, &http);
    let reports = world.reports();
    let per_column = getters.len() * 2;
    assert_eq!(reports.len(), COLUMNS * per_column);
    (0..getters.len())
        .map(|getter| {
            let cell = |column: usize| {
                let at = column * per_column + getter * 2;
                (reports[at], reports[at + 1])
            };
            (0..COLUMNS).map(cell).collect()
        })
        .collect()
}

fn statuses(row: &[(u32, u32)]) -> String {
    row.iter().map(|(status, _)| status.to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn header_maps_exist_where_envoy_has_them() {
    let mut guest = Guest::new();
    let (name, missing) = (guest.text("x-a"), guest.text("x-none"));
    let status = guest.text(":status");
    let mut getters = Vec::new();
    for map in 0..=8 {
        let there = if map == 2 { &status } else { &name };
        getters.push(format!("proxy_get_header_map_size (i32.const {map}) (i32.const 68)"));
        getters.push(format!("proxy_get_header_map_pairs (i32.const {map}) {OUT}"));
        getters.push(format!("proxy_get_header_map_value (i32.const {map}) {there} {OUT}"));
        getters.push(format!("proxy_get_header_map_value (i32.const {map}) {missing} {OUT}"));
    }
    let table = run(guest, &getters);
    let mut got = String::new();
    for map in 0..=8 {
        let row = |index: usize| statuses(&table[map * 4 + index]);
        let null = table[map * 4 + 1].iter().map(|(_, length)| if *length == 0 { '-' } else { '+' });
        writeln!(got, "{map} size  {}", row(0)).unwrap();
        writeln!(got, "{map} pairs {} {}", row(1), null.collect::<String>()).unwrap();
        writeln!(got, "{map} value {} / {}", row(2), row(3)).unwrap();
    }
    let mut expected = String::from(
        "0 size  2 2 2 2 0 2 2 2 2\n\
         0 pairs 0 0 0 0 0 0 0 0 0 ----+-+--\n\
         0 value 2 2 2 2 0 2 0 2 2 / 2 2 2 2 1 2 1 2 2\n\
         1 size  2 2 2 2 2 2 2 2 2\n\
         1 pairs 0 0 0 0 0 0 0 0 0 ---------\n\
         1 value 2 2 2 2 2 2 1 2 2 / 2 2 2 2 2 2 1 2 2\n\
         2 size  2 2 2 2 2 0 2 2 2\n\
         2 pairs 0 0 0 0 0 0 0 0 0 -----++--\n\
         2 value 2 2 2 2 2 0 0 2 2 / 2 2 2 2 2 1 1 2 2\n",
    );
    expected += "3 size  2 2 2 2 2 2 2 2 2\n\
                 3 pairs 0 0 0 0 0 0 0 0 0 ------+--\n\
                 3 value 2 2 2 2 2 2 1 2 2 / 2 2 2 2 2 2 1 2 2\n";
    for map in 4..=7 {
        write!(
            expected,
            "{map} size  2 2 2 2 2 2 2 2 2\n\
             {map} pairs 0 0 0 0 0 0 0 0 0 ---------\n\
             {map} value 2 2 2 2 2 2 1 2 2 / 2 2 2 2 2 2 1 2 2\n"
        )
        .unwrap();
    }
    expected += "8 size  2 2 2 2 2 2 2 2 2\n\
                 8 pairs 2 2 2 2 2 2 2 2 2 +++++++++\n\
                 8 value 2 2 2 2 2 2 2 2 2 / 2 2 2 2 2 2 2 2 2\n";
    assert_eq!(got, expected);
}

#[test]
fn buffers_exist_where_envoy_has_them() {
    let getters: Vec<String> = (0..=9)
        .map(|buffer| {
            format!("proxy_get_buffer_bytes (i32.const {buffer}) (i32.const 0) (i32.const -1) {OUT}")
        })
        .collect();
    let table = run(Guest::new(), &getters);
    let empty = vec![(0, 0); COLUMNS];
    for buffer in [0, 1, 2, 3, 5, 6, 8] {
        assert_eq!(table[buffer], empty, "buffer {buffer}");
    }
    assert_eq!(table[4], vec![(1, UNTOUCHED); COLUMNS], "the body of a call");
    assert_eq!(table[9], vec![(2, UNTOUCHED); COLUMNS], "no buffer");
    let absent = (1, UNTOUCHED);
    let configuration = [(0, 4), absent, (0, 4), absent, absent, absent, absent, absent, absent];
    assert_eq!(table[7], configuration);
}

#[test]
fn buffers_are_cut_at_their_end_and_cannot_be_written() {
    let mut guest = Guest::new();
    let data = guest.text("data");
    let get = |start: i32, size: i32| {
        getter(&format!("proxy_get_buffer_bytes (i32.const 7) (i32.const {start}) (i32.const {size}) {OUT}"))
    };
    let set = |buffer: u32| {
        format!(
            "(call $report (call $proxy_set_buffer_bytes (i32.const {buffer}) (i32.const 0) (i32.const 0) {data}))"
        )
    };
    let size = "(call $report (call $proxy_get_buffer_status (i32.const 7) (i32.const 64) (i32.const 68)))
                (call $report (i32.load (i32.const 64)))";
    let body =
        [get(1, 2), get(2, -1), get(9, 1), get(-1, -1), set(0), set(4), set(7), set(9), size.to_owned()];
    let guest = guest.on("proxy_on_configure", &(body.concat() + "(i32.const 1)"));
    let (engine, world) = engine();
    let mut config = PluginConfig::new("name", guest.wasm());
    config.configuration = b"conf".to_vec();
    engine.load(config).unwrap();
    assert_eq!(world.reports(), [0, 2, 0, 2, 0, 0, 0, 0, 2, 1, 2, 2, 0, 4]);
}

#[test]
fn properties_are_seen_where_envoy_shows_them() {
    let rows = [
        ("plugin_name", "0 0 0 0 0 0 0 0 0"),
        ("plugin_root_id", "0 0 0 0 0 0 0 0 0"),
        ("plugin_vm_id", "0 0 0 0 0 0 0 0 0"),
        ("connection.id", "1 1 1 0 0 0 0 0 0"),
        ("request.path", "1 1 1 1 0 1 0 1 1"),
        ("request.url_path", "1 1 1 1 0 1 0 1 1"),
        ("request.host", "1 1 1 1 0 1 0 1 1"),
        ("request.method", "1 1 1 1 0 1 0 1 1"),
        ("request.scheme", "1 1 1 1 0 1 0 1 1"),
        ("request.id", "1 1 1 1 0 1 0 1 1"),
        ("request.query", "1 1 1 1 0 1 0 1 1"),
        ("request.headers.x-a", "1 1 1 1 0 1 0 1 1"),
        ("request.protocol", "1 1 1 0 0 0 0 0 0"),
        ("request.size", "1 1 1 0 0 0 0 0 0"),
        ("request.time", "1 1 1 0 0 0 0 0 0"),
        ("request.duration", "1 1 1 1 1 1 0 0 0"),
        ("response.code", "1 1 1 1 1 0 0 0 0"),
        ("response.code_details", "1 1 1 1 1 0 0 0 0"),
        ("response.flags", "1 1 1 0 0 0 0 0 0"),
        ("response.size", "1 1 1 0 0 0 0 0 0"),
        ("response.headers.content-type", "1 1 1 1 1 0 0 1 1"),
        ("source.address", "1 1 1 0 0 0 0 0 0"),
        ("upstream.address", "1 1 1 1 1 0 0 0 0"),
        ("coditect.tenant", "1 1 1 0 0 0 0 0 0"),
        ("nonexistent", "1 1 1 1 1 1 1 1 1"),
    ];
    let mut guest = Guest::new();
    let getters: Vec<String> = rows
        .iter()
        .map(|(path, _)| {
            let path = guest.text(&path.replace('.', "\0"));
            format!("proxy_get_property {path} {OUT}")
        })
        .collect();
    let table = run(guest, &getters);
    for ((path, expected), row) in rows.iter().zip(&table) {
        assert_eq!(statuses(row), *expected, "{path}");
    }
}
