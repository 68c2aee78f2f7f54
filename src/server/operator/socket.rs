//! The socket by which operators reach a running server: `admin.sock` in the data directory, mode 0600. A request is
//! one line of JSON, and the answer is one line: `{"ok": …}` or `{"error": …}`.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use zeroize::Zeroizing;

use super::operation::{Operation, operate};
use crate::engine::Engine;
use crate::flow::refusal::{FlowError, Refusal};

/// Timeout for reading a request, and for writing its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Delay before accepting again after an error.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Maximum length of a request in bytes.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// Returns the path of the socket of a data directory.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.sock")
}

/// Serves operators until the task is aborted. The caller holds the lock of the directory, so an existing socket is a
/// leftover and is replaced.
pub fn serve(engine: &Arc<Engine>) -> io::Result<tokio::task::JoinHandle<()>> {
    let path = path(&engine.services.config.data_dir);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot create {}: {error}", path.display()))
    })?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let engine = Arc::clone(engine);
    Ok(tokio::task::spawn_local(async move {
        loop {
            let stream = accept(&listener).await;
            let engine = Arc::clone(&engine);
            tokio::task::spawn_local(async move {
                if let Err(error) = answer(&engine, stream).await {
                    tracing::debug!(%error, "cannot answer an operator");
                }
            });
        }
    }))
}

/// Returns the next connection. It retries errors for ever, since descriptors may run out for a while under attack and
/// that must not lock the operator out.
async fn accept(listener: &UnixListener) -> UnixStream {
    let mut is_logged = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if !is_logged => {
                is_logged = true;
                tracing::warn!(%error, "cannot accept a connection of an operator, retrying");
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// Reads one request, runs it and writes its answer.
async fn answer(engine: &Arc<Engine>, stream: UnixStream) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let line = tokio::time::timeout(TIMEOUT, read_line(read)).await??;
    let answer = match serde_json::from_str::<Operation>(&line) {
        Ok(operation) => run(engine, operation).await,
        Err(error) => json!({"error": format!("not an operation: {error}")}),
    };
    tokio::time::timeout(TIMEOUT, write.write_all(format!("{answer}\n").as_bytes())).await?
}

/// Reads a line, which may hold a password.
async fn read_line(read: impl AsyncRead + Unpin) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    BufReader::new(read.take(LINE_BYTES_MAX)).read_line(&mut line).await?;
    Ok(line)
}

/// Runs an operation and returns the JSON of the answer.
pub async fn run(engine: &Arc<Engine>, operation: Operation) -> Value {
    match operate(engine, operation).await {
        Ok(result) => json!({"ok": result}),
        Err(FlowError::Refused(Refusal::WeakPassword { found, .. })) => {
            let reasons: Vec<_> = found.iter().map(|weakness| weakness.message()).collect();
            json!({"error": format!("the password is too weak: {}", reasons.join("; "))})
        }
        Err(FlowError::Refused(Refusal::Field { message, .. })) => json!({"error": message}),
        Err(FlowError::Refused(refusal @ Refusal::LastAdmin)) => {
            json!({"error": format!("{refusal} who can log in: make another one first, or add --force")})
        }
        Err(error) => json!({"error": error.to_string()}),
    }
}
