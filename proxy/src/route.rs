//! The route table: the longest prefix wins, on path-segment boundaries, whatever the order in the file.

use coditect_config::{PathPattern, Segment};
use std::cmp::Reverse;

/// Patterns in the order in which they are tried, each with what it leads to.
#[derive(Debug)]
pub struct RouteTable<T> {
    entries: Vec<(PathPattern, T)>,
}

impl<T> RouteTable<T> {
    /// A table of these patterns. Their order does not matter.
    pub fn new(mut entries: Vec<(PathPattern, T)>) -> Self {
        // More segments first; of two with as many, the one with a literal where the other takes anything.
        entries.sort_by_key(|(pattern, _)| {
            let any: Vec<bool> = pattern.segments.iter().map(|segment| *segment == Segment::Any).collect();
            (Reverse(pattern.segments.len()), any)
        });
        Self { entries }
    }

    /// The entry of the longest prefix of `path`, an absolute path without query.
    pub fn find(&self, path: &str) -> Option<&T> {
        self.entries.iter().find(|(pattern, _)| matches(pattern, path)).map(|(_, entry)| entry)
    }

    /// All entries, the most specific first.
    pub fn iter(&self) -> impl Iterator<Item = (&PathPattern, &T)> {
        self.entries.iter().map(|(pattern, entry)| (pattern, entry))
    }
}

fn matches(pattern: &PathPattern, path: &str) -> bool {
    let mut rest = path;
    for segment in &pattern.segments {
        let Some(after) = rest.strip_prefix('/') else { return false };
        let end = after.find('/').unwrap_or(after.len());
        let (found, next) = after.split_at(end);
        let same = match segment {
            Segment::Literal(text) => found == text,
            Segment::Any => !found.is_empty(),
        };
        if !same {
            return false;
        }
        rest = next;
    }
    true
}

/// What is left of `path` after the pattern's segments: empty, or starting with a slash.
pub fn below<'a>(pattern: &PathPattern, path: &'a str) -> &'a str {
    let mut rest = path;
    for _ in &pattern.segments {
        let after = rest.strip_prefix('/').unwrap_or(rest);
        rest = &after[after.find('/').unwrap_or(after.len())..];
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        let segments = text
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(
                |segment| {
                    if segment.starts_with('{') { Segment::Any } else { Segment::Literal(segment.into()) }
                },
            )
            .collect();
        PathPattern { text: text.into(), segments }
    }

    const PREFIXES: [&str; 6] =
        ["/", "/api", "/api/v5", "/api/v5/sessions/{id}/terminals", "/theia", "/api/{version}/legacy"];

    fn find<'a>(table: &'a RouteTable<&'static str>, path: &str) -> Option<&'a str> {
        table.find(path).copied()
    }

    #[test]
    fn the_longest_prefix_wins_in_every_order() {
        for turn in 0..PREFIXES.len() {
            let mut order = PREFIXES.to_vec();
            order.rotate_left(turn);
            let table = RouteTable::new(order.into_iter().map(|text| (pattern(text), text)).collect());
            for (path, expected) in [
                ("/", "/"),
                ("/index.html", "/"),
                ("/api", "/api"),
                ("/api/", "/api"),
                ("/api/v2/x", "/api"),
                ("/api/v5", "/api/v5"),
                ("/api/v5/", "/api/v5"),
                ("/api/v5/sessions", "/api/v5"),
                ("/api/v5/sessions/1/terminals", "/api/v5/sessions/{id}/terminals"),
                ("/api/v5/sessions/1/terminals/2/attach", "/api/v5/sessions/{id}/terminals"),
                ("/api/v5/sessions//terminals", "/api/v5"),
                ("/api/v4/legacy", "/api/{version}/legacy"),
                ("/api/v5x", "/api"),
                ("/apiv5", "/"),
                ("/theia", "/theia"),
                ("/theiax", "/"),
                ("//api/v5", "/"),
            ] {
                assert_eq!(find(&table, path), Some(expected), "{path} (turn {turn})");
            }
        }
    }

    #[test]
    fn a_path_without_a_route_has_none() {
        let table = RouteTable::new(vec![(pattern("/api/v5"), ())]);
        assert!(table.find("/").is_none() && table.find("/api").is_none());
    }

    #[test]
    fn what_is_below_a_prefix_starts_with_a_slash_or_is_empty() {
        for (prefix, path, rest) in [
            ("/theia", "/theia/a/b", "/a/b"),
            ("/theia", "/theia/", "/"),
            ("/theia", "/theia", ""),
            ("/", "/a", "/a"),
            ("/a/{x}", "/a/b/c", "/c"),
        ] {
            assert_eq!(below(&pattern(prefix), path), rest, "{prefix} {path}");
        }
    }
}
