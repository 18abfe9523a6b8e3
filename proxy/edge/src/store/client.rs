//! The store's socket as commands use it.

use super::operations::Sink;
use super::place;
use super::protocol::{self, Frame, Outcome, Request};
use anyhow::{Context, bail};
use coditect_config::StoreConfig;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long the edge may take for each step of the greeting.
const GREETING: Duration = Duration::from_secs(5);
/// How long the edge may be silent: many times as long as it ever is.
const SILENCE: Duration = Duration::from_secs(30);

/// A connection to a running edge.
pub(super) struct Client {
    stream: UnixStream,
    key: place::Key,
}

impl Client {
    /// Connects; `None` if no edge listens, so that the file may be opened.
    pub(super) async fn connect(config: &StoreConfig) -> anyhow::Result<Option<Self>> {
        let key_file = place::key_file(config);
        let key = place::read_key(&key_file).with_context(|| {
            format!("cannot read {}; run this as the user the edge runs as", key_file.display())
        })?;
        let Some(key) = key else { return Ok(None) };
        let connected = timeout(GREETING, place::connect(&config.socket)).await;
        let connected = connected.context("the edge does not accept").and_then(|connected| Ok(connected?));
        let stream = connected.with_context(|| format!("cannot connect to {}", config.socket.display()))?;
        Ok(stream.map(|stream| Self { stream, key }))
    }

    /// Has the edge do it.
    pub(super) async fn perform(self, request: &Request, sink: &mut dyn Sink) -> anyhow::Result<Outcome> {
        let (input, mut out) = self.stream.into_split();
        let asked = timeout(GREETING, async {
            out.write_all(&self.key).await?;
            protocol::write_request(&mut out, request).await
        });
        // An edge that refuses may close before it has read everything; what it says is of more use.
        let asked = asked.await.context("the running edge does not read").and_then(|asked| asked);
        let mut input = BufReader::new(input);
        loop {
            let read = timeout(SILENCE, protocol::read_frame(&mut input)).await;
            let frame = match read.context("the running edge fell silent")? {
                Ok(frame) => frame,
                Err(error) => {
                    asked.context("the running edge hung up")?;
                    return Err(error.context("the running edge hung up: is it stopping?"));
                }
            };
            match frame {
                Frame::Items(items) => sink.items(items).await?,
                Frame::Bytes(bytes) => sink.bytes(bytes).await?,
                Frame::Progress(step) if step.doing.is_empty() => {}
                Frame::Progress(step) => sink.progress(step),
                Frame::End(outcome) => return Ok(outcome),
                Frame::Error(message) => bail!("{message}"),
            }
        }
    }
}
