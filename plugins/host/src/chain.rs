//! A request's plugins, one after the other: what Envoy's filter manager does between them.
//!
//! A request passes them first to last, its response last to first. Each part of a message (headers, pieces of the
//! body, trailers) goes as far as the first plugin that holds it back. A pause at headers holds everything back until
//! the plugin resumes the stream (or, with [`PluginConfig::stop_iteration`](crate::PluginConfig::stop_iteration), the
//! headers only); a pause at a body keeps what has come and adds what follows, until the plugin answers a later piece
//! with go on or resumes the stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::abi::{Action, Direction};
use crate::error::StreamError;
use crate::exchange::{LocalResponse, SharedExchange};
use crate::plugin::Plugin;
use crate::stream::{Bell, Fate, StreamContext};

mod filter;
mod shadow;
mod stirred;

use shadow::Shadow;
pub use shadow::ShadowVerdict;

/// One part of a message on its way. What it is of headers and trailers is in the exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The headers; `end` where nothing follows.
    Headers {
        /// Nothing follows.
        end: bool,
    },
    /// A piece of the body.
    Data {
        /// The bytes; there may be none.
        bytes: Bytes,
        /// Nothing follows.
        end: bool,
    },
    /// The trailers, which end a message.
    Trailers,
}

/// One plugin's use for a request.
pub struct Link {
    /// The plugin.
    pub plugin: Plugin,
    /// Whether it only watches: it runs on a copy, what it would have done is told to the observer, and nothing else
    /// comes of it. Its calls out are made.
    pub shadow: bool,
    /// Who is told.
    pub observer: Option<Arc<dyn LinkObserver>>,
}

impl Link {
    /// Tells of a failure.
    fn failed(&self, error: &StreamError) {
        if let Some(observer) = &self.observer {
            observer.failed(error);
        }
    }

    /// Ends its stream; a failure at that is told, and changes nothing.
    fn close(&self, stream: StreamContext) {
        let observer = self.observer.clone();
        stream.close_anywhere(move |error| {
            if let Some(observer) = observer {
                observer.failed(error);
            }
        });
    }
}

/// Sees what becomes of a plugin's use, for metrics and logs.
pub trait LinkObserver: Send + Sync {
    /// A callback of a message ran and took so long on the wall clock.
    fn callback(&self, callback: &'static str, elapsed: Duration) {
        let _: (&str, Duration) = (callback, elapsed);
    }

    /// The plugin answered the request itself.
    fn responded(&self, response: &LocalResponse) {
        let _: &LocalResponse = response;
    }

    /// The plugin failed.
    fn failed(&self, error: &StreamError) {
        let _: &StreamError = error;
    }

    /// A plugin in shadow mode came to a verdict; once a request.
    fn shadowed(&self, verdict: &ShadowVerdict) {
        let _: &ShadowVerdict = verdict;
    }
}

/// Why a message goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// A plugin answers instead. Its response passes the response phase of the plugins the request has met.
    Respond(LocalResponse),
    /// A plugin failed, and it fails closed: 503.
    Failed,
    /// A plugin closed the stream: no response, the connection is broken off.
    Closed,
    /// A plugin holds back more than it may: 413 for a request, 502 for a response.
    TooLarge,
}

/// The plugins of one request.
///
/// The embedder pushes each part of the request and of the response through it and forwards what comes out. Nothing
/// here has a deadline: whoever waits for a plugin that holds a message back does so as long as the route allows.
pub struct Chain {
    exchange: SharedExchange,
    tenant: Arc<str>,
    bell: Arc<Bell>,
    filters: Vec<Filter>,
    opened: bool,
}

/// One link at work.
struct Filter {
    link: Link,
    stream: Option<StreamContext>,
    shadow: Option<Shadow>,
    /// Why it has no stream.
    unopened: Option<StreamError>,
    /// Whether the request reached it.
    met: bool,
    /// It failed, and the message goes on without it.
    dead: bool,
    halves: [Half; 2],
}

/// What one filter has of one half of the exchange.
#[derive(Debug, Clone, Copy, Default)]
struct Half {
    /// The plugin paused, and what it holds was not let go yet.
    held: bool,
    /// The headers are held, with their `end`.
    headers: Option<bool>,
}

/// What one filter lets through, in order.
#[derive(Default)]
struct Through {
    first: Option<Item>,
    second: Option<Item>,
    third: Option<Item>,
}

impl Through {
    fn one(item: Item) -> Self {
        Self { first: Some(item), ..Self::default() }
    }

    /// The first of it, at that position; the rest goes onto `work`, whose end is next.
    fn onto(self, position: usize, work: &mut Vec<(usize, Item)>) -> Option<(usize, Item)> {
        let mut items = [self.first, self.second, self.third].into_iter().flatten();
        let first = items.next()?;
        let rest = work.len();
        work.extend(items.map(|item| (position, item)));
        work[rest..].reverse();
        Some((position, first))
    }
}

impl Chain {
    /// A request's chain. `tenant` is whose instances it uses.
    #[must_use]
    pub fn new(exchange: SharedExchange, tenant: &str, links: Vec<Link>) -> Self {
        let filters = links.into_iter().map(Filter::new).collect();
        Self { exchange, tenant: tenant.into(), bell: Arc::default(), filters, opened: false }
    }

    /// Whether a plugin that the message meets looks at its body or trailers. Where none does, they need not be pushed.
    #[must_use]
    pub fn wants_body(&self, direction: Direction) -> bool {
        self.filters.iter().any(|filter| {
            let met = direction == Direction::Request || filter.met;
            let plugin = &filter.link.plugin;
            met && (plugin.has_body_callback(direction) || plugin.has_trailer_callback(direction))
        })
    }

    /// As [`wants_body`](Self::wants_body), of plugins that can change it: those that are no shadows.
    #[must_use]
    pub fn may_change_body(&self, direction: Direction) -> bool {
        self.filters.iter().any(|filter| {
            let met = direction == Direction::Request || filter.met;
            let plugin = &filter.link.plugin;
            let looks = plugin.has_body_callback(direction) || plugin.has_trailer_callback(direction);
            met && !filter.link.shadow && looks
        })
    }

    /// Sends one part through the chain, as far as it goes; waits while a plugin holds all of the message back. What
    /// comes out is to be forwarded, in order; what is held comes out of a later call.
    ///
    /// Not cancellation safe: a chain whose push was abandoned is to be dropped.
    ///
    /// # Errors
    /// The message goes no further.
    pub async fn push(&mut self, direction: Direction, item: Item) -> Result<Vec<Item>, Stop> {
        if !std::mem::replace(&mut self.opened, true) {
            self.open().await;
        }
        if self.bell.was_rung() {
            self.fates()?;
        }
        let mut out = Vec::new();
        self.run(direction, 0, item, &mut out).await?;
        Ok(out)
    }

    /// Whether a plugin holds something of that message back. Then [`released`](Self::released) is to be awaited too.
    #[must_use]
    pub fn holds(&self, direction: Direction) -> bool {
        self.filters.iter().any(|filter| filter.held(direction))
    }

    /// Waits until a plugin lets go of what it holds, and sends that on. Cancellation safe until it resolves to something;
    /// for ever pending where nothing is held.
    ///
    /// # Errors
    /// The message goes no further.
    pub async fn released(&mut self, direction: Direction) -> Result<Vec<Item>, Stop> {
        loop {
            self.bell.was_rung();
            self.fates()?;
            let index = self.filters.iter().position(|filter| filter.was_released(direction));
            if let Some(index) = index {
                let position = self.index(direction, index);
                let through = self.filters[index].let_go(direction, None);
                let mut out = Vec::new();
                self.run_through(direction, position + 1, through, &mut out).await?;
                return Ok(out);
            }
            self.bell.heard().await;
        }
    }

    /// Ends all streams: `proxy_on_log`, `proxy_on_done`, `proxy_on_delete`. To be called when the response is complete.
    pub fn finish(mut self) {
        for filter in &mut self.filters {
            if let Some(shadow) = filter.shadow.take() {
                shadow.finish(&filter.link);
            }
            let Some(stream) = filter.stream.take().filter(|_| !filter.dead) else { continue };
            filter.link.close(stream);
        }
    }

    /// The index of the filter that a message meets as the `position`-th.
    fn index(&self, direction: Direction, position: usize) -> usize {
        match direction {
            Direction::Request => position,
            Direction::Response => self.filters.len() - 1 - position,
        }
    }

    /// Sends an item on from the `from`-th position.
    async fn run(
        &mut self,
        direction: Direction,
        from: usize,
        item: Item,
        out: &mut Vec<Item>,
    ) -> Result<(), Stop> {
        self.run_through(direction, from, Through::one(item), out).await
    }

    async fn run_through(
        &mut self,
        direction: Direction,
        from: usize,
        through: Through,
        out: &mut Vec<Item>,
    ) -> Result<(), Stop> {
        // Each goes all the way before the one after it sets out, so they stay in order. Nearly always there is one, and
        // what waits stays empty, which allocates nothing.
        let mut waiting: Vec<(usize, Item)> = Vec::new();
        let mut next = through.onto(from, &mut waiting);
        while let Some((position, item)) = next {
            let on = if position < self.filters.len() {
                self.step(direction, position, item).await?.onto(position + 1, &mut waiting)
            } else {
                out.push(item);
                None
            };
            next = on.or_else(|| waiting.pop());
        }
        Ok(())
    }

    /// One part at one filter.
    async fn step(&mut self, direction: Direction, position: usize, item: Item) -> Result<Through, Stop> {
        let index = self.index(direction, position);
        if direction == Direction::Request && matches!(item, Item::Headers { .. }) {
            self.meet(index).await?;
        }
        let filter = &mut self.filters[index];
        if let Some(shadow) = filter.shadow.as_mut().filter(|_| filter.met) {
            shadow.watch(direction, &item, &filter.link, &self.exchange).await;
            return Ok(Through::one(item));
        }
        let Some(outcome) = filter.call(direction, &item).await else {
            // What a plugin held when it failed goes before what comes after it.
            if !filter.held(direction) {
                return Ok(Through::one(item));
            }
            let held = filter.let_go(direction, None);
            return Ok(Through { third: Some(item), ..held });
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return filter.fail(direction, &error, item),
        };
        if let Some(response) = outcome.local_response {
            filter.responded(&response);
            return Err(Stop::Respond(response));
        }
        if outcome.closed {
            return Err(Stop::Closed);
        }
        if outcome.action == Action::Continue {
            return Ok(filter.pass(direction, item, outcome.body));
        }
        let half = filter.half(direction);
        half.held = true;
        let end = match item {
            Item::Headers { end } => {
                half.headers = Some(end);
                if filter.link.plugin.stop_iteration() && !end {
                    return Ok(Through::default());
                }
                None
            }
            Item::Data { end: false, .. } => return Ok(Through::default()),
            end => Some(end),
        };
        self.wait(index, direction).await?;
        Ok(self.filters[index].let_go(direction, end))
    }

    /// Waits until the filter lets go.
    async fn wait(&mut self, index: usize, direction: Direction) -> Result<(), Stop> {
        loop {
            self.bell.was_rung();
            self.fates()?;
            if self.filters[index].was_released(direction) {
                return Ok(());
            }
            self.bell.heard().await;
        }
    }

    /// Opens all streams, as Envoy does before the first of them sees the request: each has its log phase, whether the
    /// request came as far or not. A plugin that fails at that has failed when the request reaches it.
    async fn open(&mut self) {
        for index in 0..self.filters.len() {
            self.open_one(index).await;
        }
    }

    async fn open_one(&mut self, index: usize) {
        let Self { exchange, tenant, bell, filters, .. } = self;
        let filter = &mut filters[index];
        if filter.link.shadow {
            filter.shadow = Some(Shadow::open(&filter.link, tenant, exchange).await);
            return;
        }
        match filter.link.plugin.open_for(tenant, exchange, bell).await {
            Ok(stream) => filter.stream = Some(stream),
            Err(error) => filter.unopened = Some(error),
        }
    }

    /// The request has come to this plugin.
    async fn meet(&mut self, index: usize) -> Result<(), Stop> {
        let filter = &mut self.filters[index];
        let lost = filter.stream.is_none() && filter.shadow.is_none() && filter.unopened.is_none();
        filter.met = true;
        if lost {
            self.open_one(index).await;
        }
        let filter = &mut self.filters[index];
        match filter.unopened.take() {
            Some(error) => filter.judge(&error),
            None => Ok(()),
        }
    }

    /// What happened to streams from outside their own callbacks.
    fn fates(&mut self) -> Result<(), Stop> {
        for filter in &mut self.filters {
            let Some(stream) = &filter.stream else { continue };
            if filter.dead {
                continue;
            }
            match stream.fate() {
                Fate::Alive => {}
                Fate::Responded(response) => {
                    filter.responded(&response);
                    return Err(Stop::Respond(response));
                }
                Fate::Closed => return Err(Stop::Closed),
                // The request has not come to it yet, and may meet another instance.
                Fate::Lost if !filter.met => filter.stream = None,
                Fate::Lost => {
                    let plugin = filter.link.plugin.shared_name();
                    filter.judge(&StreamError::InstanceLost { plugin })?;
                }
            }
        }
        Ok(())
    }
}
