//! The edge's proxy: listeners, routing, the gate, plugins, upstreams, tunnels, static files, metrics.
//!
//! A request's way, file by file: [`server`] accepts, [`client_stream`] carries, [`head`] judges its framing,
//! [`app`] hands it to Pingora, [`service`] drives the phases: [`arrival`] ([`path`], [`route`], [`gate`]), then the
//! [`pipeline`], which takes it through its [`plugins`] to one [`origin`] (a service in the process, [`files`], a
//! [`tunnel`], an [`upstream`]) and the response back. What meets no plugins on its way to an upstream is left to
//! Pingora's forwarding; [`forward`] makes the headers in either case. [`respond`] writes refusals, [`finish`] counts and
//! logs. Everything that can change while it runs is in one [`Snapshot`].
//!
//! Pingora's types stay in this crate, but for none: what the edge passes in are services, traits and configuration.

mod access_log;
mod admin;
mod app;
mod arrival;
mod callouts;
mod client_stream;
mod cookies;
mod expect;
mod failure;
mod files;
mod files_target;
mod finish;
mod forward;
mod framing;
mod gate;
mod head;
mod hosts;
mod local;
mod metrics;
mod origin;
mod path;
mod pipeline;
mod plugins;
mod reply;
mod request;
mod respond;
mod route;
mod server;
mod service;
mod snapshot;
mod sockets;
mod takeover;
mod trace;
mod tunnel;
mod upstream;

pub use access_log::AccessLog;
// What bodies are made of.
pub use admin::Readiness;
pub use arrival::JWKS_PATH;
pub use bytes::Bytes;
pub use callouts::Callouts;
pub use files::EmbeddedFile;
pub use gate::{Gate, WorkspaceEnds, Workspaces};
pub use local::{BoxDuplex, Duplex, LocalService, RequestBody, UpgradeHandler};
pub use metrics::Metrics;
pub use plugins::{
    Live, MAX_OWNER_PLUGINS, ModuleSource, PluginError, PluginLoader, PluginOwner, StoredPlugin,
    drive_plugins,
};
pub use reply::{BoxError, Reply, ReplyBody, full};
pub use route::RouteTable;
pub use server::{Parts, Server};
pub use snapshot::{Services, Snapshot};
pub use sockets::{Socket, SocketEnd, SocketObserver};
