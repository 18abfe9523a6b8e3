//! Takes secrets out of headers and bodies, in requests, in responses or in both.
//!
//! Configuration, JSON, every key optional:
//!
//! ```json
//! { "directions": ["request", "response"],
//!   "headers": ["x-debug-session"], "scan_headers": ["referer"],
//!   "json_keys": ["password", "access_token"], "find": ["email", "jwt", "bearer"], "token_prefixes": ["ghp_"],
//!   "replacement": "[redacted]", "max_body_bytes": 65536 }
//! ```
//!
//! - `directions`: default both.
//! - `headers`: their values are replaced as a whole. `scan_headers`: what is found in their values is.
//! - `json_keys`: the value of such a key, whatever it is and however deep, becomes the string `replacement`. Letter
//!   case does not count.
//! - `find`: e-mail addresses, JSON web tokens, what stands behind `Bearer`. `token_prefixes`: words that begin so (at
//!   least 3 characters) and go on for 8 or more.
//! - `max_body_bytes` (1 to 1 048 576, default 65 536; reading costs about 0.5 ms of `callback_cpu_us` for each 100 KiB):
//!   a body is held until it is complete, and a longer one is refused, because what was not read cannot be vouched for:
//!   413 for a request; 502 for a response, or the connection is broken off where its head is already on the way.
//!
//! Read are bodies that are JSON, XML, a form, text or of no declared type; not pictures and the like, not
//! `text/event-stream`, and no WebSocket. A compressed request is refused with 415; for responses the client's
//! `accept-encoding` and `range` are taken out of the request, and one that is encoded all the same is refused with
//! 502. `content-length` goes, since the length may change.
//!
//! This is against leaks, not against two sides that conspire: who wants to, can write an address so that no pattern
//! finds it. `redact_messages` counts messages in which something was replaced.

mod body;
mod find;
mod scan;
mod settings;

use std::rc::Rc;

use body::{Direction, Plan};
use policy_kit::{Counter, Refusal, configuration};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, BufferType, ContextType, LogLevel, MapType};
use settings::Settings;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(RedactRoot::default()));
}}

#[derive(Default)]
struct RedactRoot {
    settings: Option<Rc<Settings>>,
    messages: Option<Counter>,
}

impl Context for RedactRoot {}

impl RootContext for RedactRoot {
    fn on_configure(&mut self, _size: usize) -> bool {
        let Some(settings) = configuration(self, "redact") else { return false };
        self.settings = Some(Rc::new(settings));
        self.messages = Counter::define("redact_messages");
        true
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        let settings = Rc::clone(self.settings.as_ref()?);
        Some(Box::new(Redact { settings, messages: self.messages, reading: None, answered: false }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Redact {
    settings: Rc<Settings>,
    messages: Option<Counter>,
    /// The direction whose body is being held.
    reading: Option<Direction>,
    /// Whether this plugin has refused the request: its own answer needs no reading.
    answered: bool,
}

impl Redact {
    /// Redacts the headers of one direction and decides about the body that follows.
    fn headers(&mut self, direction: Direction, end_of_stream: bool) -> Action {
        if self.answered || !self.settings.reads(direction) {
            return Action::Continue;
        }
        let map = direction.headers();
        if self.redact_headers(map) {
            self.count();
        }
        if end_of_stream || !self.settings.scanner.finds_anything() {
            return Action::Continue;
        }
        let header = |name| hostcalls::get_map_value_bytes(map, name).ok().flatten();
        let plan = body::plan(
            header("content-type").as_deref(),
            header("content-encoding").as_deref(),
            header("content-length").as_deref(),
            self.settings.max_body_bytes,
        );
        match plan {
            Plan::Pass => Action::Continue,
            Plan::Read => {
                self.reading = Some(direction);
                body::forget_length(map);
                Action::Continue
            }
            Plan::TooLong => self.refuse(direction, direction.too_long()),
            Plan::Encoded => self.refuse(direction, direction.encoded()),
        }
    }

    /// Whether a header was changed.
    fn redact_headers(&self, map: MapType) -> bool {
        let mut changed = false;
        for name in &self.settings.headers {
            if let Ok(Some(_)) = hostcalls::get_map_value_bytes(map, name) {
                changed |= hostcalls::set_map_value(map, name, Some(&self.settings.replacement)).is_ok();
            }
        }
        for name in &self.settings.scan_headers {
            if let Ok(Some(value)) = hostcalls::get_map_value_bytes(map, name)
                && let Some(redacted) = self.settings.scanner.redact(&value, &self.settings.replacement)
            {
                changed |= hostcalls::set_map_value_bytes(map, name, Some(&redacted)).is_ok();
            }
        }
        changed
    }

    /// Holds the body until it is complete, then redacts it.
    fn body(&mut self, direction: Direction, size: usize, end_of_stream: bool) -> Action {
        if self.reading != Some(direction) {
            return Action::Continue;
        }
        if size > self.settings.max_body_bytes {
            return self.refuse(direction, direction.too_long());
        }
        if !end_of_stream {
            return Action::Pause;
        }
        self.reading = None;
        self.redact_body(direction.buffer(), size);
        Action::Continue
    }

    /// A body that trailers follow is complete when they come. What was held is still there to be changed.
    fn trailers(&mut self, direction: Direction) -> Action {
        if self.reading == Some(direction) {
            self.reading = None;
            self.redact_body(direction.buffer(), self.settings.max_body_bytes);
        }
        Action::Continue
    }

    fn redact_body(&self, buffer: BufferType, size: usize) {
        let Ok(Some(body)) = hostcalls::get_buffer(buffer, 0, size) else { return };
        if let Some(redacted) = self.settings.scanner.redact(&body, &self.settings.replacement)
            && hostcalls::set_buffer(buffer, 0, body.len(), &redacted).is_ok()
        {
            self.count();
        }
    }

    fn refuse(&mut self, direction: Direction, refusal: Refusal) -> Action {
        log::warn!("{}: {}", refusal.code, refusal.message);
        self.reading = None;
        self.answered = true;
        refusal.send(self, direction.refusal_headers());
        Action::Pause
    }

    fn count(&self) {
        if let Some(messages) = self.messages {
            messages.increment();
        }
    }
}

impl Context for Redact {}

impl HttpContext for Redact {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        if self.settings.reads(Direction::Response) && self.settings.scanner.finds_anything() {
            // An answer that is compressed or begins in the middle cannot be read.
            for name in ["accept-encoding", "range", "if-range"] {
                self.set_http_request_header(name, None);
            }
        }
        self.headers(Direction::Request, end_of_stream)
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.body(Direction::Request, size, end_of_stream)
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        self.trailers(Direction::Request)
    }

    fn on_http_response_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        self.headers(Direction::Response, end_of_stream)
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.body(Direction::Response, size, end_of_stream)
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        self.trailers(Direction::Response)
    }
}
