//! What goes on beside requests: mails leave, snapshots are taken. A thread each, so that no file holds up an actor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix::Addr;

use crate::engine::Engine;
use crate::journal::buckets::BUCKETS;
use crate::journal::recover::drop_segments;
use crate::journal::segment::Life;
use crate::journal::snapshot::{CHUNK_BYTES_MAX, Taking, keep_two};
use crate::mail::actor::{Due, Settle};
use crate::mail::{Outgoing, Transport, Tried, open_token, template};
use crate::registry::{Owner, ReadBuckets, Registry};

const TICK: Duration = Duration::from_millis(100);
/// A failed snapshot is tried again after so many ticks.
const SNAPSHOT_RETRY_TICKS: u32 = 300;

/// The threads.
pub struct Workers {
    ending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts them. Without a transport mails wait for [`Engine`]'s owner to drain them.
    pub fn start(engine: &Arc<Engine>, life: Life, transport: Option<Transport>) -> std::io::Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        let mut threads = vec![worker("snapshot", engine, &ending, move |engine, ending| async move {
            snapshots(&engine, &life, &ending).await;
        })?];
        if let Some(transport) = transport {
            threads.push(worker("mail", engine, &ending, move |engine, ending| async move {
                mails(&engine, &transport, &ending).await;
            })?);
        }
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
    thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(work(engine, ending)))
}

async fn mails(engine: &Engine, transport: &Transport, ending: &AtomicBool) {
    while !ending.load(Ordering::Relaxed) {
        let due = engine.ask(&engine.outbox, Due(32)).await.unwrap_or_default();
        let idle = due.is_empty();
        for mail in due {
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
            if config.mail_console {
                let link = letter.link.as_deref().unwrap_or("no link");
                tracing::info!(target: "portcullis::console", "mail to {}: {} ({link})", mail.to, letter.subject);
            }
            let outgoing = Outgoing {
                message_id: format!("<{:032x}@{domain}>", u128::from_be_bytes(mail.id)),
                from: config.mail_from.clone(),
                to: mail.to.to_string(),
                letter,
            };
            let tried = match transport.deliver(outgoing).await {
                Ok(()) => Tried::Sent,
                Err(error) => {
                    tracing::warn!(%error, tries = mail.tries, "a mail could not be sent");
                    if error.permanent { Tried::Refused } else { Tried::Failed }
                }
            };
            if engine.ask(&engine.outbox, Settle(mail.id, tried)).await.is_err() {
                break;
            }
        }
        if idle {
            tokio::time::sleep(TICK).await;
        }
    }
}

async fn snapshots(engine: &Engine, life: &Life, ending: &AtomicBool) {
    let (mut taken_at, mut size, mut wait) = (engine.journal.stats().frame_bytes, 0, 0);
    loop {
        let last = ending.load(Ordering::Relaxed);
        let since = engine.journal.stats().frame_bytes - taken_at;
        let needed = since >= engine.config.snapshot_bytes.max(size) || (last && since > 0);
        if needed && (wait == 0 || last) {
            match snapshot(engine, life).await {
                Ok(bytes) => (taken_at, size) = (engine.journal.stats().frame_bytes, bytes),
                Err(error) => {
                    tracing::error!(%error, "a snapshot could not be taken; it is tried again");
                    wait = SNAPSHOT_RETRY_TICKS;
                }
            }
        }
        if last {
            return;
        }
        wait = wait.saturating_sub(1);
        tokio::time::sleep(TICK).await;
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

async fn snapshot(engine: &Engine, life: &Life) -> Result<u64, AnyError> {
    // Read before any owner is asked: every entry up to it is applied before its bucket is read.
    let start = engine.journal.assigned();
    let mut taking = Taking::begin(life, start)?;
    table(&mut taking, &engine.accounts).await?;
    table(&mut taking, &engine.lockout).await?;
    table(&mut taking, &engine.sessions).await?;
    table(&mut taking, &engine.refresh).await?;
    table(&mut taking, &engine.mailed).await?;
    table(&mut taking, &engine.outbox).await?;
    let end = engine.journal.assigned();
    let taken = taking.finish(end, life.clock.now().as_millis())?;
    engine.journal.wait(end).await?;
    let bytes = taken.bytes();
    taken.name(engine.journal.durable())?;
    engine.journal.witness(bytes);
    let needed = keep_two(&*life.storage, life.cluster)?;
    drop_segments(&*life.storage, needed)?;
    tracing::info!(bytes, start, end, "snapshot taken");
    Ok(bytes)
}

async fn table<S: Registry>(taking: &mut Taking, owner: &Addr<Owner<S>>) -> Result<(), AnyError> {
    use crate::journal::codec::Stored;
    let (mut from, mut begin) = (0, 0);
    let mut gathered = crate::journal::snapshot::Records::default();
    while from < BUCKETS {
        let (records, next) = owner.send(ReadBuckets { from }).await?;
        if !gathered.is_empty() && gathered.len() + records.len() > CHUNK_BYTES_MAX {
            taking.chunk(S::Record::TABLE, S::Record::SCHEMA, begin, from, &std::mem::take(&mut gathered))?;
            begin = from;
        }
        gathered.join(records);
        from = next;
    }
    taking.chunk(S::Record::TABLE, S::Record::SCHEMA, begin, BUCKETS, &gathered)?;
    Ok(())
}
