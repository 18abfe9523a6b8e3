//! Every way a request can fail, and the only mapping of failures to HTTP.

use axum::response::{IntoResponse, Response};
use coditect_auth::{AuthError, PasswordError};
use coditect_store::blobs::BlobError;
use coditect_store::{FileError, PluginError, RegistrationError, StoreError, UpdateError};
use http::header::{CONTENT_RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use crate::envelope;
pub(crate) use crate::error_code::ErrorCode;
use crate::plugins::PluginRefusal;

/// Seconds a client is asked to wait before it tries again, where nothing better is known.
const RETRY_SECONDS: u64 = 1;

/// Why a request failed. `Display` is what the client reads; causes are logged and never shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// Missing or refused credentials.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Login with an unknown address or a wrong password; which of them is not told.
    #[error("the e-mail address or the password is wrong")]
    InvalidCredentials,
    /// The caller does not know their own password.
    #[error("that is not your current password")]
    WrongPassword,
    /// The caller may not do this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// No such path, or no such object for this caller.
    #[error("not found")]
    NotFound,
    /// No such path; what clients of old used it for is elsewhere.
    #[error("there is no such path; it is {0} now")]
    MovedPath(String),
    /// The path exists, the method does not; what clients of old used it for is elsewhere.
    #[error("this path does not support the method; it is {0} now")]
    MovedMethod(String),
    /// The path exists, the method does not.
    #[error("this path does not support the method; see the Allow header")]
    MethodNotAllowed,
    /// The body did not arrive in time.
    #[error("the request body did not arrive in time")]
    RequestTimeout,
    /// The connection broke while the body was read.
    #[error("the request body could not be read")]
    UnreadableBody,
    /// Another user has the address.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// Another object has the name or id.
    #[error("another object has this name already")]
    Taken,
    /// The workspace is still being copied.
    #[error("the workspace is still being copied; try again when its status is active")]
    Forking,
    /// The tenant would be left without an owner who can log in.
    #[error("a tenant must keep an owner who can log in: make another member an owner first")]
    LastOwner,
    /// The tenant may not have so much.
    #[error("{0}")]
    QuotaExceeded(String),
    /// The content ends before the range begins.
    #[error("the range does not lie in the file, which has {size} bytes")]
    RangeNotSatisfiable {
        /// The content's length in bytes.
        size: u64,
    },
    /// The object has changed since the version the client knows.
    #[error("the object has changed in the meantime")]
    VersionMismatch,
    /// The body is larger than allowed.
    #[error("the request body is larger than {limit} bytes")]
    PayloadTooLarge {
        /// The route's limit, in bytes.
        limit: u64,
    },
    /// The body is of another type than the route takes.
    #[error("the request body must be {0}")]
    UnsupportedMediaType(&'static str),
    /// The body is not JSON.
    #[error("the request body is not valid JSON: {0}")]
    InvalidJson(String),
    /// The request is well-formed and wrong.
    #[error("{field}: {reason}")]
    Validation {
        /// The field, as the client names it.
        field: String,
        /// What is expected.
        reason: String,
    },
    /// The object is not in the state that the request needs.
    #[error("{0}")]
    Conflict(String),
    /// There are as many as there may be.
    #[error("{0}")]
    LimitReached(String),
    /// The plugin cannot run here.
    #[error("the plugin is refused: {0}")]
    PluginRefused(String),
    /// The key of an earlier request, which was another.
    #[error("the Idempotency-Key was used for another request; use a new one for each")]
    KeyReused,
    /// The caller has tried too often.
    #[error("too many attempts, try again in {seconds} s")]
    TooManyRequests {
        /// When to try again.
        seconds: u64,
    },
    /// A limit of concurrent work is reached.
    #[error("the server is busy, try again in a moment")]
    Overloaded,
    /// The store cannot answer right now.
    #[error("the service is not available right now, try again in a moment")]
    Unavailable(#[source] StoreError),
    /// Our fault.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ApiError {
    /// A wrong field.
    pub(crate) fn validation(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Validation { field: field.into(), reason: reason.into() }
    }

    /// The contract's code.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Auth(AuthError::MissingCredentials) => ErrorCode::MissingAuthHeader,
            Self::Auth(AuthError::InvalidToken) => ErrorCode::InvalidToken,
            Self::Auth(AuthError::TokenExpired) => ErrorCode::TokenExpired,
            Self::Auth(AuthError::TokenRevoked) => ErrorCode::TokenRevoked,
            Self::Auth(AuthError::TenantSuspended) => ErrorCode::TenantSuspended,
            Self::Auth(AuthError::Unavailable) | Self::Unavailable(_) => ErrorCode::Unavailable,
            Self::InvalidCredentials => ErrorCode::InvalidCredentials,
            Self::WrongPassword => ErrorCode::WrongPassword,
            Self::Forbidden(_) => ErrorCode::Forbidden,
            Self::NotFound | Self::MovedPath(_) => ErrorCode::NotFound,
            Self::MethodNotAllowed | Self::MovedMethod(_) => ErrorCode::MethodNotAllowed,
            Self::RequestTimeout => ErrorCode::RequestTimeout,
            Self::UnreadableBody => ErrorCode::BadRequest,
            Self::EmailTaken => ErrorCode::EmailTaken,
            Self::Taken | Self::Forking | Self::Conflict(_) => ErrorCode::Conflict,
            Self::LastOwner => ErrorCode::LastOwner,
            Self::LimitReached(_) => ErrorCode::LimitReached,
            Self::PluginRefused(_) => ErrorCode::PluginRefused,
            Self::QuotaExceeded(_) => ErrorCode::QuotaExceeded,
            Self::RangeNotSatisfiable { .. } => ErrorCode::RangeNotSatisfiable,
            Self::VersionMismatch => ErrorCode::PreconditionFailed,
            Self::PayloadTooLarge { .. } => ErrorCode::PayloadTooLarge,
            Self::UnsupportedMediaType(_) => ErrorCode::UnsupportedMediaType,
            Self::InvalidJson(_) => ErrorCode::InvalidJson,
            Self::Validation { .. } => ErrorCode::ValidationFailed,
            Self::KeyReused => ErrorCode::IdempotencyKeyReused,
            Self::TooManyRequests { .. } => ErrorCode::TooManyRequests,
            Self::Overloaded => ErrorCode::Overloaded,
            Self::Internal(_) => ErrorCode::Internal,
        }
    }

    /// The status that goes with it.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Auth(error) => {
                StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Self::InvalidCredentials => StatusCode::UNAUTHORIZED,
            Self::WrongPassword | Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound | Self::MovedPath(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed | Self::MovedMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::UnreadableBody | Self::InvalidJson(_) => StatusCode::BAD_REQUEST,
            Self::EmailTaken
            | Self::Taken
            | Self::Forking
            | Self::LastOwner
            | Self::Conflict(_)
            | Self::LimitReached(_) => StatusCode::CONFLICT,
            Self::QuotaExceeded(_) => StatusCode::INSUFFICIENT_STORAGE,
            Self::RangeNotSatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::VersionMismatch => StatusCode::PRECONDITION_FAILED,
            Self::PayloadTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Validation { .. } | Self::PluginRefused(_) | Self::KeyReused => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Overloaded | Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// When to try again, in seconds, where that can help.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooManyRequests { seconds } => Some(*seconds),
            _ => (self.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_SECONDS),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        // That a quota is full is nobody's fault here.
        if status.is_server_error() && status != StatusCode::INSUFFICIENT_STORAGE {
            tracing::error!(code = self.code().name(), cause = %causes(&self), "API request failed");
        }
        let mut response = envelope::failure(status, self.code(), self.to_string());
        let headers = response.headers_mut();
        if let Self::RangeNotSatisfiable { size } = &self
            && let Ok(range) = HeaderValue::try_from(format!("bytes */{size}"))
        {
            headers.insert(CONTENT_RANGE, range);
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The error and its sources, for the log.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Record { .. }
            | StoreError::Orphan { .. }
            | StoreError::KeyTooLarge { .. }
            | StoreError::ValueTooLarge { .. }
            | StoreError::TransactionTooLarge { .. }
            | StoreError::KeyReserved
            | StoreError::InvertedRange
            | StoreError::Used => Self::Internal(Box::new(error)),
            StoreError::Overloaded => Self::Overloaded,
            error => Self::Unavailable(error),
        }
    }
}

impl From<UpdateError> for ApiError {
    fn from(error: UpdateError) -> Self {
        match error {
            UpdateError::NotFound => Self::NotFound,
            UpdateError::VersionMismatch { .. } => Self::VersionMismatch,
            UpdateError::Taken => Self::Taken,
            UpdateError::Forking => Self::Forking,
            error @ UpdateError::LimitReached { .. } => Self::LimitReached(error.to_string()),
            UpdateError::LastOwner => Self::LastOwner,
            UpdateError::NotAllowed => Self::Forbidden("your role does not allow this"),
            // Handlers upload contents anew.
            error @ UpdateError::NoContent => Self::Internal(Box::new(error)),
            error @ UpdateError::QuotaExceeded { .. } => Self::QuotaExceeded(error.to_string()),
            UpdateError::Store(error) => error.into(),
        }
    }
}

impl From<FileError> for ApiError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Forking => Self::Forking,
            FileError::NoWorkspace | FileError::NotFound => Self::NotFound,
            FileError::Path(problem) => Self::validation("path", problem.to_string()),
            FileError::Precondition { .. } => Self::VersionMismatch,
            error @ (FileError::Occupied { .. } | FileError::Taken { .. }) => {
                Self::Conflict(error.to_string())
            }
            error @ FileError::Nested => Self::validation("to", error.to_string()),
            error @ FileError::QuotaExceeded { .. } => Self::QuotaExceeded(error.to_string()),
            FileError::Blob(error) => error.into(),
            FileError::Store(error) => error.into(),
        }
    }
}

impl From<RegistrationError> for ApiError {
    fn from(error: RegistrationError) -> Self {
        match error {
            RegistrationError::EmailTaken => Self::EmailTaken,
            RegistrationError::Store(error) => error.into(),
        }
    }
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Store(error) => error.into(),
            BlobError::TooLarge { limit } => Self::PayloadTooLarge { limit },
            BlobError::Expired => Self::RequestTimeout,
            error => Self::Internal(Box::new(error)),
        }
    }
}

impl From<PluginError> for ApiError {
    fn from(error: PluginError) -> Self {
        match error {
            PluginError::Update(error) => error.into(),
            PluginError::NoVersion(_) => Self::validation("version", error.to_string()),
            PluginError::Limit { .. } => Self::LimitReached(error.to_string()),
            PluginError::Active | PluginError::NotActive | PluginError::NothingBefore => {
                Self::Conflict(error.to_string())
            }
        }
    }
}

impl From<PluginRefusal> for ApiError {
    fn from(refusal: PluginRefusal) -> Self {
        match refusal {
            PluginRefusal::Refused(_) | PluginRefusal::TooSlow => Self::PluginRefused(refusal.to_string()),
            PluginRefusal::Busy => Self::Overloaded,
            PluginRefusal::Failed(error) => Self::Internal(error),
        }
    }
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::Overloaded,
            error => Self::Internal(Box::new(error)),
        }
    }
}
