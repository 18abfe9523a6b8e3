//! A plugin's way into a running edge, through its API: push, list, activate, rollback, deactivate.

use super::args::{EdgeArgs, Fail, PluginCommand, TargetArgs};
use super::client::{Answer, Client};
use super::local::configuration;
use super::token::token;
use crate::cli::{complain, say};
use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coditect_plugin_tools::files;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use std::path::Path;

/// The most parts of a list that are read.
const MAX_PARTS: usize = 100;

/// Carries out a command; false if the edge refuses it.
pub(super) fn run(command: PluginCommand, config: Option<&Path>, as_json: bool) -> anyhow::Result<bool> {
    match command {
        PluginCommand::Push { file, name, note, edge } => {
            let path = place(&name, "versions")?;
            let module = files::module(&file)?;
            let session = Session::open(&edge)?;
            let note = if note.is_empty() { vec![] } else { vec![("note", note.as_str())] };
            let answer = session.client.upload(&session.target(&path, &note), &session.token, &module)?;
            let known = answer.status == 200;
            Ok(told(&answer, as_json, |data| {
                let line = version(data);
                if known { format!("{line}\nThe newest version has this very module.") } else { line }
            }))
        }
        PluginCommand::List { name: None, edge } => list(&Session::open(&edge)?, "/plugins", as_json, plugin),
        PluginCommand::List { name: Some(name), edge } => one(&Session::open(&edge)?, &name, as_json),
        PluginCommand::Activate {
            name,
            version,
            plugin,
            target,
            fail,
            order,
            share_percent,
            shadow,
            edge,
        } => {
            let path = place(&name, "activate")?;
            let mut request = target_of(&target);
            match configuration(config, &plugin)?.map(String::from_utf8) {
                None => {}
                Some(Ok(text)) => insert(&mut request, "configuration", json!(text)),
                Some(Err(bytes)) => {
                    insert(&mut request, "configurationBase64", json!(STANDARD.encode(bytes.as_bytes())));
                }
            }
            let fail = fail.map(|fail| {
                json!(match fail {
                    Fail::Closed => "closed",
                    Fail::Open => "open",
                })
            });
            for (key, value) in [
                ("rootId", plugin.root_id.map(Value::from)),
                ("fail", fail),
                ("order", order.map(Value::from)),
                ("sharePercent", share_percent.map(Value::from)),
                ("shadow", shadow.then_some(Value::Bool(true))),
            ] {
                if let Some(value) = value {
                    insert(&mut request, key, value);
                }
            }
            let session = Session::open(&edge)?;
            let version = match version {
                Some(version) => version,
                None => match session.latest(&name)? {
                    Ok(version) => version,
                    Err(answer) => return Ok(told(&answer, as_json, activation)),
                },
            };
            insert(&mut request, "version", json!(version));
            session.deed(&path, request, as_json)
        }
        PluginCommand::Rollback { name, target, edge } => {
            let path = place(&name, "rollback")?;
            Session::open(&edge)?.deed(&path, target_of(&target), as_json)
        }
        PluginCommand::Deactivate { name, target, edge } => {
            let path = place(&name, "deactivate")?;
            Session::open(&edge)?.deed(&path, target_of(&target), as_json)
        }
        PluginCommand::Check { .. }
        | PluginCommand::Run { .. }
        | PluginCommand::Test { .. }
        | PluginCommand::Bench { .. } => bail!("this command needs no edge"),
    }
}

/// An edge, and as whom to speak to it.
struct Session {
    client: Client,
    token: SecretString,
    operators: bool,
}

impl Session {
    fn open(args: &EdgeArgs) -> anyhow::Result<Self> {
        let client = Client::new(&args.edge)?;
        if !client.is_local() {
            complain(&format!("{} is another machine: the token goes there unencrypted", args.edge));
        }
        let token = token(args, &client)?;
        Ok(Self { client, token, operators: args.operators })
    }

    /// A path with its query.
    fn target(&self, path: &str, query: &[(&str, &str)]) -> String {
        let scope = self.operators.then_some(("scope", "operators"));
        let query: Vec<_> = scope.iter().chain(query).collect();
        if query.is_empty() {
            return path.to_owned();
        }
        let mut encoded = form_urlencoded::Serializer::new(format!("{path}?"));
        for (key, value) in query {
            encoded.append_pair(key, value);
        }
        encoded.finish()
    }

    /// Does something to a plugin that makes or ends an activation.
    fn deed(&self, path: &str, request: Map<String, Value>, as_json: bool) -> anyhow::Result<bool> {
        let target = self.target(path, &[]);
        let answer = self.client.post(&target, Some(&self.token), &Value::Object(request))?;
        Ok(told(&answer, as_json, activation))
    }

    /// The number of a plugin's newest version, or why it is not told.
    fn latest(&self, name: &str) -> anyhow::Result<Result<u64, Answer>> {
        let answer = self.client.get(&self.target(&place(name, "")?, &[]), &self.token)?;
        if answer.refusal().is_some() {
            return Ok(Err(answer));
        }
        answer.data()["latest_version"].as_u64().map(Ok).context("the edge names no newest version")
    }

    /// All parts of a list, or why it is not told.
    fn all(&self, path: &str) -> anyhow::Result<Result<Vec<Value>, Answer>> {
        let (mut items, mut cursor) = (Vec::new(), None::<String>);
        for _ in 0..MAX_PARTS {
            let query: Vec<_> = cursor.as_deref().map(|cursor| ("cursor", cursor)).into_iter().collect();
            let answer = self.client.get(&self.target(path, &query), &self.token)?;
            if answer.refusal().is_some() {
                return Ok(Err(answer));
            }
            items.extend(answer.data().as_array().into_iter().flatten().cloned());
            match answer.next_cursor() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(Ok(items)),
            }
        }
        bail!("the list has more than {MAX_PARTS} parts")
    }
}

/// The path of a plugin, or of something of it.
fn place(name: &str, what: &str) -> anyhow::Result<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
        bail!("`{}` is no name of a plugin: letters, digits and `-` make one", name.escape_debug());
    }
    Ok(if what.is_empty() { format!("/plugins/{name}") } else { format!("/plugins/{name}/{what}") })
}

fn target_of(target: &TargetArgs) -> Map<String, Value> {
    let mut request = Map::new();
    if let Some(route) = &target.route {
        insert(&mut request, "route", json!(route));
    }
    if let Some(tenant) = &target.tenant {
        insert(&mut request, "tenantId", json!(tenant));
    }
    request
}

fn insert(request: &mut Map<String, Value>, key: &str, value: Value) {
    request.insert(key.to_owned(), value);
}

/// Prints what came of it; false if it was refused.
fn told(answer: &Answer, as_json: bool, line: impl FnOnce(&Value) -> String) -> bool {
    match answer.refusal() {
        Some(refusal) => complain(&refusal),
        None if as_json => say(&answer.data().to_string()),
        None => say(&line(answer.data())),
    }
    answer.refusal().is_none()
}

fn list(session: &Session, path: &str, as_json: bool, line: fn(&Value) -> String) -> anyhow::Result<bool> {
    match session.all(path)? {
        Err(answer) => return Ok(told(&answer, as_json, line)),
        Ok(items) if as_json => say(&Value::Array(items).to_string()),
        Ok(items) if items.is_empty() => say("there are none"),
        Ok(items) => items.iter().for_each(|item| say(&line(item))),
    }
    Ok(true)
}

/// A plugin with its versions and activations.
fn one(session: &Session, name: &str, as_json: bool) -> anyhow::Result<bool> {
    let mut parts = Vec::new();
    for what in ["versions", "activations"] {
        match session.all(&place(name, what)?)? {
            Ok(items) => parts.push(items),
            Err(answer) => return Ok(told(&answer, as_json, plugin)),
        }
    }
    let [versions, activations] = parts.as_slice() else { bail!("a list is missing") };
    if as_json {
        say(&json!({ "name": name, "versions": versions, "activations": activations }).to_string());
        return Ok(true);
    }
    versions.iter().for_each(|item| say(&version(item)));
    activations.iter().for_each(|item| say(&activation(item)));
    Ok(true)
}

/// A value without the quotes of a text, safe for a terminal.
fn plain(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.escape_debug().to_string()
}

fn plugin(item: &Value) -> String {
    let active = item["active"].as_array().map_or(0, Vec::len);
    let at_work = match active {
        0 => "not at work".to_owned(),
        _ => item["active"].as_array().into_iter().flatten().map(at_work).collect::<Vec<_>>().join("; "),
    };
    format!("{}\tversion {}\t{at_work}", plain(&item["name"]), plain(&item["latest_version"]))
}

fn at_work(activation: &Value) -> String {
    let mut text = format!("version {} at work for {}", plain(&activation["version"]), target(activation));
    if activation["shadow"] == true {
        text.push_str(", as a shadow");
    }
    if activation["share_percent"] != 100 {
        text += &format!(", {} % of requests", plain(&activation["share_percent"]));
    }
    text
}

fn target(activation: &Value) -> String {
    let route = activation.get("route").map_or("all routes".to_owned(), plain);
    match activation.get("tenant_id") {
        Some(tenant) => format!("{route} of tenant {}", plain(tenant)),
        None => route,
    }
}

fn version(item: &Value) -> String {
    let note = match item["note"].as_str() {
        None | Some("") => String::new(),
        Some(_) => format!("\t{}", plain(&item["note"])),
    };
    let [plugin, number, size, abi, sha256] =
        ["plugin", "version", "size", "abi", "sha256"].map(|key| plain(&item[key]));
    format!("{plugin} version {number}\t{size} bytes, ABI {abi}, sha256 {sha256}{note}")
}

fn activation(item: &Value) -> String {
    let [plugin, number] = ["plugin", "activation"].map(|key| plain(&item[key]));
    let what = match item.get("ended") {
        Some(ended) => {
            let version = plain(&item["version"]);
            format!("version {version} was at work for {} until {}", target(item), plain(&ended["at"]))
        }
        None => at_work(item),
    };
    format!("{plugin} activation {number}\t{what}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_stay_in_their_place() {
        assert_eq!(place("region-policy", "activate").unwrap(), "/plugins/region-policy/activate");
        for name in ["", "..", "a/b", "a?b", "a b", "ä"] {
            assert!(place(name, "activate").is_err(), "{name}");
        }
    }

    #[test]
    fn activations_are_lines_that_say_for_whom() {
        let now = json!({ "plugin": "p", "activation": 3, "version": 2, "share_percent": 25, "shadow": true, "route": "/theia" });
        assert_eq!(
            activation(&now),
            "p activation 3\tversion 2 at work for /theia, as a shadow, 25 % of requests"
        );
        let over = json!({ "plugin": "p", "activation": 1, "version": 1, "tenant_id": "t", "ended": { "at": "then" } });
        assert_eq!(
            activation(&over),
            "p activation 1\tversion 1 was at work for all routes of tenant t until then"
        );
        assert_eq!(plain(&json!("a\u{1b}[2J")), "a\\u{1b}[2J");
    }
}
