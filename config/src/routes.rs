//! Validation of the route table.

use crate::checker::Checker;
use crate::plugins;
use crate::raw::{self, At};
use crate::typed::{
    Auth, LocalService, PathPattern, PluginConfig, PublicPath, Route, Segment, Target, UpstreamConfig,
};

use std::path::PathBuf;

/// Validates every route and that no two match the same.
pub(crate) fn routes(
    check: &mut Checker<'_>,
    raw: &[At<raw::Route>],
    upstreams: &[UpstreamConfig],
    plugins: &[PluginConfig],
) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for (index, at) in raw.iter().enumerate() {
        let key = format!("routes[{index}]");
        let Some(route) = route(check, at, &key, upstreams, plugins) else { continue };
        if let Some(other) = routes.iter().position(|other| other.prefix.segments == route.prefix.segments) {
            let message = format!(
                "`{}` is the prefix of routes[{other}] already, expected each prefix once",
                route.prefix.text
            );
            check.problem(&at.get_ref().prefix, &format!("{key}.prefix"), message);
        }
        routes.push(route);
    }
    if raw.is_empty() {
        check.problem_without_line("routes", "there is none, expected at least one [[routes]]");
    }
    routes
}

fn route(
    check: &mut Checker<'_>,
    at: &At<raw::Route>,
    key: &str,
    upstreams: &[UpstreamConfig],
    plugins: &[PluginConfig],
) -> Option<Route> {
    let raw = at.get_ref();
    let prefix = prefix(check, &raw.prefix, &format!("{key}.prefix"));
    let auth = auth(check, &raw.auth, &format!("{key}.auth"));
    let target = target(check, at, key, upstreams);
    let (prefix, auth, target) = (prefix?, auth?, target?);
    if auth == Auth::Workspace && !matches!(target, Target::Upstream(_)) {
        check.problem(
            &raw.auth,
            &format!("{key}.auth"),
            "\"workspace\" is for upstreams, expected \"jwt\" or \"public\" here",
        );
    }
    if auth == Auth::Workspace && prefix.segments.contains(&Segment::Any) {
        check.problem(
            &raw.prefix,
            &format!("{key}.prefix"),
            "a workspace route's prefix has no {…} segment: the workspace follows it",
        );
    }
    let public = raw
        .public
        .iter()
        .enumerate()
        .filter_map(|(index, at)| public_path(check, at, &prefix, &format!("{key}.public[{index}]")))
        .collect();
    let max_body_bytes = raw.max_body_bytes.as_ref().and_then(|at| {
        let bytes = u64::try_from(*at.get_ref()).ok();
        if bytes.is_none() {
            check.problem(at, &format!("{key}.max_body_bytes"), "is negative, expected a number of bytes");
        }
        bytes
    });
    let plugin_timeout =
        check.seconds(&raw.plugin_timeout_seconds, 15, 1..=3600, &format!("{key}.plugin_timeout_seconds"));
    let plugins = plugins::uses(check, &raw.plugins, &format!("{key}.plugins"), plugins);
    Some(Route {
        prefix,
        target,
        auth,
        public,
        strip_prefix: raw.strip_prefix.unwrap_or(false),
        forward_authorization: raw.forward_authorization.unwrap_or(false),
        max_body_bytes,
        plugins,
        plugin_timeout,
    })
}

fn prefix(check: &mut Checker<'_>, at: &At<String>, key: &str) -> Option<PathPattern> {
    let text = at.get_ref();
    let Some(rest) = text.strip_prefix('/') else {
        check.problem(
            at,
            key,
            format!("`{text}` does not start with a slash, expected a path such as /api/v5"),
        );
        return None;
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let mut segments = Vec::new();
    for segment in rest.split('/').filter(|_| !rest.is_empty()) {
        let any = segment.len() > 2 && segment.starts_with('{') && segment.ends_with('}');
        let plain = segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
        if any {
            segments.push(Segment::Any);
        } else if plain && !matches!(segment, "" | "." | "..") {
            segments.push(Segment::Literal(segment.to_owned()));
        } else {
            check.problem(
                at,
                key,
                format!(
                    "`{text}` has the segment `{segment}`, expected letters, digits, - . _ ~ or {{name}}"
                ),
            );
            return None;
        }
    }
    Some(PathPattern { text: text.clone(), segments })
}

fn auth(check: &mut Checker<'_>, at: &At<String>, key: &str) -> Option<Auth> {
    match at.get_ref().as_str() {
        "public" => Some(Auth::Public),
        "jwt" => Some(Auth::Jwt),
        "workspace" => Some(Auth::Workspace),
        other => {
            check.problem(
                at,
                key,
                format!("`{other}` is unknown, expected \"public\", \"jwt\" or \"workspace\""),
            );
            None
        }
    }
}

fn target(
    check: &mut Checker<'_>,
    at: &At<raw::Route>,
    key: &str,
    upstreams: &[UpstreamConfig],
) -> Option<Target> {
    let raw = at.get_ref();
    match (&raw.upstream, &raw.local, &raw.directory) {
        (Some(name), None, None) => {
            if !upstreams.iter().any(|upstream| &upstream.name == name.get_ref()) {
                let known: Vec<_> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
                let message =
                    format!("`{}` is not configured, expected one of: {}", name.get_ref(), known.join(", "));
                check.problem(name, &format!("{key}.upstream"), message);
            }
            Some(Target::Upstream(name.get_ref().clone()))
        }
        (None, Some(name), None) => match name.get_ref().as_str() {
            "api" => Some(Target::Local(LocalService::Api)),
            "terminal" => Some(Target::Local(LocalService::Terminal)),
            "console" => Some(Target::Local(LocalService::Console)),
            other => {
                let message = format!("`{other}` is unknown, expected \"api\", \"terminal\" or \"console\"");
                check.problem(name, &format!("{key}.local"), message);
                None
            }
        },
        (None, None, Some(path)) => {
            if !std::path::Path::new(path.get_ref()).is_dir() {
                let message = format!("`{}` is no directory, expected one that exists", path.get_ref());
                check.problem(path, &format!("{key}.directory"), message);
            }
            Some(Target::Directory(PathBuf::from(path.get_ref())))
        }
        _ => {
            check.problem(at, key, "expected exactly one of `upstream`, `local`, `directory`");
            None
        }
    }
}

fn public_path(
    check: &mut Checker<'_>,
    at: &At<String>,
    prefix: &PathPattern,
    key: &str,
) -> Option<PublicPath> {
    let expected = "expected a method and a path under the route's prefix, such as \"GET /api/v5/health\"";
    let parsed = at.get_ref().split_once(' ').and_then(|(method, path)| {
        let method = method.parse::<http::Method>().ok()?;
        let under =
            path == prefix.text || path.starts_with(&format!("{}/", prefix.text.trim_end_matches('/')));
        (under && method.as_str().bytes().all(|b| b.is_ascii_uppercase()))
            .then(|| PublicPath { method, path: path.to_owned() })
    });
    if parsed.is_none() {
        check.problem(at, key, format!("`{}` is not understood, {expected}", at.get_ref()));
    }
    parsed
}
