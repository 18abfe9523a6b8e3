//! Networks in CIDR notation.

use std::net::IpAddr;

use serde::Deserialize;

/// A network, or a single address, or every address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Network {
    /// Every address of both families.
    Any,
    /// The addresses that share the first `bits` bits with `base`, whose others are zero.
    Of { base: IpAddr, bits: u32 },
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "any" {
            return Ok(Self::Any);
        }
        let (base, bits) = match text.split_once('/') {
            Some((base, bits)) => (base, Some(bits)),
            None => (text.as_str(), None),
        };
        let base: IpAddr = base.parse().map_err(|_| {
            format!("{text:?} is no network; write 10.0.0.0/8, 2001:db8::/32, a single address or \"any\"")
        })?;
        let all = width(base);
        let bits = match bits {
            None => all,
            Some(bits) => {
                let bits = bits.parse().ok().filter(|bits| *bits <= all);
                bits.ok_or_else(|| format!("{text:?} has no prefix length from 0 to {all}"))?
            }
        };
        let first = mask(base, bits);
        if first != base {
            return Err(format!("{text:?} has bits beyond its prefix; did you mean {first}/{bits}?"));
        }
        Ok(Self::Of { base, bits })
    }
}

impl Network {
    /// Whether this address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match *self {
            Self::Any => true,
            Self::Of { base, bits } => base.is_ipv4() == address.is_ipv4() && mask(address, bits) == base,
        }
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { u32::BITS } else { u128::BITS }
}

/// The address with all but its first `bits` bits zero.
fn mask(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        // A shift by the full width, which none of these is, is what `checked_shl` refuses.
        IpAddr::V4(v4) => {
            let keep = u32::MAX.checked_shl(u32::BITS - bits).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & keep).into())
        }
        IpAddr::V6(v6) => {
            let keep = u128::MAX.checked_shl(u128::BITS - bits).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & keep).into())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn network(text: &str) -> Network {
        text.to_owned().try_into().unwrap()
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_other() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("192.0.2.128/25", "192.0.2.200", "192.0.2.127"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
        ] {
            assert!(network(text).contains(inside.parse().unwrap()), "{inside} in {text}");
            assert!(!network(text).contains(outside.parse().unwrap()), "{outside} not in {text}");
        }
        assert!(network("any").contains("10.0.0.1".parse().unwrap()));
        assert!(network("any").contains("::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused_with_the_reason() {
        for (text, reason) in [
            ("10.0.0.1/8", "did you mean 10.0.0.0/8?"),
            ("2001:db8::1/32", "did you mean 2001:db8::/32?"),
            ("10.0.0.0/33", "no prefix length from 0 to 32"),
            ("::/129", "no prefix length from 0 to 128"),
            ("10.0.0.0/-1", "no prefix length"),
            ("10.0.0.0/", "no prefix length"),
            ("10.0.0/8", "is no network"),
            ("", "is no network"),
            ("localhost", "is no network"),
        ] {
            let refused = Network::try_from(text.to_owned()).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
    }
}
