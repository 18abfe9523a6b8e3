//! The query of a request, and the pages of lists.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;

use super::hints;
use crate::error::ApiError;

/// Items of a list in one answer when the client does not say.
const DEFAULT_LIMIT: usize = 100;
/// The most items of a list in one answer.
const MAX_LIMIT: usize = 200;

/// The longest cursor, in bytes.
const MAX_CURSOR_BYTES: usize = 4096;

/// The query. What does not fit is a validation error.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let text = parts.uri.query().unwrap_or_default();
        if let Some((name, hint)) = form_urlencoded::parse(text.as_bytes())
            .find_map(|(name, _)| hints::snake_case(&name).map(|hint| (name.into_owned(), hint)))
        {
            return Err(ApiError::validation(name, hint));
        }
        let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes()));
        serde_path_to_error::deserialize(pairs).map(Self).map_err(|error| {
            let path = error.path().to_string();
            let field = if path == "." { "query".to_owned() } else { path };
            ApiError::validation(field, error.into_inner().to_string())
        })
    }
}

/// Which part of a list is wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// How many items at most.
    #[serde(default, deserialize_with = "limit")]
    #[param(minimum = 1, maximum = 200, default = 100)]
    limit: Option<usize>,
    /// The `next_cursor` of the part before. It means nothing to clients, and is good for the same list only.
    #[serde(default, deserialize_with = "cursor")]
    #[param(max_length = 4096)]
    cursor: Option<String>,
}

impl PageQuery {
    /// How many items, 1 to 200.
    pub(crate) fn limit(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_LIMIT)
    }

    /// The place after which the part begins, as the repository has it.
    ///
    /// # Errors
    /// [`ApiError::Validation`] for a cursor this API did not give out.
    pub(crate) fn after<C: Cursor>(&self) -> Result<Option<C>, ApiError> {
        let parse = |text: &String| C::read(text).ok_or(());
        self.cursor
            .as_ref()
            .map(parse)
            .transpose()
            .map_err(|()| ApiError::validation("cursor", "must be a next_cursor of this list"))
    }
}

fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    let limit =
        String::deserialize(deserializer)?.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.map(Some).ok_or_else(|| D::Error::custom(format_args!("must be a number from 1 to {MAX_LIMIT}")))
}

fn cursor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let cursor = Some(String::deserialize(deserializer)?).filter(|cursor| cursor.len() <= MAX_CURSOR_BYTES);
    cursor.map(Some).ok_or_else(|| D::Error::custom("must be a next_cursor of this list"))
}

/// A place in a list that clients carry around without knowing what it says.
pub(crate) trait Cursor: Sized {
    /// What clients see.
    fn write(&self) -> String;
    /// Reads what [`Self::write`] wrote; `None` for anything else.
    fn read(text: &str) -> Option<Self>;
}

impl<T: FromStr + ToString> Cursor for T {
    fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.to_string())
    }

    fn read(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        String::from_utf8(bytes).ok()?.parse().ok()
    }
}
