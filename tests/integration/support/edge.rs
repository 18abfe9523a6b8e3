//! The real binary as a child process, on a temporary folder.

use super::http::{Request, Response};
use super::{Config, DEADLINE, wait_for, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tempfile::TempDir;

/// The project's folder.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The binary under test, which lies beside this test's own folder.
///
/// # Panics
/// It was not built, or is older than one of the sources it is made of: a stale binary proves nothing.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match BINARY.get_or_init(find_binary) {
        Ok(path) => path,
        Err(problem) => panic!("{problem}: run `cargo build -p coditect-edge`"),
    }
}

fn find_binary() -> Result<PathBuf, String> {
    let test = std::env::current_exe().map_err(|error| error.to_string())?;
    let profile = test.parent().and_then(Path::parent).ok_or("the test executable lies nowhere")?;
    let path = profile.join("coditect-edge");
    let built = fs::metadata(&path).and_then(|data| data.modified());
    let built = built.map_err(|error| format!("{} is missing ({error})", path.display()))?;
    // Cargo writes beside it what it was made of.
    let sources = fs::read_to_string(path.with_extension("d")).map_err(|error| error.to_string())?;
    let (_, sources) = sources.split_once(": ").ok_or("coditect-edge.d has no list of sources")?;
    for source in sources.replace("\\ ", "\0").split_whitespace() {
        let source = PathBuf::from(source.replace('\0', " "));
        let changed = fs::metadata(&source).and_then(|data| data.modified());
        if changed.is_ok_and(|changed| changed > built) {
            return Err(format!("{} is older than {}", path.display(), source.display()));
        }
    }
    Ok(path)
}

/// Runs the binary to its end, with these arguments.
pub fn run(arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .output()
        .unwrap()
}

/// Lines a pipe brought so far.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// Collects from a thread of its own, which ends with the pipe.
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let writer = lines.clone();
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while let Ok(1..) = pipe.read_until(b'\n', &mut line) {
                writer.0.lock().unwrap().push(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
        });
        lines
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A running edge. Dropping it kills the process.
pub struct Edge {
    /// Where clients are served.
    pub http: SocketAddr,
    /// Where operators are served.
    pub admin: SocketAddr,
    data: Arc<TempDir>,
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

impl Edge {
    /// Starts on a new temporary folder and waits until it serves.
    pub async fn start(config: &Config) -> Self {
        let data = tempfile::Builder::new().prefix("coditect-edge-test-").tempdir().unwrap();
        Self::start_on(Arc::new(data), config).await
    }

    /// Starts on the folder of an edge that has ended.
    pub async fn start_on(data: Arc<TempDir>, config: &Config) -> Self {
        let file = config.write(data.path());
        let mut child = Command::new(binary())
            .arg("--config")
            .arg(&file)
            .current_dir(data.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(config.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = Lines::of(child.stdout.take().unwrap());
        let stderr = Lines::of(child.stderr.take().unwrap());
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut edge = Self { http: unknown, admin: unknown, data, child, stdout, stderr };
        let lines = edge.stdout.clone();
        let address = |name: &str| {
            let line = lines.all().into_iter().find(|line| line.trim_start().starts_with(name))?;
            let (_, url) = line.split_once("http://")?;
            url.split_whitespace().next()?.parse().ok()
        };
        let started = wait_until("the edge starts", DEADLINE, || {
            if let Some(status) = edge.child.try_wait().unwrap() {
                panic!("the edge ended at its start ({status}): {}", edge.stderr());
            }
            Some((address("http ")?, address("admin ")?))
        });
        (edge.http, edge.admin) = started.await;
        edge
    }

    /// Its folder, for [`start_on`](Self::start_on).
    pub fn data(&self) -> Arc<TempDir> {
        Arc::clone(&self.data)
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// `host:port`, as a browser would write it.
    pub fn authority(&self) -> String {
        self.http.to_string()
    }

    /// The origin of its own pages.
    pub fn origin(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Sends a request on a connection of its own.
    pub async fn send(&self, request: Request) -> Response {
        request.send(self.http).await
    }

    /// `GET` of a target, without anything else.
    pub async fn get(&self, target: &str) -> Response {
        self.send(Request::get(target)).await
    }

    /// `GET` from the operators' listener.
    pub async fn admin(&self, target: &str) -> Response {
        Request::get(target).send(self.admin).await
    }

    /// Writes a new configuration, has it read, and says whether it was taken.
    pub async fn reload(&self, config: &Config) -> bool {
        let before = self.reloads().await;
        config.write(self.data.path());
        self.signal(Signal::HUP);
        let after = wait_for("the configuration is read again", DEADLINE, async || {
            let now = self.reloads().await;
            (now != before).then_some(now)
        });
        after.await.0 > before.0
    }

    /// Reloads that were taken, and that were refused.
    async fn reloads(&self) -> (f64, f64) {
        let metrics = self.metrics().await;
        let count = |result| metrics.sum("coditect_config_reloads_total", &[("result", result)]);
        (count("taken"), count("refused"))
    }

    /// All metrics now.
    pub async fn metrics(&self) -> Metrics {
        Metrics(self.admin("/metrics").await.text())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for the process to end.
    pub async fn exit(&mut self, deadline: Duration) -> ExitStatus {
        wait_until("the edge ends", deadline, || self.child.try_wait().unwrap()).await
    }

    /// SIGTERM, then the end; panics unless it exits with 0.
    pub async fn stop(mut self) -> Arc<TempDir> {
        self.signal(Signal::TERM);
        let status = self.exit(DEADLINE).await;
        assert_eq!(status.code(), Some(0), "after SIGTERM: {}", self.stderr());
        self.data()
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.all().join("\n")
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.all().join("\n")
    }

    /// The access log so far.
    pub fn access_log(&self) -> Vec<Value> {
        let lines = self.stdout.all();
        let json = lines.iter().filter(|line| line.starts_with('{'));
        json.map(|line| serde_json::from_str(line).expect("a line of the access log is JSON")).collect()
    }

    /// Waits for the first line of the access log that `wanted` accepts.
    pub async fn logged(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_until(what, DEADLINE, || self.access_log().into_iter().find(&wanted)).await
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let tail = |lines: Vec<String>| lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("the edge's standard output:\n{}", tail(self.stdout.all()));
            eprintln!("the edge's standard error:\n{}", tail(self.stderr.all()));
        }
    }
}

/// A scrape.
pub struct Metrics(pub String);

impl Metrics {
    /// The sum of all series of `name` that have these labels. 0 where there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.series(name)
            .filter(|(found, _)| {
                labels.iter().all(|(label, value)| found.contains(&format!("{label}=\"{value}\"")))
            })
            .map(|(_, value)| value)
            .sum()
    }

    /// Labels and value of each series of `name`.
    pub fn series(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            Some((labels, value.parse().ok()?))
        })
    }
}
