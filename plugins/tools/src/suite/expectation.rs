//! What a case expects, as it is written.

use super::headers::field_name;
use super::property::PropertyValue;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::collections::BTreeMap;

/// What a case expects. What is left out may be anything, but for a plugin's failure, which a case must name.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expectation {
    /// Whether the request reaches the upstream.
    pub upstream: Option<bool>,
    /// The request as it reaches the upstream; so it must reach it.
    pub request: Option<ExpectedRequest>,
    /// The response as the client gets it.
    pub response: Option<ExpectedResponse>,
    /// The connection is broken off instead (`proxy_close_stream`).
    pub closed: Option<bool>,
    /// Each is part of a line the plugin logs.
    pub log: Vec<String>,
    /// None is part of a line the plugin logs.
    pub no_log: Vec<String>,
    /// The plugin's own metrics after this case.
    pub metrics: BTreeMap<String, ExpectedMetric>,
    /// Properties after this case, as the access log would see them.
    pub properties: BTreeMap<String, PropertyValue>,
    /// Part of what is reported: the plugin traps, or holds the exchange for ever.
    pub failure: Option<String>,
    /// Part of why the plugin is not loaded with this case's configuration. There is no exchange then.
    pub refused: Option<String>,
}

/// A request, in the parts that matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedRequest {
    /// `:method`.
    pub method: Option<String>,
    /// `:path`, with the query.
    pub path: Option<String>,
    /// `:authority`.
    pub authority: Option<String>,
    /// Headers with exactly these values.
    pub headers: ExpectedHeaders,
    /// Headers that are not there.
    pub no_headers: Names,
    /// The whole body.
    pub body: Option<String>,
    /// Part of the body.
    pub body_contains: Option<String>,
    /// Trailers with exactly these values.
    pub trailers: ExpectedHeaders,
}

/// A response, in the parts that matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedResponse {
    /// `:status`.
    pub status: Option<u16>,
    /// Headers with exactly these values.
    pub headers: ExpectedHeaders,
    /// Headers that are not there.
    pub no_headers: Names,
    /// The whole body.
    pub body: Option<String>,
    /// Part of the body.
    pub body_contains: Option<String>,
    /// Trailers with exactly these values.
    pub trailers: ExpectedHeaders,
    /// Why a plugin answered itself, as it says for the access log.
    pub details: Option<String>,
}

/// A metric's value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum ExpectedMetric {
    /// Of a counter or a gauge.
    Value(u64),
    /// Of a histogram.
    Histogram(ExpectedHistogram),
}

/// A histogram's totals.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedHistogram {
    /// How many observations.
    pub count: u64,
    /// Their sum, where it matters.
    pub sum: Option<u64>,
}

/// Header names, in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

/// All values a header has, by its name in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpectedHeaders(pub BTreeMap<String, Vec<String>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Several(Vec<String>),
}

impl<'de> Deserialize<'de> for ExpectedHeaders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut headers = BTreeMap::new();
        for (name, values) in BTreeMap::<String, Values>::deserialize(deserializer)? {
            let values = match values {
                Values::One(value) => vec![value],
                Values::Several(values) => values,
            };
            if headers.insert(lower(&name).map_err(D::Error::custom)?, values).is_some() {
                return Err(D::Error::custom(format!("the header `{name}` is expected twice")));
            }
        }
        Ok(Self(headers))
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        names.iter().map(|name| lower(name)).collect::<Result<_, _>>().map(Self).map_err(D::Error::custom)
    }
}

fn lower(name: &str) -> Result<String, String> {
    field_name(name).map(|name| String::from_utf8_lossy(&name).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn headers_are_told_apart_by_lower_case_names() {
        let text = "headers = { X-A = '1', x-b = ['2', '3'] }\nno_headers = ['X-C']";
        let read: ExpectedResponse = toml::from_str(text).unwrap();
        assert_eq!(read.headers.0["x-a"], ["1"]);
        assert_eq!(read.headers.0["x-b"], ["2", "3"]);
        assert_eq!(read.no_headers.0, ["x-c"]);
        let twice = toml::from_str::<ExpectedResponse>("headers = { X-A = '1', x-a = '2' }").unwrap_err();
        assert!(twice.message().contains("expected twice"), "{twice}");
    }

    #[test]
    fn a_metric_is_a_number_or_a_histograms_totals() {
        let read: Expectation = toml::from_str("metrics = { a = 3, b = { count = 2, sum = 7 } }").unwrap();
        assert_eq!(read.metrics["a"], ExpectedMetric::Value(3));
        let totals = ExpectedHistogram { count: 2, sum: Some(7) };
        assert_eq!(read.metrics["b"], ExpectedMetric::Histogram(totals));
    }
}
