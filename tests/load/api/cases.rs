//! What is measured.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::client::{Client, head, request};
use crate::disk;
use crate::edge::Edge;
use crate::load::{Times, at_rate, in_turns};
use crate::report::{Report, ms};

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";
const PASSWORD: &str = "correct horse battery staple";
const EMAIL: &str = "bench@example.com";
/// Requests a second, for how many seconds, over how many connections.
const RATE: u32 = 2000;
const SECONDS: u32 = 8;
const CONNECTIONS: u32 = 32;
/// What all answers but a large file's take at least.
const FILE: usize = 64 << 10;
/// The large upload, in pieces.
const PIECE: usize = 1 << 20;
const PIECES: usize = 256;
/// Logins at once.
const LOGINS: usize = 200;

/// A user with a workspace and a setting.
pub(crate) struct Account {
    token: String,
    session: String,
}

impl Account {
    pub(crate) async fn new(edge: &Edge) -> Self {
        let mut client = Client::connect(edge.http).await;
        let body = json!({"email": EMAIL, "password": PASSWORD, "firstName": "Load", "lastName": "Bench"});
        let registered = call(&mut client, "POST", "/api/v5/auth/register", None, &body, 201).await;
        let token = text(&registered["token"]);
        let body = json!({"name": "bench", "workspacePath": "/w/bench"});
        let session = call(&mut client, "POST", "/api/v5/sessions", Some(&token), &body, 201).await;
        let body = json!({"value": {"theme": "dark", "size": 14}});
        call(&mut client, "PUT", "/api/v5/settings/editor", Some(&token), &body, 0).await;
        Self { token, session: text(&session["id"]) }
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

/// Sends JSON; gives `data`. Status 0 takes any success.
async fn call(
    client: &mut Client,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &Value,
    status: u16,
) -> Value {
    let answer = client.exchange(&request(method, path, token, JSON, body.to_string().as_bytes())).await;
    let said = String::from_utf8_lossy(&answer.body);
    let good = answer.status == status || (status == 0 && (200..300).contains(&answer.status));
    assert!(good, "{method} {path}: {} {said}", answer.status);
    serde_json::from_str::<Value>(&said).unwrap()["data"].clone()
}

/// Reads at a rate, and their CPU beside that of `GET health`.
pub(crate) async fn reads(edge: &Edge, account: &Account, report: &mut Report) {
    let token = Some(account.token.as_str());
    let session = format!("/api/v5/sessions/{}", account.session);
    let mut health_cpu = None;
    for (name, path, token) in [
        ("GET health", "/api/v5/health", None),
        ("GET session", session.as_str(), token),
        ("GET settings", "/api/v5/settings/editor", token),
    ] {
        let bytes = request("GET", path, token, JSON, b"");
        at_rate(edge.http, &bytes, RATE, 1, CONNECTIONS, 200).await;
        let before = edge.cpu();
        let times = at_rate(edge.http, &bytes, RATE, SECONDS, CONNECTIONS, 200).await;
        let cpu = (edge.cpu() - before).as_secs_f64() * 1e6 / times.count() as f64;
        let p95 = times.percentile(0.95);
        let what = format!("{name}, {RATE} a second: p95");
        report.judge(&what, ms(p95), "below 1 ms", p95 < Duration::from_millis(1));
        match health_cpu {
            None => {
                health_cpu = Some(cpu);
                report.tell(&format!("{name}: CPU"), format!("{cpu:.1} µs"));
            }
            Some(health) => {
                let ratio = cpu / health;
                let measured = format!("{cpu:.1} µs, {ratio:.2} x");
                report.judge(
                    &format!("{name}: CPU, beside GET health"),
                    measured,
                    "within 2 x",
                    ratio <= 2.0,
                );
            }
        }
    }
}

/// Durable creations beside what the disk takes.
pub(crate) async fn creations(edge: &Edge, account: &Account, report: &mut Report) {
    let (p50, p95) = disk::sync_times(edge.data.path());
    report.tell("the disk's own sync: p50, p95", format!("{}, {}", ms(p50), ms(p95)));
    for clients in [1, 32] {
        let create = |client: usize, number: usize| {
            let body = json!({"name": format!("w {clients} {client} {number}")}).to_string();
            request("POST", "/api/v5/sessions", Some(&account.token), JSON, body.as_bytes())
        };
        let times = in_turns(edge.http, clients, 320 / clients, create, |answer| {
            assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        })
        .await;
        let what = format!("POST session, {clients} clients: p95");
        report.tell(&what, ms(times.percentile(0.95)));
    }
}

/// Files of 64 KiB, written and read by 32 clients.
pub(crate) async fn files(edge: &Edge, account: &Account, report: &mut Report) {
    let path = |client: usize, number: usize| {
        format!("/api/v5/sessions/{}/files/src/{client}/{number}.bin", account.session)
    };
    let token = Some(account.token.as_str());
    let write = |client: usize, number: usize| {
        // No two are alike: equal contents would be stored once.
        let mut body = vec![0; FILE];
        body[..16].copy_from_slice(&[client.to_le_bytes(), number.to_le_bytes()].concat());
        request("PUT", &path(client, number), token, BYTES, &body)
    };
    let judge = |report: &mut Report, what: &str, times: &Times| {
        let p99 = times.percentile(0.99);
        report.judge(what, ms(p99), "below 50 ms", p99 < Duration::from_millis(50));
    };
    let times = in_turns(edge.http, 32, 30, write, |answer| {
        assert!(matches!(answer.status, 200 | 201), "{}", String::from_utf8_lossy(&answer.body));
    })
    .await;
    judge(report, "64 KiB file written, 32 clients: p99", &times);
    let read = |client: usize, number: usize| request("GET", &path(client, number), token, BYTES, b"");
    let times = in_turns(edge.http, 32, 30, read, |answer| {
        assert_eq!((answer.status, answer.body.len()), (200, FILE));
    })
    .await;
    judge(report, "64 KiB file read, 32 clients: p99", &times);
}

/// One file of 256 MiB, and what it costs in memory.
pub(crate) async fn large_upload(edge: &Edge, account: &Account, report: &mut Report) {
    let path = format!("/api/v5/sessions/{}/files/large.bin", account.session);
    let head = head("PUT", &path, Some(&account.token), BYTES, PIECE * PIECES);
    let mut piece = vec![0; PIECE];
    // Not all zeros, and not the same in each chunk.
    piece.iter_mut().enumerate().for_each(|(index, byte)| *byte = (index * 31 % 251) as u8);
    let (before, height_before) = edge.memory();
    let start = Instant::now();
    let answer = Client::connect(edge.http).await.upload(&head, &piece, PIECES).await;
    assert!(matches!(answer.status, 200 | 201), "{}", String::from_utf8_lossy(&answer.body));
    let (_, height) = edge.memory();
    let growth = height - before.max(height_before.min(height));
    let seconds = start.elapsed().as_secs_f64();
    report.tell("256 MiB upload", format!("{:.0} MiB/s", PIECES as f64 / seconds));
    let growth = growth.max(height - before).max(0.0);
    report.judge(
        "256 MiB upload: memory beyond before",
        format!("{growth:.0} MiB"),
        "below 32 MiB",
        growth < 32.0,
    );
}

/// Reads while 200 logins are in flight, beside reads of an idle edge.
pub(crate) async fn login_flood(edge: &Edge, account: &Account, report: &mut Report) {
    const READ_RATE: u32 = 200;
    let path = format!("/api/v5/sessions/{}", account.session);
    let read = request("GET", &path, Some(&account.token), JSON, b"");
    let idle = at_rate(edge.http, &read, READ_RATE, 5, 8, 200).await;
    let (before, _) = edge.memory();
    let body = json!({"email": EMAIL, "password": PASSWORD}).to_string();
    let login = request("POST", "/api/v5/auth/login", None, JSON, body.as_bytes());
    let end = Instant::now() + Duration::from_secs(5);
    let flood = join_all((0..LOGINS).map(|_| async {
        let mut client = Client::connect(edge.http).await;
        let (mut good, mut shed) = (0u32, 0u32);
        while Instant::now() < end {
            let answer = client.exchange(&login).await;
            match answer.status {
                200 => good += 1,
                503 if answer.retry_after => {
                    shed += 1;
                    // As told: come back later. Sooner than told, to keep the pool full.
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
                other => panic!("a login was answered {other}: {}", String::from_utf8_lossy(&answer.body)),
            }
        }
        (good, shed)
    }));
    let (flooded, logins) = tokio::join!(at_rate(edge.http, &read, READ_RATE, 4, 8, 200), flood);
    let (good, shed) = logins.iter().fold((0, 0), |(good, shed), lane| (good + lane.0, shed + lane.1));
    let (idle, flooded) = (idle.percentile(0.99), flooded.percentile(0.99));
    let ratio = flooded.as_secs_f64() / idle.as_secs_f64();
    let (after, _) = edge.memory();
    report.tell("200 logins in flight for 5 s", format!("{good} logged in, {shed} told to come back"));
    report.tell("memory beyond before", format!("{:.0} MiB", after - before));
    report.judge(
        "GET session meanwhile: p99, beside idle",
        format!("{} / {} = {ratio:.1} x", ms(flooded), ms(idle)),
        "within 5 x",
        ratio <= 5.0,
    );
}
