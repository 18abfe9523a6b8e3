//! The configuration, checked.

use std::net::IpAddr;
use std::time::Duration;

use policy_kit::path;
use serde::Deserialize;

use crate::bucket::Rate;

/// Most of `requests` and `burst`.
const MAX_REQUESTS: u32 = 1_000_000;
/// Most of `per_seconds`: a day.
const MAX_SECONDS: u32 = 86_400;
/// Most of `slots`. With about 100 bytes each they fit into a tenant's shared data of 1 MiB beside other things.
const MAX_SLOTS: u32 = 4096;

/// What has a bucket of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// All of a tenant's requests share one.
    #[default]
    Tenant,
    /// Each of its users.
    User,
    /// Each IPv4 address and each IPv6 /64.
    Address,
}

/// A valid configuration.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Settings {
    pub rate: Rate,
    pub by: By,
    pub paths: Vec<String>,
    pub exempt_paths: Vec<String>,
    slots: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    requests: u32,
    per_seconds: u32,
    burst: Option<u32>,
    #[serde(default)]
    by: By,
    #[serde(default = "everything")]
    paths: Vec<String>,
    #[serde(default)]
    exempt_paths: Vec<String>,
    #[serde(default = "default_slots")]
    slots: u32,
}

fn everything() -> Vec<String> {
    vec!["/".to_owned()]
}

fn default_slots() -> u32 {
    1024
}

impl TryFrom<Raw> for Settings {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let within = |name: &str, value: u32, most: u32| match value {
            value if (1..=most).contains(&value) => Ok(value),
            value => Err(format!("{name} is {value}; it can be 1 to {most}")),
        };
        let requests = within("requests", raw.requests, MAX_REQUESTS)?;
        let seconds = within("per_seconds", raw.per_seconds, MAX_SECONDS)?;
        let burst = within("burst", raw.burst.unwrap_or(requests), MAX_REQUESTS)?;
        let slots = within("slots", raw.slots, MAX_SLOTS)?;
        path::check_prefixes(&raw.paths)?;
        path::check_prefixes(&raw.exempt_paths)?;
        // At least a microsecond: a second divided by MAX_REQUESTS.
        let interval = Duration::from_secs(seconds.into()) / requests;
        let Raw { by, paths, exempt_paths, .. } = raw;
        Ok(Self { rate: Rate { interval, burst }, by, paths, exempt_paths, slots })
    }
}

impl Settings {
    /// The slot somebody's bucket is in: FNV-1a over the name.
    pub fn slot(&self, who: &str) -> u32 {
        let hash = who.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        u32::try_from(hash % u64::from(self.slots.max(1))).unwrap_or(0)
    }
}

/// What of an address stands for a client: an IPv6 host chooses its lower 64 bits as it likes.
pub fn network_of(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("{:x}/64", v6.to_bits() >> 64),
    }
}

/// A duration in seconds, rounded up.
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn raw(requests: u32, per_seconds: u32) -> Raw {
        Raw {
            requests,
            per_seconds,
            burst: None,
            by: By::Address,
            paths: everything(),
            exempt_paths: Vec::new(),
            slots: 8,
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused_by_name() {
        for (raw, reason) in [
            (raw(0, 1), "requests is 0; it can be 1 to 1000000"),
            (raw(1, 86_401), "per_seconds is 86401; it can be 1 to 86400"),
            (Raw { burst: Some(0), ..raw(1, 1) }, "burst is 0"),
            (Raw { slots: 4097, ..raw(1, 1) }, "slots is 4097"),
            (Raw { paths: vec!["x".to_owned()], ..raw(1, 1) }, "is no path"),
        ] {
            let refused = Settings::try_from(raw).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
    }

    #[test]
    fn extremes_keep_an_interval() {
        let fastest = Settings::try_from(raw(MAX_REQUESTS, 1)).unwrap();
        assert_eq!(fastest.rate.interval, Duration::from_micros(1));
        let slowest = Settings::try_from(raw(1, MAX_SECONDS)).unwrap();
        assert_eq!(slowest.rate, Rate { interval: Duration::from_secs(86_400), burst: 1 });
    }

    #[test]
    fn slots_are_within_their_number_and_stay_the_same() {
        let settings = Settings::try_from(raw(1, 1)).unwrap();
        let slots: Vec<u32> = (0..1000).map(|who| settings.slot(&who.to_string())).collect();
        assert!(slots.iter().all(|slot| *slot < 8));
        assert!((0..8).all(|slot| slots.contains(&slot)), "all are used");
        assert_eq!(settings.slot("ada"), settings.slot("ada"));
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!(whole_seconds(Duration::from_nanos(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(2)), 2);
    }
}
