//! Files too large to be read at once: chunks, ranges, and changes while they are sent.

use http::{Method, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;

use super::{Site, noise, send};

const LENGTH: usize = 1_000_001;

#[tokio::test]
async fn a_large_file_arrives_whole_and_in_parts() {
    let content = noise(1, LENGTH);
    let site = Site::new(&[("a.png", &content)]);
    assert_eq!(site.get("/a.png", &[]).await.body, content);
    for (range, start, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=131071-131072", 131_071, 131_073),
        ("bytes=5-999999", 5, 1_000_000),
        ("bytes=-400000", 600_001, LENGTH),
    ] {
        let answer = site.get("/a.png", &[("range", range)]).await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
        assert!(answer.body == content[start..end], "{range}");
    }
}

#[tokio::test]
async fn the_size_hint_counts_down_and_chunks_are_bounded() {
    let site = Site::new(&[("a.png", &noise(1, LENGTH))]);
    let mut body = send(&site.files, Method::GET, "/a.png", &[]).await.into_body();
    let mut left = LENGTH as u64;
    while !body.is_end_stream() {
        assert_eq!(body.size_hint().exact(), Some(left));
        let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(!chunk.is_empty() && chunk.len() <= 128 * 1024);
        left -= chunk.len() as u64;
    }
    assert_eq!(left, 0);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_file_cut_or_rewritten_while_it_is_sent_ends_in_an_error() {
    let changes: [fn(&std::fs::File); 2] = [
        |file| file.set_len(200_000).unwrap(),
        |file| {
            use std::os::unix::fs::FileExt;
            file.write_all_at(b"other", 900_000).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        },
    ];
    for change in changes {
        let site = Site::new(&[("a.png", &noise(1, LENGTH))]);
        let mut body = send(&site.files, Method::GET, "/a.png", &[]).await.into_body();
        assert!(body.frame().await.unwrap().is_ok());
        change(&std::fs::File::options().write(true).open(site.path("a.png")).unwrap());
        let end = loop {
            match body.frame().await {
                Some(Ok(_)) => {}
                end => break end,
            }
        };
        assert!(matches!(end, Some(Err(_))), "the body must not end as if it were whole");
        assert!(body.frame().await.is_none(), "and it ends with the error");
    }
}

#[tokio::test]
async fn a_deploy_by_rename_does_not_disturb_what_is_being_sent() {
    let (old, new) = (noise(1, LENGTH), noise(2, LENGTH));
    let site = Site::new(&[("a.png", &old)]);
    let response = send(&site.files, Method::GET, "/a.png", &[]).await;
    let (parts, mut body) = response.into_parts();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    site.write("next", &new);
    std::fs::rename(site.path("next"), site.path("a.png")).unwrap();
    let rest = body.collect().await.unwrap().to_bytes();
    assert!([first, rest].concat() == old);
    let now = site.get("/a.png", &[]).await;
    assert!(now.body == new);
    assert_ne!(now.header("etag"), parts.headers["etag"].to_str().unwrap());
}
