//! Requests for the operations of the document, and what they need beyond their schemas.

use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::objects::{Owner, Place};
use super::schemas::Maker;
use crate::support::Api;

/// The file that is there in a workspace when one of its operations on files is called.
pub(crate) const FILE: &str = "notes.txt";
/// Parameters whose schemas do not lead to something that is there, by name.
pub(crate) const NAMES: &[(&str, &str)] = &[("path", FILE), ("version", "1")];
/// Parameters that may be left out in general, and not by us.
const QUERIES: &[(&str, &str)] = &[
    ("deleteTree", "recursive=true"),
    ("deleteFileVersions", "recursive=true"),
    ("listFileVersions", "recursive=true"),
];
/// Bodies the schema alone does not lead to, by operation.
const BODIES: &[(&str, MakeBody)] = &[("moveFiles", || json!({"from": FILE, "to": "moved.txt"}))];
/// Makes a body.
type MakeBody = fn() -> Value;
/// The least that is something of a media type other than JSON.
const BYTES: &[(&str, &[u8])] = &[
    ("application/octet-stream", b"text"),
    ("application/x-tar", &[0; 1024]),
    ("application/wasm", b"\0asm\x01\0\0\0"),
];
/// Operations that their own user is refused with a status other than 409 and 412, for a reason that says nothing here.
const NEEDS_MORE: &[&str] = &[];

/// An operation of the document.
pub(crate) struct Operation<'d> {
    pub(crate) method: Method,
    pub(crate) path: &'d str,
    stated: &'d Value,
}

/// All operations.
pub(crate) fn operations(document: &Value) -> Vec<Operation<'_>> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, stated) in item.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            all.push(Operation { method, path, stated });
        }
    }
    all
}

/// A request that was sent, and what came back.
pub(crate) struct Sent {
    what: String,
    pub(crate) status: StatusCode,
    answer: String,
    pub(crate) needs_more: bool,
}

impl std::fmt::Display for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} {}", self.what, self.status, self.answer)
    }
}

impl Sent {
    pub(crate) fn expect(&self, status: StatusCode) {
        assert_eq!(self.status, status, "{self}");
    }
}

impl Operation<'_> {
    pub(crate) fn id(&self) -> &str {
        self.stated["operationId"].as_str().unwrap()
    }

    pub(crate) fn tag(&self) -> &str {
        self.stated["tags"][0].as_str().unwrap()
    }

    /// The schema of its JSON body; nothing where it takes none.
    pub(crate) fn json_body(&self) -> &Value {
        &self.stated["requestBody"]["content"]["application/json"]["schema"]
    }

    /// The schema of a parameter of its path.
    pub(crate) fn path_parameter(&self, name: &str) -> &Value {
        let found = self.parameters("path").find(|parameter| parameter["name"] == name);
        &found.unwrap_or_else(|| panic!("{} does not describe {name}", self.id()))["schema"]
    }

    /// The role it takes; `public` for none.
    pub(crate) fn access(&self) -> &str {
        self.stated["security"][0]["bearer"][0].as_str().unwrap_or("public")
    }

    /// Sends it for the objects of `place`.
    pub(crate) async fn send(&self, api: &Api, document: &Value, place: &Place, caller: &Owner) -> Sent {
        let mut maker = Maker::new(document, place.number);
        let target = format!("/api/v5{}{}", place.path, self.query(&mut maker));
        let (media, body) = self.body(&mut maker);
        let mut request = Request::builder().method(self.method.clone()).uri(&target);
        for parameter in self.parameters("header") {
            let value = maker.value(&parameter["schema"]);
            request = request.header(parameter["name"].as_str().unwrap(), plain(&value));
        }
        if let Some(media) = media {
            request = request.header("content-type", media);
        }
        let mut request = request.body(Body::from(body)).unwrap();
        request.extensions_mut().insert(api.admit(&caller.token).await.unwrap());
        let response = api.router().oneshot(request).await.unwrap();
        let status = response.status();
        let answer = response.into_body().collect().await.unwrap().to_bytes();
        let answer = String::from_utf8_lossy(answer.get(..400).unwrap_or(&answer)).into_owned();
        let what = format!("{} {} {target} by {}", self.id(), self.method, caller.email);
        Sent { what, status, answer, needs_more: NEEDS_MORE.contains(&self.id()) }
    }

    /// The parameters it cannot be called without.
    fn parameters(&self, place: &str) -> impl Iterator<Item = &Value> {
        let all = self.stated["parameters"].as_array().into_iter().flatten();
        all.filter(move |parameter| parameter["in"] == place && parameter["required"] == true)
    }

    fn query(&self, maker: &mut Maker<'_>) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for parameter in self.parameters("query") {
            let name = parameter["name"].as_str().unwrap();
            let known = NAMES.iter().find(|(known, _)| *known == name);
            let value =
                known.map_or_else(|| plain(&maker.value(&parameter["schema"])), |(_, value)| (*value).into());
            query.append_pair(name, &value);
        }
        let more = QUERIES.iter().filter(|(id, _)| *id == self.id());
        more.for_each(|(_, pairs)| {
            query.extend_pairs(form_urlencoded::parse(pairs.as_bytes()));
        });
        let query = query.finish();
        if query.is_empty() { query } else { format!("?{query}") }
    }

    /// The media type and the bytes of a body it takes.
    fn body(&self, maker: &mut Maker<'_>) -> (Option<String>, Vec<u8>) {
        let Some(content) = self.stated["requestBody"]["content"].as_object() else {
            return (None, Vec::new());
        };
        let Some(json) = content.get("application/json") else {
            let known = BYTES.iter().find(|(media, _)| content.contains_key(*media));
            let Some((media, bytes)) = known else {
                panic!("{} takes {:?}: say in BYTES what", self.id(), content.keys().collect::<Vec<_>>())
            };
            return (Some((*media).to_owned()), bytes.to_vec());
        };
        let given = BODIES.iter().find(|(id, _)| *id == self.id());
        let body = given.map_or_else(|| maker.value(&json["schema"]), |(_, body)| body());
        (Some("application/json".to_owned()), json!(body).to_string().into_bytes())
    }
}

/// A value as a query or a header has it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
