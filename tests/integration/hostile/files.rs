//! Static files never leave their directory.

use super::Arena;
use crate::support::Request;
use std::os::unix::fs::symlink;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leads_out_of_the_directory() {
    let mut arena = Arena::start().await;
    let root = arena.files.path().join("www");
    symlink("../secret.txt", root.join("relative.txt")).unwrap();
    symlink(arena.files.path().join("secret.txt"), root.join("absolute.txt")).unwrap();
    symlink("..", root.join("up")).unwrap();
    symlink("/proc/self", root.join("proc")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("index.html", root.join("inside.html")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, root.join("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    for path in [
        "/relative.txt",
        "/absolute.txt",
        "/up/secret.txt",
        "/up/www/index.html.x",
        "/proc/environ",
        "/proc/root/etc/passwd",
        "/loop",
        "/fifo",
        "/index.html/",
        "/index.html/x",
        "/secret.txt",
        "/www/index.html.x",
    ] {
        for method in ["GET", "HEAD"] {
            let answer = arena.edge.send(Request::new(method, path)).await;
            assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
            assert!(!answer.text().contains("beside"), "{path}");
        }
    }
    assert_eq!(arena.edge.get("/inside.html").await.status, 200, "a link that stays inside is served");
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "BREW"] {
        let answer = arena.edge.send(Request::new(method, "/index.html").body("x")).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    assert_eq!(
        std::fs::read_to_string(root.join("index.html")).unwrap(),
        "<!doctype html><title>front</title>"
    );
    arena.unharmed(&[super::SECRET]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strange_ranges_and_conditions_are_no_errors() {
    let mut arena = Arena::start().await;
    let many = format!("bytes={}", vec!["0-0"; 5000].join(","));
    for (name, value) in [
        ("range", "bytes=18446744073709551615-"),
        ("range", "bytes=-18446744073709551616"),
        ("range", "bytes=5-2"),
        ("range", "bytes=a-b"),
        ("range", "lines=1-2"),
        ("range", "bytes=0-0,0-0"),
        ("range", many.as_str()),
        ("if-none-match", "\"\u{1F600}\""),
        ("if-modified-since", "Thu, 32 Foo 99999 99:99:99 GMT"),
        ("if-range", "\"x"),
        ("accept-encoding", "gzip;q=1e9, br;q=NaN, *;q=-1"),
    ] {
        let answer = arena.edge.send(Request::get("/index.html").header(name, value)).await;
        assert!(matches!(answer.status, 200 | 206 | 416), "{name}: {value:.40}: {}", answer.status);
        assert!(answer.body.len() < 1000, "{name}: {value:.40}: {} bytes", answer.body.len());
    }
    arena.unharmed(&[]).await;
}
