//! Sound requests, mutated at random: no answer of the edge's own says that the edge failed, nothing hangs, and what
//! reaches the upstream is one sound request each.

use super::{Arena, BEHIND};
use crate::support::{Connection, Recorded};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Cases of one run; `HOSTILE_CASES` sets another number.
const CASES: u64 = 2000;
/// Clients at work at once.
const CLIENTS: u64 = 8;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

const SEEDS: [&str; 8] = [
    "GET /pub/x HTTP/1.1\r\nHost: edge.test\r\nAccept: */*\r\n\r\n",
    "POST /pub/x?a=b HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 5\r\n\r\nhello",
    "POST /pub/x HTTP/1.1\r\nHost: edge.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n",
    "GET http://edge.test/pub/x HTTP/1.1\r\nHost: edge.test\r\nConnection: keep-alive\r\n\r\n",
    "GET /pub/x HTTP/1.0\r\nConnection: keep-alive\r\nCookie: a=b; coditect-workspace=c\r\n\r\n",
    "GET /theia/?token=a.b.c&sessionId=01020304-0506-4708-890a-0b0c0d0e0f10 HTTP/1.1\r\nHost: edge.test\r\n\r\n",
    "POST /api/v5/auth/login HTTP/1.1\r\nHost: edge.test\r\nContent-Type: application/json\r\nContent-Length: 34\r\n\r\n{\"email\":\"a@b.c\",\"password\":\"xyz\"}",
    "GET /pub/x HTTP/1.1\r\nHost: edge.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
];

const PIECES: [&[u8]; 34] = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b"\t",
    b" ",
    b":",
    b";",
    b"0",
    b"ffffffff",
    b"-1",
    b"%2e%2e/",
    b"%00",
    b"/../",
    b"//",
    b"\\",
    b"?",
    b"#",
    b"\xff",
    b"\xc0\xaf",
    b"\x0b",
    b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\tchunked, identity\r\n",
    b"Host: evil.test\r\n",
    b"Connection: close, content-length, host\r\n",
    b"Upgrade: x\r\n",
    b"Expect: 100-continue\r\n",
    b"0\r\n\r\n",
    b"GET /pub/smuggled HTTP/1.1\r\nHost: edge.test\r\n\r\n",
    b"X-Coditect-User: root\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

/// One to four changes to a sound request, at times followed by another one.
fn mutated(random: &mut Random) -> Vec<u8> {
    let mut bytes = random.pick(&SEEDS).as_bytes().to_vec();
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] = random.next() as u8,
            1 => drop(bytes.splice(at..at, random.pick(&PIECES).iter().copied())),
            2 => drop(bytes.drain(at..(at + 1 + random.below(8)).min(bytes.len()))),
            3 => {
                let end = (at + 1 + random.below(40)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, part));
            }
            4 => {
                // A whole line goes where another one begins.
                let starts: Vec<usize> =
                    bytes.windows(2).enumerate().filter(|(_, w)| *w == b"\r\n").map(|(i, _)| i + 2).collect();
                let at = if starts.is_empty() { at } else { starts[random.below(starts.len())] };
                drop(bytes.splice(at..at, random.pick(&PIECES).iter().copied()));
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
    if random.below(4) == 0 {
        bytes.extend_from_slice(random.pick(&SEEDS).as_bytes());
    }
    bytes
}

/// Plays a case; the client ends its side, so no request is waited for.
async fn play(to: std::net::SocketAddr, bytes: &[u8]) -> Result<Vec<u16>, String> {
    let mut connection = Connection::open(to).await;
    let mut received = Vec::new();
    let exchange = async {
        let (mut read, mut write) = connection.stream.split();
        let writing = async {
            drop(write.write_all(bytes).await);
            drop(write.shutdown().await);
        };
        let (_, _) = tokio::join!(writing, read.read_to_end(&mut received));
    };
    if tokio::time::timeout(super::DEADLINE, exchange).await.is_err() {
        return Err("no end".into());
    }
    if received.starts_with(b"\0\0") {
        // HTTP/2 answered.
        return Ok(Vec::new());
    }
    match super::responses(&received) {
        (answers, []) => Ok(answers.iter().map(|answer| answer.status).collect()),
        (_, rest) => Err(format!("half an answer: {}", rest.escape_ascii())),
    }
}

/// What is wrong with a request as an upstream got it.
fn unsound(request: &Recorded) -> Option<&'static str> {
    let head = &request.head;
    let text = String::from_utf8_lossy(head);
    let line: Vec<&str> = text.split("\r\n").next().unwrap_or_default().split(' ').collect();
    let bare = |at: usize| match head[at] {
        b'\n' => at == 0 || head[at - 1] != b'\r',
        b'\r' => head.get(at + 1) != Some(&b'\n'),
        0 => true,
        _ => false,
    };
    let own = |cookie: &str| cookie.trim().to_ascii_lowercase().starts_with("coditect-");
    match () {
        () if line.len() != 3 || line[2] != "HTTP/1.1" => Some("its request line"),
        () if !request.target.starts_with('/') => Some("its target"),
        () if (0..head.len()).any(bare) => Some("a bare CR or LF, or a NUL"),
        () if request.all("host").len() != 1 => Some("its Host"),
        () if request.all("content-length").len() + request.all("transfer-encoding").len() > 1 => {
            Some("its length")
        }
        () if request.all("x-coditect-user") != Vec::<&str>::new() => Some("an identity nobody verified"),
        () if request.target.contains("/../") => Some("its path"),
        () if request.all("cookie").iter().any(|cookies| cookies.split(';').any(own)) => {
            Some("a cookie of ours")
        }
        () => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_requests_have_sound_answers() {
    let setting = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let clock =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = setting("HOSTILE_SEED").unwrap_or_else(clock);
    let cases = setting("HOSTILE_CASES").unwrap_or(CASES);
    eprintln!("HOSTILE_SEED={seed}");
    let mut arena = Arena::start().await;
    let to = arena.edge.http;
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(async move {
            let mut wrong = Vec::new();
            for case in (client..cases).step_by(CLIENTS as usize) {
                let bytes = mutated(&mut Random(seed ^ case.wrapping_mul(0x2545_f491_4f6c_dd1d)));
                let problem = match play(to, &bytes).await {
                    Ok(statuses) => statuses
                        .iter()
                        .any(|status| *status >= 500 && !matches!(status, 502..=505))
                        .then(|| format!("{statuses:?}")),
                    Err(problem) => Some(problem),
                };
                wrong.extend(
                    problem.map(|problem| format!("case {case}: {problem}: {}", bytes.escape_ascii())),
                );
            }
            wrong
        });
    }
    let wrong: Vec<String> = clients.join_all().await.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "seed {seed}, {} cases:\n{}", wrong.len(), wrong.join("\n"));
    let unsound: Vec<String> = arena
        .upstream
        .requests()
        .iter()
        .filter_map(|request| Some(format!("{}: {}", unsound(request)?, request.head.escape_ascii())))
        .collect();
    assert!(unsound.is_empty(), "seed {seed}: {}", unsound.join("\n"));
    let answer = arena.edge.get("/pub/x").await;
    assert_eq!(answer.text(), BEHIND);
    arena.unharmed(&[]).await;
}
