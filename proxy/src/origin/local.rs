//! A service in the process as an origin: the request's body is fed to it while it works, and while it answers.

use super::made::Made;
use super::{Event, Switch};
use crate::framing::{self, Length};
use crate::local::{LocalService, RequestBody, UpgradeHandler};
use crate::reply::{BoxError, Reply};
use bytes::Bytes;
use coditect_auth::Identity;
use futures::future::BoxFuture;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use std::sync::Arc;
use tokio::sync::mpsc::Sender;

/// A call under way.
pub(crate) struct LocalCall {
    state: State,
    /// Where the body goes; none once it is whole or the service wants no more.
    feeder: Option<Sender<Result<Bytes, BoxError>>>,
    head_only: bool,
}

enum State {
    Called(BoxFuture<'static, Reply>),
    Answered(Box<Made>),
}

impl LocalCall {
    /// Calls `service`.
    ///
    /// # Errors
    /// None that headers which were read can cause.
    pub(super) fn new(
        service: &Arc<dyn LocalService>,
        mut head: RequestHeader,
        identity: Option<Identity>,
        length: Length,
    ) -> pingora::Result<Self> {
        let stated = match length {
            Length::Empty => Some(0),
            Length::Exact(bytes) => Some(bytes),
            Length::AsStated => framing::stated(&head.headers),
            Length::Unknown => None,
        };
        head.remove_header(&TRANSFER_ENCODING);
        match stated {
            // A request without a body need not say so.
            Some(0) if !head.headers.contains_key(CONTENT_LENGTH) => {}
            Some(bytes) => head.insert_header(CONTENT_LENGTH, bytes.to_string())?,
            None => drop(head.remove_header(&CONTENT_LENGTH)),
        }
        let head_only = head.method == Method::HEAD;
        let (feeder, body) = match length {
            Length::Empty => (None, RequestBody::empty()),
            _ => {
                let (feeder, body) = RequestBody::channel(stated);
                (Some(feeder), body)
            }
        };
        let mut request = http::Request::from_parts(head.as_owned_parts(), body);
        if let Some(identity) = identity {
            request.extensions_mut().insert(identity);
        }
        Ok(Self { state: State::Called(service.call(request)), feeder, head_only })
    }

    /// As [`super::Origin::has_room`].
    pub(super) fn has_room(&self) -> bool {
        self.feeder.as_ref().is_none_or(|feeder| feeder.capacity() > 0 || feeder.is_closed())
    }

    /// As [`super::Origin::send`].
    pub(super) fn send(&mut self, bytes: Bytes, end: bool) {
        if let Some(feeder) = &self.feeder {
            // Of a service that dropped its end nothing more is heard; there is room, so nothing else can fail.
            let gone = !bytes.is_empty() && feeder.try_send(Ok(bytes)).is_err();
            if end || gone {
                self.feeder = None;
            }
        }
    }

    /// As [`super::Origin::body_failed`].
    pub(super) fn body_failed(&mut self) {
        if let Some(feeder) = self.feeder.take() {
            // Where it cannot be told, the service sees a body shorter than its length, or is dropped first.
            drop(feeder.try_send(Err("the request's body is malformed or was cut off".into())));
        }
    }

    /// As [`super::Origin::next`].
    pub(super) async fn next(&mut self) -> pingora::Result<Event> {
        let full = self.feeder.as_ref().filter(|feeder| feeder.capacity() == 0 && !feeder.is_closed());
        let room = async {
            match full {
                // Room, or nobody there who needs any.
                Some(feeder) => drop(feeder.reserve().await),
                None => std::future::pending().await,
            }
        };
        let reply = match &mut self.state {
            State::Called(call) => tokio::select! {
                biased;
                reply = call => reply,
                () = room => return Ok(Event::Room),
            },
            State::Answered(made) => {
                return tokio::select! {
                    biased;
                    event = made.next() => event,
                    () = room => Ok(Event::Room),
                };
            }
        };
        self.answered(reply).await
    }

    async fn answered(&mut self, mut reply: Reply) -> pingora::Result<Event> {
        let handler = reply.extensions_mut().remove::<UpgradeHandler>();
        if let Some(handler) = handler.filter(|_| reply.status() == StatusCode::SWITCHING_PROTOCOLS) {
            let mut head =
                ResponseHeader::build(StatusCode::SWITCHING_PROTOCOLS, Some(reply.headers().len()))?;
            for (name, value) in reply.headers() {
                head.append_header(name.clone(), value.clone())?;
            }
            return Ok(Event::Switch { head: Box::new(head), to: Switch::Local(handler) });
        }
        let mut made = Made::new(reply, self.head_only)?;
        // The head is there, so this does not wait.
        let event = made.next().await;
        self.state = State::Answered(Box::new(made));
        event
    }
}
