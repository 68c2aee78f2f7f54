//! The socket by which operators reach a running server: `admin.sock` in the data directory, mode 0600. A request is
//! one line of JSON, and the answer is one line: `{"ok": …}` or `{"error": …}`.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use zeroize::Zeroizing;

use super::answer::refused;
use super::operation::{Operation, operate};
use super::transfer;
use crate::engine::Engine;
use crate::flow::admin::import::How;
use crate::system::file_error;

/// Timeout for reading a request, and for writing its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Delay before accepting again after an error.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// How long nobody asks before the file of the socket is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Maximum length of the path of a socket in bytes (`sun_path` of unix(7), without the zero at its end).
const PATH_BYTES_MAX: usize = 107;
/// What a file system lacks that refuses to make a socket, or to set its mode.
const SOCKETS: &str = "sockets, by which commands reach the server";
const MODES: &str =
    "modes of its own for each file (chmod), and everybody on this machine could open the socket";
/// Where Linux names the files that this process has open (proc(5)).
const OPEN_FILES: &str = "/proc/self/fd";
/// Maximum length of a request in bytes.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Returns the path of the socket of a data directory.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.sock")
}

/// Connects to the server that uses `data_dir`.
pub fn connect(data_dir: &Path) -> io::Result<BlockingStream> {
    let short = ShortPath::of(&path(data_dir))?;
    BlockingStream::connect(&short.path)
}

/// Checks that the socket of `data_dir`, which need not exist yet, can be made.
pub fn check_path(data_dir: &Path) -> io::Result<()> {
    refuse_too_long(&path(data_dir))
}

/// A name of a socket that is short enough for `bind` and `connect`, whatever the length of its path.
struct ShortPath {
    path: PathBuf,
    /// The directory that `path` goes through, if it does.
    _dir: Option<File>,
}

impl ShortPath {
    fn of(path: &Path) -> io::Result<Self> {
        let (true, Some(dir), Some(name)) = (is_too_long(path), path.parent(), path.file_name()) else {
            return Ok(Self { path: path.to_owned(), _dir: None });
        };
        refuse_too_long(path)?;
        let dir = File::open(dir).map_err(file_error::at_dir(dir))?;
        let path = Path::new(OPEN_FILES).join(dir.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _dir: Some(dir) })
    }
}

fn is_too_long(path: &Path) -> bool {
    path.as_os_str().len() > PATH_BYTES_MAX
}

/// Refuses a path that is too long where there is no other name for it.
fn refuse_too_long(path: &Path) -> io::Result<()> {
    if !is_too_long(path) || Path::new(OPEN_FILES).is_dir() {
        return Ok(());
    }
    let what = format!(
        "{} has {} bytes, and without {OPEN_FILES} the path of a socket may have {PATH_BYTES_MAX}: choose a data directory \
         with a shorter path, or mount /proc",
        path.display(),
        path.as_os_str().len()
    );
    Err(io::Error::new(io::ErrorKind::InvalidFilename, what))
}

/// Serves operators until the task is aborted. The caller holds the lock of the directory, so an existing socket is a
/// leftover and is replaced. If somebody removes the socket meanwhile, it is made again.
pub fn serve(engine: &Arc<Engine>) -> io::Result<tokio::task::JoinHandle<()>> {
    let path = path(&engine.services.config.data_dir);
    let mut bound = Bound::at(&path)?;
    let engine = Arc::clone(engine);
    Ok(tokio::task::spawn_local(async move {
        let mut is_logged = false;
        loop {
            let Ok(stream) = tokio::time::timeout(LOOK_EVERY, accept(&bound.listener, &mut is_logged)).await
            else {
                bound.renew_if_removed(&path);
                continue;
            };
            let engine = Arc::clone(&engine);
            tokio::task::spawn_local(async move {
                if let Err(error) = answer(&engine, stream).await {
                    tracing::debug!(%error, "cannot answer an operator");
                }
            });
        }
    }))
}

/// A listening socket, and the file by which it is reached.
struct Bound {
    listener: UnixListener,
    /// Device and inode of the file.
    file: (u64, u64),
    /// Whether the log says already that it cannot be made again.
    is_told: bool,
}

impl Bound {
    /// Makes the socket `path`, in the place of a leftover.
    fn at(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file_error::at(path)(error)),
            _ => {}
        }
        let short = ShortPath::of(path)?;
        let listener = UnixListener::bind(&short.path).map_err(file_error::at_lacking(path, SOCKETS))?;
        close_to_others(path)?;
        let file = identity(path).map_err(file_error::at(path))?;
        Ok(Self { listener, file, is_told: false })
    }

    /// Makes the socket again if its file is gone, or is another one.
    fn renew_if_removed(&mut self, path: &Path) {
        if identity(path).is_ok_and(|file| file == self.file) {
            return;
        }
        match Self::at(path) {
            Ok(renewed) => {
                *self = renewed;
                tracing::warn!("{} was removed while the server runs: it is made again", path.display());
            }
            Err(error) if !self.is_told => {
                self.is_told = true;
                tracing::error!(
                    %error,
                    "the operators' socket was removed and cannot be made again: commands do not reach the server"
                );
            }
            Err(_) => {}
        }
    }
}

/// Makes `path` one that its owner alone can open. A mount that gives all files one mode does not let it be changed, which
/// does no harm where that mode lets in nobody else.
fn close_to_others(path: &Path) -> io::Result<()> {
    let Err(error) = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)) else {
        return Ok(());
    };
    let is_closed =
        std::fs::symlink_metadata(path).is_ok_and(|found| matches!(found.mode() & 0o777, 0o600 | 0o700));
    if is_closed { Ok(()) } else { Err(file_error::at_lacking(path, MODES)(error)) }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Returns the next connection. It retries errors for ever, since descriptors may run out for a while under attack and
/// that must not lock the operator out. `is_logged` says that the log has the error already.
async fn accept(listener: &UnixListener, is_logged: &mut bool) -> UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                *is_logged = false;
                return stream;
            }
            Err(error) if !*is_logged => {
                *is_logged = true;
                tracing::warn!(%error, "cannot accept a connection of an operator, retrying");
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// Reads one request, runs it and writes its answer.
pub async fn answer(engine: &Arc<Engine>, stream: UnixStream) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let line = tokio::time::timeout(TIMEOUT, read_line(&mut read)).await??;
    let answer = match serde_json::from_str::<Operation>(&line) {
        Ok(Operation::UserImport { dry_run, verified }) => {
            let how = How { is_dry: dry_run, is_verified: verified };
            transfer::import(engine, uid, how, &mut read, &mut write).await?
        }
        Ok(Operation::UserExport { hashes }) => transfer::export(engine, uid, hashes, &mut write).await?,
        Ok(operation) => run(engine, uid, operation).await,
        Err(error) => json!({"error": format!("not an operation: {error}")}),
    };
    tokio::time::timeout(TIMEOUT, write.write_all(format!("{answer}\n").as_bytes())).await?
}

/// Reads a line, which may hold a password.
async fn read_line(read: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    read.take(LINE_BYTES_MAX).read_line(&mut line).await?;
    Ok(line)
}

/// Runs an operation of the user `uid` of this machine and returns the JSON of the answer.
pub async fn run(engine: &Arc<Engine>, uid: u32, operation: Operation) -> Value {
    operate(engine, uid, operation).await.map_or_else(|error| refused(&error), |result| json!({"ok": result}))
}
