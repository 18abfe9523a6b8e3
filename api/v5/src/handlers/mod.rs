//! One file per resource: its requests, its answers, its operations.

pub(crate) mod auth;
pub(crate) mod health;
pub(crate) mod sessions;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::ApiError;

/// Unix milliseconds as RFC 3339.
fn rfc3339(millis: i64) -> Result<String, ApiError> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)
        .map_err(|error| ApiError::Internal(Box::new(error)))?
        .format(&Rfc3339)
        .map_err(|error| ApiError::Internal(Box::new(error)))
}
