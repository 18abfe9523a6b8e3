//! The store's socket in a running edge.

use super::operations::{Opened, Sink, perform};
use super::place::{self, Key};
use super::protocol::{self, Frame, KEY_BYTES, PROGRESS_EVERY, Step};
use crate::cli::with_causes;
use anyhow::{Context, anyhow, bail};
use async_trait::async_trait;
use bytes::Bytes;
use coditect_auth::Entropy;
use coditect_config::StoreConfig;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Clients that may be about to show the key.
const MAX_GREETINGS: usize = 16;
/// Clients that are served at once.
const MAX_CLIENTS: usize = 4;
/// How long a client may take to show the key and say what it wants.
const GREETING: Duration = Duration::from_secs(5);
/// How long a client may take to read a frame. A client that pauses for longer loses its answer: meanwhile an
/// export would make the store's file grow.
const FRAME: Duration = Duration::from_secs(60);
/// Frames that may wait for a client, each at most a few hundred KiB.
const WAITING_FRAMES: usize = 4;
/// Listed things in a frame.
const FRAME_ITEMS: usize = 64;
/// How long to wait after an error of the listener, such as too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// The socket while it is served. Dropping it stops serving.
pub(crate) struct StoreSocket {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl StoreSocket {
    /// Starts to serve an open embedded store.
    pub(super) async fn start(
        config: &StoreConfig,
        opened: Opened,
        entropy: &dyn Entropy,
    ) -> anyhow::Result<Self> {
        let (listener, key, place) = place::listen(config, entropy).await?;
        let (stop, stopped) = oneshot::channel();
        let server = Arc::new(Server { key, opened, clients: Semaphore::new(MAX_CLIENTS) });
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            tokio::select! {
                () = accept(listener, server, &mut connections) => {}
                _ = stopped => {}
            }
            // Not before nobody can connect any more.
            drop(place);
            connections.shutdown().await;
        });
        Ok(Self { stop, task })
    }

    /// Stops serving and breaks off what clients have under way.
    pub(crate) async fn close(self) {
        drop(self.stop);
        drop(self.task.await);
    }
}

struct Server {
    key: Key,
    opened: Opened,
    clients: Semaphore,
}

async fn accept(listener: UnixListener, server: Arc<Server>, connections: &mut JoinSet<()>) {
    let greetings = Arc::new(Semaphore::new(MAX_GREETINGS));
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(greeting) = Arc::clone(&greetings).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = Arc::clone(&server);
                connections.spawn(async move {
                    let served = server.serve(stream, greeting).await;
                    if let Err(error) = served {
                        tracing::debug!(error = with_causes(&error), "a client of the store's socket failed");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the store's socket cannot accept a client");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

impl Server {
    async fn serve(
        &self,
        stream: UnixStream,
        greeting: tokio::sync::OwnedSemaphorePermit,
    ) -> anyhow::Result<()> {
        let peer = stream.peer_cred().context("who connected is unknown")?;
        let (input, mut out) = stream.into_split();
        let mut input = BufReader::new(input);
        if peer.uid() != rustix::process::geteuid().as_raw() && peer.uid() != 0 {
            return refuse(&mut out, "only the edge's own user may use the store's socket").await;
        }
        let greeted = timeout(GREETING, async {
            let mut key = [0; KEY_BYTES];
            input.read_exact(&mut key).await?;
            if !bool::from(key.as_slice().ct_eq(self.key.as_slice())) {
                return Ok(None);
            }
            protocol::read_request(&mut input).await.map(Some)
        });
        let request = match greeted.await.context("it said nothing for too long")? {
            Ok(Some(request)) => request,
            Ok(None) => {
                tracing::warn!(uid = peer.uid(), pid = peer.pid(), "a wrong key at the store's socket");
                return refuse(&mut out, "this is not the key of the running edge").await;
            }
            Err(error) => return refuse(&mut out, &with_causes(&error)).await,
        };
        drop(greeting);
        let Ok(_client) = self.clients.try_acquire() else {
            return refuse(&mut out, "the edge is busy with other store commands: try again later").await;
        };
        tracing::info!(command = request.name(), uid = peer.uid(), pid = peer.pid(), "a store command");

        let (frames, waiting) = mpsc::channel(WAITING_FRAMES);
        let step = Arc::new(Mutex::new(Step::default()));
        let mut sink = FrameSink { frames: frames.clone(), step: Arc::clone(&step) };
        let work = async move {
            let last = match perform(&request, &self.opened, &mut sink).await {
                Ok(outcome) => Frame::End(outcome),
                Err(error) => Frame::Error(with_causes(&error)),
            };
            frames.send(last).await.map_err(|_| anyhow!("the client is gone"))
        };
        // Whichever fails first ends the other.
        tokio::try_join!(work, send(&mut out, waiting, &step)).map(|_| ())
    }
}

async fn refuse(out: &mut OwnedWriteHalf, why: &str) -> anyhow::Result<()> {
    let told = Frame::Error(why.to_owned());
    timeout(GREETING, protocol::write_frame(out, &told)).await.context("it does not read")??;
    bail!("refused: {why}")
}

/// Sends frames, and how far it is, until the last one.
async fn send(
    out: &mut OwnedWriteHalf,
    mut waiting: mpsc::Receiver<Frame>,
    step: &Mutex<Step>,
) -> anyhow::Result<()> {
    let mut tick = interval(PROGRESS_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let frame = tokio::select! {
            frame = waiting.recv() => frame,
            _ = tick.tick() => {
                Some(Frame::Progress(step.lock().unwrap_or_else(PoisonError::into_inner).clone()))
            }
        };
        let Some(frame) = frame else { return Ok(()) };
        let last = matches!(frame, Frame::End(_) | Frame::Error(_));
        let sent = timeout(FRAME, protocol::write_frame(out, &frame)).await;
        sent.context("the client does not read")??;
        if last {
            return Ok(());
        }
    }
}

/// Turns what an operation brings to light into frames.
struct FrameSink {
    frames: mpsc::Sender<Frame>,
    step: Arc<Mutex<Step>>,
}

impl FrameSink {
    async fn send(&self, frame: Frame) -> anyhow::Result<()> {
        self.frames.send(frame).await.map_err(|_| anyhow!("the client is gone"))
    }
}

#[async_trait]
impl Sink for FrameSink {
    async fn items(&mut self, mut items: Vec<Value>) -> anyhow::Result<()> {
        while !items.is_empty() {
            let rest = items.split_off(items.len().min(FRAME_ITEMS));
            self.send(Frame::Items(std::mem::replace(&mut items, rest))).await?;
        }
        Ok(())
    }

    async fn bytes(&mut self, bytes: Bytes) -> anyhow::Result<()> {
        self.send(Frame::Bytes(bytes)).await
    }

    fn progress(&mut self, step: Step) {
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }
}
