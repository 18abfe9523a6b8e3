//! What an access token says.

use crate::AuthSession;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The claims of an access token, exactly as the contract names them. Times are Unix seconds.
///
/// They can only be made from a stored [`AuthSession`] (by [`crate::TokenIssuer::access`]) or read from a token
/// whose signature was verified, so a token without a login behind it cannot come about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Claims {
    /// The user.
    pub sub: Uuid,
    /// The user's tenant.
    pub tenant_id: Uuid,
    /// The user's e-mail address when the token was made.
    pub email: String,
    /// The auth session the token was minted from.
    pub session_id: Uuid,
    /// The login that auth session descends from.
    pub token_family: Uuid,
    /// When the token stops being valid.
    pub exp: i64,
    /// When it was made.
    pub iat: i64,
    /// Who made it.
    pub iss: String,
    /// What it is for.
    pub aud: String,
    /// The token's own id.
    pub jti: Uuid,
}

impl Claims {
    pub(crate) fn of(session: &AuthSession, jti: Uuid, iat: i64, exp: i64, iss: &str, aud: &str) -> Self {
        Self {
            sub: session.user_id,
            tenant_id: session.tenant_id,
            email: session.email.clone(),
            session_id: session.id,
            token_family: session.family,
            exp,
            iat,
            iss: iss.to_owned(),
            aud: aud.to_owned(),
            jti,
        }
    }
}
