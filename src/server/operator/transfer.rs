//! Accounts that go in and out over the socket, a line each.
//!
//! In: the lines follow the request, until its sender closes its side. Meanwhile each line that gave no account is answered with
//! one `{"report": …}`, and each group of lines with `{"progress": …}`; so the sender must read while it writes. Out: each
//! account is a line that begins with `{"id"`. The last line of either is `{"ok": …}` or `{"error": …}`.
//!
//! A sender that trickles is refused as over HTTP ([`Patience`]), so that it does not keep the only place for imports. It may
//! spend all that it may wait at once, since it may have to search a dump for the next user. Who does not read the answer in time
//! is left.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::answer::refused;
use crate::engine::Engine;
use crate::flow::admin::import::lines::{Groups, Line};
use crate::flow::admin::import::patience::{Patience, TooSlow};
use crate::flow::admin::import::{How, Import};
use crate::flow::admin::{Admin, Export};
use crate::flow::refusal::FlowError;

/// The longest wait for one part: as long as for all together.
const PART_MAX: Duration = Duration::from_hours(1);
/// The time to read the reports on a group of lines.
const REPORTS_READ_WITHIN: Duration = Duration::from_secs(10);
/// The time to read a part of an export. It has no place that others wait for, and somebody may page through it.
const EXPORT_READ_WITHIN: Duration = Duration::from_mins(10);

/// Imports what is read, reports on `write`, and returns the last answer.
pub(super) async fn import(
    engine: &Arc<Engine>,
    uid: u32,
    how: How,
    read: &mut (impl AsyncBufRead + Unpin),
    write: &mut (impl AsyncWrite + Unpin),
) -> io::Result<Value> {
    let mut patience = Patience::new(PART_MAX);
    let mut groups = Groups::default();
    let slow = |slow: TooSlow| json!({"error": slow.to_string()});
    // Without lines nobody has the place.
    let mut part = match patience.wait(&engine.clock, feed(&mut groups, read)).await {
        Ok(length) => length?,
        Err(error) => return Ok(slow(error)),
    };
    let mut import = match Import::begin(engine, &Admin::operator_with(uid), how).await {
        Ok(import) => import,
        Err(error) => return Ok(refused(&error)),
    };
    while part > 0 {
        patience.note(part);
        while let Some(group) = groups.full() {
            if let Err(error) = take(&mut import, group, write).await? {
                return Ok(refused(&error));
            }
        }
        part = match patience.wait(&engine.clock, feed(&mut groups, read)).await {
            Ok(length) => length?,
            Err(error) => return Ok(slow(error)),
        };
    }
    groups.end();
    while let Some(group) = groups.rest() {
        if let Err(error) = take(&mut import, group, write).await? {
            return Ok(refused(&error));
        }
    }
    let counts = import.finish().await;
    Ok(counts.map_or_else(|error| refused(&error), |counts| json!({"ok": counts.json()})))
}

/// Reads the next part, and returns its length; 0 at the end.
async fn feed(groups: &mut Groups, read: &mut (impl AsyncBufRead + Unpin)) -> io::Result<usize> {
    let part = read.fill_buf().await?;
    let length = part.len();
    groups.feed(part);
    read.consume(length);
    Ok(length)
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
    timeout(REPORTS_READ_WITHIN, write.write_all(answer.as_bytes())).await??;
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
            Ok(Some(lines)) => timeout(EXPORT_READ_WITHIN, write.write_all(lines.as_bytes())).await??,
            Ok(None) => break,
            Err(error) => return Ok(refused(&error)),
        }
    }
    Ok(json!({"ok": {"exported": export.exported(), "with_pepper": export.peppered()}}))
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, ReadBuf};

    use super::*;
    use crate::engine::start::on_an_engine;
    use crate::system::clock::Clock;

    const LINE: &[u8] = b"{\"email\":\"ada@test.org\"}\n";

    /// Sends a line every twenty seconds, without an end.
    struct Trickle {
        clock: Clock,
        has_come: bool,
        sent: usize,
    }

    impl AsyncRead for Trickle {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncBufRead for Trickle {
        fn poll_fill_buf(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
            if self.has_come {
                return Poll::Ready(Ok(LINE));
            }
            self.clock.advance(Duration::from_secs(20));
            self.has_come = true;
            context.waker().wake_by_ref();
            Poll::Pending
        }

        fn consume(mut self: Pin<&mut Self>, _: usize) {
            self.has_come = false;
            self.sent += 1;
        }
    }

    /// A command that hangs on a pipe, or somebody who has the rights of the operator, keeps the others from importing.
    #[test]
    fn a_sender_that_trickles_gives_the_place_back() {
        on_an_engine(async |engine| {
            let engine = &engine.itself().unwrap();
            let mut trickle = Trickle { clock: engine.clock.clone(), has_come: false, sent: 0 };
            let begun = engine.clock.steady();
            let mut said = Vec::new();
            let answer = import(engine, 0, How::default(), &mut trickle, &mut said).await.unwrap();
            let error = answer["error"].as_str().unwrap_or_default();
            assert!(error.contains("did not arrive in time: send all again"), "{answer}");
            assert_eq!(trickle.sent, 2);
            assert!(engine.clock.steady() - begun < Duration::from_mins(1));
            // The next one has the place, and what is sent at once is taken however much it is.
            let lines = LINE.repeat(5_000);
            let answer = import(engine, 0, How::default(), &mut &lines[..], &mut said).await.unwrap();
            assert_eq!(answer["ok"]["created"], json!(1), "{answer}");
            assert_eq!(answer["ok"]["duplicates"], json!(4_999), "{answer}");
        });
    }
}
