//! One plugin of a chain at work: its callbacks, what it holds, what becomes of it when it fails.

use std::time::Instant;

use bytes::Bytes;

use super::{Filter, Half, Item, Link, Stop, Through};
use crate::abi::Direction;
use crate::error::StreamError;
use crate::exchange::{LocalResponse, Outcome};
use crate::plugin::FailureMode;
use crate::stream::StreamContext;

impl Filter {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            stream: None,
            shadow: None,
            unopened: None,
            met: false,
            dead: false,
            halves: [Half::default(); 2],
        }
    }

    pub(super) fn half(&mut self, direction: Direction) -> &mut Half {
        let [request, response] = &mut self.halves;
        match direction {
            Direction::Request => request,
            Direction::Response => response,
        }
    }

    pub(super) fn held(&self, direction: Direction) -> bool {
        let [request, response] = &self.halves;
        match direction {
            Direction::Request => request.held,
            Direction::Response => response.held,
        }
    }

    /// Whether the plugin let go of what is still here.
    pub(super) fn was_released(&self, direction: Direction) -> bool {
        self.held(direction)
            && (self.dead || self.stream.as_ref().is_none_or(|stream| !stream.holds(direction)))
    }

    /// Runs the callback for a part; none where there is nobody to be called.
    pub(super) async fn call(
        &mut self,
        direction: Direction,
        item: &Item,
    ) -> Option<Result<Outcome, StreamError>> {
        if !self.met || self.dead {
            return None;
        }
        if matches!(item, Item::Data { .. }) && !self.link.plugin.has_body_callback(direction) {
            // Nothing of the guest's runs.
            return self.stream.as_mut().map(|stream| stream.on(direction, item.clone()));
        }
        let (own, timed) = (item.clone(), self.link.observer.is_some());
        let work = move |stream: &mut StreamContext| {
            let began = timed.then(Instant::now);
            (stream.on(direction, own), began.map(|began| began.elapsed()))
        };
        let (outcome, elapsed) = match StreamContext::run(&mut self.stream, work).await? {
            Ok(done) => done,
            Err(error) => {
                if let (Some(stream), Item::Data { bytes, .. }) = (&self.stream, item) {
                    stream.keep(direction, bytes.clone());
                }
                return Some(Err(error));
            }
        };
        if let (Some(observer), Some(elapsed)) = (&self.link.observer, elapsed) {
            observer.callback(callback(direction, item), elapsed);
        }
        Some(outcome)
    }

    /// What goes on where the plugin said so.
    pub(super) fn pass(&mut self, direction: Direction, item: Item, body: Bytes) -> Through {
        let half = self.half(direction);
        half.held = false;
        let headers = half.headers.take().map(|end| Item::Headers { end });
        match item {
            Item::Headers { .. } => Through::one(item),
            Item::Data { end, .. } => {
                Through { first: headers, second: Some(Item::Data { bytes: body, end }), third: None }
            }
            Item::Trailers => {
                let second = (!body.is_empty()).then_some(Item::Data { bytes: body, end: false });
                Through { first: headers, second, third: Some(Item::Trailers) }
            }
        }
    }

    /// What goes on where the plugin let go; `end` is the part with which it held the message's end back.
    pub(super) fn let_go(&mut self, direction: Direction, end: Option<Item>) -> Through {
        let bytes = self.stream.as_ref().map(|stream| stream.take_body(direction)).unwrap_or_default();
        if let Some(end) = end {
            return self.pass(direction, end, bytes);
        }
        let half = self.half(direction);
        half.held = false;
        let first = half.headers.take().map(|end| Item::Headers { end });
        let second = (!bytes.is_empty()).then_some(Item::Data { bytes, end: false });
        Through { first, second, third: None }
    }

    /// The callback for `item` failed.
    pub(super) fn fail(
        &mut self,
        direction: Direction,
        error: &StreamError,
        item: Item,
    ) -> Result<Through, Stop> {
        if matches!(error, StreamError::BodyTooLarge { .. }) {
            self.link.failed(error);
            return Err(Stop::TooLarge);
        }
        self.judge(error)?;
        if self.stream.is_none() && !matches!(item, Item::Headers { .. }) {
            // What it held went with it: what is left is not the message.
            return Err(Stop::Failed);
        }
        let end = !matches!(item, Item::Headers { .. } | Item::Data { end: false, .. });
        let mut through = match item {
            Item::Headers { .. } => return Ok(Through::one(item)),
            item if end => self.let_go(direction, Some(item)),
            _ => self.let_go(direction, None),
        };
        if let Some(Item::Data { end: last, .. }) = &mut through.second {
            *last = end && through.third.is_none();
        }
        Ok(through)
    }

    /// It failed: the message goes on without it where its failure mode is open.
    pub(super) fn judge(&mut self, error: &StreamError) -> Result<(), Stop> {
        self.link.failed(error);
        self.dead = true;
        match self.link.plugin.failure_mode() {
            FailureMode::Open => Ok(()),
            FailureMode::Closed => Err(Stop::Failed),
        }
    }

    pub(super) fn responded(&self, response: &LocalResponse) {
        if let Some(observer) = &self.link.observer {
            observer.responded(response);
        }
    }
}

/// The callback for a part, in metrics.
fn callback(direction: Direction, item: &Item) -> &'static str {
    match (direction, item) {
        (Direction::Request, Item::Headers { .. }) => "request_headers",
        (Direction::Request, Item::Data { .. }) => "request_body",
        (Direction::Request, Item::Trailers) => "request_trailers",
        (Direction::Response, Item::Headers { .. }) => "response_headers",
        (Direction::Response, Item::Data { .. }) => "response_body",
        (Direction::Response, Item::Trailers) => "response_trailers",
    }
}
