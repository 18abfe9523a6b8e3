//! `coditect-edge health`: a container's health check without a shell or curl.

use anyhow::{Context, bail};
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

/// How long each step may take.
const DEADLINE: Duration = Duration::from_secs(3);

/// Asks `/livez`.
pub(crate) fn run(admin: &str) -> anyhow::Result<ExitCode> {
    let authority = admin.strip_prefix("http://").unwrap_or(admin).trim_end_matches('/');
    let address = authority.to_socket_addrs().with_context(|| format!("{admin} is no address"))?.next();
    let address = address.with_context(|| format!("{authority} has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)
        .with_context(|| format!("nobody answers at {address}"))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    write!(stream, "GET /livez HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")?;
    let mut head = [0u8; 12];
    stream.read_exact(&mut head).context("it answered less than a status line")?;
    match head.strip_prefix(b"HTTP/1.1 ") {
        Some(b"200") => Ok(ExitCode::SUCCESS),
        _ => bail!("it answered {}", String::from_utf8_lossy(&head)),
    }
}
