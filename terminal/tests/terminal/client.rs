//! A WebSocket client of one terminal, over an in-memory stream.

use crate::world::PATIENCE;
use bytes::Bytes;
use coditect_terminal::AttachHandler;
use futures::{SinkExt, StreamExt};
use http::Response;
use http_body_util::Full;
use serde_json::{Value, json};
use std::collections::VecDeque;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// What the connection between client and server holds, in bytes.
const WIRE_BYTES: usize = 64 * 1024;

pub struct Client {
    pub socket: WebSocketStream<DuplexStream>,
    /// The server's side of the connection.
    pub server: JoinHandle<()>,
    pub acknowledges: bool,
    /// Output not yet looked for.
    pub output: Vec<u8>,
    pub controls: VecDeque<Value>,
    pub pings: usize,
    pub closed: Option<(u16, String)>,
}

impl Client {
    pub async fn open(response: Response<Full<Bytes>>) -> Self {
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response.headers()["sec-websocket-protocol"], "coditect.terminal.v1");
        let handler = response.extensions().get::<AttachHandler>().unwrap();
        let (near, far) = tokio::io::duplex(WIRE_BYTES);
        let serve = handler.take().unwrap();
        assert!(handler.take().is_none());
        let server = tokio::spawn(serve(Box::new(far)));
        let socket = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        Self {
            socket,
            server,
            acknowledges: true,
            output: Vec::new(),
            controls: VecDeque::new(),
            pings: 0,
            closed: None,
        }
    }

    pub async fn send(&mut self, message: Message) {
        timeout(PATIENCE, self.socket.send(message)).await.unwrap().unwrap();
    }

    pub async fn input(&mut self, text: &str) {
        self.send(Message::binary(text.as_bytes().to_vec())).await;
    }

    pub async fn say(&mut self, message: Value) {
        self.send(Message::text(message.to_string())).await;
    }

    /// Reads one message; false at the end of the stream.
    pub async fn step(&mut self) -> bool {
        let message = timeout(PATIENCE, self.socket.next()).await.unwrap_or_else(|_| {
            let last = &self.output[self.output.len().saturating_sub(500)..];
            panic!("nothing came; last output: {:?}", String::from_utf8_lossy(last))
        });
        match message {
            Some(Ok(Message::Binary(bytes))) => {
                self.output.extend_from_slice(&bytes);
                if self.acknowledges {
                    // The server may have closed already.
                    self.socket
                        .send(Message::text(json!({"type": "ack", "bytes": bytes.len()}).to_string()))
                        .await
                        .unwrap_or_default();
                }
            }
            Some(Ok(Message::Text(text))) => self.controls.push_back(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Ping(_))) => self.pings += 1,
            Some(Ok(Message::Close(frame))) => {
                self.closed = frame.map(|frame| (u16::from(frame.code), frame.reason.to_string()));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return false,
        }
        true
    }

    /// Reads until `needle` was put out; the output up to and with it.
    pub async fn until(&mut self, needle: &str) -> String {
        let needle = needle.as_bytes();
        let mut searched = 0;
        loop {
            let unseen = &self.output[searched..];
            if let Some(at) = unseen.windows(needle.len()).position(|window| window == needle) {
                let rest = self.output.split_off(searched + at + needle.len());
                return String::from_utf8_lossy(&std::mem::replace(&mut self.output, rest)).into_owned();
            }
            searched = (self.output.len() + 1).saturating_sub(needle.len());
            assert!(self.step().await, "the socket ended: {:?} {:?}", self.closed, self.controls);
        }
    }

    /// Runs a command in the shell; what it printed, without carriage returns.
    pub async fn run(&mut self, command: &str) -> String {
        // Written apart, so that the echo of the command is not taken for its output.
        self.input(&format!("printf 'be''gin\\n'; {command}; printf 'e''nd\\n'\n")).await;
        self.until("begin\r\n").await;
        let output = self.until("end\r\n").await;
        output.trim_end_matches("end\r\n").replace('\r', "")
    }

    /// Reads until a control message of this type.
    pub async fn control(&mut self, kind: &str) -> Value {
        loop {
            if let Some(at) = self.controls.iter().position(|message| message["type"] == kind) {
                return self.controls.remove(at).unwrap();
            }
            assert!(self.step().await, "the socket ended: {:?}", self.closed);
        }
    }

    /// Reads to the end; the server's Close frame.
    pub async fn close(&mut self) -> (u16, String) {
        while self.step().await {}
        self.closed.clone().expect("no Close frame")
    }
}
