//! `coditect-edge store …` on the real binary: beside a running edge, and without one.

use crate::support::config::Config;
use crate::support::edge::{Edge, binary};
use crate::support::{Account, DEADLINE, wait_until, ws};
use coditect_auth::SystemEntropy;
use coditect_store::keyspace::path::from_path;
use coditect_store::{Embedded, EmbeddedOptions, Store, SystemMonotonicClock};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

fn standard() -> Config {
    Config::standard("127.0.0.1:1".parse().unwrap())
}

/// Runs a store command on the configuration in `data`.
fn store(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("--config").arg(data.join("edge.toml")).arg("store").args(arguments).env_clear();
    command.current_dir(data).output().unwrap()
}

/// What a command that must succeed prints.
#[track_caller]
fn told(data: &Path, arguments: &[&str]) -> String {
    let output = store(data, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    assert!(!errors.contains('\r'), "no progress line where there is no terminal");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn json_of(data: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&told(data, arguments)).unwrap()
}

/// What a command says that must fail with this exit code.
#[track_caller]
fn refused(data: &Path, code: i32, arguments: &[&str]) -> String {
    let output = store(data, arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    errors
}

/// Every line of a recursive listing, with values.
fn everything(data: &Path) -> Vec<String> {
    told(data, &["ls", "-r", "--values", "--limit", "100000"]).lines().map(str::to_owned).collect()
}

/// All but what differs between a store and its copy through an export.
fn rows(data: &Path) -> Vec<String> {
    let left_out = ["/import\t", "/idempotency/", "/changes/", "/changes_head\t", "/changes_horizon\t"];
    let is_left_out = |line: &String| {
        line.starts_with("/coditect/global/") && left_out.iter().any(|family| line.contains(family))
    };
    everything(data).into_iter().filter(|line| !is_left_out(line)).collect()
}

/// An edge with a user and some workspaces.
async fn populated() -> (Edge, Account) {
    let edge = Edge::start(&standard()).await;
    let ada = edge.register("ada@example.com").await;
    for name in ["one", "two", "three"] {
        edge.create_session(&ada, name).await;
    }
    (edge, ada)
}

/// Looks at the same store with every command that reads.
fn look(data: &Path, ada: &Account) {
    let top = told(data, &["ls"]);
    assert_eq!(top.lines().collect::<Vec<_>>(), ["/coditect/global/", "/coditect/tenant/"]);
    let tenant = format!("/coditect/tenant/{}", ada.tenant_id);
    let families = told(data, &["ls", &format!("{tenant}/")]);
    assert!(families.contains(&format!("{tenant}/users/\n")), "{families}");
    assert!(families.contains(&format!("{tenant}/tenant\n")), "a family of one key: {families}");
    let sessions = format!("{tenant}/sessions");
    assert_eq!(told(data, &["ls", &sessions]).lines().count(), 3);
    let limited = store(data, &["ls", &sessions, "--limit", "2"]);
    assert_eq!(String::from_utf8_lossy(&limited.stdout).lines().count(), 2);
    assert!(String::from_utf8_lossy(&limited.stderr).contains("--limit"), "it says that there is more");

    let user = format!("{tenant}/users/{}", ada.user_id);
    for shown in [told(data, &["get", &user]), told(data, &["ls", &user, "--values"])] {
        assert!(shown.contains("ada@example.com") && shown.contains("[redacted]"), "{shown}");
        assert!(!shown.contains("argon2"), "the hash is not shown: {shown}");
    }
    let value = json_of(data, &["get", &user, "--json"]);
    assert_eq!((&value["family"], &value["record"]["email"]), (&"users".into(), &"ada@example.com".into()));
    assert!(told(data, &["get", &user, "--raw"]).contains("$argon2id$"), "raw is raw");
    let email = json_of(data, &["get", "/coditect/global/users_by_email/ada@example.com", "--json"]);
    assert_eq!(email["tuple"], format!("/{}/{}", ada.tenant_id, ada.user_id));
    assert!(refused(data, 1, &["get", &format!("{user}/more")]).contains("no key"));
    assert!(refused(data, 2, &["get", "users"]).contains("begins with `/`"));
    assert!(refused(data, 2, &["get", "/other/key"]).contains("/coditect"));
    refused(data, 2, &["get"]);

    let stats = json_of(data, &["stats", "--json"]);
    assert_eq!(stats["backend"], "embedded");
    assert_eq!(stats["file_bytes"], fs::metadata(data.join("store.redb")).unwrap().len());
    let families = stats["families"].as_array().unwrap();
    let count =
        |name: &str| families.iter().find(|family| family["family"] == name).map(|f| f["rows"].clone());
    assert_eq!(count("tenant/sessions"), Some(3.into()), "{stats}");
    assert!(told(data, &["stats"]).contains("tenant/sessions"));
    let verified = json_of(data, &["verify", "--json"]);
    assert_eq!((&verified["problems"], &verified["rows"]), (&0.into(), &stats["rows"]));
}

#[tokio::test]
async fn the_commands_tell_the_same_of_a_running_and_of_a_stopped_edge() {
    let (edge, ada) = populated().await;
    let data = edge.data();
    look(data.path(), &ada);
    let running = everything(data.path());
    let served = || edge.stderr().contains("a store command").then_some(());
    wait_until("the log tells that the edge served them", DEADLINE, served).await;
    edge.stop().await;
    for left in ["store.redb.sock", "store.redb.key"] {
        assert!(!data.path().join(left).exists(), "{left} goes with the edge");
    }
    look(data.path(), &ada);
    assert_eq!(everything(data.path()), running);
}

#[tokio::test]
async fn a_backup_made_while_the_edge_writes_opens_as_a_store() {
    let (edge, ada) = populated().await;
    let data = edge.data();
    let backup = data.path().join("copy/store.redb");
    fs::create_dir(data.path().join("copy")).unwrap();
    let writes = async {
        let mut made = 0;
        loop {
            edge.create_session(&ada, "more").await;
            made += 1;
            if backup.exists() {
                return made;
            }
        }
    };
    let command = tokio::task::spawn_blocking({
        let data = edge.data();
        move || told(data.path(), &["backup", "copy/store.redb"])
    });
    let (made, line) = tokio::join!(writes, command);
    assert!(made > 0 && line.unwrap().contains("rows"));
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let again = refused(data.path(), 2, &["backup", "copy/store.redb"]);
    assert!(again.contains("never overwrites"), "{again}");
    let nowhere = refused(data.path(), 2, &["backup", "no/such/place"]);
    assert!(nowhere.contains("no/such"), "{nowhere}");
    assert_eq!(fs::read_dir(data.path().join("copy")).unwrap().count(), 2, "the copy and its signed heads");

    // Another edge starts on the copy, while the first goes on.
    let copy = tempfile::tempdir().unwrap();
    fs::rename(&backup, copy.path().join("store.redb")).unwrap();
    let second = Edge::start_on(Arc::new(copy), &standard()).await;
    let there = second.login("ada@example.com").await;
    let sessions = second.get_as(&there, "/api/v5/sessions").await;
    assert_eq!(sessions.status, 200, "{}", sessions.text());
    assert!(sessions.text().contains("\"two\""));
    assert_eq!(json_of(second.data().path(), &["verify", "--json"])["problems"], 0);
    second.stop().await;
    assert_eq!(edge.get("/api/v5/health").await.status, 200);

    let stopped = edge.stop().await;
    told(stopped.path(), &["backup", "offline.redb"]);
    assert!(stopped.path().join("offline.redb").exists(), "it works without an edge too");
}

#[tokio::test]
async fn an_export_of_a_running_edge_becomes_the_state_of_another() {
    let (edge, ada) = populated().await;
    let data = edge.data();
    let line = told(data.path(), &["export", "state.export"]);
    assert!(line.contains("rows"), "{line}");
    let file = data.path().join("state.export");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(refused(data.path(), 2, &["export", "state.export"]).contains("not overwritten"));
    let piped = store(data.path(), &["export", "-", "--json"]);
    let summary: Value = serde_json::from_slice(&piped.stderr).unwrap();
    assert_eq!(summary["snapshots"], 1);
    assert!(piped.stdout.starts_with(b"coditect-export\n"));
    let before = rows(data.path());
    let running = refused(data.path(), 2, &["import", "state.export", "--replace"]);
    assert!(running.contains("stop it first"), "{running}");

    let empty = tempfile::tempdir().unwrap();
    standard().write(empty.path());
    let export = file.display().to_string();
    told(empty.path(), &["import", &export]);
    assert_eq!(rows(empty.path()), before);
    told(empty.path(), &["verify"]);
    assert!(refused(empty.path(), 2, &["import", &export]).contains("--replace"), "it is not empty now");
    told(empty.path(), &["import", &export, "--replace"]);
    assert_eq!(rows(empty.path()), before);
    // The same key, so that what was signed stays good.
    fs::copy(data.path().join("signing.key"), empty.path().join("signing.key")).unwrap();
    let other = Edge::start_on(Arc::new(empty), &standard()).await;
    let there = other.login("ada@example.com").await;
    assert_eq!(there.user_id, ada.user_id);
    assert_eq!(other.get_as(&ada, "/api/v5/sessions").await.status, 200, "an old login goes on");
}

#[tokio::test]
async fn a_damaged_export_is_refused_and_nothing_is_imported() {
    let (edge, _) = populated().await;
    let data = edge.stop().await;
    told(data.path(), &["export", "good"]);
    let good = fs::read(data.path().join("good")).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0x10;
    let empty = tempfile::tempdir().unwrap();
    standard().write(empty.path());
    for (name, content, why) in [
        ("cut", &good[..good.len() - 9], "cut off"),
        ("half", &good[..good.len() / 2], "cut off"),
        ("flipped", flipped.as_slice(), "damaged"),
        ("other", b"hello".as_slice(), "no export"),
        ("nothing", b"".as_slice(), "no export"),
    ] {
        fs::write(empty.path().join(name), content).unwrap();
        let error = refused(empty.path(), 2, &["import", name]);
        assert!(error.contains(why) && error.contains(name), "{name}: {error}");
        assert_eq!(rows(empty.path()), [""; 0], "{name}: nothing was imported");
    }
    assert!(refused(empty.path(), 2, &["import", "/dev/null"]).contains("regular file"));
    assert!(refused(empty.path(), 2, &["import", "missing"]).contains("missing"));
}

/// Puts rows into the store of an edge that does not run.
async fn put(data: &Path, rows: impl IntoIterator<Item = (String, Vec<u8>)>) {
    let options = EmbeddedOptions::new(data.join("store.redb"));
    let backend = Embedded::open(&options, Arc::new(SystemMonotonicClock::new())).unwrap();
    let store = Store::new(Arc::new(backend), Arc::new(SystemEntropy));
    for (path, value) in rows {
        let transaction = store.begin();
        transaction.set(from_path(&path).unwrap(), value).unwrap();
        transaction.commit().await.unwrap();
    }
    store.close().await.unwrap();
}

/// What an import leaves that is cut off after it began.
fn half_an_import() -> [(String, Vec<u8>); 2] {
    [("/coditect/global/import".into(), vec![0; 17]), ("/coditect/global/tenants/half".into(), vec![])]
}

#[tokio::test]
async fn an_edge_does_not_start_on_half_an_import() {
    let (edge, ada) = populated().await;
    let data = edge.stop().await;
    told(data.path(), &["export", "state"]);
    let target = tempfile::tempdir().unwrap();
    let config = standard().write(target.path());
    put(target.path(), half_an_import()).await;
    let start = Command::new(binary()).arg("--config").arg(&config).env_clear().output().unwrap();
    let error = String::from_utf8_lossy(&start.stderr);
    assert_eq!(start.status.code(), Some(1), "{error}");
    assert!(error.contains("import that was cut off") && error.contains("store import"), "{error}");
    assert!(refused(target.path(), 2, &["export", "half"]).contains("cut off"));
    assert!(!target.path().join("half").exists());

    let export = data.path().join("state").display().to_string();
    told(target.path(), &["import", &export]);
    assert_eq!(rows(target.path()), rows(data.path()));
    let edge = Edge::start_on(Arc::new(target), &standard()).await;
    assert_eq!(edge.login("ada@example.com").await.user_id, ada.user_id);
}

#[tokio::test]
async fn the_socket_is_for_those_who_can_read_the_key() {
    let (edge, _) = populated().await;
    let data = edge.data();
    let (socket, key) = (data.path().join("store.redb.sock"), data.path().join("store.redb.key"));
    for file in [&socket, &key] {
        let found = fs::symlink_metadata(file).unwrap();
        assert_eq!((found.mode() & 0o777, found.uid()), (0o600, rustix::process::geteuid().as_raw()));
    }
    let request = json!({ "protocol": 2, "do": "stats" }).to_string();
    let ask = |key: &[u8]| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // It may hang up before all is written.
        let length = u32::try_from(request.len()).unwrap().to_be_bytes();
        drop(stream.write_all(&[key, &[1], &length, request.as_bytes()].concat()));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        String::from_utf8_lossy(&answer).into_owned()
    };
    let right = fs::read(&key).unwrap();
    assert!(ask(&right).contains("\"good\":true"), "the test asks as it should");
    let mut wrong = right.clone();
    wrong[31] ^= 1;
    for key in [wrong.as_slice(), &[0; 32]] {
        let answer = ask(key);
        assert!(answer.contains("not the key") && !answer.contains("rows"), "{answer}");
    }
    let logged = || edge.stderr().contains("a wrong key at the store's socket").then_some(());
    wait_until("the log tells of it", DEADLINE, logged).await;

    // Those who say nothing, or nothing sensible, keep nobody else out for long.
    let silent: Vec<_> = (0..20).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let noise = ask(&[right.as_slice(), &[1, 0xff, 0xff, 0xff, 0xff]].concat());
    assert!(noise.contains("at most"), "{noise}");
    drop(silent);
    told(data.path(), &["stats"]);

    // A key is good for one start.
    let data = edge.stop().await;
    let edge = Edge::start_on(data, &standard()).await;
    assert!(fs::read(&key).unwrap() != right);
    assert!(ask(&right).contains("not the key"));
    edge.stop().await;
}

#[tokio::test]
async fn a_shell_reaches_neither_key_nor_store_through_the_socket() {
    let edge = Edge::start(&standard()).await;
    let ada = edge.register("ada@example.com").await;
    let workspace = edge.create_session(&ada, "one").await;
    let target = format!("{}?token={}", edge.create_terminal(&ada, &workspace).await, ada.token);
    let mut terminal =
        ws::open(edge.http, &target, &[("origin", &edge.origin())]).await.expect("the terminal");
    let data = edge.data();
    let command = format!(
        "echo BEG''IN; cat {0}/store.redb.key > /dev/null && echo read; mv {0}/store.redb.key {0}/k && echo moved; \
         {1} --config {0}/edge.toml store ls && echo listed; echo E''ND\n",
        data.path().display(),
        binary().display()
    );
    terminal.send_bytes(command.as_bytes()).await;
    let output = terminal.output_with("END\r\n").await;
    let output = output.split("BEGIN\r\n").nth(1).expect("the command ran");
    for done in ["read\r", "moved\r", "listed\r"] {
        assert!(!output.contains(done), "{output}");
    }
}

#[tokio::test]
async fn what_a_killed_edge_leaves_is_in_nobodys_way() {
    let (mut edge, ada) = populated().await;
    let data = edge.data();
    edge.signal(Signal::KILL);
    edge.exit(DEADLINE).await;
    assert!(data.path().join("store.redb.sock").exists(), "nobody could remove it");
    look(data.path(), &ada);
    let edge = Edge::start_on(data, &standard()).await;
    look(edge.data().path(), &ada);
    edge.stop().await;
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_or_opened_says_why() {
    let nothing = tempfile::tempdir().unwrap();
    standard().write(nothing.path());
    let error = refused(nothing.path(), 2, &["ls"]);
    assert!(error.contains("there is no store") && !nothing.path().join("store.redb").exists(), "{error}");

    let (edge, _) = populated().await;
    let data = edge.data();
    let second =
        Command::new(binary()).arg("--config").arg(data.path().join("edge.toml")).env_clear().output();
    let second = second.unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use"), "a second edge on the same file");
    told(data.path(), &["stats"]);

    fs::remove_file(data.path().join("store.redb.sock")).unwrap();
    let error = refused(data.path(), 2, &["ls"]);
    assert!(error.contains("nobody answers") && error.contains("store.redb.sock"), "{error}");
    fs::remove_file(data.path().join("store.redb.key")).unwrap();
    let error = refused(data.path(), 2, &["stats"]);
    assert!(error.contains("in use") && error.contains("nobody answers"), "{error}");
    edge.stop().await;
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_served_all_the_same() {
    let root = tempfile::tempdir().unwrap();
    let deep = root.path().join("d".repeat(120));
    fs::create_dir(&deep).unwrap();
    let config = standard();
    let file = config.write(&deep);
    let mut child = Command::new(binary())
        .arg("--config")
        .arg(&file)
        .env_clear()
        .current_dir(&deep)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let served = wait_until("the socket is served", DEADLINE, || {
        let output = store(&deep, &["stats", "--json"]);
        deep.join("store.redb.key").exists().then_some(output).filter(|output| output.status.success())
    });
    served.await;
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    let ended = wait_until("the edge ends", DEADLINE, || child.try_wait().unwrap());
    assert_eq!(ended.await.code(), Some(0));
    assert!(!deep.join("store.redb.sock").exists());
}

#[tokio::test]
async fn a_client_that_stops_reading_does_not_keep_the_edge_from_stopping() {
    let (edge, _) = populated().await;
    let data = edge.stop().await;
    // More than sockets and the edge buffer.
    put(data.path(), (0..80).map(|n| (format!("/coditect/filler/{n}"), vec![1; 99_000]))).await;
    let edge = Edge::start_on(data, &standard()).await;
    let data = edge.data();
    let key = fs::read(data.path().join("store.redb.key")).unwrap();
    let request = json!({ "protocol": 2, "do": "export" }).to_string();
    let mut stream = UnixStream::connect(data.path().join("store.redb.sock")).unwrap();
    let length = u32::try_from(request.len()).unwrap().to_be_bytes();
    stream.write_all(&[key.as_slice(), &[1], &length, request.as_bytes()].concat()).unwrap();
    let mut kind = [0];
    stream.read_exact(&mut kind).unwrap();
    told(data.path(), &["export", "whole"]);
    let began = std::time::Instant::now();
    edge.stop().await;
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest));
    let whole = fs::metadata(data.path().join("whole")).unwrap().len();
    assert!((rest.len() as u64) < whole, "it was broken off: {} of {whole}", rest.len());
}

/// Starts a store command whose standard output nobody reads.
fn started(data: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(binary());
    command.arg("--config").arg(data.join("edge.toml")).arg("store").args(arguments).env_clear();
    command.current_dir(data).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Sends SIGINT and gives the exit code.
async fn interrupted(mut child: Child) -> Option<i32> {
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::INT).unwrap();
    wait_until("the command ends", DEADLINE, || child.try_wait().unwrap()).await.code()
}

#[tokio::test]
async fn an_interrupted_command_ends_and_leaves_no_half_made_file() {
    let (edge, _) = populated().await;
    let data = edge.stop().await;
    put(data.path(), (0..200).map(|n| (format!("/coditect/filler/{n}"), vec![1; 99_000]))).await;
    for (arguments, file, made) in
        [(["export", "state"], "state", "state"), (["backup", "copy"], "copy", ".copy.partial")]
    {
        // It may be done before it hears of the interruption.
        let mut broken_off = false;
        for _ in 0..20 {
            let child = started(data.path(), &arguments);
            let begun = || data.path().join(made).exists().then_some(());
            wait_until("the file is begun", DEADLINE, begun).await;
            let code = interrupted(child).await;
            assert_eq!(data.path().join(file).exists(), code == Some(0), "{arguments:?}: {code:?}");
            assert!(code == Some(0) || !data.path().join(made).exists(), "{arguments:?}: {code:?}");
            broken_off = code == Some(2);
            if broken_off {
                break;
            }
            fs::remove_file(data.path().join(file)).unwrap();
        }
        assert!(broken_off, "{arguments:?} was never interrupted");
    }
    // The pipe is full after 64 KiB.
    let mut stuck = started(data.path(), &["export", "-"]);
    stuck.stdout.as_mut().unwrap().read_exact(&mut [0; 16]).unwrap();
    assert_eq!(interrupted(stuck).await, Some(2));
}

#[tokio::test]
async fn verify_finds_what_does_not_belong() {
    let (edge, _) = populated().await;
    let data = edge.stop().await;
    let stray = "/coditect/global/strays/1";
    let broken =
        "/coditect/tenant/842f0e35-08c5-5932-9d8d-6fdfff7ea4c9/users/842f0e35-08c5-5932-9d8d-6fdfff7ea4c9";
    put(data.path(), [(stray.into(), vec![]), (broken.into(), b"\x01{\"id\":".to_vec())]).await;
    let output = store(data.path(), &["verify"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{lines}");
    for path in [stray, broken] {
        assert!(lines.lines().any(|line| line.starts_with(path)), "{path} in {lines}");
    }
    assert_eq!(store(data.path(), &["verify", "--json"]).status.code(), Some(1));
}
