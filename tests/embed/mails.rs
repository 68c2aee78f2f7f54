//! Mails that the program sends in its own words.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis::{Clock, Config, Deliver, DeliverError, Engine, FailStop, Mail, MailKind, NewAccount};

/// Writes the mails that a program cares about in German.
#[derive(Clone, Default)]
struct German {
    sent: Arc<Mutex<Vec<(String, String)>>>,
    tries: Arc<AtomicU32>,
    fails: Arc<AtomicU32>,
}

impl Deliver for German {
    async fn deliver(&self, mail: Mail<'_>) -> Result<(), DeliverError> {
        self.tries.fetch_add(1, Ordering::SeqCst);
        let left = self.fails.load(Ordering::SeqCst);
        if left > 0 {
            self.fails.store(left - 1, Ordering::SeqCst);
            // As an error of a mail service arrives.
            Err(std::io::Error::other("the mail service is busy"))?;
        }
        if mail.recipient.starts_with("gone@") {
            return Err(DeliverError::permanent("no such mailbox"));
        }
        let text = match (mail.kind, mail.link) {
            (MailKind::Invitation, Some(link)) => format!("Setzen Sie Ihr Passwort: {link}"),
            _ => mail.text.to_owned(),
        };
        self.sent.lock().unwrap().push((mail.recipient.to_owned(), text));
        Ok(())
    }
}

fn config(dir: &std::path::Path) -> Config {
    let config = Config::builder().data_dir(dir).public_origin("https://example.org/auth");
    config.password(|password| password.memory_kib(64).passes(1).threads(1)).build().unwrap()
}

#[tokio::test]
async fn the_program_writes_its_own_mails_and_a_failed_one_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let (german, clock) = (German::default(), Clock::manual_at_secs(1_800_000_000));
    german.fails.store(1, Ordering::SeqCst);
    let builder = Engine::builder(config(dir.path())).deliver(german.clone()).clock(clock.clone());
    let auth = builder.fail_stop(FailStop::new(|why| panic!("{why}"))).start().await.unwrap();
    for email in ["ada@example.org", "gone@example.org"] {
        let account = auth.accounts().create(NewAccount::new(email)).await.unwrap();
        auth.accounts().send_reset(account.id()).await.unwrap();
    }
    for _ in 0..400 {
        // The next try is minutes away, for a clock that stands still.
        if german.tries.load(Ordering::SeqCst) >= 2 {
            clock.advance(Duration::from_secs(30));
        }
        if !german.sent.lock().unwrap().is_empty() && german.tries.load(Ordering::SeqCst) >= 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let sent = german.sent.lock().unwrap().clone();
    assert_eq!(sent.len(), 1, "{:?}", german.tries);
    assert_eq!(sent[0].0, "ada@example.org");
    // The public origin has a path, and the link keeps it.
    let mark = "Setzen Sie Ihr Passwort: https://example.org/auth/reset#token=pcm_";
    assert!(sent[0].1.starts_with(mark), "{}", sent[0].1);
    // One failed try, one that ended for good, one that was taken.
    assert_eq!(german.tries.load(Ordering::SeqCst), 3);
    auth.stop().await;
}

/// Takes for ever.
struct Slow(Arc<AtomicU32>);

impl Deliver for Slow {
    async fn deliver(&self, _: Mail<'_>) -> Result<(), DeliverError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_slow_mail_service_blocks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let begun = Arc::new(AtomicU32::new(0));
    let auth = Engine::builder(config(dir.path())).deliver(Slow(Arc::clone(&begun))).start().await.unwrap();
    for name in ["ada", "bob", "eve"] {
        let account =
            auth.accounts().create(NewAccount::new(format!("{name}@{name}.example"))).await.unwrap();
        auth.accounts().send_reset(account.id()).await.unwrap();
    }
    for _ in 0..400 {
        if begun.load(Ordering::SeqCst) == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(begun.load(Ordering::SeqCst), 3);
    assert_eq!(auth.accounts().list(None, 10).await.unwrap().len(), 3);
}
