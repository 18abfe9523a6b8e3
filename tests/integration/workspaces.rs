//! The life of a workspace: pausing and removing it ends what runs in it, opening it resumes it, a copy has its files.

use crate::support::{Account, Config, Edge, Request, Upstream, ws};
use serde_json::{Value, json};
use std::time::Duration;

/// Within this long of its end a workspace's sockets are closed ("within a second", and a slow machine).
const ENDED: Duration = Duration::from_secs(3);
/// The close code of a socket whose workspace was paused or removed.
const WORKSPACE_ENDED: u16 = 4002;

struct Rig {
    edge: Edge,
    theia: Upstream,
    ada: Account,
    workspace: String,
}

impl Rig {
    async fn start() -> Self {
        let theia = Upstream::echo().await;
        let edge = Edge::start(&Config::standard(theia.address)).await;
        let ada = edge.register("ada@example.com").await;
        let workspace = edge.create_session(&ada, "engines").await;
        Self { edge, theia, ada, workspace }
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/v5/sessions/{}{rest}", self.workspace)
    }

    /// Sends a request without a body as the account.
    async fn ask(&self, method: &str, target: &str) -> Value {
        self.edge.send(Request::new(method, target).bearer(&self.ada.token)).await.data(200)
    }

    async fn status(&self) -> String {
        self.ask("GET", &self.path("")).await["status"].as_str().expect("a status").to_owned()
    }

    /// A socket into the IDE of a workspace that works.
    async fn socket(&self, workspace: &str) -> ws::Socket {
        let target = format!("/theia/{workspace}/services?token={}", self.ada.token);
        let mut socket = ws::open(self.edge.http, &target, &[]).await.expect("the socket opens");
        socket.echo("hello").await;
        socket
    }

    /// A terminal in the workspace that works.
    async fn terminal(&self) -> ws::Socket {
        let target = self.edge.create_terminal(&self.ada, &self.workspace).await;
        let target = format!("{target}?token={}", self.ada.token);
        let mut terminal = ws::open(self.edge.http, &target, &[]).await.expect("the terminal");
        terminal.send_bytes(b"echo $((6*7))\n").await;
        terminal.output_with("42\r\n").await;
        terminal
    }
}

#[tokio::test]
async fn a_pause_ends_what_runs_in_a_workspace_and_opening_it_resumes_it() {
    let rig = Rig::start().await;
    let other = rig.edge.create_session(&rig.ada, "compilers").await;
    let (mut socket, mut spared) = (rig.socket(&rig.workspace).await, rig.socket(&other).await);
    let mut terminal = rig.terminal().await;

    let paused = rig.ask("POST", &rig.path("/pause")).await;
    assert_eq!(paused["status"], "paused");
    let (code, _) = tokio::join!(socket.closed(ENDED), terminal.closed(ENDED));
    assert_eq!(code, Some(WORKSPACE_ENDED));
    spared.echo("of another workspace").await;
    assert_eq!(rig.ask("POST", &rig.path("/pause")).await, paused, "once more, the same");
    let gone = async {
        while rig.ask("GET", &rig.path("/terminals")).await != json!([]) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(ENDED, gone).await.expect("its terminals are gone");
    assert_eq!(rig.status().await, "paused", "neither reading nor listing its terminals opens it");

    let page = rig.edge.get_as(&rig.ada, &format!("/theia/{}/", rig.workspace)).await;
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(rig.status().await, "active", "a request to its IDE resumes it");
    let mut socket = rig.socket(&rig.workspace).await;

    rig.ask("POST", &rig.path("/pause")).await;
    assert_eq!(socket.closed(ENDED).await, Some(WORKSPACE_ENDED), "also one opened after it was resumed");
    let _terminal = rig.terminal().await;
    assert_eq!(rig.status().await, "active", "a new terminal resumes it");

    rig.ask("POST", &rig.path("/pause")).await;
    let mut socket = rig.socket(&rig.workspace).await;
    assert_eq!(rig.status().await, "active", "a socket into its IDE resumes it");
    rig.ask("POST", &rig.path("/resume")).await;
    socket.echo("a resume ends nothing").await;
    let ended = |line: &Value| line["code"] == "workspace_ended";
    rig.edge.logged("the end of a socket", ended).await;
    rig.edge.stop().await;
}

#[tokio::test]
async fn a_removal_ends_what_runs_in_a_workspace() {
    let rig = Rig::start().await;
    let other = rig.edge.create_session(&rig.ada, "compilers").await;
    let (mut socket, mut spared) = (rig.socket(&rig.workspace).await, rig.socket(&other).await);
    let mut terminal = rig.terminal().await;
    rig.ask("DELETE", &rig.path("")).await;
    let (code, _) = tokio::join!(socket.closed(ENDED), terminal.closed(ENDED));
    assert_eq!(code, Some(WORKSPACE_ENDED));
    spared.echo("of another workspace").await;

    // At once: what the gate believed of the workspace is forgotten.
    let before = rig.theia.count();
    let page = rig.edge.get_as(&rig.ada, &format!("/theia/{}/index.js", rig.workspace)).await;
    assert_eq!(page.refusal(), (404, "NOT_FOUND".into()));
    let target = format!("/theia/{}/services?token={}", rig.workspace, rig.ada.token);
    let refused = ws::open(rig.edge.http, &target, &[]).await.expect_err("the socket is refused");
    assert_eq!(refused.refusal(), (404, "NOT_FOUND".into()));
    assert_eq!(rig.theia.count(), before);
    rig.edge.stop().await;
}

#[tokio::test]
async fn state_survives_a_restart_and_is_copied() {
    let rig = Rig::start().await;
    let state = json!({"cursors": [1, 2, 3]});
    let request = Request::new("PUT", &rig.path("/state/editor")).header("content-type", "application/json");
    rig.edge.send(request.body(state.to_string()).bearer(&rig.ada.token)).await.data(200);
    let copy = rig.edge.send(Request::new("POST", &rig.path("/fork")).bearer(&rig.ada.token)).await.data(201);
    let copy = copy["id"].as_str().expect("an id").to_owned();

    let Rig { edge, theia, ada, workspace } = rig;
    let edge = Edge::start_on(edge.stop().await, &Config::standard(theia.address)).await;
    let rig = Rig { edge, theia, ada, workspace };
    assert_eq!(rig.ask("GET", &rig.path("/state/editor")).await, state);
    assert_eq!(rig.ask("GET", &format!("/api/v5/sessions/{copy}/state/editor")).await, state);
    drop(rig.socket(&copy).await);
    rig.edge.stop().await;
}
