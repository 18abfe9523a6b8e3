//! The release edge on a core of its own, on the embedded store in a temporary folder.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The edge's core; everything else runs on the other.
const EDGE_CORE: &str = "1";
const OTHER_CORE: &str = "0";
/// How long the edge may take to start.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Clock ticks in a second, as /proc counts CPU time.
const TICKS: f64 = 100.0;

/// Hashing has one worker, as it would on one core; throttling is off, since the bench is one address.
const CONFIG: &str = r#"
[server]
http = "127.0.0.1:0"
admin = "127.0.0.1:0"
threads = 1
access_log = false

[store]
path = "DIRECTORY/store.redb"

[auth]
key_file = "DIRECTORY/signing.key"

[auth.throttle]
per_account_per_minute = 0
per_address_per_minute = 0

[limits]
workspaces_per_user = 1000

[auth.password]
workers = 1
queue = 64

[[routes]]
prefix = "/api/v5"
local = "api"
auth = "jwt"
public = ["GET /api/v5/health", "POST /api/v5/auth/register", "POST /api/v5/auth/login"]
"#;

/// A running edge; it ends when this is dropped.
pub(crate) struct Edge {
    pub(crate) http: SocketAddr,
    pub(crate) data: TempDir,
    child: Child,
}

impl Edge {
    pub(crate) async fn start(binary: &Path) -> Self {
        // On the disk the project is on: a temporary folder may be in memory, where nothing is durable.
        let place = crate::project().join("target");
        let data = tempfile::Builder::new().prefix("api-bench-").tempdir_in(place).unwrap();
        let config = data.path().join("edge.toml");
        fs::write(&config, CONFIG.replace("DIRECTORY", &data.path().display().to_string())).unwrap();
        let log = fs::File::create(data.path().join("edge.log")).unwrap();
        let child = Command::new("taskset")
            .args(["-c", EDGE_CORE])
            .arg(binary)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .spawn()
            .expect("taskset starts the edge");
        let end = Instant::now() + START_LIMIT;
        let http = loop {
            let log = fs::read_to_string(data.path().join("edge.log")).unwrap();
            let line = log.lines().find(|line| line.trim_start().starts_with("http "));
            let url = line.and_then(|line| line.split_once("http://"));
            if let Some(address) = url.and_then(|(_, rest)| rest.split_whitespace().next()) {
                break address.parse().unwrap();
            }
            assert!(Instant::now() < end, "the edge did not start: {log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        Self { http, data, child }
    }

    /// CPU time spent so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        Duration::from_secs_f64(ticks / TICKS)
    }

    /// Memory now and at its height, in MiB.
    pub(crate) fn memory(&self) -> (f64, f64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Keeps this process off the edge's core.
pub(crate) fn stay_on_the_other_core() {
    let pid = std::process::id().to_string();
    let moved =
        Command::new("taskset").args(["-a", "-c", "-p", OTHER_CORE, &pid]).stdout(Stdio::null()).status();
    assert!(moved.is_ok_and(|status| status.success()), "two cores and taskset (util-linux) are needed");
}
