//! The operator's door to a running server: `admin.sock` in the data directory, mode 0600. One JSON line asks, one
//! answers: `{"ok": …}` or `{"error": …}`.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::operation::{Operation, operate};
use crate::engine::Engine;
use crate::http::BODY_BYTES_MAX;

/// Whose line has not come whole, or whose answer is not taken, within so long is hung up on.
const PATIENCE: Duration = Duration::from_secs(10);
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Where the socket of a data directory is.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.sock")
}

/// Serves operators until the task is aborted. The directory's lock is held, so a socket that is there is a leftover.
pub fn serve(engine: &Arc<Engine>) -> io::Result<tokio::task::JoinHandle<()>> {
    let path = path(&engine.services.config.data_dir);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot make {}: {error}", path.display())))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let engine = Arc::clone(engine);
    Ok(tokio::task::spawn_local(async move {
        loop {
            let stream = next(&listener).await;
            let engine = Arc::clone(&engine);
            tokio::task::spawn_local(async move {
                if let Err(error) = answer(&engine, stream).await {
                    tracing::debug!(%error, "an operator hung up");
                }
            });
        }
    }))
}

/// The next operator. Under attack descriptors may run out for a while; nobody is to be locked out by that.
async fn next(listener: &UnixListener) -> UnixStream {
    let mut is_told = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if !is_told => {
                is_told = true;
                tracing::warn!(%error, "operators are not let in; it is tried again and again");
            }
            Err(_) => {}
        }
        tokio::time::sleep(ACCEPT_AGAIN).await;
    }
}

async fn answer(engine: &Arc<Engine>, stream: UnixStream) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let line = tokio::time::timeout(PATIENCE, line_of(read)).await??;
    let said = match serde_json::from_str::<Operation>(&line) {
        Ok(operation) => run(engine, operation).await,
        Err(error) => json!({"error": format!("not an operation: {error}")}),
    };
    tokio::time::timeout(PATIENCE, write.write_all(format!("{said}\n").as_bytes())).await?
}

async fn line_of(read: impl AsyncRead + Unpin) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(read.take(BODY_BYTES_MAX as u64)).read_line(&mut line).await?;
    Ok(line)
}

/// Does an operation and gives what the line of the answer holds.
pub async fn run(engine: &Arc<Engine>, operation: Operation) -> Value {
    match operate(engine, operation).await {
        Ok(shown) => json!({"ok": shown}),
        Err(crate::flow::refusal::FlowError::Refused(crate::flow::refusal::Refusal::WeakPassword {
            found,
            ..
        })) => {
            let why: Vec<_> = found.iter().map(|weakness| weakness.message()).collect();
            json!({"error": format!("the password is too weak: {}", why.join("; "))})
        }
        Err(crate::flow::refusal::FlowError::Refused(crate::flow::refusal::Refusal::Field {
            message,
            ..
        })) => {
            json!({"error": message})
        }
        Err(stop) => json!({"error": stop.to_string()}),
    }
}
