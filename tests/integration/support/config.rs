//! The configuration a test starts the edge with: every port chosen by the system, all state in one temporary folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A configuration under construction. Setting an upstream, a plugin or a route again replaces the earlier one.
#[derive(Debug, Clone, Default)]
pub struct Config {
    server: Vec<String>,
    auth: Vec<String>,
    password: Vec<String>,
    upstreams: Vec<(String, String)>,
    plugins: Vec<(String, String)>,
    routes: Vec<(String, String)>,
    pub(super) env: Vec<(String, String)>,
}

impl Config {
    /// No routes at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The product's routes: API, terminals, `/theia` to `theia`, the console.
    pub fn standard(theia: SocketAddr) -> Self {
        Self::empty()
            .upstream("theia", theia)
            .route(
                "/api/v5",
                "local = 'api'\nauth = 'jwt'\npublic = ['GET /api/v5/health', 'POST /api/v5/auth/register', \
                 'POST /api/v5/auth/login', 'POST /api/v5/auth/refresh', 'GET /api/v5/openapi.json', \
                 'GET /api/v5/docs']",
            )
            .route("/api/v5/sessions/{id}/terminals", "local = 'terminal'\nauth = 'jwt'")
            .route("/theia", THEIA)
            .route("/", "local = 'console'\nauth = 'public'")
    }

    /// A line of `[server]`, such as `drain_seconds = 5`.
    pub fn server(mut self, line: &str) -> Self {
        self.server.push(line.to_owned());
        self
    }

    /// A line of `[auth]`.
    pub fn auth(mut self, line: &str) -> Self {
        self.auth.push(line.to_owned());
        self
    }

    /// A line of `[auth.password]`, in place of the cheapest hash there is.
    pub fn password(mut self, line: &str) -> Self {
        self.password.push(line.to_owned());
        self
    }

    /// An upstream at an address.
    pub fn upstream(self, name: &str, address: SocketAddr) -> Self {
        self.upstream_with(name, &format!("address = 'http://{address}'"))
    }

    /// An upstream, as TOML.
    pub fn upstream_with(mut self, name: &str, body: &str) -> Self {
        set(&mut self.upstreams, name, body);
        self
    }

    /// A plugin compiled by `plugins/examples/build`, with more lines of TOML.
    pub fn plugin(self, name: &str, wasm: &str, more: &str) -> Self {
        let file = super::edge::project().join("target/plugins").join(format!("{wasm}.wasm"));
        assert!(file.exists(), "{} is missing: run plugins/examples/build", file.display());
        self.plugin_file(name, &file, more)
    }

    /// A plugin from any file.
    pub fn plugin_file(mut self, name: &str, file: &Path, more: &str) -> Self {
        set(&mut self.plugins, name, &format!("file = '{}'\n{more}", file.display()));
        self
    }

    /// A route, as TOML without its prefix.
    pub fn route(mut self, prefix: &str, body: &str) -> Self {
        set(&mut self.routes, prefix, body);
        self
    }

    /// Routes from last to first.
    pub fn routes_reversed(mut self) -> Self {
        self.routes.reverse();
        self
    }

    /// A variable of the edge's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        set(&mut self.env, name, value);
        self
    }

    /// The file's text, for a data folder.
    pub fn render(&self, data: &Path) -> String {
        let data = data.display();
        let lines = |lines: &[String]| lines.join("\n");
        let mut toml = format!(
            "[server]\nhttp = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\n{}\n\
             [store]\npath = '{data}/store.redb'\n\
             [auth]\nkey_file = '{data}/signing.key'\n{}\n\
             [auth.password]\n{}\n\
             [auth.throttle]\nper_account_per_minute = 0\nper_address_per_minute = 0\n\
             [terminal]\nworkspace_root = '{data}/workspaces'\n",
            lines(&self.server),
            lines(&self.auth),
            if self.password.is_empty() { CHEAPEST.to_owned() } else { lines(&self.password) },
        );
        for (name, body) in &self.upstreams {
            toml += &format!("[upstreams.{name}]\n{body}\n");
        }
        for (name, body) in &self.plugins {
            toml += &format!("[plugins.{name}]\n{body}\n");
        }
        for (prefix, body) in &self.routes {
            toml += &format!("[[routes]]\nprefix = '{prefix}'\n{body}\n");
        }
        toml
    }

    /// Writes the file into `data` and gives its path.
    pub fn write(&self, data: &Path) -> PathBuf {
        let file = data.join("edge.toml");
        std::fs::write(&file, self.render(data)).unwrap();
        file
    }
}

/// Registering must not dominate a test.
const CHEAPEST: &str = "memory_kib = 64\niterations = 1";

/// The `/theia` route of the product.
pub const THEIA: &str = "upstream = 'theia'\nauth = 'workspace'\nstrip_prefix = true";

fn set(list: &mut Vec<(String, String)>, name: &str, body: &str) {
    match list.iter_mut().find(|(known, _)| known == name) {
        Some(found) => found.1 = body.to_owned(),
        None => list.push((name.to_owned(), body.to_owned())),
    }
}
