//! An HTTP/2 client with prior knowledge, in cleartext.

use super::http::Response;
use super::within;
use bytes::Bytes;
use h2::client;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// Sends one request on a connection of its own.
pub async fn send(to: SocketAddr, request: http::Request<()>, body: &[u8]) -> Response {
    within("an HTTP/2 exchange", exchange(to, request, Bytes::copy_from_slice(body))).await
}

async fn exchange(to: SocketAddr, request: http::Request<()>, body: Bytes) -> Response {
    let stream = TcpStream::connect(to).await.unwrap();
    let (sender, connection) = client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let (answer, mut sending) = sender.send_request(request, body.is_empty()).unwrap();
    if !body.is_empty() {
        // Kept until the windows open; the connection's task sends it.
        sending.send_data(body, true).unwrap();
    }
    let answer = answer.await.unwrap();
    let (head, mut stream) = answer.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece.unwrap();
        stream.flow_control().release_capacity(piece.len()).unwrap();
        body.extend_from_slice(&piece);
    }
    connection.abort();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    Response { status: head.status.as_u16(), headers, body }
}
