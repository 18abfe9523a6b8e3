//! A switch of protocols: past the plugins like any response head, then the connection is somebody else's.

use super::{Departure, Pipeline};
use crate::forward;
use crate::origin::Switch;
use crate::takeover;
use coditect_proxy_wasm::{Direction, Item};
use http::StatusCode;
use pingora::http::ResponseHeader;

impl Pipeline<'_> {
    /// Gives the connection to `to`, for as long as that lives, unless a plugin makes something else of the response.
    pub(super) async fn switch(
        &mut self,
        mut head: Box<ResponseHeader>,
        to: Switch,
    ) -> Result<(), Departure> {
        let from_upstream = matches!(to, Switch::Upstream(_));
        if from_upstream {
            forward::to_client(&mut head, self.ctx).map_err(Departure::Origin)?;
        }
        self.receiving.origin_ended = true;
        let head = match &self.ctx.plugins {
            None => head,
            Some(_) => {
                self.show(head, from_upstream);
                self.receiving.phase_begun = true;
                self.push(Direction::Response, Item::Headers { end: true }).await?;
                match self.switched_head() {
                    Some(head) => head,
                    // A plugin gave it another status: an ordinary response without a body.
                    None => return self.write(vec![Item::Headers { end: true }]).await,
                }
            }
        };
        self.receiving.done = true;
        let taken = takeover::switch(self.session, self.ctx, &head.headers).await;
        let stream = taken.map_err(Departure::Client)?;
        match to {
            Switch::Upstream(upstream) => self.service.tunnels.pump(self.ctx, stream, upstream).await,
            Switch::Local(handler) => {
                let _open = self.open_socket();
                if let Some(handler) = handler.take() {
                    handler(Box::new(stream)).await;
                }
            }
        }
        Ok(())
    }

    /// The head as the plugins left it, if it still switches.
    fn switched_head(&self) -> Option<Box<ResponseHeader>> {
        let mut view = self.ctx.plugins.as_ref()?.view();
        view.confine_response();
        let head = view.response.as_ref()?;
        (head.status == StatusCode::SWITCHING_PROTOCOLS).then(|| head.clone())
    }
}
