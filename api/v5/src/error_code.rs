//! The codes of failures, all that a client can meet below `/api/v5`: this crate's, the edge's in front of it, and the
//! terminal's beside it.

use serde::{Serialize, Serializer};
use utoipa::PartialSchema;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident: $name:literal;)*) => {
        /// Why a request failed, for programs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ErrorCode { $($(#[$doc])* $variant,)* }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name, as answers have it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

codes! {
    /// 401: the request has no credentials.
    MissingAuthHeader: "MISSING_AUTH_HEADER";
    /// 401: the token is none of ours, or for another use.
    InvalidToken: "INVALID_TOKEN";
    /// 401: refresh, and try again.
    TokenExpired: "TOKEN_EXPIRED";
    /// 401: the login has ended; log in again.
    TokenRevoked: "TOKEN_REVOKED";
    /// 401: the e-mail address or the password is wrong.
    InvalidCredentials: "INVALID_CREDENTIALS";
    /// 403: the caller's role is too low, or the request may come from another site.
    Forbidden: "FORBIDDEN";
    /// 403: the page that sent the request is not of an allowed origin.
    OriginNotAllowed: "ORIGIN_NOT_ALLOWED";
    /// 403: the tenant is suspended.
    TenantSuspended: "TENANT_SUSPENDED";
    /// 403: the caller's current password is another one.
    WrongPassword: "WRONG_PASSWORD";
    /// 404: no such path, or no such object for this caller.
    NotFound: "NOT_FOUND";
    /// 405: see the `Allow` header.
    MethodNotAllowed: "METHOD_NOT_ALLOWED";
    /// 408: the body did not arrive in time.
    RequestTimeout: "REQUEST_TIMEOUT";
    /// 400: the request cannot be read.
    BadRequest: "BAD_REQUEST";
    /// 400: the body is not JSON.
    InvalidJson: "INVALID_JSON";
    /// 400: the request is no proper WebSocket handshake.
    BadHandshake: "BAD_HANDSHAKE";
    /// 426: the path is for WebSockets.
    UpgradeRequired: "UPGRADE_REQUIRED";
    /// 409: another user has the e-mail address.
    EmailTaken: "EMAIL_TAKEN";
    /// 409: another object has the name, path or id, or something under way with this one must end first.
    Conflict: "CONFLICT";
    /// 409: there are as many objects of the kind as there may be.
    LimitReached: "LIMIT_REACHED";
    /// 409: a tenant keeps at least one owner.
    LastOwner: "LAST_OWNER";
    /// 412: the object has changed since the version in `If-Match`.
    PreconditionFailed: "PRECONDITION_FAILED";
    /// 413: the body is larger than the route takes.
    PayloadTooLarge: "PAYLOAD_TOO_LARGE";
    /// 415: the body is of another type than the route takes.
    UnsupportedMediaType: "UNSUPPORTED_MEDIA_TYPE";
    /// 416: the file ends before the range begins.
    RangeNotSatisfiable: "RANGE_NOT_SATISFIABLE";
    /// 422: the message names the field, and what it must be.
    ValidationFailed: "VALIDATION_FAILED";
    /// 422: the `Idempotency-Key` was used for another request.
    IdempotencyKeyReused: "IDEMPOTENCY_KEY_REUSED";
    /// 422: the plugin cannot run here; the message says why.
    PluginRefused: "PLUGIN_REFUSED";
    /// 429: too many attempts; see `Retry-After`.
    TooManyRequests: "TOO_MANY_REQUESTS";
    /// 429: the workspace has as many terminals as it may have.
    TooManyTerminals: "TOO_MANY_TERMINALS";
    /// 429: the terminal has as many viewers as it may have.
    TooManyViewers: "TOO_MANY_VIEWERS";
    /// 507: the tenant's files fill its quota.
    QuotaExceeded: "QUOTA_EXCEEDED";
    /// 503: a limit of concurrent work is reached; see `Retry-After`.
    Overloaded: "OVERLOADED";
    /// 503: the store does not answer; see `Retry-After`.
    Unavailable: "UNAVAILABLE";
    /// 503: a plugin failed, and its policy is to refuse then.
    PluginFailed: "PLUGIN_FAILED";
    /// 500: the terminal's shell did not start.
    TerminalStartFailed: "TERMINAL_START_FAILED";
    /// 500: the terminal's shell did not end.
    TerminalEndFailed: "TERMINAL_END_FAILED";
    /// 500: our fault; the answer's `X-Request-Id` finds it in the log.
    Internal: "INTERNAL";
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl PartialSchema for ErrorCode {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(Self::ALL.iter().map(|code| code.name())))
            .description(Some("Why a request failed, for programs."))
            .into()
    }
}

impl ToSchema for ErrorCode {}
