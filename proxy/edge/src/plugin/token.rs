//! As whom a command speaks to an edge: by a token from a file or the environment, or by a login. Never by an argument,
//! which everybody on the machine could read.

use super::args::EdgeArgs;
use super::client::Client;
use crate::store::ask_password;
use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use std::path::Path;

/// The variable that may hold an access token.
const VARIABLE: &str = "CODITECT_TOKEN";
/// The longest token that is read, in bytes.
const MAX_TOKEN_BYTES: u64 = 16 * 1024;

/// The access token to use.
pub(super) fn token(args: &EdgeArgs, client: &Client) -> anyhow::Result<SecretString> {
    if let Some(file) = &args.token_file {
        return from_file(file);
    }
    if let Some(email) = &args.email {
        return log_in(client, email, args.password_stdin);
    }
    match std::env::var(VARIABLE) {
        Ok(token) => checked(&token, VARIABLE),
        Err(_) => bail!("as whom? Give --email ADDRESS, --token-file FILE, or an access token in {VARIABLE}"),
    }
}

fn from_file(file: &Path) -> anyhow::Result<SecretString> {
    let name = file.display().to_string();
    let bytes = coditect_plugin_tools::files::bytes(file, MAX_TOKEN_BYTES);
    let bytes = bytes.with_context(|| format!("the token {name} cannot be read"))?;
    checked(&String::from_utf8_lossy(&bytes), &name)
}

/// A token must not become another header.
fn checked(token: &str, origin: &str) -> anyhow::Result<SecretString> {
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("{origin} holds no access token");
    }
    Ok(SecretString::from(token))
}

fn log_in(client: &Client, email: &str, from_stdin: bool) -> anyhow::Result<SecretString> {
    let password = ask_password(from_stdin)?;
    let body = json!({ "email": email, "password": password.expose_secret() });
    let answer = client.post("/auth/login", None, &body)?;
    if let Some(refusal) = answer.refusal() {
        bail!("the login of {email} was refused: {refusal}");
    }
    let token = answer.data()["token"].as_str().context("the login's answer has no token")?;
    checked(token, "the login's answer")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_is_one_word() {
        assert_eq!(checked(" a.b-c_d \n", "x").unwrap().expose_secret(), "a.b-c_d");
        for wrong in ["", " \n", "a b", "a\r\nx-evil: 1", "ä"] {
            let error = checked(wrong, "the file").unwrap_err().to_string();
            assert_eq!(error, "the file holds no access token", "{wrong:?}");
        }
    }
}
