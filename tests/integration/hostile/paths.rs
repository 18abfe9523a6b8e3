//! Paths that mean another one to somebody: never another route's content.

use super::{Arena, BEHIND, head};

/// Where a path ends up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// 400 `BAD_REQUEST`, before any route.
    Malformed,
    /// 401 `MISSING_AUTH_HEADER`: a route that asks for a token.
    Guarded,
    /// 404 from the directory of files.
    NoFile,
    /// Forwarded to the upstream with exactly this target.
    Forwarded,
}

use Place::{Forwarded, Guarded, Malformed, NoFile};

const PATHS: [(&str, Place); 66] = [
    ("/../secret.txt", Malformed),
    ("/..", Malformed),
    ("/.", Malformed),
    ("/./x", Malformed),
    ("/%2e%2e/secret.txt", Malformed),
    ("/%2E%2e/secret.txt", Malformed),
    ("/.%2e/secret.txt", Malformed),
    ("/..%2fsecret.txt", Malformed),
    ("/..%5csecret.txt", Malformed),
    ("/..\\secret.txt", Malformed),
    ("/a/%2e/b", Malformed),
    ("/theia/..%2f..%2fapi/v5/sessions", Malformed),
    ("/theia/../api/v5/health", Malformed),
    ("/pub/../sec/x", Malformed),
    ("/pub/%2e%2e/sec/x", Malformed),
    ("/pub/%2e%2e%2fsec/x", Malformed),
    ("/pub/x%00", Malformed),
    ("/x%00.html", Malformed),
    ("/pub\\..\\sec", Malformed),
    ("/pub/%5c..%5csec", Malformed),
    ("/pub/%0d%0aX:y", Malformed),
    ("/pub/%7f", Malformed),
    ("/pub/x%", Malformed),
    ("/pub/x%2", Malformed),
    ("/pub/x%zz", Malformed),
    ("/pub/x%u0041", Malformed),
    ("/health/../pub/x", Malformed),
    ("/api/v5/health/..", Malformed),
    ("/api/v5/health/%2e%2e/sessions", Malformed),
    ("/%252e%252e/secret.txt", NoFile),
    ("/%c0%af", NoFile),
    ("/%c0%ae%c0%ae/secret.txt", NoFile),
    ("/%ff", NoFile),
    ("/%e2%80%ae", NoFile),
    ("//api/v5/sessions", NoFile),
    ("/api//v5/sessions", NoFile),
    ("//pub/x", NoFile),
    ("//health", NoFile),
    ("///", NoFile),
    ("/api/v5x", NoFile),
    ("/api/v5;x/sessions", NoFile),
    ("/API/V5/sessions", NoFile),
    ("/api%2fv5/sessions", NoFile),
    ("/api/v5%2fsessions", NoFile),
    ("/%61pi/v5/sessions", NoFile),
    ("/Theia/", NoFile),
    ("/%74heia/", NoFile),
    ("/theia%2f", NoFile),
    ("/theia;/", NoFile),
    ("/theiax", NoFile),
    ("/pubx", NoFile),
    ("/pub;x", NoFile),
    ("/pub%2fx", NoFile),
    ("/%68ealth", NoFile),
    ("/.git/config", NoFile),
    ("/.env", NoFile),
    ("/api/v5//sessions", Guarded),
    ("/api/v5/;x", Guarded),
    ("/api/v5/%73essions", Guarded),
    ("/api/v5/health/", Guarded),
    ("/api/v5/%68ealth", Guarded),
    ("/api/v5/sessions//terminals", Guarded),
    ("/theia/;x", Guarded),
    ("/pub/%252e%252e/x", Forwarded),
    ("/pub/%c0%ae%c0%ae/x", Forwarded),
    ("/pub/a%20b?x=/../y%00", Forwarded),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_path_has_one_place() {
    let mut arena = Arena::start().await;
    for (path, place) in PATHS {
        let before = arena.upstream.count();
        // No `Accept` of a browser: the single page's fallback is for navigations.
        let got = arena.raw(&head(&format!("GET {path}"), "")).await;
        let (status, code) = got.refusal();
        let wanted = match place {
            Malformed => (400, "BAD_REQUEST"),
            Guarded => (401, "MISSING_AUTH_HEADER"),
            NoFile => (404, ""),
            Forwarded => (200, ""),
        };
        assert_eq!((status, code.as_str()), wanted, "{path}");
        assert_eq!(arena.upstream.count() - before, usize::from(place == Forwarded), "{path}");
        if place == Forwarded {
            assert_eq!(arena.upstream.last().target, path);
            assert_eq!(got.responses[0].text(), BEHIND);
        }
    }
    arena.unharmed(&[]).await;
}

/// A browser's navigation gets the front end where nothing else is, and still no other route.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_navigation_finds_the_front_end_and_nothing_more() {
    let mut arena = Arena::start().await;
    for (path, place) in PATHS {
        let got = arena
            .raw(&head(&format!("GET {path}"), "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n"))
            .await;
        let answer = &got.responses[0];
        match place {
            Malformed => assert_eq!(answer.status, 400, "{path}"),
            Guarded => assert_eq!(answer.status, 401, "{path}"),
            Forwarded => assert_eq!(answer.text(), BEHIND, "{path}"),
            NoFile => {
                let front = answer.status == 200 && answer.text().contains("<title>front</title>");
                assert!(front || answer.status == 404, "{path}: {answer:?}");
            }
        }
        assert!(!answer.text().contains("beside the directory"), "{path}");
    }
    arena.unharmed(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_paths_are_looked_up_like_short_ones() {
    let mut arena = Arena::start().await;
    for (path, wanted) in [
        (format!("/{}", "a".repeat(300)), (404, "")),
        (format!("/{}", "a".repeat(60_000)), (404, "")),
        (format!("/{}", "a/".repeat(20_000)), (404, "")),
        (format!("/{}", "%2e".repeat(20_000)), (404, "")),
        (format!("/api/v5/{}", "a".repeat(60_000)), (401, "MISSING_AUTH_HEADER")),
        (format!("/theia/{}/", "a".repeat(60_000)), (401, "MISSING_AUTH_HEADER")),
        (format!("/pub/{}", "a".repeat(60_000)), (200, "")),
    ] {
        let (status, code) = arena.raw(&head(&format!("GET {path}"), "")).await.refusal();
        assert_eq!((status, code.as_str()), wanted, "{path:.30}");
    }
    arena.unharmed(&[]).await;
}
