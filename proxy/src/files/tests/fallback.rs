//! The single-page fallback: for navigations to names without a dot, and for nothing else.

use http::{Method, StatusCode};

use super::{Site, answer};

#[tokio::test]
async fn a_navigation_to_an_unknown_page_gets_the_index() {
    let site = Site::new(&[("index.html", b"<p>app"), ("assets/a.js", b"js")]);
    let navigations: [&[(&str, &str)]; 3] = [
        &[("sec-fetch-mode", "navigate")],
        &[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")],
        &[("sec-fetch-mode", "navigate"), ("accept", "*/*")],
    ];
    for headers in navigations {
        for path in ["/sessions", "/sessions/", "/sessions/4%2e2/x", "/v1.2/page", "/assets", "/assets/"] {
            let answer = site.get(path, headers).await;
            assert_eq!((answer.status, answer.body.as_ref()), (StatusCode::OK, &b"<p>app"[..]), "{path}");
            assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
            assert_eq!(answer.header("cache-control"), "no-cache");
            assert_eq!(answer.header("vary"), "Accept-Encoding, Accept, Sec-Fetch-Mode");
        }
        let page = answer(&site.files, Method::HEAD, "/sessions", headers).await;
        assert_eq!((page.status, page.header("content-length")), (StatusCode::OK, "6"));
    }
}

#[tokio::test]
async fn a_missing_script_is_404_whoever_asks() {
    let site = Site::new(&[("index.html", b"<p>app")]);
    for headers in [&[][..], &[("sec-fetch-mode", "navigate")], &[("accept", "text/html")]] {
        for path in ["/assets/index-DiwrgTda.js", "/a.css", "/x/y.html", "/a.js/"] {
            assert_eq!(site.get(path, headers).await.status, StatusCode::NOT_FOUND, "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_no_navigation_is_404() {
    let site = Site::new(&[("index.html", b"<p>app")]);
    let others: [&[(&str, &str)]; 4] = [
        &[],
        &[("accept", "*/*")],
        &[("accept", "application/json")],
        &[("sec-fetch-mode", "cors"), ("accept", "text/html")],
    ];
    for headers in others {
        assert_eq!(site.get("/sessions", headers).await.status, StatusCode::NOT_FOUND, "{headers:?}");
    }
    let head = answer(&site.files, Method::HEAD, "/sessions", &[]).await;
    assert_eq!((head.status, head.header("content-length")), (StatusCode::NOT_FOUND, "10"));
}

#[tokio::test]
async fn without_an_index_there_is_no_fallback() {
    let site = Site::new(&[("a.js", b"js")]);
    for path in ["/", "/sessions"] {
        let answer = site.get(path, &[("sec-fetch-mode", "navigate")]).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
}
