//! The contract: the OpenAPI 3.1 document, made from the handlers and their types.
//!
//! What holds for all operations is not repeated at each of them: [`finish`] adds it by rule, [`names`] gives the
//! schemas the names that clients read. [`terminals`] speaks for the crate that serves the terminals beside this one.

mod finish;
mod names;
mod terminals;

use serde_json::{Map, Value};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;

use crate::envelope::ErrorAnswer;
use crate::error::ErrorCode;
use crate::operations;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Coditect Edge API",
        version = "5",
        description = "Requests take camelCase fields and refuse unknown ones; answers are snake_case. Times are RFC 3339, \
            ids UUIDs. Every JSON answer has `success` and `data`, and a failed one `error.code`, which programs read. \
            What belongs to another tenant or user is not there: 404. Objects that change carry a version as `ETag`; \
            send it as `If-Match` with a change, and a change in between answers 412. What creates an object takes an \
            `Idempotency-Key`: the same key with the same request answers the same again.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "/api/v5")),
    components(schemas(ErrorAnswer, ErrorCode)),
    modifiers(&Bearer)
)]
struct Document;

/// The one way to authenticate.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.bearer_format = Some("JWT".into());
        bearer.description = Some("The `token` of a login, registration or refresh.".into());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// A router whose document has what all operations share.
pub(crate) fn base<S: Clone + Send + Sync + 'static>() -> OpenApiRouter<S> {
    OpenApiRouter::with_openapi(Document::openapi())
}

/// The document as it is served: `GET /api/v5/openapi.json`.
pub fn document() -> Value {
    let mut whole = operations().into_openapi();
    whole.merge(terminals::document());
    let mut document = serde_json::to_value(whole).unwrap_or_default();
    let paths = document["paths"].take();
    let mut finished = Map::new();
    for (path, item) in paths.as_object().cloned().into_iter().flatten() {
        // The router's word for "all the rest of the path".
        finished.insert(path.replace("{*", "{"), item);
    }
    finish::operations(&mut finished);
    document["paths"] = Value::Object(finished);
    names::rename(&mut document);
    // One text for one document, whatever serde_json's features in this build.
    document.sort_all_objects();
    document
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::collections::BTreeSet;

    use super::*;
    use crate::access::AccessTable;
    use http::Method;

    /// Every operation: its method, its path, itself.
    fn each(document: &Value) -> Vec<(String, String, Value)> {
        let mut all = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                all.push((method.clone(), path.clone(), operation.clone()));
            }
        }
        assert!(all.len() > 10, "only {} operations were looked at", all.len());
        all
    }

    #[test]
    fn every_operation_states_who_may_call_it() {
        let mut whole = operations().into_openapi();
        whole.merge(terminals::document());
        let table = AccessTable::of(&whole);
        for (method, path, _) in each(&serde_json::to_value(&whole).unwrap()) {
            let named = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let access = table.find(&format!("{}{path}", crate::PREFIX), &named);
            assert!(access.is_some(), "{method} {path} does not state who may call it");
        }
    }

    #[test]
    fn every_failure_has_the_one_shape() {
        for (method, path, operation) in each(&document()) {
            assert!(!path.contains('*'), "{path}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("500"), "{method} {path}");
            for (status, response) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
                let schema = &response["content"]["application/json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/ErrorAnswer", "{method} {path} {status}");
            }
        }
    }

    #[test]
    fn operation_ids_are_unique_and_every_operation_has_a_summary_and_a_tag() {
        let mut ids = BTreeSet::new();
        for (method, path, operation) in each(&document()) {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(ids.insert(id.clone()), "{id} names two operations");
            assert!(operation["summary"].is_string(), "{method} {path}");
            assert_eq!(operation["tags"].as_array().map(Vec::len), Some(1), "{method} {path}");
        }
    }

    #[test]
    fn parameters_are_never_null_and_those_of_a_path_are_all_there() {
        for (method, path, operation) in each(&document()) {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            for parameter in &parameters {
                assert!(
                    !parameter["schema"].to_string().contains("\"null\""),
                    "{method} {path}: {parameter}"
                );
            }
            let stated: BTreeSet<_> = parameters
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            let named: BTreeSet<_> =
                path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
            assert_eq!(stated, named, "{method} {path}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn collect(value: &Value, found: &mut BTreeSet<String>) {
            match value {
                Value::Object(map) => {
                    if let Some(target) = map.get("$ref").and_then(Value::as_str) {
                        found.insert(target.to_owned());
                    }
                    map.values().for_each(|value| collect(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| collect(value, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = BTreeSet::new();
        collect(&document, &mut found);
        assert!(found.len() > 5);
        for target in found {
            assert!(document.pointer(&target[1..]).is_some(), "{target}");
        }
    }
}
