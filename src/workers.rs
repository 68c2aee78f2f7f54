//! What goes on beside requests: mails leave, snapshots are taken, the limiter is saved. A thread each, so that no file holds up an actor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix::Addr;

use crate::engine::{Engine, Fault};
use crate::journal::append::handle::Stats;
use crate::journal::context::Life;
use crate::journal::format::buckets::BUCKETS;
use crate::journal::snapshot::run::{Round, Unnamed};
use crate::journal::snapshot::status::Named;
use crate::journal::snapshot::status::Saved;
use crate::journal::snapshot::status::Tail;
use crate::mail::outgoing::Outgoing;
use crate::mail::template;
use crate::mail::transport::Transport;
use crate::registry::outbox::actor::{Blank, Due, Settle};
use crate::registry::outbox::{Tried, open_token};
use crate::registry::tables::expiry::may_be_gone;
use crate::registry::throttle::actor::ReadPiece;
use crate::registry::throttle::file::Saver;
use crate::registry::{Owner, ReadBuckets, Registry};
use crate::system::pace::Pace;
use crate::system::scheduling::{self, Low};

const TICK: Duration = Duration::from_millis(100);
/// Where there is no room to write down how a mail went.
const SETTLE_AGAIN: Duration = Duration::from_secs(2);
/// A failed snapshot is tried again after so many ticks.
const SNAPSHOT_RETRY_TICKS: u32 = 300;
/// One that says something else than the journal so many times later: that does not mend itself.
const DISPROVED_TIMES: u32 = 20;
/// A snapshot takes its time, until the journal has grown meanwhile by so many times what makes one due.
const HURRY_TIMES: u64 = 2;
/// The limiter is saved each so many ticks.
const LIMITER_TICKS: u32 = 300;
/// With a snapshot it is saved as well, but not sooner than so many ticks after the last time: what makes snapshots
/// frequent must not make it write more.
const LIMITER_TICKS_MIN: u32 = 100;

/// The threads.
pub struct Workers {
    ending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts them. Without a transport mails wait for [`Engine`]'s owner to drain them.
    pub fn start(engine: &Arc<Engine>, life: Life, transport: Option<Transport>) -> std::io::Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        let saver = Saver::new(life.clone());
        let mut threads = vec![worker("snapshot", engine, &ending, move |engine, ending| async move {
            snapshots(&engine, &life, &ending).await;
        })?];
        threads.push(worker("limiter", engine, &ending, move |engine, ending| async move {
            limiter(&engine, saver, &ending).await;
        })?);
        if let Some(transport) = transport {
            threads.push(worker("mail", engine, &ending, move |engine, ending| async move {
                mails(&engine, &transport, &ending).await;
            })?);
        }
        threads.push(worker("alert", engine, &ending, move |engine, ending| async move {
            crate::audit::alert::run(&engine, &ending).await;
        })?);
        Ok(Self { ending, threads })
    }

    /// Lets them finish what they are at, and a last snapshot be taken.
    pub fn stop(self) {
        self.ending.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

fn worker<F: Future<Output = ()>>(
    name: &str,
    engine: &Arc<Engine>,
    ending: &Arc<AtomicBool>,
    work: impl FnOnce(Arc<Engine>, Arc<AtomicBool>) -> F + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (engine, ending) = (Arc::clone(engine), Arc::clone(ending));
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        runtime.block_on(work(engine, ending));
        // A name that is still being looked up must not keep the thread.
        runtime.shutdown_background();
    })
}

async fn mails(engine: &Engine, transport: &Transport, ending: &AtomicBool) {
    while !ending.load(Ordering::Relaxed) {
        let due = engine.ask(&engine.outbox, Due(32)).await.unwrap_or_default();
        let idle = due.is_empty();
        for mail in due {
            if ending.load(Ordering::Relaxed) {
                return;
            }
            let token =
                mail.token.as_ref().and_then(|sealed| open_token(&engine.keys.outbox, mail.id, sealed));
            let config = &engine.config;
            let origin = config.public_origin.as_str();
            let letter = template::write(
                mail.kind,
                &config.service_name,
                origin,
                &mail.to,
                token.as_ref().map(|t| t.as_str()),
            );
            let domain = config.mail_from.rsplit('@').next().unwrap_or_default();
            let to_nobody = mail.is_to_nobody();
            if config.mail_console && !to_nobody {
                let link = letter.link.as_deref().unwrap_or("no link");
                tracing::info!(target: "portcullis::console", "mail to {}: {} ({link})", mail.to, letter.subject);
            }
            let outgoing = Outgoing {
                message_id: format!("<{:032x}@{domain}>", u128::from_be_bytes(mail.id)),
                from: config.mail_from.clone(),
                to: mail.to.to_string(),
                letter,
            };
            let delivered = if to_nobody { Ok(()) } else { transport.deliver_unless(outgoing, ending).await };
            let tried = match delivered {
                Ok(()) => Tried::Sent,
                Err(error) => {
                    tracing::warn!(%error, tries = mail.tries, "a mail could not be sent");
                    if error.permanent { Tried::Refused } else { Tried::Failed }
                }
            };
            settle(engine, mail.id, tried, ending).await;
        }
        if idle {
            tokio::time::sleep(TICK).await;
        }
    }
}

/// Waits until it is written down how a try ended: what was sent must not be sent again.
async fn settle(engine: &Engine, id: [u8; 16], tried: Tried, ending: &AtomicBool) {
    while let Err(fault) = engine.ask(&engine.outbox, Settle(id, tried)).await {
        if matches!(fault, Fault::Ending) || ending.load(Ordering::Relaxed) {
            return;
        }
        tokio::time::sleep(SETTLE_AGAIN).await;
        // It is tried again in any case; others need not wait for it.
        if tried == Tried::Failed {
            return;
        }
    }
}

async fn snapshots(engine: &Engine, life: &Life, ending: &Arc<AtomicBool>) {
    // What is served comes first.
    if let Err(error) = scheduling::lower(Low::Nice) {
        tracing::debug!(%error, "snapshots are taken at the priority of everything else");
    }
    let (mut taken_at, mut wait) = (engine.journal.stats().frame_bytes, 0);
    let (mut taken_low, mut rest) = (0_u32, 0_u32);
    loop {
        let last = ending.load(Ordering::Relaxed);
        // What is kept free for snapshots is used by them: segments go once two hold what they hold.
        let Stats { frame_bytes, low, .. } = engine.journal.stats();
        let Saved { newest, tail, .. } = *engine.saved.lock();
        let held = newest.map_or(0, |newest| newest.bytes);
        let threshold = engine.config.snapshot_bytes.max(held);
        let written = frame_bytes - taken_at;
        let since = written + tail.replayed;
        let on_disk = written + tail.segments.max(tail.replayed);
        if !low {
            (taken_low, rest) = (0, 0);
        }
        // Where two have made no room, what little is written must not bring on the next at once.
        let makes_room = low && !last && (taken_low < 2 || (since > 0 && rest == 0));
        let needed = on_disk >= threshold || (last && since > 0) || makes_room;
        if needed && (wait == 0 || last) {
            if since == 0 && engine.ask(&engine.outbox, Blank).await.is_err() {
                // Not even that fits: a snapshot like the last one would be of no use.
                wait = SNAPSHOT_RETRY_TICKS;
                continue;
            }
            let (journal, ending) = (engine.journal.clone(), Arc::clone(ending));
            let limit = frame_bytes + HURRY_TIMES * threshold;
            let hurry = move || {
                let stats = journal.stats();
                stats.low || stats.frame_bytes > limit || ending.load(Ordering::Relaxed)
            };
            let (begun, steady) = (engine.clock.now(), engine.clock.steady());
            match take_snapshot(engine, life, Pace::new(engine.clock.clone(), hurry)).await {
                Ok(bytes) => {
                    taken_at = engine.journal.stats().frame_bytes;
                    let took = engine.clock.steady().saturating_duration_since(steady);
                    let mut saved = engine.saved.lock();
                    let (newest, taken) = (Some(Named { bytes, begun }), saved.taken + 1);
                    *saved = Saved { newest, taken, took, failing: false, tail: Tail::default() };
                    taken_low += u32::from(low);
                    rest = SNAPSHOT_RETRY_TICKS;
                }
                Err(error) => {
                    Round::abandon(life);
                    engine.saved.lock().failing = true;
                    let disproved = matches!(error.downcast_ref(), Some(Unnamed::Disproved(_)));
                    wait = SNAPSHOT_RETRY_TICKS * if disproved { DISPROVED_TIMES } else { 1 };
                    tracing::error!(%error, disproved, "a snapshot could not be taken; it is tried again");
                }
            }
        }
        if last {
            return;
        }
        wait = wait.saturating_sub(1);
        rest = rest.saturating_sub(1);
        tokio::time::sleep(TICK).await;
    }
}

async fn limiter(engine: &Engine, mut saver: Saver, ending: &AtomicBool) {
    let (mut ticks, mut seen) = (LIMITER_TICKS_MIN, 0);
    loop {
        let last = ending.load(Ordering::Relaxed);
        let taken = engine.saved.lock().taken;
        if last || ticks >= LIMITER_TICKS || (taken != seen && ticks >= LIMITER_TICKS_MIN) {
            (ticks, seen) = (0, taken);
            match save_limiter(engine, &mut saver, last).await {
                Ok(bytes) => tracing::debug!(bytes, "limiter saved"),
                Err(error) => tracing::warn!(%error, "the limiter could not be saved; it is tried again"),
            }
        }
        if last {
            return;
        }
        ticks += 1;
        tokio::time::sleep(TICK).await;
    }
}

async fn save_limiter(engine: &Engine, saver: &mut Saver, must: bool) -> Result<usize, AnyError> {
    let at = engine.clock.now();
    let (mut records, mut from) = (Vec::new(), Some(0));
    while let Some(begin) = from {
        let piece = engine.throttle.send(ReadPiece(begin)).await?;
        records.extend_from_slice(&piece.bytes);
        from = piece.next;
    }
    Ok(saver.save(&records, at, must)?)
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

async fn take_snapshot(
    engine: &Engine,
    life: &Life,
    pace: Pace<impl Fn() -> bool + 'static>,
) -> Result<u64, AnyError> {
    let mut round = Round::begin(life, &engine.journal)?.paced(move || pace.step());
    table(&mut round, &engine.accounts).await?;
    table(&mut round, &engine.lockout).await?;
    table(&mut round, &engine.sessions).await?;
    table(&mut round, &engine.refresh).await?;
    table(&mut round, &engine.mailed).await?;
    table(&mut round, &engine.outbox).await?;
    let finished = round.finish()?;
    let end = finished.end_seq();
    engine.journal.wait(end).await?;
    let bytes = finished.name(&may_be_gone)?;
    tracing::info!(bytes, end, "snapshot taken");
    Ok(bytes)
}

async fn table<S: Registry>(round: &mut Round, owner: &Addr<Owner<S>>) -> Result<(), AnyError> {
    use crate::journal::format::codec::Stored;
    let mut from = 0;
    while from < BUCKETS {
        let (records, next) = owner.send(ReadBuckets { from }).await?;
        round.add((S::Record::TABLE, S::Record::SCHEMA), from, records, next)?;
        from = next;
    }
    Ok(())
}
