//! The world outside as guests see it: time, randomness, the log, and the upstreams that they may call.

use crate::callouts::Callouts;
use coditect_auth::{Clock, Entropy};
use coditect_proxy_wasm::{
    CallRefused, CallSource, Environment, GrpcCall, GrpcEvents, GrpcHandle, HttpCall, HttpReply, LogRecord,
    log_to_tracing,
};
use std::sync::Arc;
use std::time::Instant;

/// What the host is given of it.
pub(super) struct World {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    /// None where nobody can be called.
    pub(super) callouts: Option<Callouts>,
    pub(super) started: Instant,
}

impl Environment for World {
    fn realtime_nanoseconds(&self) -> u64 {
        u64::try_from(self.clock.now_millis()).unwrap_or_default().saturating_mul(1_000_000)
    }

    fn monotonic_nanoseconds(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn random(&self, buffer: &mut [u8]) {
        self.entropy.fill(buffer);
    }

    fn log(&self, record: &LogRecord<'_>) {
        log_to_tracing(record);
    }

    fn http_call(&self, source: &CallSource, call: HttpCall, reply: HttpReply) -> Result<(), CallRefused> {
        let callouts = self.callouts.as_ref().ok_or(CallRefused::UnknownUpstream)?;
        callouts.http_call(source, call, reply)
    }

    fn grpc_call(
        &self,
        source: &CallSource,
        call: GrpcCall,
        events: GrpcEvents,
    ) -> Result<Box<dyn GrpcHandle>, CallRefused> {
        let callouts = self.callouts.as_ref().ok_or(CallRefused::UnknownUpstream)?;
        callouts.grpc_call(source, &call, events)
    }
}
