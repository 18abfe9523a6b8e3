//! A request and its response as a plugin sees them.

use coditect_proxy_wasm::{Exchange, HeaderMap, Refused};
use http::HeaderName;
use http::header::HOST;
use pingora::http::{RequestHeader, ResponseHeader};
use std::net::SocketAddr;
use uuid::Uuid;

/// Properties one request may carry from plugin to plugin.
const MAX_PROPERTIES: usize = 64;
/// Headers that decide where a message ends, whose connection it is, or who the caller is: not a plugin's to write.
const NOT_WRITABLE: [&str; 16] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "proxy-connection",
    "expect",
    "x-coditect-user",
    "x-coditect-tenant",
    "x-coditect-session",
    "x-coditect-workspace",
    "x-coditect-email",
    "http2-settings",
];

/// What the edge knows of a request, offered as properties.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) request_id: String,
    /// `coditect.route`
    pub(crate) route: String,
    /// `coditect.tenant`
    pub(crate) tenant: Option<Uuid>,
    /// `coditect.user`
    pub(crate) user: Option<Uuid>,
    /// `coditect.session`: the auth session.
    pub(crate) session: Option<Uuid>,
    /// `coditect.workspace`
    pub(crate) workspace: Option<Uuid>,
    /// `source.address`, `source.port`
    pub(crate) client: Option<SocketAddr>,
    /// `request.protocol`
    pub(crate) protocol: &'static str,
    /// Whether `:scheme` is https.
    pub(crate) secure: bool,
}

/// Properties set by plugins, path joined by NUL as the ABI writes it.
pub(crate) type Properties = Vec<(Vec<u8>, Vec<u8>)>;

/// Lent to the host for one callback.
pub(crate) struct View<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) request: &'a mut RequestHeader,
    pub(crate) response: Option<&'a mut ResponseHeader>,
    pub(crate) properties: &'a mut Properties,
}

impl View<'_> {
    fn headers(&self, map: HeaderMap) -> Option<&http::HeaderMap> {
        match map {
            HeaderMap::Request => Some(&self.request.headers),
            HeaderMap::Response => self.response.as_ref().map(|response| &response.headers),
        }
    }

    fn pseudo(&self, map: HeaderMap, name: &[u8]) -> Option<Vec<u8>> {
        match (map, name) {
            (HeaderMap::Request, b":authority") => {
                let host = self.request.headers.get(HOST).map(|host| host.as_bytes().to_vec());
                host.or_else(|| self.request.uri.authority().map(|authority| authority.as_str().into()))
            }
            (HeaderMap::Request, b":path") => Some(
                self.request.uri.path_and_query().map_or_else(|| b"/".to_vec(), |path| path.as_str().into()),
            ),
            (HeaderMap::Request, b":method") => Some(self.request.method.as_str().into()),
            (HeaderMap::Request, b":scheme") => {
                Some(if self.facts.secure { b"https".into() } else { b"http".into() })
            }
            (HeaderMap::Response, b":status") => {
                self.response.as_ref().map(|response| response.status.as_str().as_bytes().to_vec())
            }
            _ => None,
        }
    }

    /// Writes a pseudo-header. The authority and the scheme are the client's word and stay.
    fn set_pseudo(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        let text = std::str::from_utf8(value).map_err(|_| Refused)?;
        let unchanged = self.pseudo(map, name).as_deref() == Some(value);
        match (map, name, &mut self.response) {
            (HeaderMap::Request, b":path", _) => {
                let uri: http::Uri = text.parse().map_err(|_| Refused)?;
                crate::path::check(uri.path()).map_err(|_| Refused)?;
                self.request.set_uri(uri);
                Ok(())
            }
            (HeaderMap::Request, b":method", _) => {
                // A tunnel to somewhere else is no plugin's to open.
                let method =
                    text.parse().ok().filter(|method| *method != http::Method::CONNECT).ok_or(Refused)?;
                self.request.set_method(method);
                Ok(())
            }
            (HeaderMap::Response, b":status", Some(response)) => {
                let status: u16 = text.parse().ok().filter(|s| (200..=599).contains(s)).ok_or(Refused)?;
                response.set_status(status).map_err(|_| Refused)
            }
            _ if unchanged => Ok(()),
            _ => Err(Refused),
        }
    }

    fn remove(&mut self, map: HeaderMap, name: &str) -> Result<(), Refused> {
        match (map, &mut self.response) {
            (HeaderMap::Request, _) => drop(self.request.remove_header(name)),
            (HeaderMap::Response, Some(response)) => drop(response.remove_header(name)),
            (HeaderMap::Response, None) => return Err(Refused),
        }
        Ok(())
    }

    fn append(&mut self, map: HeaderMap, name: &str, value: &[u8]) -> Result<(), Refused> {
        let added = match (map, &mut self.response) {
            (HeaderMap::Request, _) => self.request.append_header(name.to_owned(), value),
            (HeaderMap::Response, Some(response)) => response.append_header(name.to_owned(), value),
            (HeaderMap::Response, None) => return Err(Refused),
        };
        added.map(drop).map_err(|_| Refused)
    }
}

/// Whether a plugin may write a header of this name.
pub(crate) fn may_write(map: HeaderMap, name: &[u8]) -> bool {
    writable(map, name).is_ok()
}

/// The name, where a plugin may write it.
fn writable(map: HeaderMap, name: &[u8]) -> Result<&str, Refused> {
    let text = std::str::from_utf8(name).map_err(|_| Refused)?;
    let spelled = text.replace('_', "-");
    let own_cookie = map == HeaderMap::Response && text == "set-cookie";
    if own_cookie || NOT_WRITABLE.contains(&spelled.as_str()) { Err(Refused) } else { Ok(text) }
}

impl Exchange for View<'_> {
    fn request_id(&self) -> &str {
        &self.facts.request_id
    }

    fn header_count(&self, map: HeaderMap) -> usize {
        let mut count = 0;
        self.visit_headers(map, &mut |_, _| count += 1);
        count
    }

    fn visit_headers(&self, map: HeaderMap, visit: &mut dyn FnMut(&[u8], &[u8])) {
        let pseudo: &[&[u8]] = match map {
            HeaderMap::Request => &[b":authority", b":path", b":method", b":scheme"],
            HeaderMap::Response => &[b":status"],
        };
        for name in pseudo {
            if let Some(value) = self.pseudo(map, name) {
                visit(name, &value);
            }
        }
        for (name, value) in self.headers(map).into_iter().flatten() {
            if is_visible(map, name, value.as_bytes()) {
                visit(name.as_str().as_bytes(), value.as_bytes());
            }
        }
    }

    fn header(&self, map: HeaderMap, name: &[u8], value: &mut Vec<u8>) -> bool {
        if name.first() == Some(&b':') {
            return self.pseudo(map, name).inspect(|found| value.extend_from_slice(found)).is_some();
        }
        let Ok(name) = HeaderName::from_bytes(name) else { return false };
        let values = self.headers(map).map(|headers| headers.get_all(&name));
        let found = values.into_iter().flatten().find(|value| is_visible(map, &name, value.as_bytes()));
        found.inspect(|found| value.extend_from_slice(found.as_bytes())).is_some()
    }

    fn set_headers(&mut self, map: HeaderMap, pairs: &[(&[u8], &[u8])]) -> Result<(), Refused> {
        // What a plugin may not write stays as it is, whether or not it is in the new map.
        let headers = self.headers(map).ok_or(Refused)?;
        let old: Vec<HeaderName> =
            headers.keys().filter(|name| writable(map, name.as_str().as_bytes()).is_ok()).cloned().collect();
        for name in old {
            self.remove(map, name.as_str())?;
        }
        for (name, value) in pairs {
            if name.first() == Some(&b':') {
                self.set_pseudo(map, name, value)?;
            } else if let Ok(name) = writable(map, name) {
                self.append(map, name, value)?;
            }
        }
        Ok(())
    }

    fn add_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        if name.first() == Some(&b':') {
            return self.set_pseudo(map, name, value);
        }
        let name = writable(map, name)?;
        self.append(map, name, value)
    }

    fn replace_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        if name.first() == Some(&b':') {
            return self.set_pseudo(map, name, value);
        }
        let name = writable(map, name)?;
        self.remove(map, name)?;
        self.append(map, name, value)
    }

    fn remove_header(&mut self, map: HeaderMap, name: &[u8]) -> Result<(), Refused> {
        if name.first() == Some(&b':') {
            return Err(Refused);
        }
        let name = writable(map, name)?;
        self.remove(map, name)
    }

    fn property(&self, path: &[&[u8]], value: &mut Vec<u8>) -> bool {
        let wanted = path.join(&0);
        if let Some((_, set)) = self.properties.iter().find(|(path, _)| *path == wanted) {
            value.extend_from_slice(set);
            return true;
        }
        let facts = self.facts;
        let id = |id: Option<Uuid>| id.map(|id| id.to_string().into_bytes());
        let found = match *path {
            [b"coditect", b"tenant"] => id(facts.tenant),
            [b"coditect", b"user"] => id(facts.user),
            [b"coditect", b"session"] => id(facts.session),
            [b"coditect", b"workspace"] => id(facts.workspace),
            [b"coditect", b"route"] => Some(facts.route.clone().into_bytes()),
            [b"request", b"protocol"] => Some(facts.protocol.as_bytes().to_vec()),
            [b"source", b"address"] => facts.client.map(|client| client.to_string().into_bytes()),
            [b"source", b"port"] => {
                facts.client.map(|client| i64::from(client.port()).to_le_bytes().to_vec())
            }
            _ => None,
        };
        found.inspect(|found| value.extend_from_slice(found)).is_some()
    }

    fn set_property(&mut self, path: &[&[u8]], value: &[u8]) -> Result<(), Refused> {
        if matches!(path.first(), Some(&b"coditect")) {
            return Err(Refused);
        }
        let path = path.join(&0);
        if let Some((_, set)) = self.properties.iter_mut().find(|(known, _)| *known == path) {
            *set = value.to_vec();
        } else if self.properties.len() < MAX_PROPERTIES {
            self.properties.push((path, value.to_vec()));
        } else {
            return Err(Refused);
        }
        Ok(())
    }
}

/// `host` is shown as `:authority`, and the edge's own cookies are nobody's business.
fn is_visible(map: HeaderMap, name: &HeaderName, value: &[u8]) -> bool {
    let own_cookie =
        map == HeaderMap::Response && *name == http::header::SET_COOKIE && crate::cookies::is_own(value);
    *name != HOST && !own_cookie
}
