use super::*;
use crate::audit::AuditLog;
use crate::audit::event::Event;
use crate::audit::read::{Wanted, find};
use crate::storage::simulated::SimStorage;
use crate::system::clock::Timestamp;

fn options(dir: &Path) -> Options {
    Options {
        dir: dir.to_owned(),
        key: [7; 32],
        keep: Duration::from_hours(24),
        bytes_max: 1 << 30,
        data: Arc::new(SimStorage::new()),
        is_first_start: true,
        journal: 1,
        known_end: None,
    }
}

#[test]
fn while_space_is_low_changes_alone_are_written_and_the_rest_is_told_once_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
    let audit = AuditLog::new(clock.clone());
    let thread = audit.log.start(options(dir.path()), &clock).unwrap();
    audit.log.note_start(&clock);
    let wait_until = |low: bool| {
        while audit.log.is_low() != low {
            clock.advance(SYNC_EVERY);
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    // Others need more than any volume has.
    audit.log.keep_free(u64::MAX);
    wait_until(true);
    (0..3).for_each(|_| audit.record(Note::new(Event::LoginFailed)));
    let changed = Note::new(Event::PasswordChanged).about(&"an account");
    audit.tally(Event::PasswordChanged);
    assert!(audit.write(changed, true));
    audit.log.keep_free(0);
    wait_until(false);
    audit.log.end();
    thread.join().unwrap();
    let lines = find(dir.path(), &Wanted { limit: 99, ..Wanted::default() }).unwrap();
    let told: Vec<_> = lines.iter().map(|line| (line.event.as_str(), line.folded)).collect();
    assert_eq!(told, [("server.started", 0), ("password.changed", 0), ("login.failed", 3)]);
    let happened = audit.counts().into_iter().filter(|(_, count)| *count > 0);
    assert_eq!(happened.collect::<Vec<_>>(), [("login.failed", 3), ("password.changed", 1)]);
}

/// The thread collects lines for longer than any request waits. A request whose line is on disk all the same has
/// ended that.
#[test]
fn a_request_that_waits_for_its_line_does_not_wait_until_enough_lines_are_collected() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
    let audit = AuditLog::new(clock.clone());
    let thread = audit.log.start_with(options(dir.path()), &clock, Duration::from_hours(1)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for _ in 0..20 {
        audit.record(Note::new(Event::LoginFailed));
        let changed = Note::new(Event::PasswordChanged).about(&"an account");
        assert_eq!(runtime.block_on(audit.record_durably(changed)), Ok(()));
    }
    audit.log.end();
    thread.join().unwrap();
}

/// A disk that swallows a sync holds up one request for a while, and no further one.
#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "the paused time is the runtime's own")]
async fn a_sync_that_does_not_end_is_waited_for_once() {
    let log = Log::new(Clock::manual(Timestamp::from_secs(1_800_000_000)).steady());
    let (writer, _never_read) = sync_channel(QUEUE);
    log.state.lock().writer = Some(writer);
    let began = tokio::time::Instant::now();
    assert_eq!(log.may_change().await, Err(Unwritable));
    let waited = began.elapsed();
    assert!(waited >= SYNC_WAIT, "{waited:?}");
    assert_eq!(log.written().await, Err(Unwritable));
    assert_eq!(began.elapsed(), waited);
    assert!(log.trouble().0);
}

/// Somebody takes the file away, puts another in its place, or cuts it: a program that rotates logs, or an insider.
#[test]
fn a_file_that_is_taken_away_while_it_grows_is_told_and_a_new_one_goes_on_with_the_chain() {
    use crate::audit::verify::verify;
    type TakeAway = fn(&Path);
    let take_away: [(&str, TakeAway); 4] = [
        ("moved or removed", |path| std::fs::remove_file(path).unwrap()),
        ("moved or removed", |path| std::fs::rename(path, path.with_extension("jsonl.1")).unwrap()),
        ("replaced", |path| {
            std::fs::write(path.with_extension("new"), "").unwrap();
            std::fs::rename(path.with_extension("new"), path).unwrap();
        }),
        ("cut short", |path| {
            std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
        }),
    ];
    for (what, take_away) in take_away {
        let dir = tempfile::tempdir().unwrap();
        let disk = SimStorage::new();
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let audit = AuditLog::new(clock.clone());
        let options = Options {
            dir: dir.path().to_owned(),
            key: [7; 32],
            keep: Duration::from_hours(24),
            bytes_max: 1 << 30,
            data: Arc::new(disk.clone()),
            is_first_start: true,
            journal: 1,
            known_end: None,
        };
        let thread = audit.log.start(options, &clock).unwrap();
        audit.log.note_start(&clock);
        let found = |event: &str| {
            let wanted = Wanted { limit: 9, event: Some(event.to_owned()), ..Wanted::default() };
            find(dir.path(), &wanted).unwrap_or_default()
        };
        let wait_for = |event: &str| {
            let mut looks = 0;
            while found(event).is_empty() {
                looks += 1;
                assert!(looks < 6000, "no {event} although the file was {what}");
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        wait_for("server.started");
        take_away(&dir.path().join("2027-01-15.jsonl"));
        wait_for("audit.cut");
        audit.record(Note::new(Event::PasswordChanged));
        audit.log.end();
        thread.join().unwrap();
        let cut = found("audit.cut").remove(0);
        assert!(cut.reason.contains(what), "{}", cut.reason);
        assert_eq!((cut.seq, cut.missing), (2, 1), "{what}");
        assert_eq!(found("password.changed")[0].seq, 3, "{what}");
        // The chain is whole but for the cut, which an operator has to acknowledge.
        let record = crate::audit::ends::Record::read(&disk, &[7; 32]).unwrap();
        let broken = verify(dir.path(), &[7; 32], Some(&record)).unwrap().unwrap_err();
        assert!(broken.what.contains("a cut that nobody has acknowledged"), "{what}: {broken}");
    }
}

#[test]
fn space_is_low_below_a_tenth_or_a_gibibyte_or_what_others_need() {
    let of = |total| Space { free: 0, total };
    assert_eq!(bound(of(96 << 20), 0), (96 << 20) / 10);
    assert_eq!(bound(of(1 << 40), 0), 1 << 30);
    assert_eq!(bound(of(96 << 20), 40 << 20), 40 << 20);
}
