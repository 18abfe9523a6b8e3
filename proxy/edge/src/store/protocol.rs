//! What is said on the store's socket, which serves the operators' commands: those about the store, and those about
//! people.
//!
//! 1. The client sends the key, [`KEY_BYTES`] bytes, from the file that the edge made at its start. The key file
//!    is what lets someone in: sockets can be connected to from a terminal's sandbox, but the file cannot be read.
//! 2. The client sends one request frame.
//! 3. The edge sends item, bytes and progress frames in any number and order, then one end or one error frame, and
//!    closes. Either side closing earlier ends the operation.
//!
//! A frame is one byte for its kind, the length of its content as a 32-bit big-endian number, and the content:
//!
//! | kind | name | content |
//! |---|---|---|
//! | 1 | request | JSON: `{"protocol": 2, "do": …}`, at most [`MAX_REQUEST_BYTES`] |
//! | 2 | items | JSON: an array of what the request lists |
//! | 3 | bytes | a part of a value or an export |
//! | 4 | progress | JSON: [`Step`]; at least every [`PROGRESS_EVERY`], so that silence means something is wrong |
//! | 5 | end | JSON: [`Outcome`] |
//! | 6 | error | UTF-8: what went wrong |

use super::people::PeopleRequest;
use anyhow::{Context, bail};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use uuid::Uuid;

/// The version of all this.
pub(super) const PROTOCOL: u32 = 2;
/// Bytes of the key.
pub(super) const KEY_BYTES: usize = 32;
/// The longest request, in bytes.
pub(super) const MAX_REQUEST_BYTES: u32 = 16 << 10;
/// The longest frame the edge sends, in bytes.
pub(super) const MAX_FRAME_BYTES: u32 = 8 << 20;
/// How often the edge says how far it is.
pub(super) const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// A request, with the protocol it is made in.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Envelope {
    pub(super) protocol: u32,
    pub(super) r#do: Request,
}

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    Ls { path: Option<String>, recursive: bool, limit: u64, values: bool },
    Get { path: String, raw: bool },
    Stats,
    Verify,
    Export,
    Backup { file: PathBuf },
    AuditVerify { tenant: Option<Uuid>, heads: Option<PathBuf>, public_key: Option<String> },
    AuditHeads { by_request: bool },
    AuditLs { tenant: Uuid, limit: u64 },
    People(PeopleRequest),
}

impl Request {
    /// What is asked for, without names of keys and files.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Ls { .. } => "ls",
            Self::Get { .. } => "get",
            Self::Stats => "stats",
            Self::Verify => "verify",
            Self::Export => "export",
            Self::Backup { .. } => "backup",
            Self::AuditVerify { .. } => "audit verify",
            Self::AuditHeads { .. } => "audit head",
            Self::AuditLs { .. } => "audit ls",
            Self::People(request) => request.name(),
        }
    }
}

/// How far an operation is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Step {
    /// What it does now, as a participle; empty if it has nothing to tell.
    pub(super) doing: String,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl From<coditect_store::dump::Progress> for Step {
    fn from(progress: coditect_store::dump::Progress) -> Self {
        Self { doing: progress.doing.to_owned(), rows: progress.rows, bytes: progress.bytes }
    }
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// False if what was looked for is not there, or something is wrong with the store.
    pub(super) good: bool,
    /// Numbers and names, for people and machines.
    pub(super) summary: Value,
}

/// What the edge sends.
#[derive(Debug)]
pub(super) enum Frame {
    Items(Vec<Value>),
    Bytes(Bytes),
    Progress(Step),
    End(Outcome),
    Error(String),
}

const REQUEST: u8 = 1;
const ITEMS: u8 = 2;
const BYTES: u8 = 3;
const PROGRESS: u8 = 4;
const END: u8 = 5;
const ERROR: u8 = 6;

/// Sends a request.
pub(super) async fn write_request(
    out: &mut (impl AsyncWrite + Unpin),
    request: &Request,
) -> anyhow::Result<()> {
    let envelope = Envelope { protocol: PROTOCOL, r#do: request.clone() };
    write(out, REQUEST, &serde_json::to_vec(&envelope)?).await
}

/// Reads a request.
pub(super) async fn read_request(input: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<Request> {
    let (kind, content) = read(input, MAX_REQUEST_BYTES).await?;
    if kind != REQUEST {
        bail!("a request was expected, not a frame of kind {kind}");
    }
    // Only the version of a request that is newer than this program is certain to be understood.
    #[derive(Deserialize)]
    struct Version {
        protocol: u32,
    }
    let Version { protocol } = json(&content)?;
    if protocol != PROTOCOL {
        bail!(
            "the running edge speaks protocol {PROTOCOL}, this command {protocol}: use the edge's own binary"
        );
    }
    json::<Envelope>(&content).map(|envelope| envelope.r#do)
}

/// Sends a frame.
pub(super) async fn write_frame(out: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> anyhow::Result<()> {
    match frame {
        Frame::Items(items) => write(out, ITEMS, &serde_json::to_vec(items)?).await,
        Frame::Bytes(bytes) => write(out, BYTES, bytes).await,
        Frame::Progress(step) => write(out, PROGRESS, &serde_json::to_vec(step)?).await,
        Frame::End(outcome) => write(out, END, &serde_json::to_vec(outcome)?).await,
        Frame::Error(message) => write(out, ERROR, message.as_bytes()).await,
    }
}

/// Reads a frame.
pub(super) async fn read_frame(input: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<Frame> {
    let (kind, content) = read(input, MAX_FRAME_BYTES).await?;
    Ok(match kind {
        ITEMS => Frame::Items(json(&content)?),
        BYTES => Frame::Bytes(content.into()),
        PROGRESS => Frame::Progress(json(&content)?),
        END => Frame::End(json(&content)?),
        ERROR => Frame::Error(String::from_utf8_lossy(&content).into_owned()),
        kind => bail!("a frame of unknown kind {kind}"),
    })
}

async fn write(out: &mut (impl AsyncWrite + Unpin), kind: u8, content: &[u8]) -> anyhow::Result<()> {
    let length = u32::try_from(content.len()).ok().filter(|length| *length <= MAX_FRAME_BYTES);
    let length = length.with_context(|| format!("{} bytes are too many for a frame", content.len()))?;
    out.write_u8(kind).await?;
    out.write_u32(length).await?;
    out.write_all(content).await?;
    out.flush().await?;
    Ok(())
}

async fn read(input: &mut (impl AsyncRead + Unpin), limit: u32) -> anyhow::Result<(u8, Vec<u8>)> {
    let kind = input.read_u8().await?;
    let length = input.read_u32().await?;
    if length > limit {
        bail!("a frame of {length} bytes, at most {limit} are allowed");
    }
    let mut content = vec![0; usize::try_from(length)?];
    input.read_exact(&mut content).await?;
    Ok((kind, content))
}

fn json<T: DeserializeOwned>(content: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(content).context("a frame that is not understood")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stdout)]

    use super::*;
    use coditect_auth::{Entropy, SeededEntropy};
    use serde_json::json;

    #[tokio::test]
    async fn what_is_sent_is_what_arrives() {
        let request = Request::Ls { path: Some("/a".into()), recursive: true, limit: 3, values: false };
        let mut sent = Vec::new();
        write_request(&mut sent, &request).await.unwrap();
        assert_eq!(read_request(&mut sent.as_slice()).await.unwrap(), request);

        let outcome = Outcome { good: false, summary: json!({ "rows": 1 }) };
        let frames = [
            Frame::Items(vec![json!({ "path": "/" })]),
            Frame::Bytes(Bytes::from_static(b"\0")),
            Frame::Progress(Step { doing: "x".into(), rows: 1, bytes: 2 }),
            Frame::End(outcome),
            Frame::Error("no".into()),
        ];
        for frame in frames {
            let mut sent = Vec::new();
            write_frame(&mut sent, &frame).await.unwrap();
            let read = read_frame(&mut sent.as_slice()).await.unwrap();
            assert_eq!(format!("{read:?}"), format!("{frame:?}"));
        }
    }

    #[tokio::test]
    async fn long_newer_and_senseless_frames_are_refused() {
        let read = async |kind: u8, length: u32, content: &str| {
            let bytes = [&[kind][..], &length.to_be_bytes(), content.as_bytes()].concat();
            read_request(&mut bytes.as_slice()).await.map_err(|error| error.to_string())
        };
        assert!(read(1, MAX_REQUEST_BYTES + 1, "").await.unwrap_err().contains("at most"));
        assert!(read(2, 0, "").await.unwrap_err().contains("kind 2"));
        let newer = r#"{"protocol":3,"do":"dance"}"#;
        assert!(read(1, 27, newer).await.unwrap_err().contains("protocol 2"), "it says what to do");
        let seed = 0x50c;
        println!("seed {seed}");
        let entropy = SeededEntropy::new(seed);
        for _ in 0..2_000 {
            let mut noise = [0; 40];
            entropy.fill(&mut noise);
            noise[1..4].fill(0);
            assert!(read_request(&mut noise.as_slice()).await.is_err());
            noise[0] = 1 + noise[0] % 7;
            drop(read_frame(&mut noise.as_slice()).await);
        }
    }
}
