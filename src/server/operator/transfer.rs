//! Accounts that go in and out over the socket, a line each.
//!
//! In: the lines follow the request, until its sender closes its side. Meanwhile each line that gave no account is answered with
//! one `{"report": …}`, and each group of lines with `{"progress": …}`; so the sender must read while it writes. Out: each
//! account is a line that begins with `{"id"`. The last line of either is `{"ok": …}` or `{"error": …}`.

use std::io;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};

use super::answer::refused;
use crate::engine::Engine;
use crate::flow::admin::import::lines::{Groups, Line};
use crate::flow::admin::import::{How, Import};
use crate::flow::admin::{Admin, Export};
use crate::flow::refusal::FlowError;

/// Imports what is read, reports on `write`, and returns the last answer.
pub(super) async fn import(
    engine: &Arc<Engine>,
    uid: u32,
    how: How,
    read: &mut (impl AsyncBufRead + Unpin),
    write: &mut (impl AsyncWrite + Unpin),
) -> io::Result<Value> {
    let operator = Admin::operator_with(uid);
    let mut import = match Import::begin(engine, &operator, how).await {
        Ok(import) => import,
        Err(error) => return Ok(refused(&error)),
    };
    let mut groups = Groups::default();
    loop {
        let part = read.fill_buf().await?;
        let length = part.len();
        groups.feed(part);
        read.consume(length);
        if length == 0 {
            groups.end();
        }
        while let Some(group) = if length == 0 { groups.rest() } else { groups.full() } {
            if let Err(error) = take(&mut import, group, write).await? {
                return Ok(refused(&error));
            }
        }
        if length == 0 {
            break;
        }
    }
    let counts = import.finish().await;
    Ok(counts.map_or_else(|error| refused(&error), |counts| json!({"ok": counts.json()})))
}

/// Takes a group of lines, and reports what became of it.
async fn take(
    import: &mut Import,
    group: Vec<Line>,
    write: &mut (impl AsyncWrite + Unpin),
) -> io::Result<Result<(), FlowError>> {
    let reports = match import.take(group).await {
        Ok(reports) => reports,
        Err(error) => return Ok(Err(error)),
    };
    let mut answer = String::new();
    for report in reports {
        answer.push_str(&format!("{}\n", json!({"report": report.json()})));
    }
    answer.push_str(&format!("{}\n", json!({"progress": import.counts().json()})));
    write.write_all(answer.as_bytes()).await?;
    Ok(Ok(()))
}

/// Writes a line for each account, and returns the last answer.
pub(super) async fn export(
    engine: &Arc<Engine>,
    uid: u32,
    has_hashes: bool,
    write: &mut (impl AsyncWrite + Unpin),
) -> io::Result<Value> {
    let mut export = match Export::begin(engine, &Admin::operator_with(uid), has_hashes).await {
        Ok(export) => export,
        Err(error) => return Ok(refused(&error)),
    };
    loop {
        match export.next(engine).await {
            Ok(Some(lines)) => write.write_all(lines.as_bytes()).await?,
            Ok(None) => break,
            Err(error) => return Ok(refused(&error)),
        }
    }
    Ok(json!({"ok": {"exported": export.exported(), "with_pepper": export.peppered()}}))
}
