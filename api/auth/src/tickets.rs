//! One-use tickets for WebSockets.
//!
//! A browser cannot set headers on a WebSocket, and a token in its URL may end up in somebody's log. A ticket may too,
//! but opens one socket, once, at one path, within half a minute, and never more than the login it was made from.
//! That it opens no second one is for a [`TicketLedger`] to see to, which all replicas share.

use crate::tokens::unexpired;
use crate::{AuthError, Claims, Identity, IssuedToken, TokenIssuer, TokenVerifier};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The audience of tickets.
pub(crate) const TICKET_AUDIENCE: &str = "coditect-ticket";
/// How long a ticket can be used, in seconds.
const TICKET_SECONDS: i64 = 30;
/// The longest path a ticket is made for, in bytes: with it a ticket is still no longer than a token may be.
const MAX_PATH_BYTES: usize = 1024;

/// What a ticket says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Who it was made for; `jti` is the ticket's own, `exp` the end of its half minute.
    #[serde(flatten)]
    pub claims: Claims,
    /// The one path it opens: the bytes of the request's target without the query, as they are sent and routed.
    pub path: String,
    /// The one workspace it opens, where it was made for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Uuid>,
}

/// Why no ticket was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// No request can have this path.
    #[error(
        "must be the path of the socket as it will be requested: it begins with `/`, has no query, no fragment, \
         only visible ASCII characters (others percent-encoded) and at most {MAX_PATH_BYTES} bytes"
    )]
    Path,
    /// The ticket could not be signed.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

/// Why a [`TicketLedger`] could not tell.
#[derive(Debug, thiserror::Error)]
#[error("whether a ticket was used could not be determined")]
pub struct LedgerError(#[from] pub Box<dyn std::error::Error + Send + Sync>);

/// Remembers which tickets were used, for all replicas.
#[async_trait]
pub trait TicketLedger: Send + Sync {
    /// Marks the ticket `jti`, which ends at `exp` (Unix seconds), as used. True for one caller only, whatever number
    /// of them asks at once and wherever; where the answer is lost, for none.
    async fn redeem(&self, jti: Uuid, exp: i64) -> Result<bool, LedgerError>;
}

impl TokenIssuer {
    /// A ticket with which the caller can open one socket at `path`, once, within 30 seconds of `now` (Unix seconds).
    ///
    /// # Errors
    /// [`TicketError::Path`] for what cannot be the path of a request; where signing fails, which no input can cause.
    pub fn ticket(
        &self,
        caller: &Identity,
        path: &str,
        workspace: Option<Uuid>,
        now: i64,
    ) -> Result<IssuedToken, TicketError> {
        let fit = path.starts_with('/')
            && path.len() <= MAX_PATH_BYTES
            && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
        if !fit {
            return Err(TicketError::Path);
        }
        let mut claims = self.for_family(caller, TICKET_AUDIENCE);
        claims.iat = now;
        claims.exp = now.saturating_add(TICKET_SECONDS).min(claims.exp);
        let expires_in = claims.exp.saturating_sub(now);
        let ticket = Ticket { claims, path: path.to_owned(), workspace };
        Ok(IssuedToken { token: self.sign(&ticket)?, expires_in })
    }
}

impl TokenVerifier {
    /// What a ticket says that is presented at `path`. Whether it was used before is for a [`TicketLedger`] to say.
    ///
    /// # Errors
    /// [`AuthError::InvalidToken`] for anything but a ticket for this path; [`AuthError::TokenExpired`] from the second
    /// `exp` on.
    pub fn verify_ticket(&self, token: &str, path: &str, now: i64) -> Result<Ticket, AuthError> {
        let ticket: Ticket = self.decode(token, &self.ticket, now)?.0;
        unexpired(ticket.claims.exp, now)?;
        if ticket.path == path { Ok(ticket) } else { Err(AuthError::InvalidToken) }
    }
}

#[cfg(test)]
mod tests;
