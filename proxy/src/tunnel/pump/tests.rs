//! The pump between two in-memory legs, mostly in paused time; `real` has it between sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::sync::{Arc, atomic::Ordering::Relaxed};

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::oneshot,
    task::JoinHandle,
};

use super::*;

mod ending;
mod flow;
mod injection;
mod liveness;
mod real;

const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// A pump at work and the far ends of its two legs.
struct Rig {
    client: DuplexStream,
    upstream: DuplexStream,
    counters: Arc<Counters>,
    end: oneshot::Sender<Ending>,
    pump: JoinHandle<Outcome>,
}

impl Rig {
    /// `capacity`: bytes each leg holds per direction.
    fn new(capacity: usize) -> Self {
        Self::with(capacity, Limits::default())
    }

    fn with(capacity: usize, limits: Limits) -> Self {
        let (client, client_leg) = duplex(capacity);
        let (upstream, upstream_leg) = duplex(capacity);
        let (end, ended) = oneshot::channel();
        let counters = Arc::new(Counters::default());
        let counted = counters.clone();
        let pump = tokio::spawn(async move {
            let ending = async {
                match ended.await {
                    Ok(ending) => ending,
                    Err(_) => std::future::pending().await,
                }
            };
            pump(client_leg, upstream_leg, &limits, &counted, ending, || MASK).await
        });
        Self { client, upstream, counters, end, pump }
    }

    fn counted(&self) -> (u64, u64) {
        (self.counters.to_upstream.load(Relaxed), self.counters.to_client.load(Relaxed))
    }
}

/// One frame as the decoder below sees it.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Frame {
    fin: bool,
    opcode: u8,
    payload: Vec<u8>,
}

impl Frame {
    fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { fin: true, opcode, payload: payload.into() }
    }

    fn close(code: u16, reason: &str) -> Self {
        Self::new(CLOSE, [&code.to_be_bytes(), reason.as_bytes()].concat())
    }

    fn encode(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let flag = if mask.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![if self.fin { 0x80 } else { 0 } | self.opcode];
        match self.payload.len() {
            short @ 0..126 => bytes.push(flag | short as u8),
            medium @ 126..65536 => {
                bytes.push(flag | 126);
                bytes.extend((medium as u16).to_be_bytes());
            }
            long => {
                bytes.push(flag | 127);
                bytes.extend((long as u64).to_be_bytes());
            }
        }
        bytes.extend(mask.iter().flatten());
        let key = mask.unwrap_or_default();
        bytes.extend(self.payload.iter().enumerate().map(|(index, byte)| byte ^ key[index % 4]));
        bytes
    }
}

/// Decodes whole frames only; panics on anything else. Shares no code with what it tests.
fn decode(mut bytes: &[u8], masked: bool) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (fin, opcode) = (bytes[0] & 0x80 != 0, bytes[0] & 0x7f);
        assert!(matches!(opcode, 0..=2 | 8..=10), "opcode {opcode} after {} frames", frames.len());
        assert_eq!(bytes[1] & 0x80 != 0, masked, "masking after {} frames", frames.len());
        let (length, mut at) = match bytes[1] & 0x7f {
            126 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
            127 => (u64::from_be_bytes(bytes[2..10].try_into().unwrap()) as usize, 10),
            short => (usize::from(short), 2),
        };
        let mut key = [0; 4];
        if masked {
            key.copy_from_slice(&bytes[at..at + 4]);
            at += 4;
        }
        let payload = bytes[at..at + length].iter().enumerate().map(|(index, byte)| byte ^ key[index % 4]);
        frames.push(Frame { fin, opcode, payload: payload.collect() });
        bytes = &bytes[at + length..];
    }
    frames
}

/// A valid sequence of frames: fragmented messages with control frames between the fragments, no Close.
fn random_frames(random: &mut StdRng, count: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut in_message = false;
    for _ in 0..count {
        if random.random_ratio(1, 4) {
            frames.push(Frame::new(
                [PING, PONG][random.random_range(0..2)],
                vec![7; random.random_range(0..=125)],
            ));
            continue;
        }
        let lengths = [0, 1, 5, 125, 126, 127, 1000, 5000, 16384, 65535, 65536];
        let mut payload = vec![0; lengths[random.random_range(0..lengths.len())]];
        random.fill_bytes(&mut payload);
        let fin = random.random();
        let opcode = if in_message { 0 } else { random.random_range(1..=2) };
        frames.push(Frame { fin, opcode, payload });
        in_message = !fin;
    }
    frames
}

fn encode_all(frames: &[Frame], mask: Option<[u8; 4]>) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame.encode(mask)).collect()
}

async fn read_all(leg: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    leg.read_to_end(&mut bytes).await.unwrap();
    bytes
}

async fn read_some(leg: &mut (impl tokio::io::AsyncRead + Unpin), count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    leg.read_exact(&mut bytes).await.unwrap();
    bytes
}

#[test]
fn outcomes_have_distinct_names() {
    let all = [
        Outcome::ClientClosed,
        Outcome::UpstreamClosed,
        Outcome::SignedOut,
        Outcome::Drained,
        Outcome::ClientSilent,
        Outcome::UpstreamSilent,
        Outcome::ClientStalled,
        Outcome::UpstreamStalled,
        Outcome::ClientError(ErrorKind::Other),
        Outcome::UpstreamError(ErrorKind::Other),
    ];
    let names: std::collections::BTreeSet<_> = all.iter().map(|outcome| outcome.as_str()).collect();
    assert_eq!(names.len(), all.len());
}
