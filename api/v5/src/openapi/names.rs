//! The names of the answers' schemas, as clients read them: `SessionAnswer`, `SessionListAnswer`.
//!
//! Generic types come out as `Answer_SessionResponse`, with the inner type written out once more inside.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// Where schemas are, as references name them.
const SCHEMAS: &str = "#/components/schemas/";

/// Renames the answers and lets them refer to what they carry.
pub(super) fn rename(document: &mut Value) {
    let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) else {
        return;
    };
    let mut renamed = BTreeMap::new();
    let mut kept = Map::new();
    let known: BTreeSet<String> = schemas.keys().cloned().collect();
    for (name, mut schema) in std::mem::take(schemas) {
        if let Some(answer) = Answer::of(&name) {
            renamed.insert(format!("{SCHEMAS}{name}"), format!("{SCHEMAS}{}", answer.name()));
            // What has no name of its own, such as any JSON, stays written out.
            if known.contains(answer.inner) {
                answer.refer(&mut schema);
            }
            kept.insert(answer.name(), schema);
        } else {
            kept.insert(name, schema);
        }
    }
    *schemas = kept;
    references(document, &renamed);
}

/// An answer's schema, by its generated name.
struct Answer<'n> {
    /// What `data` is, or is a list of.
    inner: &'n str,
    list: bool,
}

impl<'n> Answer<'n> {
    fn of(name: &'n str) -> Option<Self> {
        let (inner, list) = match (name.strip_prefix("ListAnswer_"), name.strip_prefix("Answer_")) {
            (Some(inner), _) => (inner, true),
            (None, Some(rest)) => rest.strip_prefix("Vec_").map_or((rest, false), |inner| (inner, true)),
            (None, None) => return None,
        };
        Some(Self { inner, list })
    }

    fn name(&self) -> String {
        let stem = self.inner.strip_suffix("Response").unwrap_or(self.inner);
        format!("{stem}{}", if self.list { "ListAnswer" } else { "Answer" })
    }

    /// Puts a reference in place of the inner type.
    fn refer(&self, schema: &mut Value) {
        let place = if self.list { "/properties/data/items" } else { "/properties/data" };
        if let Some(inner) = schema.pointer_mut(place) {
            *inner = json!({ "$ref": format!("{SCHEMAS}{}", self.inner) });
        }
    }
}

fn references(value: &mut Value, renamed: &BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(target)) = map.get_mut("$ref")
                && let Some(name) = renamed.get(target)
            {
                target.clone_from(name);
            }
            map.values_mut().for_each(|value| references(value, renamed));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| references(value, renamed)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn answers_are_named_by_what_they_carry() {
        for (generated, name) in [
            ("Answer_SessionResponse", Some("SessionAnswer")),
            ("ListAnswer_SessionResponse", Some("SessionListAnswer")),
            ("Answer_Vec_TerminalResponse", Some("TerminalListAnswer")),
            ("Answer_Empty", Some("EmptyAnswer")),
            ("ErrorAnswer", None),
        ] {
            assert_eq!(Answer::of(generated).map(|answer| answer.name()).as_deref(), name);
        }
    }

    #[test]
    fn no_two_schemas_get_one_name() {
        let generated = crate::operations().into_openapi();
        let names = generated.components.unwrap().schemas.into_keys();
        let mut names: Vec<_> =
            names.map(|name| Answer::of(&name).map_or(name.clone(), |answer| answer.name())).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
