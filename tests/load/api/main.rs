//! The API's bench: the release edge on one core, this program on another, over loopback.
//!
//! `cargo build --release && cargo run --release -p coditect-tests --example api_bench` takes about a minute and prints a
//! table, which also goes to `target/bench/api.txt`. Requests at a rate are sent when they are due, whether or not
//! earlier ones were answered, and their time counts from then: a stall is not hidden by a client that waits.

// A bench fails by panicking, and its table is what it is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod cases;
mod client;
mod disk;
mod edge;
mod load;
mod report;

use std::path::PathBuf;

use self::edge::Edge;
use self::report::Report;

/// Where the table goes.
const TABLE: &str = "target/bench/api.txt";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let binary = match (arguments.next(), arguments.next()) {
        (None, _) => project().join("target/release/coditect-edge"),
        (Some(flag), Some(path)) if flag == "--edge" => PathBuf::from(path),
        _ => {
            eprintln!("Usage: api_bench [--edge FILE]   (default: target/release/coditect-edge)");
            std::process::exit(2);
        }
    };
    assert!(binary.exists(), "{} is missing: cargo build --release", binary.display());
    edge::stay_on_the_other_core();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let report = runtime.block_on(run(&binary));
    let table = report.table();
    println!("{table}");
    let path = project().join(TABLE);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, table).unwrap();
}

fn project() -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

async fn run(binary: &std::path::Path) -> Report {
    let mut report = Report::default();
    let edge = Edge::start(binary).await;
    let account = cases::Account::new(&edge).await;
    cases::reads(&edge, &account, &mut report).await;
    cases::creations(&edge, &account, &mut report).await;
    cases::files(&edge, &account, &mut report).await;
    cases::large_upload(&edge, &account, &mut report).await;
    cases::login_flood(&edge, &account, &mut report).await;
    report
}
