//! Bodies for the API that are too large, no JSON, or not what was asked for.

use super::{Arena, End, head, json, message};
use crate::support::Request;

const LOGIN: &str = "/api/v5/auth/login";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversized_bodies_are_refused_with_and_without_a_length() {
    let mut arena = Arena::start().await;
    let too_large = (413, "PAYLOAD_TOO_LARGE".to_owned());
    for megabytes in [2, 50] {
        let body = format!(r#"{{"email":"{}"}}"#, "a".repeat(megabytes << 20));
        assert_eq!(arena.edge.send(json(LOGIN, body.clone())).await.refusal(), too_large, "{megabytes} MB");
        let chunks: String = body
            .as_bytes()
            .chunks(16_000)
            .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)))
            .collect();
        let chunked = json(LOGIN, format!("{chunks}0\r\n\r\n")).header("transfer-encoding", "chunked");
        assert_eq!(arena.edge.send(chunked).await.refusal(), too_large, "{megabytes} MB in chunks");
    }
    // The length alone is enough: nobody waits for the body.
    let headers = "Content-Type: application/json\r\nContent-Length: 999999999999\r\n";
    let got = arena.raw(&head(&format!("POST {LOGIN}"), headers)).await;
    assert_eq!((got.refusal(), got.end), (too_large, End::Closed));
    arena.unharmed(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_json_is_refused() {
    let mut arena = Arena::start().await;
    let account = r#""password":"correct horse""#;
    let cases: Vec<(&str, Vec<u8>, (u16, &str))> = vec![
        ("invalid UTF-8", b"{\"email\":\"\xff\xfe\"}".to_vec(), (400, "INVALID_JSON")),
        ("overlong UTF-8", b"{\"email\":\"\xc0\xaf\"}".to_vec(), (400, "INVALID_JSON")),
        ("half a surrogate pair", format!(r#"{{"email":"\ud800",{account}}}"#).into(), (400, "INVALID_JSON")),
        ("10 000 brackets", vec![b'['; 10_000], (400, "INVALID_JSON")),
        ("1 500 braces", br#"{"email":"#.repeat(1_500), (422, "VALIDATION_FAILED")),
        ("brackets in a field", [&br#"{"email":"#[..], &[b'['; 10_000]].concat(), (422, "VALIDATION_FAILED")),
        ("nothing", Vec::new(), (400, "INVALID_JSON")),
        ("text after it", format!(r#"{{"email":"a@b.c",{account}}} x"#).into(), (400, "INVALID_JSON")),
        ("two values", format!(r#"{{"email":"a@b.c",{account}}}{{}}"#).into(), (400, "INVALID_JSON")),
        (
            "a byte order mark",
            [&b"\xef\xbb\xbf"[..], br#"{"email":"a@b.c"}"#].concat(),
            (400, "INVALID_JSON"),
        ),
        ("1e999999", format!(r#"{{"email":1e999999,{account}}}"#).into(), (400, "INVALID_JSON")),
        (
            "a number of 1000 digits",
            format!(r#"{{"email":{},{account}}}"#, "9".repeat(1000)).into(),
            (400, "INVALID_JSON"),
        ),
        ("a raw control character", b"{\"email\":\"a\x01b\"}".to_vec(), (400, "INVALID_JSON")),
        ("null", b"null".to_vec(), (422, "VALIDATION_FAILED")),
        ("an array", b"[]".to_vec(), (422, "VALIDATION_FAILED")),
        (
            "an unknown field",
            format!(r#"{{"email":"a@b.c",{account},"admin":true}}"#).into(),
            (422, "VALIDATION_FAILED"),
        ),
        (
            "a field twice",
            format!(r#"{{"email":"a@b.c","email":"d@b.c",{account}}}"#).into(),
            (422, "VALIDATION_FAILED"),
        ),
    ];
    for (name, body, (status, code)) in cases {
        let answer = arena.edge.send(json(LOGIN, body)).await;
        assert_eq!(answer.refusal(), (status, code.to_owned()), "{name}: {}", answer.text());
    }
    arena.unharmed(&["correct horse"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_another_type_is_refused() {
    let mut arena = Arena::start().await;
    let body = r#"{"email":"a@b.c","password":"correct horse"}"#;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/jsonx",
        "json",
        "",
    ] {
        let request = Request::new("POST", LOGIN).header("content-type", kind).body(body);
        let answer = arena.edge.send(request).await;
        assert_eq!(answer.refusal(), (415, "UNSUPPORTED_MEDIA_TYPE".to_owned()), "{kind:?}");
    }
    let answer = arena.edge.send(Request::new("POST", LOGIN).body(body)).await;
    assert_eq!(answer.refusal(), (415, "UNSUPPORTED_MEDIA_TYPE".to_owned()), "no type");
    arena.unharmed(&["correct horse"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_and_cut_bodies_of_the_api_are_refused() {
    let mut arena = Arena::start().await;
    let chunked = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    for body in ["zz\r\n", "\r\n", "2\r\n{}XX", "2;\n\r\n{}\r\n0\r\n\r\n"] {
        let got = arena.raw(&message(&format!("POST {LOGIN}"), chunked, body)).await;
        assert_eq!((got.refusal(), got.end), ((400, "BAD_REQUEST".to_owned()), End::Closed), "{body:?}");
    }
    let cut =
        message(&format!("POST {LOGIN}"), "Content-Type: application/json\r\nContent-Length: 10\r\n", "{");
    let got = super::exchange(&arena.edge, &cut, true).await;
    assert_eq!((got.refusal(), got.end), ((400, "BAD_REQUEST".to_owned()), End::Closed));
    arena.unharmed(&[]).await;
}

/// The console's sessions hold what their users put there; none of it may break the answer that shows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strange_text_comes_back_as_it_was_or_is_refused() {
    let mut arena = Arena::start().await;
    let ada = arena.edge.register("ada@example.com").await;
    for name in ["\u{0}", "\u{202e}gnp.exe", "<script>alert(1)</script>", "a\r\nSet-Cookie: x=y", "\u{1F600}"]
    {
        let body = serde_json::json!({ "name": name, "type": "theia" });
        let answer = arena.edge.send(Request::post("/api/v5/sessions", &body).bearer(&ada.token)).await;
        match answer.status {
            201 => assert_eq!(answer.json()["data"]["name"], name),
            _ => assert_eq!(answer.refusal(), (422, "VALIDATION_FAILED".to_owned()), "{name:?}"),
        }
        assert_eq!(answer.header("set-cookie"), None, "{name:?}");
    }
    arena.unharmed(&[]).await;
}
