//! Where a command gets a password from: a terminal, standard input, or chance. Never from its arguments.

use super::args::PasswordArgs;
use crate::app;
use crate::cli::ask_on_terminal;
use anyhow::{Context, anyhow, bail};
use coditect_auth::{Entropy, SystemEntropy, generate_password};
use coditect_config::Config;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret, SecretString};
use std::io::{BufRead, IsTerminal, Read};
use std::sync::Arc;

/// The longest line that is read for a password, in bytes; far longer than a password may be.
const MAX_LINE_BYTES: u64 = 4096;
/// What Ctrl-C sends while it interrupts nothing.
const CTRL_C: char = '\u{3}';

/// A new password, and whether it has to be told.
pub(super) struct NewPassword {
    pub(super) hash: String,
    /// The password, if it was made here.
    pub(super) made: Option<SecretString>,
}

/// Gets a password that the rules allow for whoever has this address, and hashes it at the cost that is configured.
pub(super) async fn new_password(
    config: &Config,
    from: PasswordArgs,
    email: &str,
) -> anyhow::Result<NewPassword> {
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let (password, made) = if from.generate {
        let made = generate_password(&*entropy);
        (made.clone(), Some(made))
    } else {
        (read(from.password_stdin)?, None)
    };
    coditect_api::rules::password(password.expose_secret(), email).map_err(|reason| anyhow!(reason))?;
    let hash = app::password_hasher(&config.auth, &entropy)?.hash(password).await?;
    Ok(NewPassword { hash, made })
}

/// Asks for a password that there is, once.
pub(crate) fn ask_password(from_stdin: bool) -> anyhow::Result<SecretString> {
    let input = std::io::stdin();
    if from_stdin {
        return line(&mut input.lock());
    }
    if !input.is_terminal() {
        bail!("there is no terminal to ask for the password on: use --password-stdin");
    }
    let _quiet = Quiet::on(&input).context("the terminal cannot be kept from showing the password")?;
    hidden("Password: ", &input)
}

fn read(from_stdin: bool) -> anyhow::Result<SecretString> {
    let input = std::io::stdin();
    if from_stdin {
        return line(&mut input.lock());
    }
    if !input.is_terminal() {
        bail!("there is no terminal to ask for the password on: use --password-stdin or --generate");
    }
    let quiet = Quiet::on(&input).context("the terminal cannot be kept from showing the password")?;
    let first = hidden("New password: ", &input)?;
    let second = hidden("Once more: ", &input)?;
    drop(quiet);
    if first.expose_secret() != second.expose_secret() {
        bail!("the two passwords differ");
    }
    Ok(first)
}

fn hidden(prompt: &str, input: &std::io::Stdin) -> anyhow::Result<SecretString> {
    ask_on_terminal(prompt);
    let read = line(&mut input.lock());
    ask_on_terminal("\n");
    let read = read?;
    if read.expose_secret().contains(CTRL_C) {
        bail!("interrupted");
    }
    Ok(read)
}

/// The first line, without its end.
fn line(input: &mut dyn BufRead) -> anyhow::Result<SecretString> {
    let mut line = String::new();
    input.take(MAX_LINE_BYTES).read_line(&mut line).context("the password cannot be read")?;
    if line.is_empty() {
        bail!("there was no password to read");
    }
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(SecretString::from(line))
}

/// A terminal that shows nothing of what is typed, until this is dropped. Ctrl-C is typed, too: else a process that it
/// ends would leave the terminal so.
struct Quiet<'a> {
    terminal: &'a std::io::Stdin,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn on(terminal: &'a std::io::Stdin) -> rustix::io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        tcsetattr(self.terminal, OptionalActions::Now, &self.before).ok();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_password_is_one_line_without_its_end() {
        for (input, password) in
            [("secret\n", "secret"), ("secret\r\nmore\n", "secret"), (" s \n", " s "), ("x", "x")]
        {
            assert_eq!(line(&mut input.as_bytes()).unwrap().expose_secret(), password);
        }
        assert!(line(&mut "".as_bytes()).is_err());
        let long = "x".repeat(10_000);
        assert_eq!(line(&mut long.as_bytes()).unwrap().expose_secret().len(), 4096);
    }
}
