//! The response's half: head, body and trailers from the origin, through the chain, to the client.

use super::request::whole;
use super::{Departure, Pipeline};
use crate::forward::{self, REQUEST_ID};
use crate::framing::{self, Length};
use crate::origin::{Event, Origin};
use bytes::Bytes;
use coditect_proxy_wasm::{Direction, Item};
use http::{HeaderMap, Method, StatusCode, Version};
use pingora::http::ResponseHeader;

/// How far the response has come.
pub(super) struct Receiving {
    pub(super) method: Method,
    version: Version,
    /// The head, where there are no plugins to see it.
    head: Option<Box<ResponseHeader>>,
    /// As the head.
    trailers: Option<HeaderMap>,
    /// Whether the head has left the chain and waits for what comes after it.
    head_waits: bool,
    pub(super) head_written: bool,
    /// Whether the plugins' response phase has begun, which it does once.
    pub(super) phase_begun: bool,
    /// Whether the response passes the plugins by.
    pub(super) direct: bool,
    /// Whether the origin has said all it had to say.
    pub(super) origin_ended: bool,
    /// Whether the client got the whole.
    pub(super) done: bool,
    /// Where the response comes from, in Envoy's words, or why it is not the origin's.
    pub(super) details: Vec<u8>,
}

impl Receiving {
    pub(super) fn new(method: Method, version: Version) -> Self {
        Self {
            method,
            version,
            head: None,
            trailers: None,
            head_waits: false,
            head_written: false,
            phase_begun: false,
            direct: false,
            origin_ended: false,
            done: false,
            details: Vec::new(),
        }
    }

    /// Forgets the origin's response, of which nothing was written, for another one.
    pub(super) fn restart(&mut self, direct: bool) {
        self.head = None;
        self.trailers = None;
        self.head_waits = false;
        self.origin_ended = false;
        self.direct = direct;
    }

    /// Whether anything of the response is known.
    pub(super) fn begun(&self) -> bool {
        self.phase_begun || self.head.is_some() || self.head_written
    }
}

impl Pipeline<'_> {
    /// The origin has said something.
    pub(super) async fn event(&mut self, event: Event) -> Result<(), Departure> {
        match event {
            Event::Room => Ok(()),
            Event::Interim(head) => self.interim(head).await,
            Event::Head { head, end } => self.head(head, end).await,
            Event::Switch { head, to } => Box::pin(self.switch(head, to)).await,
            Event::Data { bytes, end } => self.data(bytes, end).await,
            Event::Trailers(trailers) => self.trailers(trailers).await,
        }
    }

    /// Interim heads go by the plugins. Asking for the body is the edge's own business, and HTTP/1.0 knows none.
    async fn interim(&mut self, mut head: Box<ResponseHeader>) -> Result<(), Departure> {
        let unknown = self.receiving.version == Version::HTTP_10;
        if unknown || head.status == StatusCode::CONTINUE || self.receiving.begun() {
            return Ok(());
        }
        forward::interim(&mut head);
        self.session.write_response_header(head, false).await.map_err(client)
    }

    async fn head(&mut self, mut head: Box<ResponseHeader>, end: bool) -> Result<(), Departure> {
        let from_upstream = self.origin.as_ref().is_some_and(Origin::is_upstream);
        let prepared = match from_upstream {
            true => forward::to_client(&mut head, self.ctx),
            false => head.insert_header(REQUEST_ID, self.ctx.id.to_string()),
        };
        prepared.map_err(Departure::Origin)?;
        self.show(head, from_upstream);
        self.origin_said(end).await;
        let head = Item::Headers { end };
        if self.receiving.direct || self.ctx.plugins.is_none() {
            return self.write(vec![head]).await;
        }
        self.receiving.phase_begun = true;
        let items = self.push(Direction::Response, head).await?;
        self.write(items).await
    }

    /// The origin has said something, and perhaps all. An upstream's connection then is free for another request, before
    /// the client has read the response.
    async fn origin_said(&mut self, all: bool) {
        self.receiving.origin_ended = all;
        if !all {
            return;
        }
        if let (Some(run), Some(Origin::Upstream(_))) = (&self.ctx.plugins, &self.origin) {
            run.view().progress.backend_latency = Some(self.ctx.started.elapsed());
        }
        if let Some(origin) = self.origin.take_if(|_| self.sending.received) {
            origin.finish(self.service).await;
        }
    }

    /// Puts a head where the plugins see it.
    pub(super) fn show(&mut self, head: Box<ResponseHeader>, from_upstream: bool) {
        if self.receiving.details.is_empty() {
            let details: &[u8] = if from_upstream { b"via_upstream" } else { b"direct_response" };
            self.receiving.details = details.to_vec();
        }
        let Some(run) = &self.ctx.plugins else {
            self.receiving.head = Some(head);
            return;
        };
        let mut view = run.view();
        view.progress.bytes_in = self.ctx.bytes_in;
        view.progress.code = self.ctx.code;
        view.progress.details.clone_from(&self.receiving.details);
        view.show(head);
    }

    async fn data(&mut self, bytes: Bytes, end: bool) -> Result<(), Departure> {
        let is_upstream = matches!(self.origin, Some(Origin::Upstream(_)));
        self.origin_said(end).await;
        if !self.passes_chain(Direction::Response) {
            return self.write_body(bytes, end).await;
        }
        // As Envoy has it, the end of an HTTP/1 body comes by itself.
        let together = !end || bytes.is_empty() || !is_upstream;
        let mut items = self.push(Direction::Response, Item::Data { bytes, end: end && together }).await?;
        if !together {
            items.extend(self.push(Direction::Response, Item::Data { bytes: Bytes::new(), end }).await?);
        }
        self.write(items).await
    }

    async fn trailers(&mut self, trailers: HeaderMap) -> Result<(), Departure> {
        self.origin_said(true).await;
        match &self.ctx.plugins {
            Some(run) => run.view().response_trailers = Some(trailers),
            None => self.receiving.trailers = Some(trailers),
        }
        let items = match self.passes_chain(Direction::Response) {
            true => self.push(Direction::Response, Item::Trailers).await?,
            false => vec![Item::Trailers],
        };
        self.write(items).await
    }

    /// Writes what has left the chain.
    pub(super) async fn write(&mut self, items: Vec<Item>) -> Result<(), Departure> {
        let mut rest = items.as_slice();
        while let Some((item, after)) = rest.split_first() {
            if self.receiving.head_waits && !matches!(item, Item::Headers { .. }) {
                self.write_head(whole(rest)).await?;
            }
            if self.receiving.done {
                return Ok(());
            }
            rest = after;
            let may_change = self.may_change_body(Direction::Response);
            match item {
                Item::Headers { end: false } if may_change => self.receiving.head_waits = true,
                Item::Headers { end: false } => self.write_head(Length::AsStated).await?,
                Item::Headers { end: true } => {
                    // What a GET would bring is still true only where no plugin would change that.
                    let head_only = self.receiving.method == Method::HEAD;
                    let length = match (head_only, may_change) {
                        (true, true) => Length::Unknown,
                        (true, false) => Length::AsStated,
                        (false, _) => Length::Empty,
                    };
                    self.write_head(length).await?;
                    self.receiving.done = true;
                }
                Item::Data { bytes, end } => self.write_body(bytes.clone(), *end).await?,
                Item::Trailers => self.write_trailers().await?,
            }
        }
        Ok(())
    }

    async fn write_head(&mut self, length: Length) -> Result<(), Departure> {
        let (method, version) = (&self.receiving.method, self.receiving.version);
        let frame = |head: &mut ResponseHeader| framing::response(head, method, version, length);
        let framed = match &self.ctx.plugins {
            Some(run) => {
                let mut view = run.view();
                view.confine_response();
                match &mut view.response {
                    // The plugins' log phase sees the head as it was written.
                    Some(head) => frame(head).map(|ends| Some((head.clone(), ends))),
                    None => Ok(None),
                }
            }
            None => self
                .receiving
                .head
                .take()
                .map(|mut head| frame(&mut head).map(|ends| (head, ends)))
                .transpose(),
        };
        // Without a head nothing leaves the chain.
        let Some((head, ends)) = framed.map_err(Departure::Origin)? else { return Err(Departure::Stalled) };
        self.receiving.head_waits = false;
        self.receiving.head_written = true;
        self.receiving.done = ends;
        self.ctx.status = head.status.as_u16();
        self.session.write_response_header(head, ends).await.map_err(client)
    }

    async fn write_body(&mut self, bytes: Bytes, end: bool) -> Result<(), Departure> {
        if self.receiving.done {
            return Ok(());
        }
        self.ctx.bytes_out += bytes.len() as u64;
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
        if bytes.is_some() || end {
            self.session.write_response_body(bytes, end).await.map_err(client)?;
        }
        self.receiving.done = end;
        Ok(())
    }

    /// HTTP/2 has trailers; what Pingora writes in HTTP/1 has none.
    async fn write_trailers(&mut self) -> Result<(), Departure> {
        let trailers = match &self.ctx.plugins {
            Some(run) => run.view().response_trailers.clone(),
            None => self.receiving.trailers.take(),
        };
        match trailers.filter(|trailers| self.session.is_http2() && !trailers.is_empty()) {
            Some(trailers) => {
                let session = self.session.as_downstream_mut();
                session.write_response_trailers(trailers).await.map_err(client)?;
                self.receiving.done = true;
                Ok(())
            }
            None => self.write_body(Bytes::new(), true).await,
        }
    }
}

/// Writing to the client failed.
fn client(error: Box<pingora::Error>) -> Departure {
    Departure::Client(error.into_down())
}
