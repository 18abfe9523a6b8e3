//! One HTTP call: a request with its whole body, a response gathered whole within bounds.

use super::beside;
use super::body::{CallBody, Gathered};
use super::budget::{Held, Place};
use super::fields::{Head, Malformed, fields, to_pairs};
use super::http2::{OpenError, Opened};
use super::metrics::{Counted, Outcome};
use super::sink::{HttpSink, unwanted};
use super::target::Target;
use bytes::Bytes;
use coditect_config::UpstreamProtocol;
use coditect_proxy_wasm::{CallFailure, HttpCall, HttpCallResponse};
use h2::{Reason, RecvStream};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TRAILER, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body::Body;
use http_body_util::BodyExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, timeout};

/// The longest a call may take, whatever the guest says; also where it gives 0, which to other hosts is "no limit".
pub(super) const MAX_TIMEOUT: Duration = Duration::from_secs(30);
/// What HTTP/1.1 connections are kept by: there is one pool for each upstream.
const POOL: Authority = Authority::from_static("upstream.invalid");

/// A call that can be sent.
#[derive(Debug)]
pub(super) struct Prepared {
    head: Head,
    body: CallBody,
    timeout: Duration,
    most: usize,
}

/// A call that was begun: all that its task owns.
pub(super) struct Begun<S> {
    pub(super) target: Arc<Target>,
    /// Whose call it is.
    pub(super) tenant: Arc<str>,
    pub(super) call: Prepared,
    pub(super) sink: S,
    pub(super) counted: Counted,
    pub(super) place: Place,
    /// Room for the request's body.
    pub(super) request: Held,
    /// Room for the response's.
    pub(super) response: Held,
}

/// A response, and the room it takes.
type Answer = Result<(HttpCallResponse, Held), CallFailure>;

impl Prepared {
    /// # Errors
    /// The guest's headers or trailers cannot be sent.
    pub(super) fn read(call: HttpCall) -> Result<Self, Malformed> {
        let head = Head::read(&call.headers)?;
        let trailers = fields(&call.trailers)?;
        let timeout = if call.timeout.is_zero() { MAX_TIMEOUT } else { call.timeout.min(MAX_TIMEOUT) };
        Ok(Self { head, body: CallBody::new(call.body, trailers), timeout, most: call.most })
    }

    /// Bytes of the request's body.
    pub(super) fn len(&self) -> usize {
        self.body.len()
    }
}

impl<S: HttpSink> Begun<S> {
    /// Sends the request, gathers the answer, gives it to the guest. Ends early, and silently, once nobody waits.
    pub(super) async fn run(self) {
        let Self { target, tenant, call, sink, counted, place, request, response } = self;
        let unheard = AtomicU64::new(0);
        let (limit, began) = (call.timeout, Instant::now());
        let exchange = async {
            match target.upstream.config.protocol {
                UpstreamProtocol::Http1 => over_http1(&target, call, response).await,
                UpstreamProtocol::H2c => over_http2(&target, &tenant, call, response, &unheard).await,
            }
        };
        let answer = tokio::select! {
            biased;
            () = unwanted(|| sink.is_wanted()) => return,
            answer = timeout(limit, exchange) => answer.unwrap_or(Err(CallFailure::Timeout)),
        };
        drop((request, place));
        counted.end(outcome(&answer), true);
        let connection = unheard.load(Ordering::Relaxed);
        if connection != 0 && matches!(answer, Err(CallFailure::Timeout)) {
            target.http2.pool.suspect(connection, began);
        }
        match answer {
            Ok((response, _held)) => sink.send(Ok(response)),
            Err(failure) => sink.send(Err(failure)),
        }
    }
}

fn outcome(answer: &Answer) -> Outcome {
    match answer {
        Ok(_) => Outcome::Ok,
        Err(CallFailure::Timeout) => Outcome::Timeout,
        Err(CallFailure::Unreachable) => Outcome::Unreachable,
        Err(CallFailure::TooLarge) => Outcome::TooLarge,
        Err(CallFailure::Reset) => Outcome::Reset,
    }
}

async fn over_http1(target: &Target, call: Prepared, held: Held) -> Answer {
    let request = http1_request(target, call.head, call.body)?;
    let response = target.http1.request(request).await.map_err(|error| failed(target, &error))?;
    let (head, mut body) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody asked for it.
        return Err(CallFailure::Reset);
    }
    let mut gathered = Gathered::new(call.most, held);
    gathered.expect(body.size_hint().lower())?;
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(target, &error))?;
        // Small pieces without end leave others their turn, and the deadline its own.
        consume_budget().await;
        match frame.into_data() {
            Ok(piece) => gathered.push(&piece)?,
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok(answer(head.status, &head.headers, gathered, &trailers))
}

/// The request as HTTP/1.1 has it: `Host` for the authority, a length or chunks for the body.
fn http1_request(target: &Target, head: Head, body: CallBody) -> Result<Request<CallBody>, CallFailure> {
    let mut headers = head.headers;
    let host = head.authority.or_else(|| target.authority.clone());
    let host = host.and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    headers.insert(HOST, host.unwrap_or(HeaderValue::from_static("")));
    if let Some(trailers) = &body.trailers {
        let names: Vec<&str> = trailers.keys().map(|name| name.as_str()).collect();
        let names = HeaderValue::try_from(names.join(", ")).map_err(|_| CallFailure::Reset)?;
        headers.insert(TRAILER, names);
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    } else if body.len() == 0 && [Method::POST, Method::PUT, Method::PATCH].contains(&head.method) {
        // RFC 9110, 8.6: these say so when they have no body.
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if !body.is_end_stream() && ![Method::POST, Method::PUT, Method::PATCH].contains(&head.method) {
        // RFC 9110, 9.3.1: some upstreams do not read such a body, and would take it for the next request on the
        // connection, which may be another tenant's.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let mut request = Request::new(body);
    *request.method_mut() = head.method;
    *request.uri_mut() = uri(Some(POOL), head.path)?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn uri(authority: Option<Authority>, path: http::uri::PathAndQuery) -> Result<Uri, CallFailure> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = authority;
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_| CallFailure::Reset)
}

fn failed(target: &Target, error: &hyper_util::client::legacy::Error) -> CallFailure {
    let upstream = &target.upstream.config.name;
    tracing::debug!(upstream, error = error as &dyn std::error::Error, "a plugin's call failed");
    if error.is_connect() { CallFailure::Unreachable } else { CallFailure::Reset }
}

fn broken(target: &Target, error: &hyper::Error) -> CallFailure {
    let upstream = &target.upstream.config.name;
    tracing::debug!(upstream, error = error as &dyn std::error::Error, "a plugin's call broke off");
    CallFailure::Reset
}

async fn over_http2(
    target: &Target,
    tenant: &Arc<str>,
    call: Prepared,
    held: Held,
    unheard: &AtomicU64,
) -> Answer {
    let mut request = Request::new(());
    let authority = call.head.authority.or_else(|| target.authority.clone());
    *request.method_mut() = call.head.method;
    *request.uri_mut() = uri(authority, call.head.path)?;
    *request.headers_mut() = call.head.headers;
    if let Some(data) = &call.body.data {
        request.headers_mut().insert(CONTENT_LENGTH, data.len().into());
    }
    let mut gathered = Gathered::new(call.most, held);
    let link = Link { target, tenant, request: &request, unheard };
    let first = link.attempt(call.body.clone(), &mut gathered).await;
    let answered = match first {
        // It says that it has not begun to work on it (RFC 9113, 8.7).
        Err(Broken::Refused) => link.attempt(call.body, &mut gathered).await,
        first => first,
    };
    match answered {
        Ok((status, headers, trailers)) => Ok(answer(status, &headers, gathered, &trailers)),
        Err(Broken::Failed(failure)) => Err(failure),
        Err(Broken::Refused) => Err(CallFailure::Reset),
    }
}

/// Why an attempt brought no response.
enum Broken {
    /// The upstream did not take the request.
    Refused,
    Failed(CallFailure),
}

/// What the attempts at one request have in common.
struct Link<'a> {
    target: &'a Target,
    tenant: &'a Arc<str>,
    request: &'a Request<()>,
    /// The connection, while nothing was heard of the upstream.
    unheard: &'a AtomicU64,
}

impl Link<'_> {
    async fn attempt(
        &self,
        body: CallBody,
        gathered: &mut Gathered,
    ) -> Result<(StatusCode, HeaderMap, HeaderMap), Broken> {
        let empty = body.data.is_none() && body.trailers.is_none();
        let opened = self.target.http2.open(self.tenant, self.request, empty).await;
        let Opened { response, body: mut stream, lease } = opened.map_err(|error| match error {
            OpenError::Connect(_) => Broken::Failed(CallFailure::Unreachable),
            OpenError::Http2(error) => self.unbegun(&error),
            OpenError::Full => Broken::Failed(CallFailure::Timeout),
        })?;
        self.unheard.store(lease.connection(), Ordering::Relaxed);
        // A request's body that is not wanted to its end does not spoil the response.
        let sending = async { drop(body.send(&mut stream).await) };
        let receiving = async {
            let response = response.await.map_err(|error| self.unbegun(&error))?;
            self.unheard.store(0, Ordering::Relaxed);
            lease.heard();
            let (head, body) = response.into_parts();
            let trailers = self.gather(&head.headers, body, gathered).await?;
            Ok((head.status, head.headers, trailers))
        };
        beside(sending, receiving).await
    }

    /// Reads a response's body; what is left are its trailers.
    async fn gather(
        &self,
        headers: &HeaderMap,
        mut body: RecvStream,
        gathered: &mut Gathered,
    ) -> Result<HeaderMap, Broken> {
        if !body.is_end_stream() {
            gathered.expect(length(headers)).map_err(Broken::Failed)?;
        }
        while let Some(piece) = body.data().await {
            let piece: Bytes = piece.map_err(|error| self.broken(&error))?;
            gathered.push(&piece).map_err(Broken::Failed)?;
            body.flow_control().release_capacity(piece.len()).map_err(|error| self.broken(&error))?;
            consume_budget().await;
        }
        let trailers = body.trailers().await.map_err(|error| self.broken(&error))?;
        Ok(trailers.unwrap_or_default())
    }

    fn unbegun(&self, error: &h2::Error) -> Broken {
        if was_refused(error) { Broken::Refused } else { self.broken(error) }
    }

    fn broken(&self, error: &h2::Error) -> Broken {
        let upstream = &self.target.upstream.config.name;
        tracing::debug!(upstream, error = error as &dyn std::error::Error, "a plugin's call failed");
        Broken::Failed(CallFailure::Reset)
    }
}

/// What a response says of its body's length; 0 where it says nothing.
fn length(headers: &HeaderMap) -> u64 {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or(0)
}

/// Whether the upstream says that it has done nothing with the request, so that it can be sent again.
pub(super) fn was_refused(error: &h2::Error) -> bool {
    error.is_remote()
        && match error.reason() {
            Some(Reason::REFUSED_STREAM) => error.is_reset(),
            // It leaves, and these streams are beyond the last that it takes.
            Some(Reason::NO_ERROR) => error.is_go_away(),
            _ => false,
        }
}

fn answer(
    status: StatusCode,
    headers: &HeaderMap,
    gathered: Gathered,
    trailers: &HeaderMap,
) -> (HttpCallResponse, Held) {
    let (body, held) = gathered.finish();
    let headers = to_pairs(Some(status), headers);
    (HttpCallResponse { headers, body, trailers: to_pairs(None, trailers) }, held)
}
