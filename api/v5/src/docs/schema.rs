//! A schema: its fields, or its values.

use serde_json::Value;

use super::html::{Html, text};

/// Words for the limits a schema can state, by keyword.
const LIMITS: [(&str, &str); 8] = [
    ("minLength", "characters at least"),
    ("maxLength", "characters at most"),
    ("minItems", "items at least"),
    ("maxItems", "items at most"),
    ("minimum", "at least"),
    ("maximum", "at most"),
    ("pattern", "matches"),
    ("default", "default"),
];

/// Writes a named schema.
pub(super) fn write(page: &mut Html, name: &str, schema: &Value) {
    page.raw("<article id=\"schema-").text(name).raw("\"><details><summary><h3>").text(name);
    page.raw("</h3></summary><div class=\"body\">").prose(text(&schema["description"]));
    match schema["properties"].as_object() {
        Some(properties) => {
            page.raw("<table><tr><th>Field</th><th>Type</th><th></th></tr>");
            let required = schema["required"].as_array();
            for (name, property) in properties {
                page.raw("<tr><td><code>").text(name).raw("</code>");
                if required.is_some_and(|required| required.iter().any(|field| field == name)) {
                    page.raw(" <span class=\"need\">required</span>");
                }
                page.raw("</td><td>");
                kind(page, property);
                page.raw("</td><td>").marked(text(&property["description"])).raw("</td></tr>");
            }
            page.raw("</table>");
        }
        None => {
            page.raw("<p>");
            kind(page, schema);
            page.raw("</p>");
        }
    }
    page.raw("</div></details></article>");
}

/// Writes what kind of value a schema describes, in a line.
pub(super) fn kind(page: &mut Html, schema: &Value) {
    if let Some(name) = schema["$ref"].as_str().and_then(|target| target.rsplit('/').next()) {
        page.raw("<a href=\"#schema-").text(name).raw("\">").text(name).raw("</a>");
        return;
    }
    if let Some(values) = schema["enum"].as_array() {
        for (number, value) in values.iter().enumerate() {
            page.raw(if number == 0 { "" } else { " | " }).raw("<code>").text(&value.to_string());
            page.raw("</code>");
        }
        return;
    }
    for keyword in ["oneOf", "anyOf", "allOf"] {
        for (number, choice) in schema[keyword].as_array().into_iter().flatten().enumerate() {
            page.raw(if number == 0 { "" } else { " or " });
            kind(page, choice);
        }
    }
    match &schema["type"] {
        Value::String(name) if name == "array" => {
            page.raw("list of ");
            kind(page, &schema["items"]);
        }
        Value::String(name) => {
            page.text(name);
        }
        Value::Array(names) => {
            let names: Vec<_> = names.iter().map(text).collect();
            page.text(&names.join(" or "));
        }
        _ => {}
    }
    limits(page, schema);
}

fn limits(page: &mut Html, schema: &Value) {
    if let Some(format) = schema["format"].as_str() {
        page.raw(" <span class=\"dim\">").text(format).raw("</span>");
    }
    for (keyword, word) in LIMITS {
        match schema.get(keyword) {
            Some(Value::String(value)) => {
                page.raw(", ").raw(word).raw(" <code>").text(value).raw("</code>");
            }
            Some(value) if keyword.ends_with("Length") || keyword.ends_with("Items") => {
                page.raw(", ").text(&value.to_string()).raw(" ").raw(word);
            }
            Some(value) => {
                page.raw(", ").raw(word).raw(" ").text(&value.to_string());
            }
            None => {}
        }
    }
}
