//! What operators and Kubernetes ask: `/metrics`, `/livez`, `/readyz`. On a listener of its own.

use async_trait::async_trait;
use http::header::CONTENT_TYPE;
use http::{Method, Response, StatusCode};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use prometheus::{Encoder, Registry, TextEncoder};
use std::sync::Arc;
use std::time::Duration;

/// How long the answer to `/readyz` may take.
const READY_DEADLINE: Duration = Duration::from_secs(2);

/// Whether the edge can serve.
#[async_trait]
pub trait Readiness: Send + Sync {
    /// `Ok`, or why not. Asked at each `/readyz`.
    async fn ready(&self) -> Result<(), String>;
    /// From now on it is not ready: it drains.
    fn draining(&self);
}

/// The operators' application.
pub(crate) struct Admin {
    pub(crate) registry: Registry,
    pub(crate) readiness: Arc<dyn Readiness>,
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
        }
        let head = request.method == Method::HEAD;
        let mut response = match request.uri.path() {
            "/metrics" => self.metrics(),
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => match tokio::time::timeout(READY_DEADLINE, self.readiness.ready()).await {
                Ok(Ok(())) => text(StatusCode::OK, "ok\n"),
                Ok(Err(why)) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
                Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n"),
            },
            _ => text(StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz\n"),
        };
        if head {
            response.body_mut().clear();
        }
        response
    }
}

impl Admin {
    fn metrics(&self) -> Response<Vec<u8>> {
        let encoder = TextEncoder::new();
        let mut body = Vec::new();
        match encoder.encode(&self.registry.gather(), &mut body) {
            Ok(()) => respond(StatusCode::OK, encoder.format_type(), body),
            Err(error) => {
                text(StatusCode::INTERNAL_SERVER_ERROR, &format!("metrics cannot be written: {error}\n"))
            }
        }
    }
}

fn text(status: StatusCode, body: &str) -> Response<Vec<u8>> {
    respond(status, "text/plain; charset=utf-8", body.as_bytes().to_vec())
}

fn respond(status: StatusCode, content_type: &str, body: Vec<u8>) -> Response<Vec<u8>> {
    let length = body.len();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Ok(value) = content_type.parse() {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    response
}
