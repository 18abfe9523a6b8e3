//! As the SDK's `hello_world`: a greeting at start, then a tick with the time and a random number from WASI.

use log::info;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, SystemTime};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_root_context(|_| Box::new(Hello));
}}

struct Hello;

impl Context for Hello {}

impl RootContext for Hello {
    fn on_vm_start(&mut self, _configuration_size: usize) -> bool {
        info!("Hello, World!");
        self.set_tick_period(Duration::from_millis(20));
        true
    }

    fn on_tick(&mut self) {
        // The standard library's clock and hash seeds are WASI's clock_time_get and random_get.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let host = self.get_current_time().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let two = [RandomState::new().hash_one(1), RandomState::new().hash_one(1)];
        let agree = host.abs_diff(now) < Duration::from_secs(1) && now.as_secs() > 1_700_000_000;
        info!("the clocks agree: {agree}; the numbers differ: {}", two[0] != two[1]);
        self.set_tick_period(Duration::ZERO);
    }

    // The original is a service of its own; here it stands in a chain, and its streams do nothing.
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Nothing))
    }
}

struct Nothing;

impl Context for Nothing {}

impl HttpContext for Nothing {}
