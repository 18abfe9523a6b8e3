//! A request and its response as plugins see them: the header maps, and what may be written in them.
//!
//! The view owns both heads for the life of the request. The session keeps an outline of the request only
//! ([`View::take_request`]), since Pingora asks it for method, version and framing.

use super::attributes::{self, Facts, Progress};
use super::properties::Properties;
use crate::forward::ORIGIN_WIDE;
use coditect_proxy_wasm::{Exchange, HeaderMap, Refused, SharedExchange};
use http::header::{CONNECTION, HOST, SET_COOKIE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use std::sync::{Arc, Mutex};

/// Headers that decide where a message ends and whose connection it is. The edge sees to them itself, whatever a plugin
/// did to the body: writing them is answered well, since filters that change bodies do it, and has no effect.
const FRAMING: [&str; 10] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "proxy-connection",
    "expect",
    "http2-settings",
];

/// The most bytes of names and values that a map holds once a plugin has added to it.
const MAX_MAP_BYTES: usize = 256 * 1024;

/// Headers that say who the caller is and whom the request is for: refused.
const IDENTITY: [&str; 6] = [
    "host",
    "x-coditect-user",
    "x-coditect-tenant",
    "x-coditect-session",
    "x-coditect-workspace",
    "x-coditect-email",
];

/// The request's pseudo-headers, in Envoy's order. The scheme's absence hinders nobody.
const REQUEST_PSEUDO: [&[u8]; 4] = [b":authority", b":path", b":method", b":scheme"];

/// One request and its response.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) facts: Arc<Facts>,
    pub(crate) progress: Progress,
    pub(crate) request: RequestHeader,
    pub(crate) request_trailers: Option<http::HeaderMap>,
    /// The response, once there is one: the upstream's, then what plugins and the edge made of it.
    pub(crate) response: Option<Box<ResponseHeader>>,
    pub(crate) response_trailers: Option<http::HeaderMap>,
    pub(crate) properties: Properties,
    /// Which of [`REQUEST_PSEUDO`] a plugin took away.
    removed: [bool; 4],
    /// Whether one of the plugins is a tenant's own.
    tenants_own: bool,
    /// Those of [`ORIGIN_WIDE`] that the response had before plugins saw it, where that matters.
    origin_wide: Vec<(HeaderName, HeaderValue)>,
}

impl View {
    /// A view of a request that has just been let in. `tenants_own`: whether one of its plugins is its tenant's own.
    pub(crate) fn new(facts: Facts, request: RequestHeader, tenants_own: bool) -> Self {
        Self {
            tenants_own,
            origin_wide: Vec::new(),
            facts: Arc::new(facts),
            progress: Progress::default(),
            request,
            request_trailers: None,
            response: None,
            response_trailers: None,
            properties: Properties::default(),
            removed: [false; 4],
        }
    }

    /// Takes the request's head out of the session, which keeps what Pingora asks it for: the method, the version,
    /// and that there is, or is no, body.
    ///
    /// # Errors
    /// None that a method which was read can cause.
    pub(crate) fn take_request(session: &mut Session) -> pingora::Result<RequestHeader> {
        // From here on the body's framing is known and not looked up again.
        session.is_body_empty();
        let request = session.req_header_mut();
        let mut outline = RequestHeader::build_no_case(request.method.as_str(), b"/", Some(0))?;
        outline.set_version(request.version);
        for name in [http::header::CONTENT_LENGTH, http::header::TRANSFER_ENCODING] {
            if let Some(value) = request.headers.get(&name) {
                outline.insert_header(name, value.clone())?;
            }
        }
        Ok(std::mem::replace(request, outline))
    }

    /// Shows a response before plugins change it.
    pub(crate) fn show(&mut self, head: Box<ResponseHeader>) {
        if self.tenants_own {
            self.origin_wide = origin_wide(&head);
        }
        self.response = Some(head);
        self.response_trailers = None;
    }

    /// Takes from the response what speaks for the whole origin and was not in it before plugins saw it, where one of
    /// them is a tenant's own: the origin is everybody's. Which of them wrote it is not known, so that an operators'
    /// plugin cannot set these there either.
    pub(crate) fn confine_response(&mut self) {
        let Some(response) = self.response.as_mut().filter(|_| self.tenants_own) else { return };
        let (kept, added): (Vec<_>, Vec<_>) =
            origin_wide(response).into_iter().partition(|header| self.origin_wide.contains(header));
        if added.is_empty() {
            return;
        }
        for name in ORIGIN_WIDE {
            response.remove_header(name);
        }
        for (name, value) in kept {
            // It was just there.
            drop(response.append_header(name, value));
        }
    }

    /// Whether a plugin's own response may have this header.
    pub(crate) fn may_respond_with(&self, name: &[u8], value: &[u8]) -> bool {
        let confined =
            self.tenants_own && ORIGIN_WIDE.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        !confined && may_write(HeaderMap::Response, name, value)
    }

    /// Whether a plugin left the request without what is needed to send it anywhere. Envoy answers 404 then.
    pub(crate) fn is_unroutable(&self) -> bool {
        self.removed[..3].contains(&true)
    }

    /// `host` is shown as `:authority`, and the edge's own cookies are nobody's business. A request's framing is not
    /// shown either, nor its hop's headers unless it asks for another protocol: so has Envoy it.
    fn is_visible(&self, map: HeaderMap, name: &HeaderName, value: &[u8]) -> bool {
        match map {
            HeaderMap::Request => match *name {
                HOST | TRANSFER_ENCODING => false,
                CONNECTION => self.request.headers.contains_key(UPGRADE),
                _ => true,
            },
            HeaderMap::Response => *name != http::header::SET_COOKIE || !crate::cookies::is_own(value),
            HeaderMap::RequestTrailers | HeaderMap::ResponseTrailers => true,
        }
    }

    fn headers(&self, map: HeaderMap) -> Option<&http::HeaderMap> {
        match map {
            HeaderMap::Request => Some(&self.request.headers),
            HeaderMap::Response => self.response.as_ref().map(|response| &response.headers),
            HeaderMap::RequestTrailers => self.request_trailers.as_ref(),
            HeaderMap::ResponseTrailers => self.response_trailers.as_ref(),
        }
    }

    fn pseudo(&self, map: HeaderMap, name: &[u8]) -> Option<&[u8]> {
        match map {
            HeaderMap::Request => {
                let index = REQUEST_PSEUDO.iter().position(|known| *known == name)?;
                if self.removed[index] { None } else { self.request_pseudo(name) }
            }
            HeaderMap::Response if name == b":status" => {
                self.response.as_ref().map(|response| response.status.as_str().as_bytes())
            }
            _ => None,
        }
    }

    fn request_pseudo(&self, name: &[u8]) -> Option<&[u8]> {
        let request = &self.request;
        match name {
            b":authority" => {
                let host = request.headers.get(HOST).map(HeaderValue::as_bytes);
                host.or_else(|| request.uri.authority().map(|authority| authority.as_str().as_bytes()))
            }
            b":path" => Some(request.uri.path_and_query().map_or(b"/", |path| path.as_str().as_bytes())),
            b":method" => Some(request.method.as_str().as_bytes()),
            b":scheme" => Some(if self.facts.secure { b"https" } else { b"http" }),
            _ => None,
        }
    }

    /// Writes a pseudo-header. The authority and the scheme are the client's word and stay.
    fn set_pseudo(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        let text = std::str::from_utf8(value).map_err(|_| Refused)?;
        let unchanged = map == HeaderMap::Request && self.request_pseudo(name) == Some(value);
        match (map, name, &mut self.response) {
            _ if unchanged => {}
            (HeaderMap::Request, b":path", _) => {
                let uri: http::Uri = text.parse().map_err(|_| Refused)?;
                crate::path::check(uri.path()).map_err(|_| Refused)?;
                self.request.set_uri(uri);
            }
            (HeaderMap::Request, b":method", _) => {
                // A tunnel to somewhere else is no plugin's to open.
                let method =
                    text.parse().ok().filter(|method| *method != http::Method::CONNECT).ok_or(Refused)?;
                self.request.set_method(method);
            }
            (HeaderMap::Response, b":status", Some(response)) => {
                let status: u16 = text.parse().map_err(|_| Refused)?;
                if status != response.status.as_u16() {
                    let status = Some(status).filter(|s| (200..=599).contains(s)).ok_or(Refused)?;
                    response.set_status(status).map_err(|_| Refused)?;
                }
            }
            _ => return Err(Refused),
        }
        if map == HeaderMap::Request
            && let Some(index) = REQUEST_PSEUDO.iter().position(|known| *known == name)
        {
            self.removed[index] = false;
        }
        Ok(())
    }

    fn remove(&mut self, map: HeaderMap, name: &str) -> Result<(), Refused> {
        match map {
            HeaderMap::Request => drop(self.request.remove_header(name)),
            HeaderMap::Response => {
                let response = self.response.as_mut().ok_or(Refused)?;
                let values: Vec<HeaderValue> = response.headers.get_all(name).iter().cloned().collect();
                drop(response.remove_header(name));
                // The edge's own cookies are nobody's to take off.
                let own = |value: &&HeaderValue| {
                    name == SET_COOKIE.as_str() && crate::cookies::is_own(value.as_bytes())
                };
                for value in values.iter().filter(own) {
                    response.append_header(SET_COOKIE, value).map_err(|_| Refused)?;
                }
            }
            HeaderMap::RequestTrailers => drop(self.request_trailers.as_mut().ok_or(Refused)?.remove(name)),
            HeaderMap::ResponseTrailers => drop(self.response_trailers.as_mut().ok_or(Refused)?.remove(name)),
        }
        Ok(())
    }

    fn append(&mut self, map: HeaderMap, name: &str, value: &[u8]) -> Result<(), Refused> {
        let size = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
        let used: usize = self.headers(map).into_iter().flatten().map(size).sum();
        if used + name.len() + value.len() > MAX_MAP_BYTES {
            return Err(Refused);
        }
        let trailers = match map {
            HeaderMap::Request => {
                return self.request.append_header(name.to_owned(), value).map(drop).map_err(|_| Refused);
            }
            HeaderMap::Response => {
                let response = self.response.as_mut().ok_or(Refused)?;
                return response.append_header(name.to_owned(), value).map(drop).map_err(|_| Refused);
            }
            HeaderMap::RequestTrailers => &mut self.request_trailers,
            HeaderMap::ResponseTrailers => &mut self.response_trailers,
        };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Refused)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Refused)?;
        trailers.as_mut().ok_or(Refused)?.try_append(name, value).map(drop).map_err(|_| Refused)
    }
}

/// What of a response speaks for its whole origin.
fn origin_wide(response: &ResponseHeader) -> Vec<(HeaderName, HeaderValue)> {
    let wide = response.headers.iter().filter(|(name, _)| ORIGIN_WIDE.contains(&name.as_str()));
    wide.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Whether a plugin may put this header into a message.
fn may_write(map: HeaderMap, name: &[u8], value: &[u8]) -> bool {
    matches!(writable(map, name, value), Ok(Some(_)))
}

/// The name, where a plugin may write it; `None` where that is answered well and has no effect.
fn writable<'a>(map: HeaderMap, name: &'a [u8], value: &[u8]) -> Result<Option<&'a str>, Refused> {
    let text = std::str::from_utf8(name).map_err(|_| Refused)?;
    // Upstreams may take `_` for `-`.
    let dashed = text.contains('_').then(|| text.replace('_', "-"));
    let spelled = dashed.as_deref().unwrap_or(text);
    let own_cookie = || crate::cookies::is_own(value);
    if IDENTITY.contains(&spelled) || (text == SET_COOKIE.as_str() && is_response(map) && own_cookie()) {
        return Err(Refused);
    }
    Ok((!FRAMING.contains(&spelled)).then_some(text))
}

fn is_response(map: HeaderMap) -> bool {
    matches!(map, HeaderMap::Response | HeaderMap::ResponseTrailers)
}

impl Exchange for View {
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
            HeaderMap::Request => &REQUEST_PSEUDO,
            HeaderMap::Response => &[b":status"],
            HeaderMap::RequestTrailers | HeaderMap::ResponseTrailers => &[],
        };
        for name in pseudo {
            if let Some(value) = self.pseudo(map, name) {
                visit(name, value);
            }
        }
        for (name, value) in self.headers(map).into_iter().flatten() {
            if self.is_visible(map, name, value.as_bytes()) {
                visit(name.as_str().as_bytes(), value.as_bytes());
            }
        }
    }

    fn header(&self, map: HeaderMap, name: &[u8], value: &mut Vec<u8>) -> bool {
        if name.first() == Some(&b':') {
            return self.pseudo(map, name).inspect(|found| value.extend_from_slice(found)).is_some();
        }
        if name == b"host" && map == HeaderMap::Request {
            return self.header(map, b":authority", value);
        }
        let Ok(name) = HeaderName::from_bytes(name) else { return false };
        let values = self.headers(map).map(|headers| headers.get_all(&name));
        let found = values.into_iter().flatten().find(|value| self.is_visible(map, &name, value.as_bytes()));
        found.inspect(|found| value.extend_from_slice(found.as_bytes())).is_some()
    }

    fn set_headers(&mut self, map: HeaderMap, pairs: &[(&[u8], &[u8])]) -> Result<(), Refused> {
        // On a copy, so that a refusal changes nothing.
        let mut changed = self.clone();
        // What a plugin may not write stays as it is, whether or not it is in the new map.
        let headers = self.headers(map).ok_or(Refused)?;
        for name in headers.keys().filter(|name| may_write(map, name.as_str().as_bytes(), b"")) {
            changed.remove(map, name.as_str())?;
        }
        if map == HeaderMap::Request {
            changed.removed = [true; 4];
        }
        for (name, value) in pairs {
            if name.first() == Some(&b':') {
                changed.set_pseudo(map, name, value)?;
            } else if let Ok(Some(name)) = writable(map, name, value) {
                changed.append(map, name, value)?;
            }
        }
        *self = changed;
        Ok(())
    }

    fn add_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        if name.first() == Some(&b':') {
            return self.set_pseudo(map, name, value);
        }
        match writable(map, name, value)? {
            Some(name) => self.append(map, name, value),
            None => Ok(()),
        }
    }

    fn replace_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        if name.first() == Some(&b':') {
            return self.set_pseudo(map, name, value);
        }
        let Some(name) = writable(map, name, value)? else { return Ok(()) };
        self.remove(map, name)?;
        self.append(map, name, value)
    }

    fn remove_header(&mut self, map: HeaderMap, name: &[u8]) -> Result<(), Refused> {
        if name.first() == Some(&b':') {
            let index = REQUEST_PSEUDO.iter().position(|known| *known == name);
            let index = index.filter(|_| map == HeaderMap::Request).ok_or(Refused)?;
            self.removed[index] = true;
            return Ok(());
        }
        match writable(map, name, b"")? {
            Some(name) => self.remove(map, name),
            None => Ok(()),
        }
    }

    fn property(&self, path: &[&[u8]], value: &mut Vec<u8>) -> bool {
        attributes::find(self, path, value) || self.properties.get(path, value)
    }

    fn set_property(&mut self, path: &[&[u8]], value: &[u8]) -> Result<(), Refused> {
        self.properties.set(path, value)
    }

    fn fork(&self) -> SharedExchange {
        Arc::new(Mutex::new(self.clone()))
    }
}
