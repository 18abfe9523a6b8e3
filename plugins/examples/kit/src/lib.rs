//! What the example policies share: reading the configuration, refusing a request, paths, counters.
//!
//! Everything here is ordinary use of the public `proxy-wasm` crate. Header values are read as bytes throughout,
//! because the SDK's string getters panic on bytes that are no UTF-8, which any client can send.

pub mod address;
pub mod path;

mod configuration;
mod counter;
mod refusal;

pub use configuration::configuration;
pub use counter::Counter;
pub use refusal::Refusal;

use proxy_wasm::traits::{Context, HttpContext};

/// The tenant of a request that has none, as the edge names it.
pub const PUBLIC: &str = "public";

/// Most characters of an [`excerpt`].
const MAX_EXCERPT: usize = 100;

/// The tenant the edge verified, never what a client says; [`PUBLIC`] where there is none.
pub fn tenant(context: &dyn Context) -> String {
    text_property(context, &["coditect", "tenant_id"]).unwrap_or_else(|| PUBLIC.to_owned())
}

/// The user the edge verified.
pub fn user(context: &dyn Context) -> Option<String> {
    text_property(context, &["coditect", "user_id"])
}

/// A property that is a string; none where it does not exist, is empty or no UTF-8.
pub fn text_property(context: &dyn Context, path: &[&str]) -> Option<String> {
    let text = String::from_utf8(context.get_property(path.to_vec())?).ok()?;
    (!text.is_empty()).then_some(text)
}

/// A request header's value as text, with what is no UTF-8 replaced. Only in `on_http_request_headers`.
pub fn request_header(context: &dyn HttpContext, name: &str) -> Option<String> {
    context.get_http_request_header_bytes(name).map(lossy)
}

/// A response header's value as text, with what is no UTF-8 replaced. Only in `on_http_response_headers`.
pub fn response_header(context: &dyn HttpContext, name: &str) -> Option<String> {
    context.get_http_response_header_bytes(name).map(lossy)
}

/// The path rules are applied to: see [`path::normalize`]. Only in `on_http_request_headers`.
pub fn request_path(context: &dyn HttpContext) -> String {
    path::normalize(&context.get_http_request_header_bytes(":path").unwrap_or_default())
}

/// The beginning of a text that a client chose, for the log: a callback may log so much and no more.
pub fn excerpt(text: &str) -> &str {
    text.char_indices().nth(MAX_EXCERPT).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::excerpt;

    #[test]
    fn an_excerpt_is_short_and_ends_between_characters() {
        assert_eq!(excerpt(""), "");
        assert_eq!(excerpt("\u{e9}"), "\u{e9}");
        assert_eq!(excerpt(&"\u{e9}".repeat(1000)), "\u{e9}".repeat(100));
    }
}
