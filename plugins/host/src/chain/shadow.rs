//! A plugin that only watches: it runs on copies, and what it would have done is told.

use crate::abi::{Action, Direction};
use crate::exchange::{LocalResponse, Outcome, SharedExchange};
use crate::stream::{Fate, StreamContext};

use std::sync::{Arc, PoisonError};

use super::{Item, Link};

/// What a plugin in shadow mode would have done with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShadowVerdict {
    /// Let it pass, changed or not.
    Pass,
    /// Answered it.
    Respond(LocalResponse),
    /// Held it back, and not let go by its end.
    Hold,
    /// Broken the connection off.
    Close,
    /// Failed.
    Fail,
    /// Nothing: it was left alone, since it lately failed for that tenant and its request would have had to wait for it.
    Skipped,
}

/// A shadow's stream, until it came to a verdict.
pub(super) struct Shadow {
    stream: Option<StreamContext>,
    verdict: Option<ShadowVerdict>,
}

fn copy(exchange: &SharedExchange) -> SharedExchange {
    exchange.lock().unwrap_or_else(PoisonError::into_inner).fork()
}

impl Shadow {
    /// One that failed lately is left alone for a while: the request would have to wait for what it does.
    pub(super) async fn open(link: &Link, tenant: &Arc<str>, exchange: &SharedExchange) -> Self {
        if link.plugin.failed_lately(tenant) {
            return Self { stream: None, verdict: Some(ShadowVerdict::Skipped) };
        }
        match link.plugin.open_for(tenant, &copy(exchange), &Arc::default()).await {
            Ok(stream) => Self { stream: Some(stream), verdict: None },
            Err(error) => {
                link.failed(&error);
                Self { stream: None, verdict: Some(ShadowVerdict::Fail) }
            }
        }
    }

    /// Shows it a part. Of a half that it holds back at the headers it sees no more.
    pub(super) async fn watch(
        &mut self,
        direction: Direction,
        item: &Item,
        link: &Link,
        exchange: &SharedExchange,
    ) {
        let Some(stream) = self.stream.as_mut().filter(|_| self.verdict.is_none()) else { return };
        let body = matches!(item, Item::Data { .. });
        if stream.holds(direction) && (!body || !link.plugin.has_body_callback(direction)) {
            return;
        }
        if !body {
            stream.set_exchange(copy(exchange));
        }
        if stream.is_apart() {
            (self.stream, self.verdict) = (None, Some(ShadowVerdict::Skipped));
            return;
        }
        let item = item.clone();
        let watched = StreamContext::run(&mut self.stream, move |stream| stream.on(direction, item)).await;
        let Some(outcome) = watched else { return };
        match outcome.flatten() {
            Ok(Outcome { local_response: Some(response), .. }) => {
                self.verdict = Some(ShadowVerdict::Respond(response));
            }
            Ok(Outcome { closed: true, .. }) => self.verdict = Some(ShadowVerdict::Close),
            Ok(Outcome { action: Action::Continue | Action::Pause, .. }) => {}
            Err(error) => {
                link.failed(&error);
                self.verdict = Some(ShadowVerdict::Fail);
            }
        }
    }

    /// Ends it and tells its verdict.
    pub(super) fn finish(mut self, link: &Link) {
        let verdict = self.verdict.take().unwrap_or_else(|| self.last_verdict());
        if let Some(observer) = &link.observer {
            observer.shadowed(&verdict);
        }
        if let Some(stream) = self.stream.take()
            && verdict != ShadowVerdict::Fail
        {
            link.close(stream);
        }
    }

    fn last_verdict(&self) -> ShadowVerdict {
        let Some(stream) = &self.stream else { return ShadowVerdict::Fail };
        match stream.fate() {
            Fate::Responded(response) => ShadowVerdict::Respond(response),
            Fate::Closed => ShadowVerdict::Close,
            Fate::Lost => ShadowVerdict::Fail,
            Fate::Alive if stream.holds(Direction::Request) || stream.holds(Direction::Response) => {
                ShadowVerdict::Hold
            }
            Fate::Alive => ShadowVerdict::Pass,
        }
    }
}
