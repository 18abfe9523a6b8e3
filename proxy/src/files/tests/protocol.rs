//! Methods, headers, preconditions and ranges of whole answers.

use http::{Method, StatusCode};

use super::{Site, answer};

#[tokio::test]
async fn only_get_and_head_are_allowed() {
    let site = Site::new(&[("a.txt", b"text")]);
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH, Method::TRACE] {
        for path in ["/a.txt", "/missing", "/../x"] {
            let answer = answer(&site.files, method.clone(), path, &[]).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(answer.header("allow"), "GET, HEAD");
        }
    }
}

#[tokio::test]
async fn a_file_has_all_its_headers_and_head_has_the_same() {
    let site = Site::new(&[
        ("a.txt", b"text"),
        ("index-C3HsWrFD.css", b"css"),
        ("p.png", b"png"),
        ("empty.js", b""),
    ]);
    for (path, kind, cache, vary) in [
        ("/a.txt", "text/plain; charset=utf-8", "no-cache", "Accept-Encoding"),
        (
            "/index-C3HsWrFD.css",
            "text/css; charset=utf-8",
            "public, max-age=31536000, immutable",
            "Accept-Encoding",
        ),
        ("/p.png", "image/png", "no-cache", ""),
        ("/empty.js", "text/javascript; charset=utf-8", "no-cache", "Accept-Encoding"),
    ] {
        let get = site.get(path, &[]).await;
        assert_eq!(get.status, StatusCode::OK, "{path}");
        assert_eq!(get.header("content-type"), kind);
        assert_eq!(get.header("cache-control"), cache);
        assert_eq!(get.header("vary"), vary);
        assert_eq!(get.header("accept-ranges"), "bytes");
        assert!(get.header("etag").starts_with('"'), "a strong tag");
        assert!(httpdate::parse_http_date(get.header("last-modified")).is_ok());
        let head = answer(&site.files, Method::HEAD, path, &[("range", "bytes=0-0")]).await;
        assert_eq!((head.status, head.headers), (get.status, get.headers), "{path}");
    }
}

#[tokio::test]
async fn preconditions_answer_304_with_what_a_cache_needs() {
    let site = Site::new(&[("a.txt", b"text")]);
    let get = site.get("/a.txt", &[]).await;
    let (etag, date) = (get.header("etag"), get.header("last-modified"));
    let list = format!("\"other\", W/{etag}");
    let holding: [&[(&str, &str)]; 5] = [
        &[("if-none-match", etag)],
        &[("if-none-match", &list)],
        &[("if-none-match", "*")],
        &[("if-modified-since", date)],
        &[("if-none-match", etag), ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT")],
    ];
    for headers in holding {
        for method in [Method::GET, Method::HEAD] {
            let answer = answer(&site.files, method, "/a.txt", headers).await;
            assert_eq!(answer.status, StatusCode::NOT_MODIFIED, "{headers:?}");
            for name in ["etag", "cache-control", "vary"] {
                assert_eq!(answer.header(name), get.header(name), "{name}");
            }
        }
    }
    let failing: [&[(&str, &str)]; 4] = [
        &[("if-none-match", "\"other\"")],
        &[("if-none-match", "\"other\""), ("if-modified-since", date)],
        &[("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT")],
        &[("if-modified-since", "gibberish")],
    ];
    for headers in failing {
        let answer = site.get("/a.txt", headers).await;
        assert_eq!((answer.status, answer.body.as_ref()), (StatusCode::OK, &b"text"[..]), "{headers:?}");
    }
    // 304 goes before the range.
    let both = site.get("/a.txt", &[("if-none-match", etag), ("range", "bytes=0-1")]).await;
    assert_eq!(both.status, StatusCode::NOT_MODIFIED);
    // A missing file has no preconditions.
    assert_eq!(site.get("/b.txt", &[("if-none-match", "*")]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn one_range_is_206_and_the_impossible_416() {
    let site = Site::new(&[("a.txt", b"0123456789"), ("empty.txt", b"")]);
    for (range, body, content_range) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=0-99", "0123456789", "bytes 0-9/10"),
    ] {
        let answer = site.get("/a.txt", &[("range", range)]).await;
        assert_eq!(
            (answer.status, answer.body.as_ref()),
            (StatusCode::PARTIAL_CONTENT, body.as_bytes()),
            "{range}"
        );
        assert_eq!(answer.header("content-range"), content_range);
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    }
    for (path, range, content_range) in [
        ("/a.txt", "bytes=10-", "bytes */10"),
        ("/a.txt", "bytes=-0", "bytes */10"),
        ("/empty.txt", "bytes=0-", "bytes */0"),
    ] {
        let answer = site.get(path, &[("range", range)]).await;
        assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
        assert_eq!(answer.header("content-range"), content_range);
    }
    for range in ["bytes=0-1,4-5", "lines=0-1", "bytes=5-2", "bytes=x-"] {
        let answer = site.get("/a.txt", &[("range", range)]).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 10), "{range}");
        assert!(!answer.headers.contains_key("content-range"));
    }
}

#[tokio::test]
async fn if_range_decides_between_part_and_whole() {
    let site = Site::new(&[("a.txt", b"0123456789")]);
    let get = site.get("/a.txt", &[]).await;
    let weak = format!("W/{}", get.header("etag"));
    for (condition, status) in [
        (get.header("etag"), 206),
        (get.header("last-modified"), 206),
        (&weak, 200),
        ("\"other\"", 200),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 200),
    ] {
        let answer = site.get("/a.txt", &[("range", "bytes=0-1"), ("if-range", condition)]).await;
        assert_eq!(answer.status, status, "{condition}");
        // Where the condition fails, even an impossible range is the whole file.
        let far = site.get("/a.txt", &[("range", "bytes=99-"), ("if-range", condition)]).await;
        assert_eq!(far.status, if status == 206 { 416 } else { 200 }, "{condition}");
    }
}

#[test]
fn responses_can_be_made_and_sent_on_any_thread() {
    fn check<T: Send>(value: T) -> T {
        value
    }
    fn check_body<T: Send + Sync + Unpin + 'static>() {}
    check_body::<crate::files::FileBody>();
    let site = Site::new(&[]);
    let headers = http::HeaderMap::new();
    drop(check(site.files.respond(&Method::GET, "/", &headers)));
}
