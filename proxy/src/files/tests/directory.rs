//! Nothing outside the root, nothing but regular files, and every deploy seen at once.

use std::os::unix::fs::{MetadataExt, symlink};

use http::{Method, StatusCode};

use super::{Site, answer};
use crate::files::{EmbeddedFile, Files, Source};

const NAVIGATE: &[(&str, &str)] = &[("sec-fetch-mode", "navigate")];

/// The traversal list, each also as a navigation: not even the fallback answers these.
#[tokio::test]
async fn no_path_leads_out_of_the_directory() {
    let site =
        Site::new(&[("index.html", b"index"), ("a/b.txt", b"b"), ("x", b"inside"), (".env", b"secret")]);
    std::fs::write(site.outside("x"), "outside").unwrap();
    for path in [
        "/../x",
        "/%2e%2e/x",
        "/..%2fx",
        "/%2e%2e%2fx",
        "/a/../../x",
        "/a/..%2f..%2fx",
        "/x%00.html",
        "/..\\x",
        "/%5c..%5cx",
        "/%2e/x",
        "/.env",
        "/%2eenv",
        "//x",
        "//etc/passwd",
        "/a//b.txt",
        "/%",
        "/x%2",
        "/x%zz",
        "/%ff",
        "/%c0%ae%c0%ae/x",
        "/x%0a",
        "x",
        "",
        "/a%2fb.txt",
    ] {
        for headers in [&[][..], NAVIGATE] {
            let answer = site.get(path, headers).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
            assert_eq!(answer.body, "not found\n", "{path}");
            assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
            assert_eq!(answer.header("cache-control"), "no-store");
        }
    }
    assert_eq!(site.get("/x", &[]).await.body, "inside");
    // Decoded once: this is a file called "%2e%2e", which does not exist.
    assert_eq!(site.get("/%252e%252e/x", &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn symlinks_are_followed_only_while_relative_and_inside() {
    let site = Site::new(&[("real/file.txt", b"inside")]);
    std::fs::write(site.outside("secret"), "outside").unwrap();
    symlink("../secret", site.path("out")).unwrap();
    symlink("..", site.path("up")).unwrap();
    symlink(site.outside("secret"), site.path("absolute-out")).unwrap();
    symlink("/proc/self/root", site.path("magic")).unwrap();
    symlink("loop", site.path("loop")).unwrap();
    symlink("real/file.txt", site.path("in")).unwrap();
    symlink("real", site.path("dir")).unwrap();
    symlink("../real/file.txt", site.path("real/around")).unwrap();
    // RESOLVE_BENEATH refuses every absolute target, also one that would end inside the root.
    symlink(site.path("real/file.txt"), site.path("absolute-in")).unwrap();
    for path in ["/out", "/up/secret", "/absolute-out", "/magic/etc/passwd", "/loop", "/absolute-in"] {
        assert_eq!(site.get(path, &[]).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    for path in ["/in", "/dir/file.txt", "/real/around"] {
        assert_eq!(site.get(path, &[]).await.body, "inside", "{path}");
    }
}

/// Opens a fifo for writing when the test ends, so that a reader which did block cannot hang the test run.
struct Release(std::path::PathBuf);

impl Drop for Release {
    fn drop(&mut self) {
        drop(std::fs::File::options().read(true).write(true).open(&self.0));
    }
}

#[tokio::test]
async fn only_regular_files_are_served_and_a_fifo_does_not_block() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let site = Site::new(&[("a/b.txt", b"b")]);
    mknodat(CWD, site.path("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _release = Release(site.path("fifo"));
    let _socket = std::os::unix::net::UnixListener::bind(site.path("socket")).unwrap();
    std::fs::create_dir_all(site.path("c/index.html")).unwrap();
    let long = format!("/{}", "n".repeat(5000));
    for path in
        ["/fifo", "/fifo/", "/socket", "/a", "/a/", "/c", "/c/", "/", "/a/b.txt/", "/a/b.txt/c", &long]
    {
        assert_eq!(site.get(path, &[]).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn directories_have_an_index_and_are_redirected_to_their_slash() {
    let site = Site::new(&[("index.html", b"root"), ("docs/a b/index.html", b"docs"), ("plain/x.txt", b"x")]);
    assert_eq!(site.get("/", &[]).await.body, "root");
    assert_eq!(site.get("/docs/a%20b/", &[]).await.body, "docs");
    let redirect = site.get("/docs/a%20b", &[]).await;
    assert_eq!(redirect.status, StatusCode::PERMANENT_REDIRECT);
    assert_eq!(redirect.header("location"), "./a%20b/");
    assert_eq!(redirect.header("cache-control"), "no-cache");
    assert_eq!(site.get("/plain", &[]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(site.get("/docs", &[]).await.status, StatusCode::NOT_FOUND);
}

/// Outage 4: stale front-end files after a deploy.
#[tokio::test]
async fn a_swapped_directory_is_served_at_once() {
    let site = Site::new(&[]);
    for release in ["one", "two"] {
        std::fs::create_dir(site.outside(release)).unwrap();
        std::fs::write(site.outside(release).join("index.html"), release).unwrap();
    }
    let current = site.outside("current");
    symlink("one", &current).unwrap();
    let files = Files::new(Source::Directory(current.clone()));
    let first = answer(&files, Method::GET, "/", &[]).await;
    assert_eq!(first.body, "one");
    symlink("two", site.outside("next")).unwrap();
    std::fs::rename(site.outside("next"), &current).unwrap();
    let second = answer(&files, Method::GET, "/", &[("if-none-match", first.header("etag"))]).await;
    assert_eq!(second.body, "two");
    assert_ne!(first.header("etag"), second.header("etag"));
    std::fs::remove_file(&current).unwrap();
    let gone = answer(&files, Method::GET, "/", &[]).await;
    assert_eq!(gone.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(gone.header("retry-after"), "1");
    std::fs::rename(site.outside("one"), &current).unwrap();
    assert_eq!(answer(&files, Method::GET, "/", &[]).await.body, "one");
}

#[tokio::test]
async fn a_rewritten_file_of_the_same_size_and_time_has_another_tag() {
    let site = Site::new(&[("a.txt", b"one")]);
    let set_time =
        || std::fs::File::open(site.path("a.txt")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    set_time();
    let first = site.get("/a.txt", &[]).await;
    let changed = |path| {
        let metadata = std::fs::metadata(site.path(path)).unwrap();
        (metadata.ctime(), metadata.ctime_nsec())
    };
    // The file system's clock has ticks; the second file is of a later one.
    while {
        site.write("probe", b"");
        changed("probe")
    } == changed("a.txt")
    {}
    std::fs::remove_file(site.path("a.txt")).unwrap();
    site.write("a.txt", b"two");
    set_time();
    let second = site.get("/a.txt", &[("if-none-match", first.header("etag"))]).await;
    assert_eq!((second.status, second.body.as_ref()), (StatusCode::OK, &b"two"[..]));
    assert_eq!(first.header("last-modified"), second.header("last-modified"));
}

#[tokio::test]
async fn times_http_cannot_express_are_left_out() {
    use std::time::{Duration, UNIX_EPOCH};
    let site = Site::new(&[("a.txt", b"a")]);
    for time in [UNIX_EPOCH - Duration::from_secs(5), UNIX_EPOCH + Duration::from_secs(300_000_000_000)] {
        std::fs::File::open(site.path("a.txt")).unwrap().set_modified(time).unwrap();
        let answer = site.get("/a.txt", &[]).await;
        assert_eq!(answer.status, StatusCode::OK);
        let kept = std::fs::metadata(site.path("a.txt")).unwrap().modified().unwrap();
        // Some file systems cannot hold such times either and keep the nearest one.
        assert_eq!(answer.headers.contains_key("last-modified"), kept != time, "{kept:?}");
    }
}

static BUNDLE: &[EmbeddedFile] = &[
    EmbeddedFile { path: "index.html", bytes: b"<p>embedded" },
    EmbeddedFile { path: "docs/deep/index.html", bytes: b"<p>docs" },
    EmbeddedFile { path: "assets/index-DiwrgTda.js", bytes: b"js" },
];

#[tokio::test]
async fn embedded_files_follow_the_same_rules() {
    let files = Files::new(Source::Embedded(BUNDLE));
    let get = async |path: &str| answer(&files, Method::GET, path, &[]).await;
    let index = get("/").await;
    assert_eq!(index.body, "<p>embedded");
    assert_eq!(index.header("etag"), get("/index.html").await.header("etag"));
    assert!(!index.headers.contains_key("last-modified"));
    assert_eq!(get("/docs/deep").await.header("location"), "./deep/");
    assert_eq!(get("/docs/deep/").await.body, "<p>docs");
    assert_eq!(
        get("/assets/index-DiwrgTda.js").await.header("cache-control"),
        "public, max-age=31536000, immutable"
    );
    for path in ["/docs", "/docs/", "/assets", "/nothing", "/../index.html", "/%2findex.html", "/index.html/"]
    {
        assert_eq!(get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let again = Files::new(Source::Embedded(BUNDLE));
    assert_eq!(
        answer(&again, Method::GET, "/", &[("if-none-match", index.header("etag"))]).await.status,
        304
    );
}
