//! Showing how two texts differ.

/// The most lines that are compared pairwise; longer texts are shown by their first difference.
const MAX_LINES: usize = 400;
/// Lines that are shown around a difference.
const CONTEXT: usize = 2;
/// The longest line that is shown, in characters.
const MAX_SHOWN: usize = 400;

/// Expected and actual, so that the difference can be seen: in one line where both are short, else line by line.
pub(crate) fn differ(expected: &[u8], actual: &[u8]) -> String {
    let several = |bytes: &[u8]| bytes.contains(&b'\n') && std::str::from_utf8(bytes).is_ok();
    if several(expected) || several(actual) {
        return format!("expected (-) and actual (+) differ:\n{}", lines(expected, actual));
    }
    format!("expected {}, got {}", quoted(expected), quoted(actual))
}

/// Bytes in quotes, those that are no text escaped, cut where they are long.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"),
        Err(_) => bytes.escape_ascii().to_string(),
    };
    format!("`{}`", cut(&text))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

fn lines(expected: &[u8], actual: &[u8]) -> String {
    let split = |bytes: &[u8]| -> Vec<String> {
        String::from_utf8_lossy(bytes).split('\n').map(|line| line.escape_debug().to_string()).collect()
    };
    let (expected, actual) = (split(expected), split(actual));
    let changes = if expected.len() > MAX_LINES || actual.len() > MAX_LINES {
        first_difference(&expected, &actual)
    } else {
        changes(&expected, &actual)
    };
    shown(&changes)
}

/// A line that both have, or one has.
enum Change<'a> {
    Same(&'a str),
    Expected(&'a str),
    Actual(&'a str),
}

/// By the longest common subsequence.
fn changes<'a>(expected: &'a [String], actual: &'a [String]) -> Vec<Change<'a>> {
    let width = actual.len() + 1;
    let mut lengths = vec![0u32; (expected.len() + 1) * width];
    for e in (0..expected.len()).rev() {
        for a in (0..actual.len()).rev() {
            lengths[e * width + a] = if expected[e] == actual[a] {
                lengths[(e + 1) * width + a + 1] + 1
            } else {
                lengths[(e + 1) * width + a].max(lengths[e * width + a + 1])
            };
        }
    }
    let (mut e, mut a, mut changes) = (0, 0, Vec::new());
    while e < expected.len() || a < actual.len() {
        let both = e < expected.len() && a < actual.len();
        if both && expected[e] == actual[a] {
            changes.push(Change::Same(&expected[e]));
            (e, a) = (e + 1, a + 1);
        } else if a == actual.len()
            || (e < expected.len() && lengths[(e + 1) * width + a] >= lengths[e * width + a + 1])
        {
            changes.push(Change::Expected(&expected[e]));
            e += 1;
        } else {
            changes.push(Change::Actual(&actual[a]));
            a += 1;
        }
    }
    changes
}

fn first_difference<'a>(expected: &'a [String], actual: &'a [String]) -> Vec<Change<'a>> {
    let same = expected.iter().zip(actual).take_while(|(one, other)| one == other).count();
    let mut changes: Vec<Change<'a>> = expected[..same].iter().map(|line| Change::Same(line)).collect();
    changes.extend(expected.get(same).map(|line| Change::Expected(line)));
    changes.extend(actual.get(same).map(|line| Change::Actual(line)));
    changes
}

/// The changes with some lines around them.
fn shown(changes: &[Change<'_>]) -> String {
    let changed: Vec<usize> = changes
        .iter()
        .enumerate()
        .filter(|(_, change)| !matches!(change, Change::Same(_)))
        .map(|(place, _)| place)
        .collect();
    let mut text = String::new();
    let mut last = None;
    for (place, change) in changes.iter().enumerate() {
        if !changed.iter().any(|near| near.abs_diff(place) <= CONTEXT) {
            continue;
        }
        if last.is_some_and(|last| last + 1 != place) {
            text.push_str("  …\n");
        }
        last = Some(place);
        let (mark, line) = match change {
            Change::Same(line) => (' ', line),
            Change::Expected(line) => ('-', line),
            Change::Actual(line) => ('+', line),
        };
        text.push_str(&format!("{mark} {}\n", cut(line)));
    }
    text.truncate(text.trim_end_matches('\n').len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_are_one_line_and_bytes_are_escaped() {
        assert_eq!(differ(b"a \"b\"", b"c\t"), "expected `a \"b\"`, got `c\\t`");
        assert_eq!(differ(b"\xff\n", b""), "expected `\\xff\\n`, got ``");
        let long = differ(&[b'x'; 1000], b"");
        assert!(long.contains("… (1000 bytes)") && long.len() < 500, "{long}");
    }

    #[test]
    fn lines_are_compared_with_some_around_them() {
        let expected = "1\n2\n3\n4\n5\n6\n7\n8\n9";
        let actual = "1\n2\n3\n4\nfive\n6\n7\n8\n9\n10";
        let shown = "expected (-) and actual (+) differ:\n  3\n  4\n- 5\n+ five\n  6\n  7\n  8\n  9\n+ 10";
        assert_eq!(differ(expected.as_bytes(), actual.as_bytes()), shown);
        let gap = "a\nb\nc\nd\ne\nf\ng\nh\n";
        let shown = lines(gap.as_bytes(), gap.replace('a', "A").replace('h', "H").as_bytes());
        assert!(shown.contains("  …\n"), "{shown}");
    }

    #[test]
    fn long_texts_are_shown_by_their_first_difference() {
        let long = "same\n".repeat(1000);
        let shown = lines(format!("{long}x").as_bytes(), format!("{long}y\nmore").as_bytes());
        assert_eq!(shown, "  same\n  same\n- x\n+ y");
    }
}
