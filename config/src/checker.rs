//! Reads values and collects what is wrong with them, so that a file's problems are all told at once.

use crate::problem::{ConfigError, Problem, line_of};
use crate::raw::{At, Opt};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Collects problems while values are read.
pub(crate) struct Checker<'a> {
    text: &'a str,
    file: &'a str,
    problems: Vec<Problem>,
    pub(crate) warnings: Vec<String>,
}

impl<'a> Checker<'a> {
    /// A checker of a file with this text and name.
    pub(crate) fn new(text: &'a str, file: &'a str) -> Self {
        Self { text, file, problems: Vec::new(), warnings: Vec::new() }
    }

    /// All problems at once, where there are any.
    pub(crate) fn verdict(self) -> Result<(), ConfigError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(self.problems)) }
    }

    /// Notes a problem at a value.
    pub(crate) fn problem<T>(&mut self, at: &At<T>, key: &str, message: impl Into<String>) {
        let line = line_of(self.text, at.span().start);
        self.problems.push(Problem {
            file: self.file.to_owned(),
            line,
            key: key.to_owned(),
            message: message.into(),
        });
    }

    /// Notes a problem that has no line: in the environment, or in the file as a whole.
    pub(crate) fn problem_without_line(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem {
            file: self.file.to_owned(),
            line: 0,
            key: key.to_owned(),
            message: message.into(),
        });
    }

    /// A number within `range`.
    pub(crate) fn number<N: TryFrom<i64> + Default>(
        &mut self,
        value: &Opt<i64>,
        default: i64,
        range: RangeInclusive<i64>,
        key: &str,
    ) -> N {
        let number = value.as_ref().map_or(default, |at| *at.get_ref());
        if let Some(at) = value
            && !range.contains(&number)
        {
            let (least, most) = (range.start(), range.end());
            self.problem(at, key, format!("{number} is out of range, expected {least} to {most}"));
        }
        N::try_from(number).unwrap_or_default()
    }

    /// A time in seconds within `range`.
    pub(crate) fn seconds(
        &mut self,
        value: &Opt<i64>,
        default: i64,
        range: RangeInclusive<i64>,
        key: &str,
    ) -> Duration {
        Duration::from_secs(self.number(value, default, range, key))
    }

    /// A text that may not be empty.
    pub(crate) fn text(&mut self, value: &Opt<String>, default: &str, key: &str) -> String {
        match value {
            Some(at) if at.get_ref().trim().is_empty() => {
                self.problem(at, key, "is empty, expected some text");
                String::new()
            }
            Some(at) => at.get_ref().clone(),
            None => default.to_owned(),
        }
    }

    /// A path that is not empty.
    pub(crate) fn path(&mut self, value: &Opt<String>, default: &str, key: &str) -> PathBuf {
        PathBuf::from(self.text(value, default, key))
    }

    /// An address with a port.
    pub(crate) fn socket(&mut self, value: &Opt<String>, default: SocketAddr, key: &str) -> SocketAddr {
        let Some(at) = value else { return default };
        at.get_ref().parse().unwrap_or_else(|_| {
            self.problem(
                at,
                key,
                format!("`{}` is no address, expected IP:PORT such as 127.0.0.1:8080", at.get_ref()),
            );
            default
        })
    }

    /// One of a few words.
    pub(crate) fn one_of<T: Copy>(
        &mut self,
        value: &Opt<String>,
        default: T,
        known: &[(&str, T)],
        key: &str,
    ) -> T {
        let Some(at) = value else { return default };
        let found = known.iter().find(|(word, _)| word == at.get_ref());
        found.map_or_else(
            || {
                let words: Vec<_> = known.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                let expected = match words.split_last() {
                    Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
                    _ => words.concat(),
                };
                self.problem(at, key, format!("`{}` is unknown, expected {expected}", at.get_ref()));
                default
            },
            |(_, meant)| *meant,
        )
    }
}
