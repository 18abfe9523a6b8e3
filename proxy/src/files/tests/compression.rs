//! Which representation is chosen, under which tag, and how often it is made.

use std::io::Read;
use std::sync::atomic::Ordering;

use http::{Method, StatusCode};

use super::{Answer, Site, answer, noise, text};

fn decoded(answer: &Answer) -> Vec<u8> {
    let mut bytes = Vec::new();
    match answer.header("content-encoding") {
        "br" => brotli::Decompressor::new(answer.body.as_ref(), 4096).read_to_end(&mut bytes).unwrap(),
        "gzip" => flate2::read::GzDecoder::new(answer.body.as_ref()).read_to_end(&mut bytes).unwrap(),
        "" => answer.body.as_ref().read_to_end(&mut bytes).unwrap(),
        other => panic!("unexpected coding {other}"),
    };
    bytes
}

#[tokio::test]
async fn accept_encoding_selects_and_each_representation_has_its_own_tag() {
    let (small, large) = (text(1, 5000), text(2, 300_000));
    let site = Site::new(&[("small.js", &small), ("large.js", &large)]);
    for (path, original) in [("/small.js", &small), ("/large.js", &large)] {
        let mut tags = Vec::new();
        for (accept, coding) in [("gzip, deflate, br", "br"), ("gzip", "gzip"), ("br;q=0", "")] {
            let headers = [("accept-encoding", accept)];
            let get = site.get(path, &headers).await;
            assert_eq!(get.header("content-encoding"), coding, "{accept}");
            assert_eq!(&decoded(&get), original);
            assert_eq!(get.body.len() < original.len(), !coding.is_empty());
            assert_eq!(get.header("vary"), "Accept-Encoding");
            let head = answer(&site.files, Method::HEAD, path, &headers).await;
            assert_eq!((head.status, &head.headers), (get.status, &get.headers));
            let again = [headers[0], ("if-none-match", get.header("etag"))];
            let again = site.get(path, &again).await;
            assert_eq!((again.status, again.header("etag")), (StatusCode::NOT_MODIFIED, get.header("etag")));
            tags.push(get.header("etag").to_owned());
        }
        tags.dedup();
        assert_eq!(tags.len(), 3, "{tags:?}");
        // The tag of one representation says nothing about another.
        let other = site.get(path, &[("accept-encoding", "gzip"), ("if-none-match", &tags[0])]).await;
        assert_eq!(other.status, StatusCode::OK);
        let any = site.get(path, &[("accept-encoding", "gzip"), ("if-none-match", "*")]).await;
        assert_eq!((any.status, any.header("etag")), (StatusCode::NOT_MODIFIED, tags[1].as_str()));
    }
}

#[tokio::test]
async fn a_known_variant_is_304_without_being_made_again() {
    let content = text(1, 5000);
    let site = Site::new(&[("a.js", &content)]);
    let headers = [("accept-encoding", "br")];
    let tag = site.get("/a.js", &headers).await.header("etag").to_owned();
    // The same directory, served by a process just started.
    let fresh = crate::files::Files::new(crate::files::Source::Directory(site.path("")));
    let answer = answer(&fresh, Method::GET, "/a.js", &[headers[0], ("if-none-match", &tag)]).await;
    assert_eq!(answer.status, StatusCode::NOT_MODIFIED);
    assert_eq!(fresh.variants.begun.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_does_not_gain_is_sent_as_it_is() {
    let at_limit = text(1, 1024);
    let above = text(2, 1025);
    let dense = noise(3, 50_000);
    let huge = vec![b'a'; 16 * 1024 * 1024 + 1];
    let site = Site::new(&[
        ("limit.js", &at_limit),
        ("above.js", &above),
        ("dense.js", &dense),
        ("p.png", &above),
        ("huge.js", &huge),
    ]);
    for (path, coding, vary) in [
        ("/limit.js", "", "Accept-Encoding"),
        ("/above.js", "br", "Accept-Encoding"),
        ("/dense.js", "", "Accept-Encoding"),
        ("/p.png", "", ""),
        ("/huge.js", "", "Accept-Encoding"),
    ] {
        let compressed = site.get(path, &[("accept-encoding", "br")]).await;
        assert_eq!(compressed.header("content-encoding"), coding, "{path}");
        assert_eq!(compressed.header("vary"), vary, "{path}");
        let plain = site.get(path, &[]).await;
        assert_eq!(plain.header("etag") == compressed.header("etag"), coding.is_empty(), "{path}");
    }
}

#[tokio::test]
async fn ranges_are_of_the_file_itself() {
    let content = text(1, 5000);
    let site = Site::new(&[("a.js", &content)]);
    let br = ("accept-encoding", "br");
    let variant = site.get("/a.js", &[br]).await.header("etag").to_owned();
    let plain = site.get("/a.js", &[]).await.header("etag").to_owned();
    let part = site.get("/a.js", &[br, ("range", "bytes=10-19"), ("if-range", &plain)]).await;
    assert_eq!((part.status, part.body.as_ref()), (StatusCode::PARTIAL_CONTENT, &content[10..20]));
    assert_eq!((part.header("etag"), part.header("content-encoding")), (plain.as_str(), ""));
    // The part of a compressed copy cannot be continued with bytes of the file.
    let whole = site.get("/a.js", &[br, ("range", "bytes=10-19"), ("if-range", &variant)]).await;
    assert_eq!((whole.status, whole.body.as_ref()), (StatusCode::OK, content.as_slice()));
    let several = site.get("/a.js", &[br, ("range", "bytes=0-1,3-4")]).await;
    assert_eq!((several.status, several.body.as_ref()), (StatusCode::OK, content.as_slice()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_for_one_variant_compress_it_once() {
    let content = text(1, 1_000_000);
    let site = std::sync::Arc::new(Site::new(&[("a.js", &content)]));
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..24 {
        let site = std::sync::Arc::clone(&site);
        requests.spawn(async move { site.get("/a.js", &[("accept-encoding", "br")]).await });
    }
    for answer in requests.join_all().await {
        assert_eq!(answer.header("content-encoding"), "br");
        assert_eq!(decoded(&answer), content);
    }
    assert_eq!(site.files.variants.begun.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_changed_file_is_compressed_anew() {
    let (old, new) = (text(1, 5000), text(2, 5000));
    let site = Site::new(&[("a.js", &old)]);
    let br = [("accept-encoding", "br")];
    assert_eq!(decoded(&site.get("/a.js", &br).await), old);
    site.write("next", &new);
    std::fs::rename(site.path("next"), site.path("a.js")).unwrap();
    assert_eq!(decoded(&site.get("/a.js", &br).await), new);
}
