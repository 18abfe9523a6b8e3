//! A value for a schema of the document: the smallest that is allowed, or its example.

use serde_json::{Map, Value, json};

/// Makes values, none of which is like another where that matters.
pub(crate) struct Maker<'d> {
    document: &'d Value,
    /// Makes names and addresses new.
    number: u128,
}

impl<'d> Maker<'d> {
    pub(crate) fn new(document: &'d Value, number: u128) -> Self {
        Self { document, number }
    }

    /// A value that fits.
    ///
    /// # Panics
    /// The schema says something this cannot follow; teach it, or give the schema an example.
    pub(crate) fn value(&mut self, schema: &Value) -> Value {
        if let Some(target) = schema["$ref"].as_str() {
            let found = self.document.pointer(&target[1..]).unwrap_or_else(|| panic!("no {target}"));
            return self.value(found);
        }
        for given in [&schema["example"], &schema["examples"][0], &schema["enum"][0], &schema["const"]] {
            if !given.is_null() {
                return given.clone();
            }
        }
        for choices in [&schema["oneOf"], &schema["anyOf"]] {
            if let Some(choices) = choices.as_array() {
                let one = choices.iter().find(|choice| choice["type"] != "null");
                return self.value(one.unwrap());
            }
        }
        if let Some(parts) = schema["allOf"].as_array() {
            let mut whole = Map::new();
            for part in parts {
                whole.extend(self.value(part).as_object().cloned().unwrap_or_default());
            }
            return Value::Object(whole);
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.iter().find(|kind| **kind != "null").unwrap_or(&Value::Null),
            kind => kind,
        };
        match kind.as_str() {
            Some("object") => self.object(schema),
            Some("array") => {
                let least = schema["minItems"].as_u64().unwrap_or(0);
                (0..least).map(|_| self.value(&schema["items"])).collect()
            }
            Some("string") => Value::String(self.text(schema)),
            Some("integer" | "number") => json!(schema["minimum"].as_i64().unwrap_or(1).max(1)),
            Some("boolean") => json!(true),
            Some("null") => Value::Null,
            // A schema that says nothing takes everything.
            None => json!({}),
            Some(kind) => panic!("a schema of a type unknown here: {kind}"),
        }
    }

    fn object(&mut self, schema: &Value) -> Value {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let fields = required.iter().map(|name| name.as_str().unwrap());
        fields
            .map(|name| (name.to_owned(), self.value(&schema["properties"][name])))
            .collect::<Map<_, _>>()
            .into()
    }

    fn text(&mut self, schema: &Value) -> String {
        self.number += 1;
        match schema["format"].as_str() {
            Some("email") => format!("someone-{}@example.com", self.number),
            Some("uuid") => uuid::Uuid::from_u128(self.number).to_string(),
            Some("date-time") => "2026-01-01T00:00:00Z".to_owned(),
            Some("password") => "correct horse".to_owned(),
            _ => {
                let least = usize::try_from(schema["minLength"].as_u64().unwrap_or(1)).unwrap();
                format!("n{:0>1$}", self.number, least.saturating_sub(1))
            }
        }
    }
}
