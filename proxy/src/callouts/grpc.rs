//! One gRPC call over HTTP/2 (grpc/grpc, `doc/PROTOCOL-HTTP2.md`): unary, or a stream of messages both ways.

use super::beside;
use super::body::send;
use super::budget::{Held, Place};
use super::fields::{Malformed, metadata, to_pairs};
use super::frames::{Decoder, encode};
use super::http::{MAX_TIMEOUT, was_refused};
use super::http2::{OpenError, Opened};
use super::life::{Activity, MAX_LIFE};
use super::metrics::Counted;
use super::queue::{Next, Queue};
use super::sink::{GrpcSink, unwanted};
use super::status::{End, grpc_status};
use super::target::Target;
use bytes::Bytes;
use coditect_proxy_wasm::{GrpcCall, Pairs};
use h2::{RecvStream, SendStream};
use http::header::{CONTENT_TYPE, HeaderValue, TE};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Uri};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::coop::consume_budget;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// `grpc-timeout` has at most eight digits.
const MOST_TIMEOUT: u128 = 99_999_999;

/// A call that can be sent.
#[derive(Debug)]
pub(super) struct Prepared {
    path: PathAndQuery,
    metadata: HeaderMap,
    /// The only message, framed.
    unary: Option<Bytes>,
    /// None where it is a stream that lives as long as one may.
    timeout: Option<Duration>,
    most: usize,
}

/// A call that was begun: all that its task owns.
pub(super) struct Begun<S> {
    pub(super) target: Arc<Target>,
    /// Whose call it is.
    pub(super) tenant: Arc<str>,
    pub(super) call: Prepared,
    pub(super) queue: Arc<Queue>,
    pub(super) sink: S,
    pub(super) counted: Counted,
    pub(super) place: Place,
    /// Room for the unary request.
    pub(super) request: Held,
    /// Room for what is received.
    pub(super) response: Held,
}

/// How an attempt ended, and a unary call's only message.
struct Attempt {
    end: End,
    message: Option<Bytes>,
    /// The upstream has done nothing with the request.
    refused: bool,
}

impl Prepared {
    /// # Errors
    /// The metadata cannot be sent, the names are no gRPC names, or the message is beyond gRPC's own limit.
    pub(super) fn read(call: &GrpcCall) -> Result<Self, Malformed> {
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        };
        if !is_name(&call.service) || !is_name(&call.method) {
            return Err(Malformed);
        }
        let path = PathAndQuery::try_from(format!("/{}/{}", call.service, call.method));
        let unary = call.message.as_ref().map(|message| encode(message).ok_or(Malformed)).transpose()?;
        let timeout = match (unary.is_some(), call.timeout) {
            (true, None | Some(Duration::ZERO)) => Some(MAX_TIMEOUT),
            (true, Some(given)) => Some(given.min(MAX_TIMEOUT)),
            (false, given) => given.filter(|given| *given < MAX_LIFE),
        };
        let metadata = metadata(&call.metadata)?;
        Ok(Self { path: path.map_err(|_| Malformed)?, metadata, unary, timeout, most: call.most })
    }

    /// Bytes of the unary request.
    pub(super) fn len(&self) -> usize {
        self.unary.as_ref().map_or(0, Bytes::len)
    }

    fn request(&self, target: &Target) -> Option<Request<()>> {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = target.authority.clone();
        uri.path_and_query = Some(self.path.clone());
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_parts(uri).ok()?;
        *request.headers_mut() = self.metadata.clone();
        let headers = request.headers_mut();
        headers.insert(TE, TRAILERS);
        headers.insert(CONTENT_TYPE, GRPC);
        if let Some(timeout) = self.timeout {
            let value = match timeout.as_millis() {
                millis if millis <= MOST_TIMEOUT => format!("{millis}m"),
                millis => format!("{}S", (millis / 1000).min(MOST_TIMEOUT)),
            };
            headers.insert(GRPC_TIMEOUT, HeaderValue::try_from(value).ok()?);
        }
        Some(request)
    }
}

impl<S: GrpcSink> Begun<S> {
    /// Carries the call to its end and tells the guest of all that happens, but for one that it gave up itself.
    pub(super) async fn run(self) {
        let Self { target, tenant, call, queue, sink, counted, place, request, mut response } = self;
        let (unheard, activity, began) = (AtomicU64::new(0), Activity::new(), Instant::now());
        let _closed = queue.closed_at_end();
        let unary = call.unary.is_some();
        let (limit, late) = match call.timeout {
            Some(limit) => (limit, End::timed_out()),
            None => (MAX_LIFE, End::of_age()),
        };
        let link = Link {
            target: &target,
            tenant: &tenant,
            call: &call,
            queue: &queue,
            sink: &sink,
            unheard: &unheard,
            activity: &activity,
        };
        let ended = tokio::select! {
            biased;
            () = queue.cancelled() => return,
            () = unwanted(|| sink.is_wanted()) => return,
            () = activity.idle(), if !unary => Err(End::idle()),
            ended = timeout(limit, link.carry(&mut response)) => ended.map_err(|_| late),
        };
        drop((request, place));
        let connection = unheard.load(Ordering::Relaxed);
        if connection != 0 && ended.is_err() {
            target.http2.pool.suspect(connection, began);
        }
        let Attempt { end, message, .. } =
            ended.unwrap_or_else(|end| Attempt { end, message: None, refused: false });
        counted.end(end.outcome, unary);
        if let Some(message) = message {
            sink.message(message);
        } else if !unary {
            sink.trailing_metadata(end.trailers);
        }
        sink.close(end.status, end.message);
    }
}

/// What a call's exchange works with.
struct Link<'a, S> {
    target: &'a Target,
    tenant: &'a Arc<str>,
    call: &'a Prepared,
    queue: &'a Queue,
    sink: &'a S,
    /// The connection, while nothing was heard of the upstream.
    unheard: &'a AtomicU64,
    activity: &'a Activity,
}

impl<S: GrpcSink> Link<'_, S> {
    async fn carry(&self, held: &mut Held) -> Attempt {
        let attempt = self.attempt(held).await;
        if attempt.refused && self.call.unary.is_some() {
            return self.attempt(held).await;
        }
        attempt
    }

    async fn attempt(&self, held: &mut Held) -> Attempt {
        let (mut message, mut refused) = (None, false);
        let end = match self.exchange(held, &mut message, &mut refused).await {
            Ok(end) | Err(end) => end,
        };
        // A unary response's message counts only with its status.
        let message = message.filter(|_| end.is_ok());
        Attempt { end, message, refused }
    }

    async fn exchange(
        &self,
        held: &mut Held,
        message: &mut Option<Bytes>,
        refused: &mut bool,
    ) -> Result<End, End> {
        let request = self.call.request(self.target).ok_or_else(End::unsendable)?;
        let opened = self.target.http2.open(self.tenant, &request, false).await;
        let Opened { response, body: mut stream, lease } = opened.map_err(|error| {
            *refused = matches!(&error, OpenError::Http2(error) if was_refused(error));
            End::of_open(&error)
        })?;
        self.unheard.store(lease.connection(), Ordering::Relaxed);
        let receiving = async {
            let response = response.await.map_err(|error| {
                *refused = was_refused(&error);
                End::of_http2(&error)
            })?;
            self.unheard.store(0, Ordering::Relaxed);
            lease.heard();
            let (head, body) = response.into_parts();
            self.head(head.status, &head.headers, body.is_end_stream()).await?;
            self.messages(body, held, message).await
        };
        beside(self.send(&mut stream), receiving).await
    }

    /// Sends what the guest has to say until it is through or the stream is over, which the receiving side tells.
    async fn send(&self, stream: &mut SendStream<Bytes>) {
        if let Some(message) = &self.call.unary {
            drop(send(stream, message.clone(), true).await);
            return;
        }
        loop {
            let sent = match self.queue.next().await {
                Next::End => return drop(stream.send_data(Bytes::new(), true)),
                Next::Message(message, _held, last) => match encode(&message) {
                    Some(frame) => send(stream, frame, last).await.map(|()| last),
                    None => return,
                },
            };
            self.activity.message();
            if !matches!(sent, Ok(false)) {
                return;
            }
        }
    }

    /// Judges a response's head.
    ///
    /// # Errors
    /// The call is over: the head is all there is, or it is no gRPC.
    async fn head(&self, status: StatusCode, headers: &HeaderMap, only: bool) -> Result<(), End> {
        let stream = self.call.unary.is_none();
        if only && grpc_status(headers).is_some() {
            if stream {
                self.tell(|sink| sink.initial_metadata(Pairs::new())).await;
            }
            return Err(End::of_trailers(headers));
        }
        if stream {
            self.tell(|sink| sink.initial_metadata(to_pairs(Some(status), headers))).await;
        }
        if status != StatusCode::OK {
            return Err(End::of_http(status));
        }
        if !is_grpc(headers) {
            return Err(End::not_grpc());
        }
        if only { Err(End::of_trailers(headers)) } else { Ok(()) }
    }

    /// Reads messages and trailers. A stream's guest is told of each message before more is asked of the upstream.
    async fn messages(
        &self,
        mut body: RecvStream,
        held: &mut Held,
        only: &mut Option<Bytes>,
    ) -> Result<End, End> {
        let mut decoder = Decoder::new(self.call.most);
        let mut count = 0;
        while let Some(piece) = body.data().await {
            let piece = piece.map_err(|error| End::of_http2(&error))?;
            let kept = only.as_ref().map_or(0, Bytes::len);
            held.set(kept + decoder.held() + piece.len()).map_err(|_| End::no_room())?;
            decoder.push(&piece);
            while let Some(message) = decoder.message().map_err(End::of_frame)? {
                count += 1;
                self.activity.message();
                if self.call.unary.is_none() {
                    self.tell(|sink| sink.message(message)).await;
                } else if only.replace(message).is_some() {
                    return Err(End::not_unary(count));
                }
            }
            body.flow_control().release_capacity(piece.len()).map_err(|error| End::of_http2(&error))?;
            // Pieces of messages without end leave others their turn, and the deadline its own.
            consume_budget().await;
        }
        let trailers = body.trailers().await.map_err(|error| End::of_http2(&error))?;
        let end = End::of_trailers(&trailers.unwrap_or_default());
        if end.is_ok() && decoder.held() > 0 {
            return Err(End::cut_short());
        }
        if end.is_ok() && self.call.unary.is_some() && count == 0 {
            return Err(End::not_unary(count));
        }
        Ok(end)
    }

    /// Runs a callback of the guest, then lets others run: each may take its whole CPU budget, and in it the guest
    /// may have given the call up.
    async fn tell(&self, callback: impl FnOnce(&S)) {
        callback(self.sink);
        yield_now().await;
    }
}

/// Whether a response is gRPC by its `content-type`: `application/grpc`, also with a format or parameters.
fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    content_type
        .strip_prefix(GRPC.as_bytes())
        .is_some_and(|rest| rest.first().is_none_or(|next| matches!(next, b'+' | b';' | b' ')))
}
