//! One exchange through a plugin, from the request's head to the log, as the edge would conduct it, but in memory and on
//! this thread: where the plugin waits, the script's next answer or the next tick comes at once and the clock jumps.

use crate::environment::World;
use crate::exchange::MemoryExchange;
use crate::rules;
use crate::suite::{Pairs, PropertyValue, Request, Response};
use bytes::Bytes;
use coditect_proxy_wasm::{
    Chain, Direction, Engine, Environment, HeaderMap, Item, Link, LinkObserver, LocalResponse, Plugin,
    SharedExchange, Stop, StreamError,
};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How long a plugin may hold an exchange, by the test's clock: the edge's default.
pub const HOLD_LIMIT: Duration = Duration::from_secs(15);
/// How many answers and ticks one exchange may take; more means that it would never end.
const MAX_STEPS: u32 = 10_000;

/// A message as it arrived somewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Pseudo-headers first.
    pub headers: Pairs,
    /// What arrived of it.
    pub body: Vec<u8>,
    /// After the body.
    pub trailers: Pairs,
}

/// What came of an exchange.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The request as it reached the upstream; none where it did not.
    pub upstream: Option<Seen>,
    /// The response as the client gets it; none where the connection is broken off.
    pub client: Option<Seen>,
    /// Whether a plugin broke the connection off, or the response when it was half sent.
    pub closed: bool,
    /// Why a plugin answered itself, as it says.
    pub details: Option<String>,
    /// What the plugin did wrong: it trapped, or held the exchange for ever.
    pub failures: Vec<String>,
}

/// The steps of an exchange, for whoever measures them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Request headers; the stream is made for them.
    RequestHeaders,
    /// A piece of the request's body, or its end.
    RequestBody,
    /// Request trailers.
    RequestTrailers,
    /// Response headers.
    ResponseHeaders,
    /// A piece of the response's body, or its end.
    ResponseBody,
    /// Response trailers.
    ResponseTrailers,
    /// Log, done, delete.
    End,
}

impl Phase {
    /// Its name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestHeaders => "request headers",
            Self::RequestBody => "request body",
            Self::RequestTrailers => "request trailers",
            Self::ResponseHeaders => "response headers",
            Self::ResponseBody => "response body",
            Self::ResponseTrailers => "response trailers",
            Self::End => "end of the stream",
        }
    }
}

/// Is told when the plugin begins to work, and when it ends.
pub trait Probe {
    /// Before the plugin runs.
    fn enter(&mut self, _phase: Phase) {}
    /// After it ran.
    fn leave(&mut self, _phase: Phase) {}
}

/// Measures nothing.
impl Probe for () {}

/// Collects what goes wrong in a plugin.
#[derive(Default)]
pub struct Failures(Mutex<Vec<String>>);

impl Failures {
    /// What went wrong so far, which is then forgotten.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl LinkObserver for Failures {
    fn failed(&self, error: &StreamError) {
        let mut text = error.to_string();
        if let StreamError::Trap(trap) = error
            && !trap.backtrace.is_empty()
        {
            text.push('\n');
            text.push_str(trap.backtrace.trim_end());
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}

/// Where exchanges take place.
pub struct Scene<'a> {
    /// Runs what falls due.
    pub engine: &'a Engine,
    /// The clock and the answers to calls.
    pub world: &'a World,
    /// The plugin; none to measure what is not its doing.
    pub plugin: Option<&'a Plugin>,
    /// Where it is told what goes wrong in it.
    pub failures: &'a Arc<Failures>,
    /// Whose request it is.
    pub tenant: &'a str,
}

/// Why an exchange goes on no more as it should.
enum End {
    Stop(Stop),
    /// A plugin holds it, and this is why it will not let go.
    Held(String),
    /// A plugin left the request without what says where it goes.
    Unroutable,
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

/// Conducts one exchange to its end.
pub fn conduct(
    scene: &Scene<'_>,
    exchange: &Arc<Mutex<MemoryExchange>>,
    request: &Request,
    response: &Response,
    probe: &mut dyn Probe,
) -> Outcome {
    let shared: SharedExchange = Arc::clone(exchange) as SharedExchange;
    let link = |plugin: &Plugin| {
        let observer = Some(Arc::clone(scene.failures) as Arc<dyn LinkObserver>);
        Link { plugin: plugin.clone(), shadow: false, observer }
    };
    let chain = Chain::new(shared, scene.tenant, scene.plugin.map(link).into_iter().collect());
    let began = scene.world.monotonic_nanoseconds();
    let clock = Clock { engine: scene.engine, world: scene.world, probe, began, steps: 0 };
    let mut run = Run { chain, clock, exchange, outcome: Outcome::default() };
    run.whole(request, response);
    let Run { chain, clock, mut outcome, .. } = run;
    clock.probe.enter(Phase::End);
    chain.finish();
    clock.probe.leave(Phase::End);
    outcome.failures.extend(scene.failures.take());
    outcome
}

/// Fills an exchange with a case's request.
pub fn write_request(exchange: &mut MemoryExchange, request: &Request) {
    let pseudo = [
        (":authority", &request.authority),
        (":path", &request.path),
        (":method", &request.method),
        (":scheme", &request.scheme),
    ];
    exchange.request =
        pseudo.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
    exchange.request.extend(request.headers.0.iter().cloned());
    exchange.request_trailers.clone_from(&request.trailers.0);
}

struct Run<'a> {
    chain: Chain,
    clock: Clock<'a>,
    exchange: &'a Arc<Mutex<MemoryExchange>>,
    outcome: Outcome,
}

impl Run<'_> {
    fn exchange(&self) -> MutexGuard<'_, MemoryExchange> {
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn whole(&mut self, request: &Request, response: &Response) {
        let trailers = !request.trailers.0.is_empty();
        let asked = self.message(Direction::Request, &request.chunks, trailers);
        self.sized("request", &request.chunks);
        let ended = match asked {
            Ok(()) => {
                self.answer(response);
                self.message(Direction::Response, &response.chunks, !response.trailers.0.is_empty())
            }
            // It meets the response phase of the plugins that the request has met.
            Err(End::Stop(Stop::Respond(local))) => self.respond(local),
            Err(end) => Err(end),
        };
        if let Err(end) = ended {
            self.broken(end);
        }
        let waited = i64::try_from(self.clock.waited().as_nanos()).unwrap_or(i64::MAX);
        self.exchange().supply("request.duration", PropertyValue::int(waited));
    }

    /// The upstream's response, as the edge reads it.
    fn answer(&self, response: &Response) {
        let mut exchange = self.exchange();
        exchange.response = vec![(b":status".to_vec(), response.status.to_string().into_bytes())];
        exchange.response.extend(response.headers.0.iter().cloned());
        exchange.response_trailers.clone_from(&response.trailers.0);
        exchange.supply("response.code_details", PropertyValue::text("via_upstream"));
        drop(exchange);
        self.sized("response", &response.chunks);
    }

    fn sized(&self, message: &str, chunks: &[Bytes]) {
        let size = chunks.iter().map(Bytes::len).sum::<usize>();
        let mut exchange = self.exchange();
        let map = if message == "request" { HeaderMap::Request } else { HeaderMap::Response };
        let headers: usize = exchange.pairs(map).iter().map(|(name, value)| name.len() + value.len()).sum();
        let number = |bytes: usize| PropertyValue::int(i64::try_from(bytes).unwrap_or(i64::MAX));
        exchange.supply(&format!("{message}.size"), number(size));
        exchange.supply(&format!("{message}.total_size"), number(size + headers));
    }

    /// A plugin's own response, through the response phase.
    fn respond(&mut self, local: LocalResponse) -> Result<(), End> {
        let body = self.localize(local);
        let chunks = if body.is_empty() { Vec::new() } else { vec![Bytes::from(body)] };
        self.message(Direction::Response, &chunks, false)
    }

    /// Makes a plugin's own response the exchange's, and gives its body.
    fn localize(&mut self, local: LocalResponse) -> Vec<u8> {
        let details = String::from_utf8_lossy(&local.details).into_owned();
        let mut exchange = self.exchange();
        exchange.response = vec![(b":status".to_vec(), local.status.to_string().into_bytes())];
        let headers = rules::own_response(exchange.writes, local.headers, &local.body);
        exchange.response.extend(headers);
        exchange.response_trailers.clear();
        exchange.supply("response.code_details", PropertyValue::text(&details));
        drop(exchange);
        self.outcome.details = Some(details);
        local.body
    }

    /// One message: its head, its body as it arrives with an end of its own (as in Envoy), its trailers.
    fn message(&mut self, direction: Direction, chunks: &[Bytes], trailers: bool) -> Result<(), End> {
        use Phase::{
            RequestBody, RequestHeaders, RequestTrailers, ResponseBody, ResponseHeaders, ResponseTrailers,
        };
        let [headers, body, tail] = match direction {
            Direction::Request => [RequestHeaders, RequestBody, RequestTrailers],
            Direction::Response => [ResponseHeaders, ResponseBody, ResponseTrailers],
        };
        let end = chunks.is_empty() && !trailers;
        self.feed(direction, headers, Item::Headers { end })?;
        for chunk in chunks {
            self.feed(direction, body, Item::Data { bytes: chunk.clone(), end: false })?;
        }
        if trailers {
            self.feed(direction, tail, Item::Trailers)?;
        } else if !end {
            self.feed(direction, body, Item::Data { bytes: Bytes::new(), end: true })?;
        }
        while self.chain.holds(direction) {
            let Self { chain, clock, .. } = self;
            let items = clock.settle(headers, chain.released(direction))??;
            self.arrived(direction, items)?;
        }
        Ok(())
    }

    fn feed(&mut self, direction: Direction, phase: Phase, item: Item) -> Result<(), End> {
        let Self { chain, clock, .. } = self;
        let items = clock.settle(phase, chain.push(direction, item))??;
        clock.answer_all()?;
        self.arrived(direction, items)?;
        self.stir()
    }

    /// Takes what the plugin let go of, or how it ended the exchange, while it was called for something else.
    fn stir(&mut self) -> Result<(), End> {
        while let Some(stirred) = at_once(self.chain.stirred()) {
            let direction = stirred?;
            let Some(items) = at_once(self.chain.released(direction)) else { break };
            self.arrived(direction, items?)?;
        }
        Ok(())
    }

    /// Notes what came out of the chain.
    fn arrived(&mut self, direction: Direction, items: Vec<Item>) -> Result<(), End> {
        for item in items {
            let exchange = self.exchange.lock().unwrap_or_else(PoisonError::into_inner);
            if direction == Direction::Request && !rules::is_routable(&exchange.request) {
                return Err(End::Unroutable);
            }
            let (seen, headers, trailers) = match direction {
                Direction::Request => {
                    (&mut self.outcome.upstream, &exchange.request, &exchange.request_trailers)
                }
                Direction::Response => {
                    (&mut self.outcome.client, &exchange.response, &exchange.response_trailers)
                }
            };
            let seen = seen.get_or_insert_with(Seen::default);
            match item {
                Item::Headers { .. } => seen.headers.clone_from(headers),
                Item::Data { bytes, .. } => seen.body.extend_from_slice(&bytes),
                Item::Trailers => seen.trailers.clone_from(trailers),
            }
        }
        Ok(())
    }

    /// What the client gets of an exchange that does not go its way.
    fn broken(&mut self, end: End) {
        let begun = self.outcome.client.take();
        let in_response = begun.is_some() || !self.exchange().response.is_empty();
        let status = match end {
            End::Stop(Stop::Closed) => None,
            End::Stop(Stop::Respond(local)) if begun.is_none() => {
                let body = self.localize(local);
                let headers = self.exchange().response.clone();
                self.outcome.client = Some(Seen { headers, body, trailers: Pairs::new() });
                return;
            }
            End::Stop(Stop::Respond(_)) => None,
            End::Stop(Stop::Failed) => Some(503),
            End::Unroutable => Some(404),
            End::Stop(Stop::TooLarge) => Some(if in_response { 502 } else { 413 }),
            End::Held(why) => {
                self.outcome.failures.push(why);
                Some(504)
            }
        };
        match status {
            // What is half sent cannot become another response.
            Some(status) if begun.is_none() => {
                let headers = vec![(b":status".to_vec(), format!("{status}").into_bytes())];
                self.outcome.client = Some(Seen { headers, ..Seen::default() });
            }
            _ => {
                self.outcome.client = begun;
                self.outcome.closed = true;
            }
        }
    }
}

/// What a future gives, if it need not wait.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// Lets time pass where a plugin waits.
struct Clock<'a> {
    engine: &'a Engine,
    world: &'a World,
    probe: &'a mut dyn Probe,
    /// The monotonic clock when the exchange began, in nanoseconds.
    began: u64,
    steps: u32,
}

impl Clock<'_> {
    /// Runs a step of the exchange to its end; what it waits for comes at once.
    fn settle<T>(&mut self, phase: Phase, future: impl Future<Output = T>) -> Result<T, End> {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        // Whether what is due has run since the clock last moved.
        let mut ran = false;
        loop {
            self.probe.enter(phase);
            let polled = future.as_mut().poll(&mut context);
            self.probe.leave(phase);
            if let Poll::Ready(done) = polled {
                return Ok(done);
            }
            self.step()?;
            if self.world.answer_next() {
                // A call that times out takes its time.
                self.in_time(Duration::ZERO)?;
                continue;
            }
            let next = self.engine.run_due();
            if !std::mem::replace(&mut ran, true) {
                continue;
            }
            let Some(next) = next else {
                let why = "the plugin holds the exchange, and no call and no tick is under way that could resume it";
                return Err(End::Held(why.to_owned()));
            };
            self.in_time(next)?;
            self.world.advance(next);
            ran = false;
        }
    }

    /// How long the exchange takes so far, by the test's clock.
    fn waited(&self) -> Duration {
        Duration::from_nanos(self.world.monotonic_nanoseconds().saturating_sub(self.began))
    }

    /// Whether the plugin may hold the exchange so long and `more`.
    fn in_time(&self, more: Duration) -> Result<(), End> {
        if self.waited().saturating_add(more) <= HOLD_LIMIT {
            return Ok(());
        }
        let seconds = HOLD_LIMIT.as_secs();
        Err(End::Held(format!("the plugin held the exchange for more than {seconds} s")))
    }

    /// Delivers the answers to calls that nothing waits for.
    fn answer_all(&mut self) -> Result<(), End> {
        while self.world.answer_next() {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), End> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            let why = format!("the plugin did not come to an end within {MAX_STEPS} answers and ticks");
            return Err(End::Held(why));
        }
        Ok(())
    }
}
