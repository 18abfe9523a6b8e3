//! The process is killed, over and over: whatever it had acknowledged is there, and nothing by halves.
//!
//! The killed process is this test binary itself, started with [`CHILD`] set. Its writers commit transactions of
//! several keys that belong together and print a line for each that was acknowledged. A killed process leaves the
//! kernel's page cache as it is; what a power failure does is shown in `src/embedded/torn.rs`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coditect_auth::{Entropy, SeededEntropy};
use coditect_store::contract::RangeRead;
use coditect_store::{
    Embedded, EmbeddedOptions, Keyspace, RegistrationError, Store, StoreError, SystemMonotonicClock,
    Transaction,
};

use crate::support::{registration, repositories, text};

/// Set in the child: the database file.
const CHILD: &str = "CODITECT_STORE_CRASH_CHILD";
/// Set in the child: the number of the first user to register.
const FIRST_USER: &str = "CODITECT_STORE_CRASH_FIRST_USER";
/// How often the process is killed.
const ROUNDS: u64 = 200;
/// Every so many of the first half of the rounds begin with no file, and kill while it is made.
const FRESH: u64 = 4;
/// Tasks that write at the same time.
const WRITERS: usize = 4;
/// The task after them registers users: records with their indexes, as [`Store::verify`] knows them.
const REGISTRAR: usize = WRITERS;
const TASKS: usize = WRITERS + 1;
/// Records of a writer that are kept; older ones go with the transaction that adds one.
const KEPT: u64 = 40;
/// The most acknowledgements waited for before the kill.
const MOST_LINES: u64 = 40;
/// The longest time between the last of them and the kill, in microseconds.
const MOST_MICROSECONDS: u64 = 4000;

fn record(writer: usize, number: u64) -> String {
    format!("record/{writer}/{number:08}")
}

/// Long enough, now and then, that a commit writes many pages.
fn payload(writer: usize, number: u64) -> String {
    let length = if number.is_multiple_of(9) { 20_000 } else { 40 + number % 700 };
    format!("{writer}-{number}-").repeat(usize::try_from(length).unwrap() / 8)
}

async fn count(transaction: &Transaction, writer: usize) -> Result<u64, StoreError> {
    let count = text(transaction.get(format!("count/{writer}")).await?);
    Ok(count.map_or(0, |count| count.parse().unwrap()))
}

fn open(path: &Path) -> Store {
    let backend = Embedded::open(&EmbeddedOptions::new(path), Arc::new(SystemMonotonicClock::new())).unwrap();
    Store::new(Arc::new(backend), Arc::new(SeededEntropy::new(1)))
}

/// One transaction of a writer: a record, its index entry, the writer's count, the count of all, and an end to an
/// old record.
async fn write(store: &Store, writer: usize) -> Result<u64, StoreError> {
    let transaction = store.begin();
    let number = count(&transaction, writer).await? + 1;
    transaction.set(record(writer, number), payload(writer, number))?;
    transaction.set(format!("index/{number:08}/{writer}"), number.to_string())?;
    transaction.set(format!("count/{writer}"), number.to_string())?;
    transaction.add("total", 1)?;
    if let Some(old) = number.checked_sub(KEPT) {
        transaction.clear(record(writer, old))?;
        transaction.clear(format!("index/{old:08}/{writer}"))?;
    }
    transaction.commit().await?;
    Ok(number)
}

fn address(number: u64) -> String {
    format!("user{number}@example.com")
}

fn acknowledge(task: usize, number: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "acknowledged {task} {number}").and_then(|()| out.flush()).unwrap();
}

/// Registers user after user.
async fn register(store: Store, first: u64) {
    let entropy = Arc::new(SeededEntropy::new(u64::from(std::process::id())));
    let repositories = repositories(store, &entropy);
    for number in first.. {
        match repositories.users().register(&registration(&*entropy, &address(number))).await {
            Ok(()) => acknowledge(REGISTRAR, number),
            // The last one of a child before, killed before it could say so.
            Err(RegistrationError::EmailTaken) if number == first => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Not a test of its own: the process that is killed. It never ends by itself.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = open(Path::new(&path));
        let writers = (0..WRITERS).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                loop {
                    acknowledge(writer, write(&store, writer).await.unwrap());
                }
            })
        });
        let first = std::env::var(FIRST_USER).unwrap().parse().unwrap();
        tokio::spawn(register(store.clone(), first));
        futures::future::join_all(writers).await.into_iter().for_each(|ended| ended.unwrap());
    });
}

/// Kills the child also if the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs a child, kills it, and returns the last number each writer had acknowledged.
fn run_and_kill(path: &Path, first_user: u64, lines: u64, microseconds: u64) -> [u64; TASKS] {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
        .env(CHILD, path)
        .env(FIRST_USER, first_user.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = Killed(child.unwrap());
    let mut output = BufReader::new(child.0.stdout.take().unwrap());
    let mut acknowledged = [0; TASKS];
    let mut seen = 0;
    let mut line = String::new();
    while seen < lines {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "the child ended by itself");
        seen += u64::from(note(&line, &mut acknowledged));
    }
    let until = Instant::now() + Duration::from_micros(microseconds);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    // What it had still printed. The very last line may be cut off: it counts only if it is whole.
    loop {
        line.clear();
        if output.read_line(&mut line).unwrap() == 0 {
            return acknowledged;
        }
        note(&line, &mut acknowledged);
    }
}

/// True if the line acknowledges a write.
fn note(line: &str, acknowledged: &mut [u64; TASKS]) -> bool {
    let Some(whole) = line.strip_suffix('\n') else { return false };
    // The test harness's own words may stand before it.
    let Some((_, told)) = whole.split_once("acknowledged ") else { return false };
    let (writer, number) = told.split_once(' ').unwrap();
    acknowledged[writer.parse::<usize>().unwrap()] = number.parse().unwrap();
    true
}

/// Opens the database and checks that it holds what was acknowledged, at most one transaction more of each
/// writer, and of each transaction everything or nothing. Returns how many transactions each writer has there.
async fn check(path: &Path, acknowledged: &[u64; TASKS], context: &str) -> [u64; TASKS] {
    let store = open(path);
    let t = store.begin();
    let (mut total, mut rows) = (0, 0);
    let mut counts = [0; TASKS];
    for (writer, acknowledged) in acknowledged.iter().enumerate().take(WRITERS) {
        let count = count(&t, writer).await.unwrap();
        let one_more = *acknowledged..=acknowledged + 1;
        assert!(
            one_more.contains(&count),
            "{context}: writer {writer} has {count}, acknowledged {acknowledged}"
        );
        for number in (count + 1).saturating_sub(KEPT).max(1)..=count {
            let stored = text(t.get(record(writer, number)).await.unwrap());
            assert_eq!(
                stored.as_deref(),
                Some(payload(writer, number).as_str()),
                "{context}: {writer}, {number}"
            );
            let index = text(t.get(format!("index/{number:08}/{writer}")).await.unwrap());
            assert_eq!(index, Some(number.to_string()), "{context}: {writer}, {number}");
        }
        total += count;
        counts[writer] = count;
        rows += count.min(KEPT);
    }
    let stored =
        t.get("total").await.unwrap().map_or(0, |bytes| u64::from_le_bytes((*bytes).try_into().unwrap()));
    assert_eq!(stored, total, "{context}: the count of all");
    for prefix in ["record", "index"] {
        let read = RangeRead::new(format!("{prefix}/"), format!("{prefix}0"), 1000).snapshot();
        let mut found = 0;
        let mut page = t.range(read.clone()).await.unwrap();
        loop {
            found += page.rows.len() as u64;
            let Some(last) = page.rows.last().filter(|_| page.more) else { break };
            let next = RangeRead { begin: [last.key.as_slice(), &[0]].concat(), ..read.clone() };
            page = t.range(next).await.unwrap();
        }
        assert_eq!(found, rows, "{context}: {prefix} keys");
    }
    drop(t);
    counts[REGISTRAR] = check_users(&store, acknowledged[REGISTRAR], context).await;
    store.close().await.unwrap();
    counts
}

/// Checks that the users are there that were acknowledged, at most one more, and that all records and indexes
/// agree. Returns how many users there are.
async fn check_users(store: &Store, acknowledged: u64, context: &str) -> u64 {
    let users = repositories(store.clone(), &Arc::new(SeededEntropy::new(1)));
    let mut count = 0;
    while users.users().by_email(&address(count + 1)).await.unwrap().is_some() {
        count += 1;
    }
    assert!((acknowledged..=acknowledged + 1).contains(&count), "{context}: {count} of {acknowledged} users");
    let report = store.verify(&Keyspace::new("test"), |_| {}).await.unwrap();
    assert!(report.is_clean(), "{context}: {:?}", report.problems);
    assert_eq!(report.families.get("users").copied().unwrap_or(0), count, "{context}: {:?}", report.families);
    count
}

#[tokio::test]
async fn an_acknowledged_write_survives_a_kill_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("s.redb"), dir.path().join("copy.redb"));
    let random = SeededEntropy::new(11);
    let below = |bound: u64| {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        u64::from_le_bytes(bytes) % bound
    };
    let started = Instant::now();
    let mut known = [0; TASKS];
    let (mut unacknowledged, mut unborn) = (0, 0);
    for round in 0..ROUNDS {
        let fresh = round % FRESH == 0 && round < ROUNDS / 2;
        if fresh {
            drop(std::fs::remove_file(&path));
            known = [0; TASKS];
        }
        // Every so often before the first acknowledgement: while the file is made, or repaired.
        let lines = if fresh { 0 } else { below(MOST_LINES).saturating_sub(MOST_LINES / 5) };
        let microseconds = below(if lines == 0 { 10 * MOST_MICROSECONDS } else { MOST_MICROSECONDS });
        let context = format!("round {round}, killed {microseconds} µs after {lines} lines");
        let told = run_and_kill(&path, known[REGISTRAR] + 1, lines, microseconds);
        // What was there in the round before counts like what was acknowledged.
        let expected: [u64; TASKS] = std::array::from_fn(|writer| known[writer].max(told[writer]));
        unborn += u32::from(!path.exists());
        // A copy is checked every other time, so that the next child, too, finds a file that nobody repaired.
        let checked = if round % 2 == 0 && path.exists() {
            std::fs::copy(&path, &copy).unwrap();
            &copy
        } else {
            &path
        };
        known = check(checked, &expected, &context).await;
        unacknowledged += known.iter().sum::<u64>() - expected.iter().sum::<u64>();
    }
    let total: u64 = known.iter().sum();
    println!(
        "{ROUNDS} kills in {:?}, {unborn} of them before there was a file; {total} transactions in the last file; \
         {unacknowledged} were there unacknowledged",
        started.elapsed()
    );
    assert!(total > 0, "nothing was ever committed");
}
