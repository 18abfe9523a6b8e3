//! The contract where it is served by more than one part: the terminals' operations, which the document has and the
//! terminal crate serves, and what the edge itself answers below `/api/v5`.

use crate::support::{Config, Edge, Request, Upstream};
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn document(edge: &Edge) -> Value {
    serde_json::from_slice(&edge.get("/api/v5/openapi.json").await.body).unwrap()
}

/// The operations on terminals: method, path, operation id.
fn terminals(document: &Value) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["tags"][0] == "terminals" {
                let id = operation["operationId"].as_str().unwrap().to_owned();
                found.push((method.to_uppercase(), path.clone(), id));
            }
        }
    }
    found
}

/// A request for an operation on the terminal at `attach`, with a body it takes.
fn request(method: &str, path: &str, attach: &str) -> Request {
    let mut parts = attach.split('/').skip(4);
    let session = parts.next().unwrap();
    let terminal = parts.nth(1).unwrap();
    let target = format!("/api/v5{path}").replace("{id}", session).replace("{terminal_id}", terminal);
    assert!(!target.contains('{'), "a parameter unknown here: {target}");
    match method {
        "POST" => Request::post(&target, &json!({ "cols": 100, "rows": 30 })),
        method => Request::new(method, &target),
    }
}

/// An edge whose Theia is not there.
async fn edge() -> Edge {
    Edge::start(&Config::standard(Upstream::nowhere().await)).await
}

#[tokio::test]
async fn the_terminals_are_as_documented() {
    let edge = edge().await;
    let document = document(&edge).await;
    let owner = edge.register("owner@example.com").await;
    let operations = terminals(&document);
    let known: BTreeSet<_> = operations.iter().map(|(_, _, id)| id.as_str()).collect();
    let expected = ["attachTerminal", "createTerminal", "deleteTerminal", "listTerminals", "resizeTerminal"];
    assert_eq!(known, BTreeSet::from(expected));
    for (method, path, id) in &operations {
        let session = edge.create_session(&owner, "terminals").await;
        let attach = edge.create_terminal(&owner, &session).await;
        let answer = edge.send(request(method, path, &attach).bearer(&owner.token)).await;
        let stated = &document["paths"][path][method.to_lowercase()]["responses"][answer.status.to_string()];
        assert!(stated.is_object(), "{id} answers {}: {}", answer.status, answer.text());
        let expected = match id.as_str() {
            // Without an upgrade: sockets are tested in `tunnels` and `journey`.
            "attachTerminal" => 426,
            "createTerminal" => 201,
            _ => 200,
        };
        assert_eq!(answer.status, expected, "{id}: {}", answer.text());
        for (name, header) in stated["headers"].as_object().into_iter().flatten() {
            assert!(answer.header(&name.to_lowercase()).is_some(), "{id}: no {name}: {header}");
        }
        if expected == 426 {
            continue;
        }
        let schema = stated["content"]["application/json"]["schema"]["$ref"].as_str().unwrap();
        let schema = document.pointer(&schema[1..]).unwrap();
        fits(&document, schema, &serde_json::from_slice(&answer.body).unwrap(), id);
    }
    edge.stop().await;
}

#[tokio::test]
async fn anothers_terminals_are_not_there() {
    let edge = edge().await;
    let document = document(&edge).await;
    let owner = edge.register("owner@example.com").await;
    let stranger = edge.register("stranger@example.com").await;
    let session = edge.create_session(&owner, "terminals").await;
    let attach = edge.create_terminal(&owner, &session).await;
    for (method, path, id) in terminals(&document) {
        let answer = edge.send(request(&method, &path, &attach).bearer(&stranger.token)).await;
        assert_eq!(answer.refusal(), (404, "NOT_FOUND".into()), "{id}");
        let nobody = edge.send(request(&method, &path, &attach)).await;
        assert_eq!(nobody.refusal(), (401, "MISSING_AUTH_HEADER".into()), "{id}");
    }
    let listed = edge.get_as(&owner, &format!("/api/v5/sessions/{session}/terminals")).await.data(200);
    assert_eq!(listed.as_array().unwrap().len(), 1, "and it is still there");
    edge.stop().await;
}

/// What a browser needs of the page: it is served to everybody, and its policy with it.
#[tokio::test]
async fn the_page_and_the_document_are_for_everybody() {
    let edge = edge().await;
    let page = edge.get("/api/v5/docs").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(
        page.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'"))
    );
    let document = document(&edge).await;
    assert_eq!(document["openapi"], "3.1.0");
    let trace = edge.send(Request::new("TRACE", "/api/v5/health")).await;
    assert_eq!(trace.status, 405);
    assert!(trace.header("allow").is_some(), "RFC 9110, 15.5.6");
    edge.stop().await;
}

/// Whether a value has the fields its schema demands and no others.
fn fits(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(target) = schema["$ref"].as_str() {
        return fits(document, document.pointer(&target[1..]).unwrap(), value, place);
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        return values.iter().for_each(|value| fits(document, items, value, place));
    }
    let (Some(properties), Some(fields)) = (schema["properties"].as_object(), value.as_object()) else {
        return;
    };
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(fields.contains_key(required.as_str().unwrap()), "{place}: no {required} in {value}");
    }
    for (name, value) in fields {
        let property =
            properties.get(name).unwrap_or_else(|| panic!("{place}: {name} is not in the document"));
        fits(document, property, value, place);
    }
}
