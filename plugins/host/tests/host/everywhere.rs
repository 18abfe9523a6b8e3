//! One guest that makes the same host calls in every callback, as the reference host was measured with one.

use std::time::Duration;

use bytes::Bytes;
use coditect_proxy_wasm::{Chain, Link};
use coditect_proxy_wasm::{Direction, HttpCallResponse, Item, PluginConfig};
use futures::FutureExt;

use crate::guest::{Guest, wire};
use crate::world::{Http, engine, http, pairs, share};

/// The callbacks, in the order of the tables' columns. `call+ef` is the callback of a call's answer after it made its
/// stream the effective context, while that stream's request headers are held.
pub(crate) const COLUMNS: [&str; 16] = [
    "root+",
    "vm_start",
    "configure",
    "tick",
    "stream+",
    "rq_h",
    "call",
    "call+ef",
    "rq_body",
    "rq_trai",
    "rs_h",
    "rs_body",
    "rs_trai",
    "log",
    "done",
    "delete",
];

/// A length word that no call has written.
pub(crate) const UNTOUCHED: u32 = 7777;

/// What begins a column's reports, with its number.
const MARK: u32 = 0x00C0_0000;

/// A call's status and its length word, which is at 68.
pub(crate) type Cell = (u32, u32);

/// Makes the calls in every callback; gives for each call its cells in the order of [`COLUMNS`].
pub(crate) fn run(guest: Guest, calls: &[String], request: Http) -> Vec<Vec<Cell>> {
    let reports = reports(guest, calls, request);
    let per_column = 1 + 2 * calls.len();
    let mut table = vec![vec![None; COLUMNS.len()]; calls.len()];
    for column in reports.chunks(per_column) {
        let number = column[0].checked_sub(MARK).expect("a column's mark") as usize;
        for (row, cell) in table.iter_mut().zip(column[1..].chunks(2)) {
            row[number] = Some((cell[0], cell[1]));
        }
    }
    let name = |column: usize| COLUMNS[column];
    table
        .into_iter()
        .map(|row| {
            let cells = row.into_iter().enumerate();
            cells
                .map(|(column, cell)| cell.unwrap_or_else(|| panic!("{} did not run", name(column))))
                .collect()
        })
        .collect()
}

fn column(number: usize) -> String {
    format!("(call $all (i32.const {}))", MARK + u32::try_from(number).unwrap())
}

fn guest(mut guest: Guest, calls: &[String]) -> Guest {
    let keys = guest.text("keys");
    let call = guest.bytes(&wire(&[(":method", "GET"), (":path", "/"), (":authority", "keys")]));
    let nothing = guest.text("");
    let all: String = calls
        .iter()
        .map(|call| {
            format!(
                "(i32.store (i32.const 64) (i32.const {UNTOUCHED})) (i32.store (i32.const 68) (i32.const {UNTOUCHED}))
                 (call $report (call ${call})) (call $report (i32.load (i32.const 68)))"
            )
        })
        .collect();
    let of_streams =
        |number: usize| format!("(if (i32.gt_u (local.get $p0) (i32.const 1)) (then {}))", column(number));
    guest
        .with(&format!("(func $all (param $mark i32) (call $report (local.get $mark)) {all})"))
        .on(
            "proxy_on_context_create",
            &format!("(if (local.get $p1) (then {}) (else {}))", column(4), column(0)),
        )
        .on("proxy_on_vm_start", &format!("{} (i32.const 1)", column(1)))
        .on(
            "proxy_on_configure",
            &format!(
                "{} (drop (call $proxy_set_tick_period_milliseconds (i32.const 10))) (i32.const 1)",
                column(2)
            ),
        )
        .on("proxy_on_tick", &column(3))
        .on(
            "proxy_on_request_headers",
            &format!(
                "{} (drop (call $proxy_http_call {keys} {call} {nothing} {nothing} (i32.const 99) (i32.const 64)))
                 (i32.const 1)",
                column(5)
            ),
        )
        .on(
            "proxy_on_http_call_response",
            &format!(
                "{} (drop (call $proxy_set_effective_context (i32.const 2))) {}
                 (drop (call $proxy_continue_stream (i32.const 0)))",
                column(6),
                column(7)
            ),
        )
        .on("proxy_on_request_body", &format!("{} (i32.const 0)", column(8)))
        .on("proxy_on_request_trailers", &format!("{} (i32.const 0)", column(9)))
        .on("proxy_on_response_headers", &format!("{} (i32.const 0)", column(10)))
        .on("proxy_on_response_body", &format!("{} (i32.const 0)", column(11)))
        .on("proxy_on_response_trailers", &format!("{} (i32.const 0)", column(12)))
        .on("proxy_on_log", &column(13))
        .on("proxy_on_done", &format!("{} (i32.const 1)", of_streams(14)))
        .on("proxy_on_delete", &of_streams(15))
}

/// One instance's life with one stream, whose request is held until a call is answered.
fn reports(frame: Guest, calls: &[String], request: Http) -> Vec<u32> {
    let (engine, world) = engine();
    let mut config = PluginConfig::new("name", guest(frame, calls).wasm());
    config.configuration = b"conf".to_vec();
    config.root_id = "root".to_owned();
    config.upstreams = vec!["keys".to_owned()];
    config.limits.log_lines_per_second = u32::MAX;
    config.limits.start_cpu = Duration::from_secs(10);
    config.limits.callback_cpu = Duration::from_secs(10);
    let plugin = engine.load(config).expect("it loads");
    world.http_calls.lock().unwrap().clear();
    engine.run_due();
    world.clear();
    let http = http();
    *http.lock().unwrap() = request;
    let link = Link { plugin: plugin.clone(), shadow: false, observer: None };
    let mut chain = Chain::new(share(&http), "tenant", vec![link]);
    let data = |text: &'static str| Item::Data { bytes: Bytes::from_static(text.as_bytes()), end: false };
    {
        let mut held = Box::pin(chain.push(Direction::Request, Item::Headers { end: false }));
        assert!(held.as_mut().now_or_never().is_none(), "the request is held");
        world.answer(Ok(HttpCallResponse {
            headers: pairs(&[(":status", "200"), ("x-call", "1")]),
            body: Bytes::from_static(b"hello there"),
            trailers: pairs(&[("x-end", "1")]),
        }));
        held.now_or_never().expect("and let go").unwrap();
    }
    for (direction, items) in [
        (Direction::Request, vec![data("abc"), Item::Trailers]),
        (Direction::Response, vec![Item::Headers { end: false }, data("hello world"), Item::Trailers]),
    ] {
        for item in items {
            chain.push(direction, item).now_or_never().expect("nothing to wait for").unwrap();
        }
    }
    world.pass(Duration::from_millis(10));
    engine.run_due();
    chain.finish();
    world.reports()
}

/// A row of the tables: a name, a host call, and what it answers in each column.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) call: String,
    pub(crate) expected: &'static str,
}

/// Runs the rows and compares each as `show` writes it; all that differ are told.
pub(crate) fn compare(guest: Guest, rows: &[Row], request: Http, show: impl Fn(Cell) -> String) {
    let calls: Vec<String> = rows.iter().map(|row| row.call.clone()).collect();
    let table = run(guest, &calls, request);
    let mut differ = Vec::new();
    for (row, cells) in rows.iter().zip(table) {
        let got: Vec<String> = cells.into_iter().map(&show).collect();
        let expected: Vec<&str> = row.expected.split_whitespace().collect();
        assert_eq!(expected.len(), COLUMNS.len(), "{}: a cell for each column", row.name);
        for ((column, got), expected) in COLUMNS.iter().zip(&got).zip(&expected) {
            if got != expected {
                differ.push(format!("{} in {column}: {got}, not {expected}", row.name));
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// The usual request.
pub(crate) fn usual() -> Http {
    Http::default()
}

/// A table's lines: name, call and cells, with bars between them.
pub(crate) fn lines(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    table.lines().map(|line| {
        let mut parts = line.split('|').map(str::trim);
        let mut part = || parts.next().expect("three parts");
        (part(), part(), part())
    })
}
