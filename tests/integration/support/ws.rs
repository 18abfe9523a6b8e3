//! WebSocket clients.

use super::http::Response;
use super::{DEADLINE, within};
use futures::{SinkExt, StreamExt};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// An open socket.
#[derive(Debug)]
pub struct Socket {
    /// The socket itself.
    pub stream: WebSocketStream<TcpStream>,
    /// The headers of the 101.
    pub headers: Vec<(String, String)>,
}

/// Opens a socket, or gives the answer that refused it.
pub async fn open(to: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Result<Socket, Response> {
    let mut request = format!("ws://{to}{target}").into_client_request().unwrap();
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    let stream = within("the edge accepts", TcpStream::connect(to)).await.unwrap();
    match within("the handshake is answered", client_async(request, stream)).await {
        Ok((stream, response)) => Ok(Socket { stream, headers: list(response.headers()) }),
        Err(Error::Http(response)) => Err(Response {
            status: response.status().as_u16(),
            headers: list(response.headers()),
            body: response.into_body().unwrap_or_default(),
        }),
        Err(error) => panic!("the handshake of {target} failed: {error}"),
    }
}

fn list(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

impl Socket {
    /// Sends a text message.
    pub async fn send(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    /// Sends a binary message.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.send(Message::binary(bytes.to_vec())).await.unwrap();
    }

    /// The next message, pings left out; `None` at the connection's end.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            match within("a message comes", self.stream.next()).await? {
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(message) => return Some(message),
                Err(_) => return None,
            }
        }
    }

    /// Sends a text and expects it back.
    pub async fn echo(&mut self, text: &str) {
        self.send(text).await;
        assert_eq!(self.next().await, Some(Message::text(text)), "the echo");
    }

    /// Reads until the Close and gives its code; `None` where the connection ends without one.
    pub async fn closed(&mut self, deadline: Duration) -> Option<u16> {
        let reading = async {
            loop {
                match self.stream.next().await? {
                    Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        };
        match tokio::time::timeout(deadline, reading).await {
            Ok(code) => code,
            Err(_) => panic!("the socket was not closed within {deadline:?}"),
        }
    }

    /// Collects binary messages (a terminal's output) until the text is in them.
    pub async fn output_with(&mut self, wanted: &str) -> String {
        let mut output = Vec::new();
        let reading = async {
            while let Some(Ok(message)) = self.stream.next().await {
                if let Message::Binary(bytes) = message {
                    output.extend_from_slice(&bytes);
                    if String::from_utf8_lossy(&output).contains(wanted) {
                        return true;
                    }
                }
            }
            false
        };
        let found = tokio::time::timeout(DEADLINE, reading).await.unwrap_or(false);
        let output = String::from_utf8_lossy(&output).into_owned();
        assert!(found, "{wanted:?} is not in the terminal's output {output:?}");
        output
    }
}
