//! One file per resource: its requests, its answers, its operations.

pub(crate) mod account;
pub(crate) mod agents;
pub(crate) mod archive;
pub(crate) mod audit;
pub(crate) mod auth;
pub(crate) mod contract;
pub(crate) mod conversations;
pub(crate) mod files;
pub(crate) mod health;
mod login_steps;
pub(crate) mod logins;
pub(crate) mod messages;
pub(crate) mod plugins;
pub(crate) mod session_life;
pub(crate) mod session_state;
mod session_types;
pub(crate) mod sessions;
pub(crate) mod settings;
pub(crate) mod tickets;
pub(crate) mod users;

use serde::{Deserialize, Deserializer};
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

/// A field that is there, so that `null` is not mistaken for a field left out.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
