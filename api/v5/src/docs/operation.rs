//! An operation: what it takes, what it answers, who may call it.

use serde_json::Value;

use super::Operation;
use super::html::{Html, text};
use super::schema;

/// Writes an operation, folded up until somebody opens it.
pub(super) fn write(page: &mut Html, operation: &Operation<'_>) {
    let stated = operation.stated;
    page.raw("<article id=\"").text(text(&stated["operationId"])).raw("\"><details><summary><h3>");
    page.raw("<span class=\"method ").text(operation.method).raw("\">");
    page.text(&operation.method.to_uppercase()).raw("</span> <code>").text(operation.path);
    page.raw("</code></h3><span class=\"what\">").marked(text(&stated["summary"])).raw("</span></summary>");
    page.raw("<div class=\"body\">").prose(text(&stated["description"]));
    page.raw("<p class=\"dim\">").text(&access(&stated["security"])).raw("</p>");
    parameters(page, &stated["parameters"]);
    request(page, &stated["requestBody"]);
    answers(page, &stated["responses"]);
    page.raw("</div></details></article>");
}

/// Who may call it.
fn access(security: &Value) -> String {
    let roles = security.as_array().into_iter().flatten().filter_map(|one| one["bearer"][0].as_str());
    let people: Vec<_> = roles
        .map(|role| match role {
            "member" => "whoever is signed in",
            "admin" => "owners and admins of the tenant",
            "owner" => "owners of the tenant",
            "operator" => "owners and admins of the operators' tenant",
            role => role,
        })
        .collect();
    if people.is_empty() { "For everybody.".into() } else { format!("For {}.", people.join(", and for ")) }
}

fn parameters(page: &mut Html, parameters: &Value) {
    let Some(parameters) = parameters.as_array() else { return };
    page.raw("<h4>Parameters</h4><table><tr><th>Name</th><th>In</th><th>Type</th><th></th></tr>");
    for parameter in parameters {
        page.raw("<tr><td><code>").text(text(&parameter["name"])).raw("</code>");
        if parameter["required"] == true {
            page.raw(" <span class=\"need\">required</span>");
        }
        page.raw("</td><td>").text(text(&parameter["in"])).raw("</td><td>");
        schema::kind(page, &parameter["schema"]);
        page.raw("</td><td>").marked(text(&parameter["description"])).raw("</td></tr>");
    }
    page.raw("</table>");
}

fn request(page: &mut Html, body: &Value) {
    let Some(contents) = body["content"].as_object() else { return };
    page.raw("<h4>Body");
    page.raw(if body["required"] == true { "</h4><ul>" } else { ", may be left out</h4><ul>" });
    for (media, content) in contents {
        page.raw("<li><code>").text(media).raw("</code>: ");
        schema::kind(page, &content["schema"]);
        page.raw("</li>");
    }
    page.raw("</ul>");
}

fn answers(page: &mut Html, answers: &Value) {
    page.raw("<h4>Answers</h4><table><tr><th>Status</th><th>When</th><th>Body</th><th>Headers</th></tr>");
    for (status, answer) in answers.as_object().into_iter().flatten() {
        page.raw("<tr><td>").text(status).raw("</td><td>").marked(text(&answer["description"]));
        page.raw("</td><td>");
        for (media, content) in answer["content"].as_object().into_iter().flatten() {
            if media != "application/json" {
                page.raw("<code>").text(media).raw("</code> ");
            }
            schema::kind(page, &content["schema"]);
        }
        page.raw("</td><td>");
        for (name, _) in answer["headers"].as_object().into_iter().flatten() {
            page.raw("<code>").text(name).raw("</code> ");
        }
        page.raw("</td></tr>");
    }
    page.raw("</table>");
}
