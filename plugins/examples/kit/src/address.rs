//! Where a request comes from.

use std::net::{IpAddr, SocketAddr};

use proxy_wasm::traits::Context;

use crate::text_property;

/// The address of the socket the request came on, `source.address`; an IPv4 address in IPv6 clothing is the IPv4 one.
///
/// Behind a load balancer that is the balancer's, unless the edge is told to believe it.
pub fn source(context: &dyn Context) -> Option<IpAddr> {
    parse(&text_property(context, &["source", "address"])?)
}

/// Reads `address`, `address:port` or `[address]:port`.
pub fn parse(text: &str) -> Option<IpAddr> {
    let with_port = text.parse::<SocketAddr>().map(|address| address.ip());
    with_port.or_else(|_| text.parse::<IpAddr>()).ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn addresses_are_read_with_and_without_port() {
        for (text, address) in [
            ("192.0.2.7:4711", "192.0.2.7"),
            ("192.0.2.7", "192.0.2.7"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[::ffff:192.0.2.7]:4711", "192.0.2.7"),
        ] {
            assert_eq!(parse(text).map(|address| address.to_string()).as_deref(), Some(address), "{text}");
        }
        for text in ["", "unix:@/tmp/x", "192.0.2.7:port", "192.0.2", "a.example:80"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
