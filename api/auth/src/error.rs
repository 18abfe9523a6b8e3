//! Why credentials were refused.

/// A refusal at the edge. Its [`code`](AuthError::code) is part of the API's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The request carries no credentials.
    #[error("no credentials: send an Authorization header with a bearer token")]
    MissingCredentials,
    /// The token is malformed, was signed with another key or algorithm, or is for another use.
    #[error("the token is not valid")]
    InvalidToken,
    /// The access token's time is over; the family may still be refreshed.
    #[error("the token has expired")]
    TokenExpired,
    /// The family was ended: by logout, by reuse of a refresh token, or because its record is gone.
    #[error("the sign-in this token belongs to has ended")]
    TokenRevoked,
    /// The tenant of this login may do nothing for now; the login itself is untouched.
    #[error("this account is suspended; ask whoever runs this service")]
    TenantSuspended,
    /// Whether the family lives could not be determined. The request is refused; trying again can help.
    #[error("the sign-in could not be checked right now, try again")]
    Unavailable,
}

impl AuthError {
    /// The contract's error code.
    pub fn code(self) -> &'static str {
        match self {
            Self::MissingCredentials => "MISSING_AUTH_HEADER",
            Self::InvalidToken => "INVALID_TOKEN",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::TokenRevoked => "TOKEN_REVOKED",
            Self::TenantSuspended => "TENANT_SUSPENDED",
            Self::Unavailable => "UNAVAILABLE",
        }
    }

    /// The HTTP status that goes with it: 401 where other credentials can help, 503 where trying again can, 403 where
    /// neither does.
    pub fn status(self) -> u16 {
        match self {
            Self::TenantSuspended => 403,
            Self::Unavailable => 503,
            _ => 401,
        }
    }
}
