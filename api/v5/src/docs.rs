//! The contract as a page for people: rendered from the document, whole in one answer. It has no script and loads
//! nothing, so its policy lets nothing in but its own style.

mod html;
mod operation;
mod schema;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use html::{Html, text};

/// How the page looks; itself a part of the page.
const STYLE: &str = include_str!("docs/style.css");

/// The page, and what it may load.
pub(crate) struct Page {
    pub(crate) html: String,
    /// For `Content-Security-Policy`.
    pub(crate) policy: HeaderValue,
}

/// Renders a document of this API.
pub(crate) fn page(document: &Value) -> Page {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    );
    // Base64 is ASCII; were it not, the page would go without its style.
    let policy = HeaderValue::try_from(policy)
        .unwrap_or(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    Page { html: render(document), policy }
}

fn render(document: &Value) -> String {
    let info = &document["info"];
    let groups = groups(document);
    let mut page = Html::default();
    page.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>");
    page.text(text(&info["title"]));
    page.raw("</title><style>").raw(STYLE).raw("</style></head><body><div class=\"page\">");
    contents(&mut page, &groups, document);
    page.raw("<main><h1>").text(text(&info["title"])).raw("</h1>");
    page.prose(text(&info["description"]));
    page.raw("<p>All paths are below <code>").text(text(&document["servers"][0]["url"])).raw("</code>. ");
    page.raw("The same for programs: <a href=\"openapi.json\">openapi.json</a> (OpenAPI ");
    page.text(text(&document["openapi"])).raw(").</p>");
    for (tag, operations) in &groups {
        page.raw("<section><h2 id=\"").text(&anchor(tag)).raw("\">").text(tag).raw("</h2>");
        for operation in operations {
            operation::write(&mut page, operation);
        }
        page.raw("</section>");
    }
    page.raw("<section><h2 id=\"schemas\">Schemas</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        schema::write(&mut page, name, schema);
    }
    page.raw("</section></main></div></body></html>");
    page.finish()
}

/// One operation, with its place.
struct Operation<'d> {
    method: &'d str,
    path: &'d str,
    stated: &'d Value,
}

/// The operations by tag.
fn groups(document: &Value) -> BTreeMap<&str, Vec<Operation<'_>>> {
    let mut groups: BTreeMap<&str, Vec<Operation<'_>>> = BTreeMap::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, stated) in item.as_object().into_iter().flatten() {
            groups.entry(text(&stated["tags"][0])).or_default().push(Operation { method, path, stated });
        }
    }
    groups
}

/// Where everything is.
fn contents(page: &mut Html, groups: &BTreeMap<&str, Vec<Operation<'_>>>, document: &Value) {
    page.raw("<nav aria-label=\"Contents\">");
    for (tag, operations) in groups {
        page.raw("<h2><a href=\"#").text(&anchor(tag)).raw("\">").text(tag).raw("</a></h2><ul>");
        for operation in operations {
            let id = text(&operation.stated["operationId"]);
            page.raw("<li><a href=\"#").text(id).raw("\">").text(id).raw("</a></li>");
        }
        page.raw("</ul>");
    }
    page.raw("<h2><a href=\"#schemas\">Schemas</a></h2><ul>");
    for (name, _) in document["components"]["schemas"].as_object().into_iter().flatten() {
        page.raw("<li><a href=\"#schema-").text(name).raw("\">").text(name).raw("</a></li>");
    }
    page.raw("</ul></nav>");
}

fn anchor(tag: &str) -> String {
    format!("tag-{tag}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    /// The values of an attribute.
    fn values<'h>(html: &'h str, attribute: &str) -> Vec<&'h str> {
        html.split(&format!(" {attribute}=\"")).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn every_operation_and_schema_is_shown_once_and_every_link_leads_there() {
        let document = crate::openapi::document();
        let html = page(&document).html;
        let ids: Vec<_> = values(&html, "id");
        let unique: BTreeSet<_> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len(), "an id is there twice");
        for link in values(&html, "href").into_iter().filter_map(|link| link.strip_prefix('#')) {
            assert!(unique.contains(&link), "{link} leads nowhere");
        }
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                assert!(unique.contains(&text(&operation["operationId"])));
            }
        }
    }

    #[test]
    fn nothing_is_loaded_and_the_style_is_the_one_the_policy_names() {
        let page = page(&crate::openapi::document());
        for outside in
            ["<script", "<link", "<img", "src=", "@import", "url(", "style=", "http://", "https://"]
        {
            assert!(!page.html.contains(outside), "{outside}");
        }
        let style = page.html.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next()).unwrap();
        let hash = STANDARD.encode(Sha256::digest(style));
        assert!(page.policy.to_str().unwrap().contains(&format!("'sha256-{hash}'")));
    }

    #[test]
    fn what_the_document_says_cannot_become_markup() {
        let hostile = "<b>\"x\"&'y'</b>";
        let document = serde_json::json!({
            "info": {"title": hostile, "description": format!("a `{hostile}` b")},
            "paths": {"/x": {"get": {
                "tags": [hostile], "operationId": hostile, "summary": hostile, "description": hostile,
                "security": [{"bearer": [hostile]}],
                "parameters": [{"name": hostile, "in": hostile, "schema": {"pattern": hostile}}],
                "requestBody": {"content": {hostile: {"schema": {"$ref": hostile}}}},
                "responses": {hostile: {"description": hostile, "headers": {hostile: {}}}}
            }}},
            "components": {"schemas": {hostile: {"properties": {hostile: {"enum": [hostile]}}}}}
        });
        let html = page(&document).html;
        assert!(!html.contains("<b>") && html.contains("&lt;b&gt;&quot;x&quot;"), "{html}");
    }
}
