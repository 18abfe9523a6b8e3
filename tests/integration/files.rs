//! Files through the edge: large ones in bounded memory, uploads that break off, and archives of the system's `tar`.

use crate::support::{Account, Config, Edge, Request};
use rustix::process::Pid;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The largest file there can be, in bytes.
const LARGE: u64 = 256 << 20;
/// How much more memory the edge may take while such a file goes in or out, in bytes.
const GROWTH: u64 = 32 << 20;
/// What is sent at once, in bytes. Not a divisor of what the edge reads or stores at once.
const PIECE: usize = 100_000;
/// How long the edge may take to take or to give a piece.
const STALL: Duration = Duration::from_secs(60);

/// A workspace of a user on an edge of its own.
struct Work {
    edge: Edge,
    account: Account,
    files: String,
    session: String,
}

impl Work {
    async fn start() -> Self {
        let edge = Edge::start(&Config::standard(SocketAddr::from(([127, 0, 0, 1], 9)))).await;
        let account = edge.register("ada@example.com").await;
        let id = edge.create_session(&account, "files").await;
        let session = format!("/api/v5/sessions/{id}");
        Self { files: format!("{session}/files"), session, edge, account }
    }

    fn request(&self, method: &str, path: &str) -> Request {
        Request::new(method, path).bearer(&self.account.token)
    }

    /// The head of a request that is written by hand.
    fn head(&self, method: &str, path: &str, more: &str) -> String {
        let Self { edge, account, .. } = self;
        let (host, token) = (edge.authority(), &account.token);
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n{more}\r\n"
        )
    }
}

/// The bytes of a large file from a place on.
fn fill(at: u64, piece: &mut [u8]) {
    for (place, byte) in (at..).zip(piece) {
        *byte = (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    }
}

fn connect(to: SocketAddr, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(STALL)).unwrap();
    stream.set_write_timeout(Some(STALL)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// Sends a large file; returns the answer.
fn upload(to: SocketAddr, head: &str, size: u64) -> String {
    let mut stream = connect(to, head);
    let (mut at, mut piece) = (0, vec![0; PIECE]);
    while at < size {
        let length = usize::try_from(size - at).unwrap_or(PIECE).min(PIECE);
        fill(at, &mut piece[..length]);
        stream.write_all(&piece[..length]).unwrap();
        at += length as u64;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Reads a large file from a place on, at most so many bytes of it, and compares each; returns the head and how many came.
fn download(to: SocketAddr, head: &str, from: u64, most: u64) -> (String, u64) {
    let mut stream = connect(to, head);
    let mut bytes = Vec::new();
    let end = loop {
        let mut piece = [0; 1024];
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "the answer ended in its head");
        bytes.extend_from_slice(&piece[..read]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut piece = bytes[end..].to_vec();
    let (mut at, mut expected) = (from, vec![0; PIECE]);
    loop {
        fill(at, &mut expected[..piece.len()]);
        assert!(piece == expected[..piece.len()], "other bytes than were sent, from {at} on");
        at += piece.len() as u64;
        if at - from >= most {
            return (head, at - from);
        }
        piece.resize(PIECE, 0);
        let read = stream.read(&mut piece).unwrap();
        piece.truncate(read);
        if read == 0 {
            return (head, at - from);
        }
    }
}

/// The resident memory of a process, in bytes.
fn resident(pid: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}

/// Runs some work on a thread of its own, and says by how much the edge's memory grew meanwhile, at most.
async fn growth<T: Send + 'static>(edge: &Edge, work: impl FnOnce() -> T + Send + 'static) -> (T, u64) {
    let pid = edge.pid();
    let before = resident(pid);
    let (done, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(before)));
    let watcher = std::thread::spawn({
        let (done, most) = (Arc::clone(&done), Arc::clone(&most));
        move || {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(resident(pid), Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
    });
    let value = tokio::task::spawn_blocking(work).await.unwrap();
    done.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
    (value, most.load(Ordering::Relaxed) - before)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_file_goes_in_and_out_in_bounded_memory() {
    let work = Work::start().await;
    let to = work.edge.http;
    let put = |name: &str, size: u64| {
        work.head("PUT", &format!("{}/{name}", work.files), &format!("Content-Length: {size}\r\n"))
    };
    // What a first upload makes the process take for good is not what a large one needs more.
    let (head, size) = (put("warm", 8 << 20), 8 << 20);
    let answer = tokio::task::spawn_blocking(move || upload(to, &head, size)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");

    let head = put("large", LARGE);
    let (answer, grown_in) = growth(&work.edge, move || upload(to, &head, LARGE)).await;
    assert!(answer.starts_with("HTTP/1.1 201") && answer.contains("\"size\":268435456"), "{answer}");
    let path = format!("{}/large", work.files);
    let head = work.head("GET", &path, "");
    let ((head, came), grown_out) = growth(&work.edge, move || download(to, &head, 0, u64::MAX)).await;
    assert!(head.starts_with("HTTP/1.1 200") && came == LARGE, "{came} bytes after {head}");
    println!("256 MiB: {} KiB more going in, {} KiB going out", grown_in >> 10, grown_out >> 10);
    assert!(grown_in < GROWTH && grown_out < GROWTH, "{grown_in} and {grown_out} bytes more");

    // A download that breaks off is gone on with.
    let tag =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("etag: ").map(str::to_owned)).unwrap();
    let first = work.head("GET", &path, "");
    let (_, came) = tokio::task::spawn_blocking(move || download(to, &first, 0, 3_333_333)).await.unwrap();
    let rest = work.head("GET", &path, &format!("Range: bytes={came}-\r\nIf-Range: {tag}\r\n"));
    let (head, more) =
        tokio::task::spawn_blocking(move || download(to, &rest, came, u64::MAX)).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 206"), "{head}");
    assert_eq!(came + more, LARGE);

    let too_large = work.head("PUT", &path, &format!("Content-Length: {}\r\n", LARGE + 1));
    let answer = tokio::task::spawn_blocking(move || upload(to, &too_large, 0)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let kept = work.edge.send(work.request("HEAD", &path)).await;
    assert_eq!((kept.status, kept.header("content-length")), (200, Some("268435456")));
    work.edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_leaves_what_was_there() {
    let work = Work::start().await;
    let (to, path) = (work.edge.http, format!("{}/a", work.files));
    let put = work.edge.send(work.request("PUT", &path).body("old")).await;
    assert_eq!(put.status, 201, "{}", put.text());
    let head = work.head("PUT", &path, "Content-Length: 10000000\r\n");
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = connect(to, &head);
        let mut piece = vec![0; 5_000_000];
        fill(0, &mut piece);
        stream.write_all(&piece).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        // The edge may answer or hang up: either way the upload is over for it when this ends.
        drop(stream.read_to_string(&mut answer));
        answer
    });
    let answer = answer.await.unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(work.edge.get_as(&work.account, &path).await.text(), "old");
    let list = work.edge.get_as(&work.account, &format!("{}?recursive=true", work.files)).await.data(200);
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    // The edge itself refuses paths that mean another one, before the API sees them.
    for hostile in ["../b", "%2e%2e/b", "a%00", "a%5Cb"] {
        let put = work.edge.send(work.request("PUT", &format!("{}/{hostile}", work.files)).body("x")).await;
        assert_eq!(put.refusal(), (400, "BAD_REQUEST".to_owned()), "{hostile}");
    }
    work.edge.stop().await;
}

/// Runs the system's `tar`, with bytes to its input, and returns its output.
fn tar(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new("tar").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(pipe.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "tar {arguments:?}: {}", output.status);
    output.stdout
}

/// Whether a file may be executed, and what it holds.
fn held(path: &Path) -> (bool, Vec<u8>) {
    use std::os::unix::fs::PermissionsExt;
    (path.metadata().unwrap().permissions().mode() & 0o100 != 0, std::fs::read(path).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_systems_tar_is_read_and_reads_what_comes() {
    use std::os::unix::fs::PermissionsExt;
    let work = Work::start().await;
    let folder = tempfile::tempdir().unwrap();
    let long = format!("{}/end", vec!["directory"; 30].join("/"));
    let names = ["plain", "dir/with space", "ünï/cödé", &long, "run.sh"];
    let from = folder.path().join("from");
    for (n, name) in names.iter().enumerate() {
        let path = from.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, vec![n as u8; n * 1000]).unwrap();
    }
    std::fs::set_permissions(from.join("run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let archive = format!("{}/archive", work.session);
    let from = from.to_str().unwrap();
    for (n, format) in ["gnu", "pax", "ustar"].iter().enumerate() {
        // ustar has room for 255 bytes in two fields.
        let left_out = if *format == "ustar" { "--exclude=./directory" } else { "--exclude=nothing" };
        let names: Vec<_> = names.iter().filter(|name| *format != "ustar" || **name != long).collect();
        let bytes = tar(&["-C", from, "--format", format, left_out, "-cf", "-", "."], b"");
        let put = work
            .request("PUT", &format!("{archive}?path=into{n}"))
            .header("content-type", "application/x-tar");
        let done = work.edge.send(put.body(bytes)).await.data(200);
        let held_bytes: u64 =
            names.iter().map(|name| Path::new(from).join(name).metadata().unwrap().len()).sum();
        assert_eq!((&done["files"], &done["bytes"]), (&names.len().into(), &held_bytes.into()), "{format}");
        let got = work.edge.get_as(&work.account, &format!("{archive}?path=into{n}")).await;
        assert_eq!((got.status, got.header("content-type")), (200, Some("application/x-tar")));
        let to = folder.path().join(format!("to{n}"));
        std::fs::create_dir(&to).unwrap();
        tar(&["-C", to.to_str().unwrap(), "-xf", "-"], &got.body);
        for name in names {
            let (came, was) = (held(&to.join(name)), held(&Path::new(from).join(name)));
            assert_eq!(came, was, "{name} by {format}");
        }
    }
    std::os::unix::fs::symlink("/etc/passwd", format!("{from}/link")).unwrap();
    let bytes = tar(&["-C", from, "-cf", "-", "link"], b"");
    let put = work.request("PUT", &archive).header("content-type", "application/x-tar").body(bytes);
    let refused = work.edge.send(put).await;
    assert_eq!(refused.refusal(), (422, "VALIDATION_FAILED".to_owned()));
    assert!(refused.text().contains("entry `link`: links are not taken"), "{}", refused.text());
    work.edge.stop().await;
}
