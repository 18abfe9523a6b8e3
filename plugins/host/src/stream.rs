//! A plugin's context for one request.

use crate::abi::HeaderMap;
use crate::error::StreamError;
use crate::exchange::{Exchange, Outcome};
use crate::instance::{HeadersCall, HeadersResult};
use crate::plugin::Plugin;
use crate::pool::Lease;
use crate::state::Phase;

/// One request's stream context in one instance of a plugin.
///
/// Each method is one callback, or one end of life: it runs on the calling thread, without awaiting, and returns
/// when the guest does or is cut off. The context can move between threads and be held across awaits between calls.
///
/// After an error the instance is gone; every later call answers [`StreamError::InstanceLost`] and does nothing.
/// Dropping a context that was not [`close`](Self::close)d ends it in the guest without `proxy_on_log`.
pub struct StreamContext {
    plugin: Plugin,
    lease: Lease,
    id: u32,
    responded: bool,
    open: bool,
}

impl StreamContext {
    pub(crate) fn new(plugin: Plugin, lease: Lease, id: u32) -> Self {
        Self { plugin, lease, id, responded: false, open: true }
    }

    /// The plugin it belongs to.
    #[must_use]
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// Runs `proxy_on_request_headers`. `end_of_stream`: the request has no body.
    ///
    /// # Errors
    /// The guest trapped in this callback or, in another stream's, before.
    pub fn on_request_headers(
        &mut self,
        exchange: &mut dyn Exchange,
        end_of_stream: bool,
    ) -> Result<Outcome, StreamError> {
        self.headers(Phase::RequestHeaders, HeaderMap::Request, exchange, end_of_stream)
    }

    /// Runs `proxy_on_response_headers`, for responses of upstreams and for local ones, this plugin's own included.
    /// `end_of_stream`: the response has no body.
    ///
    /// A stream sends one local response at most; once it did, there is none in the outcome.
    ///
    /// # Errors
    /// The guest trapped in this callback or, in another stream's, before.
    pub fn on_response_headers(
        &mut self,
        exchange: &mut dyn Exchange,
        end_of_stream: bool,
    ) -> Result<Outcome, StreamError> {
        self.headers(Phase::ResponseHeaders, HeaderMap::Response, exchange, end_of_stream)
    }

    fn headers(
        &mut self,
        phase: Phase,
        map: HeaderMap,
        exchange: &mut dyn Exchange,
        end_of_stream: bool,
    ) -> Result<Outcome, StreamError> {
        let count = u32::try_from(exchange.header_count(map)).unwrap_or(u32::MAX);
        let call =
            HeadersCall { phase, context: self.id, count, end_of_stream, may_respond: !self.responded };
        let HeadersResult { action, local_response } =
            self.lease.with(|instance| instance.headers(&call, exchange))?;
        self.responded |= local_response.is_some();
        Ok(Outcome { action, local_response })
    }

    /// Ends the stream: `proxy_on_log`, `proxy_on_done`, `proxy_on_delete`, in Envoy's order. To be called when the
    /// response is complete; a trap here leaves the response alone.
    ///
    /// # Errors
    /// The guest trapped in one of them or before.
    pub fn close(mut self, exchange: &mut dyn Exchange) -> Result<(), StreamError> {
        self.open = false;
        self.lease.with(|instance| instance.end_stream(self.id, Some(exchange)))
    }
}

impl Drop for StreamContext {
    fn drop(&mut self) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        match self.lease.with(|instance| instance.end_stream(self.id, None)) {
            Ok(()) | Err(StreamError::InstanceLost { .. }) => {}
            Err(error) => tracing::warn!(%error, "a plugin failed while an abandoned stream was deleted"),
        }
    }
}
