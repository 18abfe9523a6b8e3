//! What holds for every operation of its kind, added to the document by rule.

use serde_json::{Map, Value, json};

/// One entity tag, or `*` (RFC 9110, 8.8.3 and 13.1.1).
const ENTITY_TAG: &str = r#"^(\*|(W/)?"[!#-~]*")$"#;
/// A list of them, or `*`.
const ENTITY_TAGS: &str = r#"^(\*|(W/)?"[!#-~]*"([ \t]*,[ \t]*(W/)?"[!#-~]*")*)$"#;
/// What a plugin can be called, in the path of operations with this tag; as `is_name` has it.
const PLUGIN_NAME: &str = "^[a-z0-9][a-z0-9-]{0,62}$";
const PLUGINS: &str = "plugins";
/// The tag of operations on files. Their `If-Match` may be a list, as it may with any server of files.
const FILES: &str = "files";
/// A segment of a file's path: neither empty nor of one or two dots, no control character, no backslash.
const SEGMENT: &str = r"(?!\.{1,2}(/|$))[^/\\\x00-\x1F\x7F]{1,255}";
/// What the edge lets through as one segment of a path, once decoded.
const IN_A_PATH: &str = r"^(?!\.{1,2}$)[^/\\\x00-\x1F\x7F]+$";

/// Finishes all operations.
pub(super) fn operations(paths: &mut Map<String, Value>) {
    let versioned: Vec<String> =
        paths.iter().filter(|(_, item)| has_versions(item)).map(|(path, _)| path.clone()).collect();
    for (path, item) in paths.iter_mut() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            if !operation.is_object() {
                continue;
            }
            inputs(operation);
            failures(path, operation);
            if answers_with_version(&versioned, path, method) {
                entity_tag(operation, "200");
                entity_tag(operation, "201");
            }
        }
    }
}

/// Whether what is at this path is changed under `If-Match`, so that it has a version.
fn has_versions(item: &Value) -> bool {
    let operations = item.as_object().into_iter().flat_map(Map::values);
    operations
        .flat_map(|operation| operation["parameters"].as_array().into_iter().flatten())
        .any(|parameter| parameter["name"] == "If-Match")
}

/// Such an object's operations, and the one that creates it in the collection above, tell its version.
fn answers_with_version(versioned: &[String], path: &str, method: &str) -> bool {
    match method {
        "get" | "put" | "patch" => versioned.iter().any(|known| known == path),
        "post" => versioned.iter().any(|known| {
            let parent = known.rsplit_once("/{").filter(|(_, last)| last.find('}') == Some(last.len() - 1));
            parent.is_some_and(|(parent, _)| parent == path)
        }),
        _ => false,
    }
}

/// Declares the `ETag` of an answer in the envelope, unless the operation did so itself.
fn entity_tag(operation: &mut Value, status: &str) {
    let Some(response) = operation.pointer_mut(&format!("/responses/{status}")) else { return };
    if response.pointer("/content/application~1json").is_some() && response.pointer("/headers/ETag").is_none()
    {
        response["headers"]["ETag"] = json!({
            "description": "The object's version, for `If-Match`.",
            "required": true,
            "schema": { "type": "string" }
        });
    }
}

/// What is left out of a query, of the headers or of the body is left out: it is not `null`.
fn inputs(operation: &mut Value) {
    let of_files = operation["tags"][0] == FILES;
    let of_plugins = operation["tags"][0] == PLUGINS;
    for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
        never_null(&mut parameter["schema"]);
        if parameter["in"] == "path" && parameter["name"] == "version" {
            // They are counted from 1, and no key holds more than an i64.
            parameter["schema"]["minimum"] = json!(1);
        }
        if !of_files && parameter["name"] == "If-None-Match" {
            // Files are compared; of all else it can only be asked that it is not there yet.
            parameter["schema"] = json!({ "type": "string", "enum": ["*"] });
        }
        if of_plugins && parameter["in"] == "path" && parameter["name"] == "name" {
            parameter["schema"]["pattern"] = json!(PLUGIN_NAME);
        }
        if let Some(pattern) = pattern(parameter, of_files)
            && parameter["schema"].get("pattern").is_none()
        {
            parameter["schema"]["pattern"] = json!(pattern);
            if parameter["in"] == "header" {
                // For those who make requests from the document: what fits the pattern is not easily made up.
                parameter["schema"]["examples"] = json!([if of_files { "*" } else { "\"7\"" }]);
            }
        }
    }
    for (_, content) in
        operation.pointer_mut("/requestBody/content").and_then(Value::as_object_mut).into_iter().flatten()
    {
        never_null(&mut content["schema"]);
    }
    bytes(&mut operation["requestBody"]);
    if operation.pointer("/requestBody/content/application~1octet-stream").is_some() {
        // No bytes at all are a body too: an empty file.
        operation["requestBody"]["required"] = json!(false);
    }
    for (_, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        bytes(response);
    }
    // Indexing has made what was not there.
    if operation["requestBody"].is_null()
        && let Some(operation) = operation.as_object_mut()
    {
        operation.remove("requestBody");
    }
    if operation["parameters"].is_null()
        && let Some(operation) = operation.as_object_mut()
    {
        operation.remove("parameters");
    }
}

/// What is neither JSON nor text is bytes, rather than a list of numbers.
fn bytes(body: &mut Value) {
    for (media, content) in body.get_mut("content").and_then(Value::as_object_mut).into_iter().flatten() {
        if media != "application/json" && !media.starts_with("text/") {
            content["schema"] = json!({ "type": "string", "format": "binary" });
        }
    }
}

/// What a parameter looks like that means the same wherever it is taken.
fn pattern(parameter: &Value, of_files: bool) -> Option<String> {
    match parameter["name"].as_str()? {
        "If-Match" if !of_files => Some(ENTITY_TAG.into()),
        "If-Match" | "If-None-Match" if of_files => Some(ENTITY_TAGS.into()),
        "path" if of_files && parameter["required"] == true => Some(format!("^{SEGMENT}(/{SEGMENT})*$")),
        // Without one it is the workspace itself.
        "path" if of_files => Some(format!("^({SEGMENT}(/{SEGMENT})*)?$")),
        _ if parameter["in"] == "path" && is_plain_text(&parameter["schema"]) => Some(IN_A_PATH.into()),
        _ => None,
    }
}

/// Whether a schema says no more than that it is a string.
fn is_plain_text(schema: &Value) -> bool {
    schema["type"] == "string" && schema.get("format").is_none() && schema.get("enum").is_none()
}

/// Takes `null` out of the alternatives of a schema.
fn never_null(schema: &mut Value) {
    if let Some(types) = schema.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    if let Some(choices) = schema.get_mut("oneOf").and_then(Value::as_array_mut) {
        choices.retain(|choice| choice["type"] != "null");
        if let [only] = choices.as_slice() {
            *schema = only.clone();
        }
    }
}

/// Adds what every operation of its kind can answer, and gives all failures their one shape.
fn failures(path: &str, operation: &mut Value) {
    let public = operation["security"] == json!([{}]);
    let has_body = operation.get("requestBody").is_some();
    let has_input = has_body || operation.get("parameters").is_some();
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    let mut shared = vec![
        ("429", "Too many requests; see `Retry-After`."),
        ("500", "Our fault; `X-Request-Id` finds it in the log."),
        ("503", "Not available right now; see `Retry-After`."),
    ];
    if !public {
        shared.push(("401", "Missing, wrong, expired or revoked credentials."));
        shared.push(("403", "The role does not allow this, or the tenant is suspended."));
    }
    if path.contains('{') {
        shared.push(("404", "There is no such object for this caller."));
    }
    if has_body {
        shared.push(("408", "The body did not arrive in time."));
        shared.push(("413", "The body is larger than this operation takes."));
        shared.push(("415", "The body is of another type than this operation takes."));
    }
    if has_input {
        shared.push(("400", "The request cannot be read."));
        shared.push(("422", "A field is wrong; the message names it and says what it must be."));
    }
    for (status, description) in shared {
        responses.entry(status).or_insert_with(|| json!({ "description": description }));
    }
    for (status, response) in responses.iter_mut().filter(|(status, _)| status.as_str() >= "400") {
        if response.get("content").is_none() {
            response["content"] =
                json!({"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}});
        }
        if matches!(status.as_str(), "429" | "503") {
            response["headers"]["Retry-After"] = json!({
                "description": "When to try again, in seconds.",
                "schema": { "type": "integer", "minimum": 0 }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_told_where_the_object_is_and_where_it_is_made() {
        let versioned = ["/notes/{id}".to_owned(), "/notes/{id}/state/{part}".to_owned()];
        for (path, method, told) in [
            ("/notes/{id}", "get", true),
            ("/notes/{id}", "delete", false),
            ("/notes", "post", true),
            ("/notes", "get", false),
            ("/notes/{id}/state", "post", true),
            ("/notes/{id}/state/{part}", "put", true),
            ("/notes/{id}/fork", "post", false),
        ] {
            assert_eq!(answers_with_version(&versioned, path, method), told, "{method} {path}");
        }
    }

    #[test]
    fn parameters_that_mean_the_same_everywhere_look_the_same() {
        let parameter = |name: &str, place: &str| json!({"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}});
        assert_eq!(pattern(&parameter("If-Match", "header"), false).as_deref(), Some(ENTITY_TAG));
        assert_eq!(pattern(&parameter("If-Match", "header"), true).as_deref(), Some(ENTITY_TAGS));
        assert_eq!(pattern(&parameter("key", "path"), false).as_deref(), Some(IN_A_PATH));
        assert_eq!(pattern(&parameter("key", "query"), false), None);
        assert!(pattern(&parameter("path", "path"), true).is_some_and(|found| !found.ends_with(")?$")));
        assert!(pattern(&parameter("path", "query"), true).is_some_and(|found| found.ends_with(")?$")));
        let uuid = json!({"name": "id", "in": "path", "schema": {"type": "string", "format": "uuid"}});
        assert_eq!(pattern(&uuid, false), None);
    }

    #[test]
    fn null_is_no_way_to_leave_something_out() {
        for (mut schema, expected) in [
            (json!({"type": ["string", "null"], "maxLength": 3}), json!({"type": "string", "maxLength": 3})),
            (json!({"oneOf": [{"type": "null"}, {"$ref": "#/x"}]}), json!({"$ref": "#/x"})),
            (json!({"type": "integer"}), json!({"type": "integer"})),
        ] {
            never_null(&mut schema);
            assert_eq!(schema, expected);
        }
    }
}
