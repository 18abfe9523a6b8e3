//! A user with a workspace, and requests to it whose answers may be bytes.

use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::Api;

/// A signed-in user's workspace.
pub(crate) struct Work {
    pub(crate) api: Api,
    pub(crate) token: String,
    pub(crate) tenant: Uuid,
    pub(crate) id: String,
}

/// An answer, its body as it came.
pub(crate) struct Raw {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Work {
    pub(crate) async fn new() -> Self {
        let api = Api::new();
        let registered = api.register("ann@example.com").await;
        let token = registered.text("token");
        let tenant = registered.data()["user"]["tenant_id"].as_str().unwrap().parse().unwrap();
        let created = api.post("/api/v5/sessions", Some(&token), json!({"name": "work"})).await;
        let id = created.text("id");
        Self { api, token, tenant, id }
    }

    /// Sends a request to a path below the workspace.
    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> Raw {
        let mut request =
            Request::builder().method(method).uri(format!("/api/v5/sessions/{}{path}", self.id));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.call(request.body(body).unwrap(), &self.token).await
    }

    /// Sends a request with a token.
    pub(crate) async fn call(&self, mut request: Request<Body>, token: &str) -> Raw {
        request.extensions_mut().insert(self.api.admit(token).await.unwrap());
        let (status, headers, body) = self.api.bytes(request).await;
        Raw { status, headers, body }
    }

    pub(crate) async fn put(&self, path: &str, content: &[u8]) -> Raw {
        self.put_if(path, content, &[]).await
    }

    pub(crate) async fn put_if(&self, path: &str, content: &[u8], headers: &[(&str, &str)]) -> Raw {
        let path = format!("/files/{}", encoded(path));
        self.send(Method::PUT, &path, headers, Body::from(content.to_vec())).await
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Raw {
        self.send(Method::GET, &format!("/files/{}", encoded(path)), headers, Body::empty()).await
    }

    pub(crate) async fn delete(&self, path: &str, headers: &[(&str, &str)]) -> Raw {
        self.send(Method::DELETE, &format!("/files/{}", encoded(path)), headers, Body::empty()).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Raw {
        let json = [("content-type", "application/json")];
        self.send(Method::POST, path, &json, Body::from(body.to_string())).await
    }

    /// All items of a list, by its pages.
    pub(crate) async fn all(&self, path: &str, limit: usize) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page =
                self.send(Method::GET, &format!("{path}&limit={limit}{cursor}"), &[], Body::empty()).await;
            let json = page.json();
            items.extend(json["data"].as_array().unwrap_or_else(|| panic!("{json}")).clone());
            match json["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }
}

impl Raw {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{} {:?}", self.status, self.body))
    }

    pub(crate) fn data(&self) -> Value {
        let json = self.json();
        assert_eq!(json["success"], true, "{json}");
        json["data"].clone()
    }

    /// Asserts the whole shape of a failure; returns the message.
    pub(crate) fn refused(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        let message = self.json()["error"]["message"].as_str().unwrap().to_owned();
        let expected = json!({"success": false, "data": null, "error": {"code": code, "message": message}});
        assert_eq!(self.json(), expected);
        message
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {}", self.status)).to_str().unwrap()
    }
}

/// A path as a URL has it.
pub(crate) fn encoded(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
