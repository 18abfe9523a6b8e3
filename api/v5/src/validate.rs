//! Rules for what clients send. Each says what is expected, so that a form can show it.

use coditect_auth::{PASSWORD_CHARS, judge_password};
use coditect_store::records::normalise_email;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use crate::error::ApiError;

/// The longest e-mail address, in bytes (RFC 5321, 4.5.3.1.3, less the angle brackets).
const MAX_EMAIL_BYTES: usize = 254;
/// The longest part before the `@`, in bytes (RFC 5321, 4.5.3.1.1).
const MAX_LOCAL_BYTES: usize = 64;
/// The longest label of a domain, in bytes (RFC 1035, 2.3.4).
const MAX_LABEL_BYTES: usize = 63;
/// Length of a person's name, in characters.
const PERSON_CHARS: std::ops::RangeInclusive<usize> = 1..=100;
/// Length of a workspace's name, in characters.
const NAME_CHARS: std::ops::RangeInclusive<usize> = 1..=200;
/// Length of a conversation's title, in characters.
const TITLE_CHARS: std::ops::RangeInclusive<usize> = 0..=200;
/// Length of an agent's description, in characters.
const MAX_DESCRIPTION_CHARS: usize = 2000;
/// The largest message, in bytes of compact JSON: content and metadata.
const MAX_MESSAGE_BYTES: usize = 80_000;
/// The longest key of a setting, in bytes.
const MAX_SETTING_KEY_BYTES: usize = 128;
/// The longest workspace path, in bytes.
const MAX_PATH_BYTES: usize = 4096;
/// The largest settings object, in bytes of compact JSON.
const MAX_SETTINGS_BYTES: usize = 64 << 10;

/// An address in its normal form.
pub(crate) fn email(input: &str) -> Result<String, ApiError> {
    let wrong = |reason| ApiError::validation("email", reason);
    let address = normalise_email(input);
    if address.len() > MAX_EMAIL_BYTES {
        return Err(wrong("must be at most 254 bytes long"));
    }
    let valid = address.rsplit_once('@').is_some_and(|(local, domain)| is_local(local) && is_domain(domain));
    if valid { Ok(address) } else { Err(wrong("must be an address such as name@example.com")) }
}

fn is_local(local: &str) -> bool {
    let allowed = |c: char| !c.is_whitespace() && !c.is_control() && !"@\"(),:;<>[\\]".contains(c);
    (1..=MAX_LOCAL_BYTES).contains(&local.len()) && local.chars().all(allowed)
}

fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.contains('.') && domain.split('.').all(label)
}

/// A new password of the user with this address. All that is wrong with it is told.
pub(crate) fn password(input: &str, email: &str) -> Result<(), ApiError> {
    let problems: Vec<_> = judge_password(input, Some(email)).iter().map(ToString::to_string).collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(ApiError::validation("password", problems.join("; ")))
}

/// Whether a password could ever have been set. Of the rules only the length has always been there.
pub(crate) fn is_possible_password(input: &str) -> bool {
    PASSWORD_CHARS.contains(&input.chars().count())
}

/// A person's name, without surrounding space.
pub(crate) fn person(field: &'static str, input: &str) -> Result<String, ApiError> {
    text(field, input, PERSON_CHARS, "must have 1 to 100 characters and no control characters")
}

/// A conversation's title, without surrounding space; it may be empty.
pub(crate) fn title(input: &str) -> Result<String, ApiError> {
    text("title", input, TITLE_CHARS, "must have at most 200 characters and no control characters")
}

/// A workspace's or an agent's name, without surrounding space.
pub(crate) fn name(input: &str) -> Result<String, ApiError> {
    text("name", input, NAME_CHARS, "must have 1 to 200 characters and no control characters")
}

/// What [`person`] takes, for the document.
pub(crate) fn person_schema() -> Object {
    text_schema(PERSON_CHARS)
}

/// What [`name`] takes, for the document.
pub(crate) fn name_schema() -> Object {
    text_schema(NAME_CHARS)
}

/// No control characters, and something beside space.
fn text_schema(length: std::ops::RangeInclusive<usize>) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(*length.start()))
        .max_length(Some(*length.end()))
        .pattern(Some(r"^[^\x00-\x1F\x7F-\x9F]*[^\s\x00-\x1F\x7F-\x9F][^\x00-\x1F\x7F-\x9F]*$"))
        .build()
}

fn text(
    field: &'static str,
    input: &str,
    length: std::ops::RangeInclusive<usize>,
    rule: &str,
) -> Result<String, ApiError> {
    let trimmed = input.trim();
    let may_be_empty = length.contains(&0);
    let fits = (may_be_empty || !trimmed.is_empty()) && length.contains(&input.chars().count());
    if fits && !input.chars().any(char::is_control) {
        return Ok(trimmed.to_owned());
    }
    Err(ApiError::validation(field, rule))
}

/// A workspace's path, as the client names it; the API gives it no meaning.
pub(crate) fn workspace_path(path: &str) -> Result<(), ApiError> {
    if path.is_empty() || path.len() > MAX_PATH_BYTES || path.contains('\0') {
        return Err(ApiError::validation("workspacePath", "must have 1 to 4096 bytes and no NUL character"));
    }
    Ok(())
}

/// What an agent is for: text of several lines.
pub(crate) fn description(input: &str) -> Result<(), ApiError> {
    let control = |c: char| c.is_control() && !"\n\r\t".contains(c);
    if input.chars().count() <= MAX_DESCRIPTION_CHARS && !input.chars().any(control) {
        return Ok(());
    }
    let rule = "must have at most 2000 characters and no control characters but tabs and line ends";
    Err(ApiError::validation("description", rule))
}

/// A message: what is said, and what the client keeps with it.
pub(crate) fn message(content: &str, metadata: &Map<String, Value>) -> Result<(), ApiError> {
    if json_bytes(content).saturating_add(json_bytes(metadata)) > MAX_MESSAGE_BYTES {
        let rule = "must be at most 80000 bytes of JSON, together with metadata";
        return Err(ApiError::validation("content", rule));
    }
    Ok(())
}

/// The key of a setting: it stands in paths as it is.
pub(crate) fn setting_key(key: &str) -> Result<&str, ApiError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if (1..=MAX_SETTING_KEY_BYTES).contains(&key.len()) && key.bytes().all(allowed) {
        return Ok(key);
    }
    Err(ApiError::validation("key", "must have 1 to 128 ASCII letters, digits, and . _ : -"))
}

/// What a setting is set to.
pub(crate) fn setting_value(value: &Value) -> Result<(), ApiError> {
    if json_bytes(value) > MAX_SETTINGS_BYTES {
        return Err(ApiError::validation("value", "must be at most 65536 bytes of JSON"));
    }
    Ok(())
}

/// The length of a value as compact JSON.
fn json_bytes<T: Serialize + ?Sized>(value: &T) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |bytes| bytes.len())
}

/// A workspace's or an agent's settings.
pub(crate) fn settings(settings: &Map<String, Value>) -> Result<(), ApiError> {
    if json_bytes(settings) > MAX_SETTINGS_BYTES {
        return Err(ApiError::validation("settings", "must be at most 65536 bytes of JSON"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(email(" Ann.Lee+x@Example.co.UK ").unwrap(), "ann.lee+x@example.co.uk");
        assert!(email("jürgen@bücher.example").is_ok());
        let longest = format!("{}@{}.example", "l".repeat(64), "d".repeat(60));
        assert!(email(&longest).is_ok());
        for bad in [
            "",
            "a",
            "@example.com",
            "a@",
            "a@b",
            "a@.com",
            "a@b..c",
            "a b@example.com",
            "a@@example.com",
            "a@-b.com",
            "a\0@example.com",
            "a@exa mple.com",
            "<a@example.com>",
            "a@example.com,b@example.com",
        ] {
            assert!(email(bad).is_err(), "{bad:?} passed");
        }
        assert!(email(&format!("{}@example.com", "l".repeat(65))).is_err());
        let long = format!("a@{}com", "d.".repeat(130));
        assert!(email(&long).unwrap_err().to_string().contains("254"));
    }

    #[test]
    fn lengths_are_counted_in_characters_and_at_their_boundaries() {
        let password = |input: &str| password(input, "ann@example.com");
        assert!(password(&"üä".repeat(4)).is_ok() && password(&"üä".repeat(64)).is_ok());
        assert!(password("1234567").is_err() && password(&"xy".repeat(65)).is_err());
        assert_eq!(person("firstName", " Zoë ").unwrap(), "Zoë");
        assert!(person("firstName", "   ").is_err() && person("firstName", &"x".repeat(101)).is_err());
        assert!(name(&"ü".repeat(200)).is_ok() && name(&"x".repeat(201)).is_err());
        assert!(name("a\nb").is_err() && name("a\n").is_err());
        assert!(workspace_path(&"p".repeat(4096)).is_ok() && workspace_path(&"p".repeat(4097)).is_err());
        assert!(workspace_path("a\0b").is_err() && workspace_path("").is_err());
    }

    #[test]
    fn all_that_is_wrong_with_a_password_is_told() {
        let told = password("password123", "password123@example.com").unwrap_err().to_string();
        assert_eq!(
            told,
            "password: must not be the e-mail address or its first part; \
             is one of the passwords that are guessed first"
        );
        assert!(is_possible_password("password123"), "it may have been chosen before there was a rule");
    }

    #[test]
    fn settings_are_measured_as_compact_json() {
        // {"k":"…"} has 8 bytes around the value.
        let of = |n: usize| Map::from_iter([("k".to_owned(), Value::String("x".repeat(n)))]);
        assert!(settings(&of(MAX_SETTINGS_BYTES - 8)).is_ok());
        assert!(settings(&of(MAX_SETTINGS_BYTES - 7)).is_err());
    }
}
