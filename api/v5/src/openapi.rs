//! The contract: the OpenAPI 3.1 document, made from the handlers and their types.

use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Map, Value, json};
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
    let mut document = serde_json::to_value(operations().into_openapi()).unwrap_or_default();
    let paths = document["paths"].take();
    let mut finished = Map::new();
    for (path, mut item) in paths.as_object().cloned().into_iter().flatten() {
        for (_, operation) in item.as_object_mut().into_iter().flatten() {
            if operation.is_object() {
                finish(&path, operation);
            }
        }
        // The router's word for "all the rest of the path".
        finished.insert(path.replace("{*", "{"), item);
    }
    document["paths"] = Value::Object(finished);
    document
}

/// Adds what every operation of its kind can answer, and gives all failures their one shape.
fn finish(path: &str, operation: &mut Value) {
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
    for (status, response) in responses.iter_mut() {
        if status.as_str() >= "400" && response.get("content").is_none() {
            response["content"] =
                json!({"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}});
        }
    }
    responses.sort_keys();
}

/// Serves the document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "contract", operation_id = "getOpenApi", security(()),
    responses((status = 200, description = "This document", body = Object, content_type = "application/json"))
)]
pub(crate) async fn openapi_json() -> Response {
    // It is the same for the life of the process; making it takes a few milliseconds, so it is made once.
    static TEXT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let text = TEXT.get_or_init(|| document().to_string());
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")),
    ];
    (headers, text.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::access::AccessTable;
    use http::Method;

    #[test]
    fn every_operation_states_who_may_call_it() {
        let document = operations().into_openapi();
        let table = AccessTable::of(&document);
        let paths = serde_json::to_value(&document.paths).unwrap();
        let mut operations = 0;
        for (path, item) in paths.as_object().unwrap() {
            for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                let named = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let access = table.find(&format!("{}{path}", crate::PREFIX), &named);
                assert!(access.is_some(), "{method} {path} does not state who may call it");
                operations += 1;
            }
        }
        assert!(operations > 10, "only {operations} operations were looked at");
    }

    #[test]
    fn every_failure_has_the_one_shape() {
        let document = document();
        for (path, item) in document["paths"].as_object().unwrap() {
            assert!(!path.contains('*'), "{path}");
            for (method, operation) in item.as_object().unwrap() {
                let responses = operation["responses"].as_object().unwrap();
                assert!(responses.contains_key("500"), "{method} {path}");
                for (status, response) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
                    let schema = &response["content"]["application/json"]["schema"]["$ref"];
                    assert_eq!(schema, "#/components/schemas/ErrorAnswer", "{method} {path} {status}");
                }
            }
        }
    }
}
