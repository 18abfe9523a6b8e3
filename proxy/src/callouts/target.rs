//! One upstream as calls reach it: its connections, and the places there are.

use super::body::CallBody;
use super::budget::MAX_CALLS_PER_UPSTREAM;
use super::http2::Http2;
use super::ledger::Ledger;
use super::tasks::Tasks;
use crate::upstream::{ConnectError, Upstream};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::Uri;
use http::uri::Authority;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tower_service::Service;

/// Idle HTTP/1.1 connections kept to one upstream.
const MAX_IDLE: usize = 32;
/// Headers of one HTTP/1.1 response.
const MAX_HEADERS: usize = 128;

/// One upstream.
#[derive(Debug)]
pub(crate) struct Target {
    pub(super) upstream: Arc<Upstream>,
    /// Its authority, for requests that name none.
    pub(super) authority: Option<Authority>,
    pub(super) http1: Client<Connector, CallBody>,
    pub(super) http2: Http2,
    pub(super) places: Arc<Ledger>,
}

impl Target {
    pub(super) fn new(upstream: Arc<Upstream>, tasks: &Tasks) -> Self {
        let http1 = Client::builder(tasks.clone())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(upstream.config.keepalive)
            .pool_max_idle_per_host(MAX_IDLE)
            .http1_max_headers(MAX_HEADERS)
            .http1_max_buf_size(super::MAX_HEAD_BYTES as usize)
            // `Host` is the guest's word, and no part of what connections are kept by.
            .set_host(false)
            .build(Connector(Arc::clone(&upstream)));
        Self {
            authority: Authority::try_from(upstream.authority()).ok(),
            http1,
            http2: Http2::new(Arc::clone(&upstream), tasks.clone()),
            places: Ledger::new(MAX_CALLS_PER_UPSTREAM, upstream.config.calls_per_tenant),
            upstream,
        }
    }
}

/// Opens connections for hyper-util's pool. Where to is the upstream's to say, whatever the request's URI.
#[derive(Debug, Clone)]
pub(super) struct Connector(Arc<Upstream>);

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let upstream = Arc::clone(&self.0);
        async move { upstream.connect().await.map(TokioIo::new) }.boxed()
    }
}
