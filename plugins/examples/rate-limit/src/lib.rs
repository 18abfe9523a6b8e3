//! So many requests per time, counted over all instances of a tenant: a token bucket in shared data.
//!
//! Configuration, JSON; `requests` and `per_seconds` are required:
//!
//! ```json
//! { "requests": 600, "per_seconds": 60, "burst": 50, "by": "user", "paths": ["/api"], "exempt_paths": ["/api/v5/health"] }
//! ```
//!
//! - `requests` (1 to 1 000 000) in `per_seconds` (1 to 86 400) is the rate in the long run.
//! - `burst` (1 to 1 000 000, default `requests`) is how many may come at once after a pause.
//! - `by`: what has a bucket of its own. `tenant` (the default), `user` (a tenant's users; requests without one share a
//!   bucket) or `address` (an IPv4 address, an IPv6 /64).
//! - `paths`, `exempt_paths`: what is counted, and what of that is not. Default: everything.
//! - `slots` (1 to 4096, default 1024) bounds the memory `user` and `address` take in shared data, about 100 bytes
//!   each: users or addresses are spread over so many buckets, so two may now and then share one.
//!
//! Beyond the rate the answer is 429 `RATE_LIMITED` with `retry-after`. Every counted request's response says
//! `ratelimit-limit`, `ratelimit-remaining` and `ratelimit-reset` (seconds until the bucket is full again).
//! `rate_limit_passed` and `rate_limit_refused` count.
//!
//! A tenant's buckets never meet another's: shared data is the tenant's own. They are full again when its last
//! instance has gone (a new version, a long idle time).

mod bucket;
mod settings;

use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use bucket::{Bucket, Taken};
use policy_kit::{Counter, Refusal, address, configuration, path, request_path, user};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use settings::{By, Settings};

/// How often a bucket is tried when other instances keep changing it. Each failure is another's success, so that
/// losing this often means a load that should be refused anyway.
const ATTEMPTS: usize = 16;
/// A version no entry has: setting with it succeeds only where there is no entry yet.
const ABSENT: u32 = u32::MAX;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(RateLimitRoot::default()));
}}

#[derive(Default)]
struct RateLimitRoot {
    settings: Option<Rc<Settings>>,
    counters: Counters,
}

#[derive(Clone, Copy, Default)]
struct Counters {
    passed: Option<Counter>,
    refused: Option<Counter>,
}

impl Context for RateLimitRoot {}

impl RootContext for RateLimitRoot {
    fn on_configure(&mut self, _size: usize) -> bool {
        let Some(settings) = configuration(self, "rate-limit") else { return false };
        self.settings = Some(Rc::new(settings));
        self.counters = Counters {
            passed: Counter::define("rate_limit_passed"),
            refused: Counter::define("rate_limit_refused"),
        };
        true
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        let settings = Rc::clone(self.settings.as_ref()?);
        Some(Box::new(RateLimit { settings, counters: self.counters, taken: None }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct RateLimit {
    settings: Rc<Settings>,
    counters: Counters,
    /// What the bucket said, for the response; none where the request is not counted.
    taken: Option<Taken>,
}

impl RateLimit {
    /// The bucket's name in shared data.
    fn key(&self) -> String {
        let who = match self.settings.by {
            By::Tenant => return "rate-limit".to_owned(),
            By::User => user(self),
            By::Address => address::source(self).map(settings::network_of),
        };
        format!("rate-limit/{}", self.settings.slot(&who.unwrap_or_default()))
    }

    /// Takes a token out of the bucket of this name; none where too many others do at the same time.
    fn take(&self, key: &str) -> Option<Taken> {
        let now = self.get_current_time().duration_since(UNIX_EPOCH).unwrap_or_default();
        for _ in 0..ATTEMPTS {
            let (stored, version) = self.get_shared_data(key);
            let before = Bucket::read(stored.as_deref());
            let (bucket, taken) = before.take(&self.settings.rate, now);
            if bucket == before {
                return Some(taken);
            }
            if self.set_shared_data(key, Some(&bucket.write()), version.or(Some(ABSENT))).is_ok() {
                return Some(taken);
            }
        }
        None
    }

    fn refuse(&self, retry_after: Duration) -> Action {
        if let Some(refused) = self.counters.refused {
            refused.increment();
        }
        let seconds = settings::whole_seconds(retry_after).max(1).to_string();
        let message = format!("too many requests; try again in {seconds} s");
        Refusal::new(429, "RATE_LIMITED", message).send(self, &[("retry-after", &seconds)]);
        Action::Pause
    }
}

impl Context for RateLimit {}

impl HttpContext for RateLimit {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let path = request_path(self);
        if !path::is_under_any(&path, &self.settings.paths)
            || path::is_under_any(&path, &self.settings.exempt_paths)
        {
            return Action::Continue;
        }
        self.taken = self.take(&self.key());
        match self.taken {
            Some(Taken::Passed { .. }) => {
                if let Some(passed) = self.counters.passed {
                    passed.increment();
                }
                Action::Continue
            }
            Some(Taken::Refused { retry_after, .. }) => self.refuse(retry_after),
            None => self.refuse(Duration::ZERO),
        }
    }

    fn on_http_response_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        if let Some(taken) = &self.taken {
            let (remaining, full_in) = match *taken {
                Taken::Passed { remaining, full_in } => (remaining, full_in),
                Taken::Refused { full_in, .. } => (0, full_in),
            };
            let reset = settings::whole_seconds(full_in);
            self.set_http_response_header("ratelimit-limit", Some(&self.settings.rate.burst.to_string()));
            self.set_http_response_header("ratelimit-remaining", Some(&remaining.to_string()));
            self.set_http_response_header("ratelimit-reset", Some(&reset.to_string()));
        }
        Action::Continue
    }
}
