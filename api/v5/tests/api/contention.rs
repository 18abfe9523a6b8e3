//! Sixty-four clients at the same object: every change that was acknowledged is there, and every loser was told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use coditect_auth::{AuthError, Identity};
use coditect_store::Keyspace;
use futures::future::join_all;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::faulty::{Faulty, ROUGH};
use crate::support::{Answer, Api, ROOT, password_settings};

const CLIENTS: usize = 64;
/// Changes each of them tries.
const EACH: usize = 6;

/// Something that holds a number, and changes only if it is still what the client read.
#[derive(Clone)]
enum Counter {
    /// `settings.n` of a workspace.
    Session(String),
    /// A setting's value.
    Setting,
    /// A file's text.
    File(String),
}

impl Counter {
    fn path(&self) -> String {
        match self {
            Self::Session(id) => format!("/api/v5/sessions/{id}"),
            Self::Setting => "/api/v5/settings/n".into(),
            Self::File(id) => format!("/api/v5/sessions/{id}/files/dir/n.txt"),
        }
    }

    /// What the number is now, and the tag of the object that holds it.
    async fn read(&self, api: &Api, token: &str) -> Option<(u64, String)> {
        let answer = send(api, Method::GET, &self.path(), token, None, Body::empty()).await;
        if answer.status != 200 {
            assert_eq!(answer.status, 503, "{}", answer.body);
            return None;
        }
        let number = match self {
            Self::Session(_) => answer.body["data"]["settings"]["n"].as_u64(),
            Self::Setting => answer.body["data"]["value"].as_u64(),
            Self::File(_) => answer.body.as_u64(),
        };
        Some((
            number.unwrap_or_else(|| panic!("no number in {}", answer.body)),
            answer.header("etag").to_owned(),
        ))
    }

    /// Writes a number, if the object still has the tag.
    async fn write(&self, api: &Api, token: &str, number: u64, tag: Option<&str>) -> StatusCode {
        let (method, body) = match self {
            Self::Session(_) => (Method::PATCH, json!({"settings": {"n": number}})),
            Self::Setting => (Method::PUT, json!({"value": number})),
            Self::File(_) => (Method::PUT, json!(number)),
        };
        send(api, method, &self.path(), token, tag.map(|tag| ("if-match", tag)), Body::from(body.to_string()))
            .await
            .status
    }
}

/// What the gate does with the token, once the store lets it: it fails for the gate, too.
async fn admitted(api: &Api, token: &str) -> Identity {
    loop {
        match api.admit(token).await {
            Ok(identity) => return identity,
            Err(error) => assert_eq!(error, AuthError::Unavailable),
        }
    }
}

async fn send(
    api: &Api,
    method: Method,
    path: &str,
    token: &str,
    condition: Option<(&str, &str)>,
    body: Body,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    if let Some((name, value)) = condition {
        request = request.header(name, value);
    }
    let mut request = request.body(body).unwrap();
    request.extensions_mut().insert(admitted(api, token).await);
    let (status, headers, body) = api.bytes(request).await;
    // A file's content is a number, which is JSON too.
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Answer { status, headers, body }
}

/// What became of the changes.
#[derive(Default)]
struct Tally {
    acknowledged: AtomicUsize,
    /// 503: it may have happened.
    unknown: AtomicUsize,
    refused: AtomicUsize,
}

async fn race(api: &Api, token: &str, counter: &Counter) -> (Tally, BTreeSet<u64>) {
    let tally = Tally::default();
    let written = std::sync::Mutex::new(BTreeSet::new());
    let client = async || {
        for _ in 0..EACH {
            let Some((number, tag)) = counter.read(api, token).await else { continue };
            match counter.write(api, token, number + 1, Some(&tag)).await.as_u16() {
                200 | 201 => {
                    tally.acknowledged.fetch_add(1, Ordering::Relaxed);
                    let new = written.lock().unwrap().insert(number + 1);
                    assert!(new, "{} was acknowledged to two clients", number + 1);
                }
                412 | 409 => drop(tally.refused.fetch_add(1, Ordering::Relaxed)),
                503 => drop(tally.unknown.fetch_add(1, Ordering::Relaxed)),
                other => panic!("a client was answered {other}"),
            }
        }
    };
    join_all((0..CLIENTS).map(|_| client())).await;
    (tally, written.into_inner().unwrap())
}

async fn counters(api: &Api, token: &str) -> [Counter; 3] {
    let body = json!({"name": "w", "settings": {"n": 0}});
    let session = api.post("/api/v5/sessions", Some(token), body).await.text("id");
    let counters = [Counter::Session(session.clone()), Counter::Setting, Counter::File(session)];
    for counter in &counters[1..] {
        assert!(counter.write(api, token, 0, None).await.is_success());
    }
    counters
}

async fn assert_verified(api: &Api) {
    let report = api.repositories.store().verify(&Keyspace::new(ROOT), |_| ()).await.unwrap();
    assert!(report.is_clean(), "{:#?}", report.problems);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_acknowledged_edit_is_there_and_every_loser_was_told() {
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    for counter in counters(&api, &token).await {
        let (tally, _) = race(&api, &token, &counter).await;
        let (number, _) = counter.read(&api, &token).await.unwrap();
        let [acknowledged, unknown, refused] =
            [tally.acknowledged, tally.unknown, tally.refused].map(AtomicUsize::into_inner);
        assert_eq!(unknown, 0);
        assert_eq!(acknowledged + refused, CLIENTS * EACH);
        assert_eq!(number, acknowledged as u64, "{}", counter.path());
    }
    assert_verified(&api).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_with_a_store_that_fails() {
    for seed in 1..=3 {
        let mut faults = None;
        let api = Api::over(password_settings(2, 64), |backend| {
            let (faulty, handle) = Faulty::over(backend);
            faults = Some(handle);
            Arc::new(faulty)
        });
        let faults = faults.unwrap();
        let token = api.register("ann@example.com").await.text("token");
        let counters = counters(&api, &token).await;
        faults.seed(seed, ROUGH);
        let mut tallies = Vec::new();
        for counter in &counters {
            tallies.push(race(&api, &token, counter).await);
        }
        assert!(faults.injected() > 0, "nothing went wrong");
        faults.stop().await;
        for (counter, (tally, written)) in counters.iter().zip(tallies) {
            let (number, _) = counter.read(&api, &token).await.unwrap();
            let (acknowledged, unknown) =
                (tally.acknowledged.into_inner() as u64, tally.unknown.into_inner() as u64);
            let range = acknowledged..=acknowledged + unknown;
            assert!(range.contains(&number), "seed {seed}: {number} is not in {range:?}: {}", counter.path());
            assert!(written.last().is_none_or(|last| *last <= number), "the last acknowledged is there");
        }
        assert_verified(&api).await;
    }
}

/// A tree of files that everybody moves: no file is lost, none is there twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tree_that_many_move_stays_whole() {
    const FILES: usize = 24;
    let api = Api::new();
    let token = api.register("ann@example.com").await.text("token");
    let session = api.post("/api/v5/sessions", Some(&token), json!({"name": "w"})).await.text("id");
    let base = format!("/api/v5/sessions/{session}/files");
    for file in 0..FILES {
        let body = Body::from(format!("content {file}"));
        let path = format!("{base}/place-0/sub/{file}");
        assert_eq!(send(&api, Method::PUT, &path, &token, None, body).await.status, 201);
    }
    let moved = AtomicUsize::new(0);
    join_all((0..CLIENTS).map(|client| {
        let (api, token, moved, base) = (&api, &token, &moved, &base);
        async move {
            for place in 0..4 {
                let body = json!({"from": format!("place-{place}"), "to": format!("place-{}", (place + 1) % 4 + client % 2)});
                let answer = send(api, Method::POST, &format!("{base}:move"), token, None, Body::from(body.to_string())).await;
                match answer.status.as_u16() {
                    200 => drop(moved.fetch_add(1, Ordering::Relaxed)),
                    // Somebody else moved it, or the place is taken.
                    404 | 409 | 412 => {}
                    _ => panic!("{}: {}", answer.status, answer.body),
                }
            }
        }
    }))
    .await;
    assert!(moved.into_inner() > 0);
    let listed = api.get(&format!("{base}?recursive=true"), Some(&token)).await;
    let contents: BTreeSet<&str> = sha(&listed.body);
    assert_eq!((listed.data().as_array().unwrap().len(), contents.len()), (FILES, FILES), "{}", listed.body);
    assert_verified(&api).await;
}

fn sha(list: &Value) -> BTreeSet<&str> {
    list["data"].as_array().unwrap().iter().filter_map(|entry| entry["sha256"].as_str()).collect()
}
