//! The rules, and what they say about a path and an address.

use std::net::IpAddr;

use policy_kit::path;
use serde::Deserialize;

use crate::network::Network;

/// The configuration: rules in order of precedence.
#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Rules(Vec<Rule>);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    path: String,
    allow: Vec<Network>,
    #[serde(default)]
    deny: Vec<Network>,
}

impl TryFrom<Raw> for Rules {
    type Error = String;

    fn try_from(Raw { mut rules }: Raw) -> Result<Self, String> {
        if rules.is_empty() {
            return Err("rules is empty, so that every request would be refused".to_owned());
        }
        for rule in &mut rules {
            path::check_prefix(&rule.path)?;
            if rule.path != "/" {
                rule.path.truncate(rule.path.trim_end_matches('/').len());
            }
        }
        rules.sort_by(|a, b| b.path.len().cmp(&a.path.len()).then_with(|| a.path.cmp(&b.path)));
        match rules.windows(2).find_map(|pair| match pair {
            [a, b] if a.path == b.path => Some(&a.path),
            _ => None,
        }) {
            Some(twice) => Err(format!("there are two rules for {twice:?}")),
            None => Ok(Self(rules)),
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// No rule is for its path.
    Path,
    /// The rule for its path does not allow its address.
    Address,
}

impl Rules {
    /// Judges a normalized path and the address it is asked from. An unknown address is allowed by no rule.
    pub fn judge(&self, path: &str, source: Option<IpAddr>) -> Verdict {
        let Some(rule) = self.0.iter().find(|rule| path::is_under(path, &rule.path)) else {
            return Verdict::Path;
        };
        let among = |networks: &[Network], address| networks.iter().any(|network| network.contains(address));
        match source {
            Some(address) if among(&rule.allow, address) && !among(&rule.deny, address) => Verdict::Pass,
            _ => Verdict::Address,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rules(rules: &[(&str, &[&str], &[&str])]) -> Result<Rules, String> {
        let networks =
            |texts: &[&str]| texts.iter().map(|text| text.to_string().try_into().unwrap()).collect();
        let rule = |(path, allow, deny): &(&str, &[&str], &[&str])| Rule {
            path: path.to_string(),
            allow: networks(allow),
            deny: networks(deny),
        };
        Raw { rules: rules.iter().map(rule).collect() }.try_into()
    }

    #[test]
    fn the_longest_rule_decides_alone() {
        let rules = rules(&[
            ("/", &["10.0.0.0/8"], &["10.66.0.0/16"]),
            ("/status/", &["any"], &[]),
            ("/status/deep", &[], &[]),
        ])
        .unwrap();
        for (path, source, verdict) in [
            ("/x", "10.0.0.1", Verdict::Pass),
            ("/x", "10.66.0.1", Verdict::Address),
            ("/x", "11.0.0.1", Verdict::Address),
            ("/status", "11.0.0.1", Verdict::Pass),
            ("/status/x", "::1", Verdict::Pass),
            ("/statusx", "::1", Verdict::Address),
            ("/status/deep", "10.0.0.1", Verdict::Address),
        ] {
            assert_eq!(rules.judge(path, source.parse().ok()), verdict, "{path} from {source}");
        }
        assert_eq!(rules.judge("/status", None), Verdict::Address);
    }

    #[test]
    fn a_path_without_a_rule_is_refused() {
        let rules = rules(&[("/api", &["any"], &[])]).unwrap();
        assert_eq!(rules.judge("/apix", "::1".parse().ok()), Verdict::Path);
        assert_eq!(rules.judge("/api/x", "::1".parse().ok()), Verdict::Pass);
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused() {
        assert!(rules(&[]).unwrap_err().contains("empty"));
        assert!(
            rules(&[("/a", &[], &[]), ("/b", &[], &[]), ("/a/", &[], &[])])
                .unwrap_err()
                .contains("two rules")
        );
        assert!(rules(&[("a", &[], &[])]).unwrap_err().contains("is no path"));
    }
}
