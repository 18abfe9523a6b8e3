//! The configuration, checked, and the window.

use std::time::SystemTime;

use policy_kit::path;
use serde::Deserialize;

/// Most of `retry_after_seconds`: a day.
const MAX_RETRY_AFTER: u64 = 86_400;
/// Longest `message`, in bytes.
const MAX_MESSAGE: usize = 1000;

/// A valid configuration.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Settings {
    pub message: String,
    pub allow_paths: Vec<String>,
    pub allow_users: Vec<String>,
    from: Option<SystemTime>,
    until: Option<SystemTime>,
    retry_after_seconds: u64,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Raw {
    from: Option<String>,
    until: Option<String>,
    retry_after_seconds: u64,
    message: String,
    allow_paths: Vec<String>,
    allow_users: Vec<String>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            from: None,
            until: None,
            retry_after_seconds: 300,
            message: "We are at work on this service. It will be back soon.".to_owned(),
            allow_paths: Vec::new(),
            allow_users: Vec::new(),
        }
    }
}

impl TryFrom<Raw> for Settings {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let (from, until) = (time("from", raw.from)?, time("until", raw.until)?);
        if let (Some(from), Some(until)) = (from, until)
            && until <= from
        {
            return Err("until is not after from, so that the window is empty".to_owned());
        }
        if !(1..=MAX_RETRY_AFTER).contains(&raw.retry_after_seconds) {
            let given = raw.retry_after_seconds;
            return Err(format!("retry_after_seconds is {given}; it can be 1 to {MAX_RETRY_AFTER}"));
        }
        if raw.message.is_empty() || raw.message.len() > MAX_MESSAGE {
            return Err(format!("message has {} bytes; it can have 1 to {MAX_MESSAGE}", raw.message.len()));
        }
        path::check_prefixes(&raw.allow_paths)?;
        if raw.allow_users.iter().any(String::is_empty) {
            return Err("allow_users has an empty id".to_owned());
        }
        let Raw { retry_after_seconds, message, allow_paths, allow_users, .. } = raw;
        Ok(Self { message, allow_paths, allow_users, from, until, retry_after_seconds })
    }
}

fn time(name: &str, text: Option<String>) -> Result<Option<SystemTime>, String> {
    let Some(text) = text else { return Ok(None) };
    match humantime::parse_rfc3339(&text) {
        Ok(time) => Ok(Some(time)),
        Err(_) => Err(format!("{name} is {text:?}; it is a time such as 2026-01-10T02:00:00Z")),
    }
}

impl Settings {
    /// In how many seconds to ask again, where `now` lies in the window.
    pub fn retry_after(&self, now: SystemTime) -> Option<u64> {
        if self.from.is_some_and(|from| now < from) {
            return None;
        }
        let Some(until) = self.until else { return Some(self.retry_after_seconds) };
        let left = until.duration_since(now).ok().filter(|left| !left.is_zero())?;
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        Some(seconds.min(self.retry_after_seconds))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    fn at(text: &str) -> SystemTime {
        humantime::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn the_window_begins_and_ends() {
        let raw = Raw {
            from: Some("2026-01-10T02:00:00Z".to_owned()),
            until: Some("2026-01-10T04:00:00Z".to_owned()),
            ..Raw::default()
        };
        let settings = Settings::try_from(raw).unwrap();
        for (now, retry_after) in [
            ("2026-01-10T01:59:59.999Z", None),
            ("2026-01-10T02:00:00Z", Some(300)),
            ("2026-01-10T03:55:00Z", Some(300)),
            ("2026-01-10T03:59:58.5Z", Some(2)),
            ("2026-01-10T04:00:00Z", None),
            ("2027-01-01T00:00:00Z", None),
        ] {
            assert_eq!(settings.retry_after(at(now)), retry_after, "{now}");
        }
    }

    #[test]
    fn without_a_window_it_is_always() {
        let settings = Settings::try_from(Raw::default()).unwrap();
        assert_eq!(settings.retry_after(SystemTime::UNIX_EPOCH), Some(300));
        assert_eq!(settings.retry_after(SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40)), Some(300));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let some = |text: &str| Some(text.to_owned());
        for (raw, reason) in [
            (Raw { from: some("tomorrow"), ..Raw::default() }, "from is \"tomorrow\""),
            (Raw { until: some("2026-02-30T00:00:00Z"), ..Raw::default() }, "until is"),
            (Raw { until: some("2026-01-10T02:00:00+01:00"), ..Raw::default() }, "until is"),
            (
                Raw {
                    from: some("2026-01-10T02:00:00Z"),
                    until: some("2026-01-10T02:00:00Z"),
                    ..Raw::default()
                },
                "the window is empty",
            ),
            (Raw { retry_after_seconds: 0, ..Raw::default() }, "retry_after_seconds is 0"),
            (Raw { message: String::new(), ..Raw::default() }, "message has 0 bytes"),
            (Raw { allow_paths: vec!["x".to_owned()], ..Raw::default() }, "is no path"),
            (Raw { allow_users: vec![String::new()], ..Raw::default() }, "empty id"),
        ] {
            let refused = Settings::try_from(raw).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
    }
}
