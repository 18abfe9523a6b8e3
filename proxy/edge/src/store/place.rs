//! Where the store's socket and its key lie, and how they get there.
//!
//! The key lies beside the store's file, in the directory that terminals' sandboxes cannot read. Socket and key
//! are for the edge's own user, and are made anew at each start.

use super::protocol::KEY_BYTES;
use anyhow::{Context, bail};
use coditect_auth::Entropy;
use coditect_config::StoreConfig;
use rustix::fs::Mode;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// The longest path of a socket, in bytes: what `sockaddr_un` holds, less its final zero.
const MAX_SOCKET_PATH: usize = 107;
/// Connections that may wait in the kernel.
const BACKLOG: u32 = 16;

/// What a client must show.
pub(super) type Key = [u8; KEY_BYTES];

/// The key's file: the store's with `.key` after it.
pub(super) fn key_file(config: &StoreConfig) -> PathBuf {
    let mut name = OsString::from(&config.path);
    name.push(".key");
    name.into()
}

/// Socket and key of a running edge; dropping this removes both files.
pub(super) struct Place {
    socket: PathBuf,
    key_file: PathBuf,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever finds one of them later finds that nobody listens.
        drop(fs::remove_file(&self.socket));
        drop(fs::remove_file(&self.key_file));
    }
}

/// Makes the key and listens. The store's file must be open: that keeps a second edge away from these files.
pub(super) async fn listen(
    config: &StoreConfig,
    entropy: &dyn Entropy,
) -> anyhow::Result<(UnixListener, Key, Place)> {
    let socket = config.socket.clone();
    remove_stale(&socket).await?;
    let listener = bind(&socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
    let place = Place { socket, key_file: key_file(config) };
    let mut key = [0; KEY_BYTES];
    entropy.fill(&mut key);
    write_key(&place.key_file, &key).with_context(|| format!("cannot write {}", place.key_file.display()))?;
    Ok((listener, key, place))
}

/// Reads the key of a running edge; `None` if there is none.
pub(super) fn read_key(path: &Path) -> io::Result<Option<Key>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut key = [0; KEY_BYTES];
    match file.read_exact(&mut key) {
        Ok(()) => Ok(Some(key)),
        // An edge was killed while it wrote it: nobody serves with such a key.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Connects; `None` if nobody listens there.
pub(super) async fn connect(socket: &Path) -> io::Result<Option<UnixStream>> {
    let connected = match Reachable::from(socket) {
        Ok(reachable) => UnixStream::connect(&reachable.path).await,
        Err(error) => Err(error),
    };
    match connected {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Removes a socket that an edge left behind when it was killed, and nothing else.
async fn remove_stale(socket: &Path) -> anyhow::Result<()> {
    let found = match fs::symlink_metadata(socket) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.with_context(|| socket.display().to_string())?,
    };
    if !found.file_type().is_socket() {
        bail!(
            "{} is no socket: choose another `socket` in [store], or move that file away",
            socket.display()
        );
    }
    let listening = connect(socket).await.with_context(|| socket.display().to_string())?;
    if listening.is_some() {
        bail!("another process listens on {}: choose another `socket` in [store]", socket.display());
    }
    fs::remove_file(socket).with_context(|| format!("cannot remove {}", socket.display()))
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    let reachable = Reachable::from(path)?;
    let socket = UnixSocket::new_stream()?;
    // The file takes over the mode the socket has now: there is no moment at which it is open to others.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&reachable.path)?;
    socket.listen(BACKLOG)
}

fn write_key(path: &Path, key: &Key) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(key)
}

/// A path under which a socket can be reached although its own may be too long for the system.
struct Reachable {
    path: PathBuf,
    /// What the path leads through.
    _directory: Option<File>,
}

impl Reachable {
    fn from(socket: &Path) -> io::Result<Self> {
        if socket.as_os_str().len() <= MAX_SOCKET_PATH {
            return Ok(Self { path: socket.to_owned(), _directory: None });
        }
        let name = socket.file_name().ok_or_else(|| io::Error::other("it is not the name of a file"))?;
        let directory = File::open(socket.parent().unwrap_or(Path::new("/")))?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(io::Error::other(format!(
                "its name is too long, at most about {} bytes are allowed: set `socket` in [store]",
                MAX_SOCKET_PATH - "/proc/self/fd/1000/".len()
            )));
        }
        Ok(Self { path, _directory: Some(directory) })
    }
}
