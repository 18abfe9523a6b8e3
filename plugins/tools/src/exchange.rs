//! A request and its response in memory, as the host sees them.

use crate::rules::{self, Writes};
use crate::suite::{Pairs, PropertyValue};
use coditect_proxy_wasm::{Exchange, HeaderMap, Refused, SharedExchange};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// One exchange. What plugins write is kept for comparison.
#[derive(Debug, Clone)]
pub struct MemoryExchange {
    /// For logs and trap reports.
    pub request_id: String,
    /// Pseudo-headers first, as all maps.
    pub request: Pairs,
    /// After the request's body.
    pub request_trailers: Pairs,
    /// Empty until there is a response.
    pub response: Pairs,
    /// After the response's body.
    pub response_trailers: Pairs,
    /// By path, its segments joined by dots, in a plugin's encoding.
    pub properties: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Which writes are refused.
    pub writes: Writes,
}

impl MemoryExchange {
    /// One without anything.
    #[must_use]
    pub fn new(request_id: &str, writes: Writes) -> Self {
        Self {
            request_id: request_id.to_owned(),
            request: Pairs::new(),
            request_trailers: Pairs::new(),
            response: Pairs::new(),
            response_trailers: Pairs::new(),
            properties: BTreeMap::new(),
            writes,
        }
    }

    /// Gives a property a value, whatever plugins may write.
    pub fn supply(&mut self, path: &str, value: PropertyValue) {
        self.properties.insert(path.as_bytes().to_vec(), value.0);
    }

    /// The pairs of a map.
    #[must_use]
    pub fn pairs(&self, map: HeaderMap) -> &Pairs {
        match map {
            HeaderMap::Request => &self.request,
            HeaderMap::RequestTrailers => &self.request_trailers,
            HeaderMap::Response => &self.response,
            HeaderMap::ResponseTrailers => &self.response_trailers,
        }
    }

    fn pairs_mut(&mut self, map: HeaderMap) -> &mut Pairs {
        match map {
            HeaderMap::Request => &mut self.request,
            HeaderMap::RequestTrailers => &mut self.request_trailers,
            HeaderMap::Response => &mut self.response,
            HeaderMap::ResponseTrailers => &mut self.response_trailers,
        }
    }

    fn may_write(&self, name: &[u8]) -> Result<(), Refused> {
        if rules::may_write(self.writes, name) { Ok(()) } else { Err(Refused) }
    }

    /// Puts a pseudo-header in its place, before the others.
    fn set_pseudo(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        let writes = self.writes;
        let pairs = self.pairs_mut(map);
        let old = pairs.iter_mut().find(|(known, _)| known == name);
        if old.as_ref().is_some_and(|(_, old)| old == value) {
            return Ok(());
        }
        if !rules::may_set_pseudo(writes, map, name, value) {
            return Err(Refused);
        }
        match old {
            Some((_, old)) => *old = value.to_vec(),
            None => {
                let place = pairs.iter().take_while(|(known, _)| is_pseudo(known)).count();
                pairs.insert(place, (name.to_vec(), value.to_vec()));
            }
        }
        Ok(())
    }
}

fn is_pseudo(name: &[u8]) -> bool {
    name.first() == Some(&b':')
}

impl Exchange for MemoryExchange {
    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn header_count(&self, map: HeaderMap) -> usize {
        self.pairs(map).len()
    }

    fn visit_headers(&self, map: HeaderMap, visit: &mut dyn FnMut(&[u8], &[u8])) {
        for (name, value) in self.pairs(map) {
            visit(name, value);
        }
    }

    fn header(&self, map: HeaderMap, name: &[u8], value: &mut Vec<u8>) -> bool {
        let found = self.pairs(map).iter().find(|(known, _)| known == name);
        found.inspect(|(_, first)| value.extend_from_slice(first)).is_some()
    }

    fn set_headers(&mut self, map: HeaderMap, pairs: &[(&[u8], &[u8])]) -> Result<(), Refused> {
        if self.writes == Writes::AnyJoined {
            *self.pairs_mut(map) =
                pairs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            return Ok(());
        }
        // As the edge does: what a plugin may not write stays as it is, whether or not it is in the new map.
        let writes = self.writes;
        let before = self.pairs(map).clone();
        let kept = |name: &[u8]| is_pseudo(name) || !rules::may_write(writes, name);
        self.pairs_mut(map).retain(|(name, _)| kept(name));
        for (name, value) in pairs {
            if is_pseudo(name) {
                if let Err(refused) = self.set_pseudo(map, name, value) {
                    *self.pairs_mut(map) = before;
                    return Err(refused);
                }
            } else if rules::may_write(writes, name) {
                self.pairs_mut(map).push((name.to_vec(), value.to_vec()));
            }
        }
        if map == HeaderMap::Request {
            let named = |name: &[u8]| pairs.iter().any(|(given, _)| *given == name);
            self.request.retain(|(name, _)| !is_pseudo(name) || named(name));
        }
        Ok(())
    }

    fn add_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        if is_pseudo(name) {
            return self.set_pseudo(map, name, value);
        }
        self.may_write(name)?;
        let joined = self.writes == Writes::AnyJoined;
        let pairs = self.pairs_mut(map);
        match pairs.iter_mut().find(|(known, old)| joined && known == name && !old.is_empty()) {
            Some((_, old)) => *old = [old, value].join(&b", "[..]),
            None => pairs.push((name.to_vec(), value.to_vec())),
        }
        Ok(())
    }

    fn replace_header(&mut self, map: HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        if is_pseudo(name) {
            return self.set_pseudo(map, name, value);
        }
        self.may_write(name)?;
        let pairs = self.pairs_mut(map);
        match pairs.iter().position(|(known, _)| known == name) {
            Some(place) => {
                pairs[place].1 = value.to_vec();
                let mut seen = 0;
                pairs.retain(|(known, _)| {
                    let same = known == name;
                    seen += usize::from(same);
                    !same || seen == 1
                });
            }
            None => pairs.push((name.to_vec(), value.to_vec())),
        }
        Ok(())
    }

    fn remove_header(&mut self, map: HeaderMap, name: &[u8]) -> Result<(), Refused> {
        if is_pseudo(name) && map == HeaderMap::Response && self.writes == Writes::AsEdge {
            return Err(Refused);
        }
        self.may_write(name)?;
        self.pairs_mut(map).retain(|(known, _)| known != name);
        Ok(())
    }

    fn property(&self, path: &[&[u8]], value: &mut Vec<u8>) -> bool {
        let found = self.properties.get(&path.join(&b'.'));
        found.inspect(|bytes| value.extend_from_slice(bytes)).is_some()
    }

    fn set_property(&mut self, path: &[&[u8]], value: &[u8]) -> Result<(), Refused> {
        if self.writes == Writes::AsEdge && path.first() == Some(&&b"coditect"[..]) {
            return Err(Refused);
        }
        let path = path.join(&b'.');
        if !self.properties.contains_key(&path) && self.properties.len() >= rules::MAX_PROPERTIES {
            return Err(Refused);
        }
        self.properties.insert(path, value.to_vec());
        Ok(())
    }

    fn fork(&self) -> SharedExchange {
        Arc::new(Mutex::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn exchange(writes: Writes) -> MemoryExchange {
        let mut exchange = MemoryExchange::new("r", writes);
        for (name, value) in [(":method", "GET"), (":path", "/"), (":authority", "a"), ("x", "1"), ("x", "2")]
        {
            exchange.request.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        }
        exchange
    }

    fn shown(exchange: &MemoryExchange) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        exchange.request.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect()
    }

    #[test]
    fn headers_are_added_replaced_and_removed_in_order() {
        let mut exchange = exchange(Writes::AsEdge);
        let map = HeaderMap::Request;
        exchange.add_header(map, b"y", b"3").unwrap();
        exchange.replace_header(map, b"x", b"4").unwrap();
        exchange.replace_header(map, b"z", b"5").unwrap();
        exchange.replace_header(map, b":path", b"/new").unwrap();
        exchange.remove_header(map, b"y").unwrap();
        assert_eq!(shown(&exchange), [":method=GET", ":path=/new", ":authority=a", "x=4", "z=5"]);
        let mut value = Vec::new();
        assert!(exchange.header(map, b"x", &mut value) && value == b"4");
    }

    #[test]
    fn what_the_edge_refuses_is_refused_and_changes_nothing() {
        let mut edge = exchange(Writes::AsEdge);
        let map = HeaderMap::Request;
        assert_eq!(edge.add_header(map, b"x-coditect-user", b"u"), Err(Refused));
        assert_eq!(edge.replace_header(map, b":authority", b"b"), Err(Refused));
        assert_eq!(edge.replace_header(map, b":authority", b"a"), Ok(()), "it stays what it is");
        assert_eq!(edge.set_headers(map, &[(b"y", b"1"), (b":authority", b"b")]), Err(Refused));
        assert_eq!(edge.set_property(&[b"coditect", b"tenant_id"], b"t"), Err(Refused));
        assert_eq!(shown(&edge), shown(&exchange(Writes::AsEdge)));
        edge.response.push((b":status".to_vec(), b"200".to_vec()));
        assert_eq!(edge.remove_header(HeaderMap::Response, b":status"), Err(Refused));
        edge.remove_header(map, b":authority").unwrap();
        edge.set_headers(map, &[(b":path", b"/new"), (b"y", b"1")]).unwrap();
        assert_eq!(shown(&edge), [":path=/new", "y=1"], "what is left out goes");
        let mut any = exchange(Writes::AnyJoined);
        any.add_header(map, b"x-coditect-user", b"u").unwrap();
        any.add_header(map, b"x-coditect-user", b"v").unwrap();
        assert_eq!(shown(&any).last().unwrap(), "x-coditect-user=u, v");
        any.set_headers(map, &[(b"y", b"1")]).unwrap();
        assert_eq!(shown(&any), ["y=1"]);
    }

    #[test]
    fn a_fork_is_its_own() {
        let mut exchange = exchange(Writes::AsEdge);
        let fork = exchange.fork();
        fork.lock().unwrap().remove_header(HeaderMap::Request, b"x").unwrap();
        exchange.set_property(&[b"a", b"b"], b"1").unwrap();
        assert_eq!(exchange.request.len(), 5);
        assert_eq!(fork.lock().unwrap().header_count(HeaderMap::Request), 3);
        assert!(!fork.lock().unwrap().property(&[b"a", b"b"], &mut Vec::new()));
    }
}
