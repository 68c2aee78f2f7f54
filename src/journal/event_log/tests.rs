use std::sync::Arc;
use std::time::Duration;

use super::log::EventLog;
use super::writer::{EventWriter, Keep};
use super::{Gap, Page, end_of, entry_of};
use crate::journal::append::handle::Class;
use crate::journal::format::entry::{Change, Entry, STATELESS};
use crate::journal::format::layout::{JOURNAL_DIR, numbers, segment_path};
use crate::journal::recovery::report::ReplayTarget;
use crate::journal::recovery::{Options, Recovered, recover};
use crate::simulation::golden::SIZES;
use crate::storage::Storage;
use crate::storage::simulated::{Failure, Kind, SimStorage};
use crate::system::clock::{Clock, Timestamp};
use crate::system::random::Random;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const EVENTS: u16 = STATELESS + 1;
const KEEP: Keep = Keep { time: Duration::from_hours(168), bytes_max: 1 << 20, file_bytes: 1 << 20 };

/// A state that holds nothing; changes of tables without a state must not reach it.
struct Nothing;

impl ReplayTarget for Nothing {
    fn apply(&mut self, table: u16, _: u16, _: &[u8], _: Option<&[u8]>) -> Result<(), String> {
        if table == EVENTS { Err(String::from("an event is no record")) } else { Ok(()) }
    }
}

/// A journal with its event log, both stepped by hand.
struct Run {
    journal: Recovered,
    clock: Clock,
    log: EventLog,
    writer: EventWriter,
}

impl Run {
    fn begin(disk: &SimStorage, keep: Keep) -> Self {
        Self::try_begin(disk, keep).unwrap()
    }

    fn try_begin(disk: &SimStorage, keep: Keep) -> Option<Self> {
        let clock = Clock::manual(NOW);
        let options = Options {
            storage: Arc::new(disk.clone()),
            sizes: SIZES,
            clock: clock.clone(),
            random: Arc::new(Random::seeded(disk.operations())),
            accept_clock_floor: false,
        };
        let journal = recover(options, &mut Nothing).ok()?;
        journal.prepare().ok()?;
        let (log, writer) = EventWriter::new(journal.context(), &journal.handle, EVENTS, keep);
        Some(Self { journal, clock, log, writer })
    }

    /// Appends an entry with a record and `events` events, as an owner does.
    fn append(&mut self, events: usize) -> u64 {
        self.append_of(events, 20)
    }

    fn append_of(&mut self, events: usize, len: usize) -> u64 {
        let entry = self.journal.handle.assigned() + 1;
        let told: Vec<Change> = (0..events)
            .map(|place| {
                let mut value = format!("{entry}.{place} ").into_bytes();
                value.resize(value.len().max(len), b' ');
                Change { table: EVENTS, schema: 1, key: vec![0, 7], value: Some(value) }
            })
            .collect();
        let record = Change { table: 7, schema: 1, key: vec![0, 1], value: Some(vec![1]) };
        let changes: Vec<Change> = std::iter::once(record).chain(told.iter().cloned()).collect();
        let encoded = Entry::encode(&changes).unwrap();
        let handle = &self.journal.handle;
        let Ok(permit) = handle.reserve(encoded.as_bytes().len(), Class::Essential) else { return 0 };
        handle.append_and(permit, &encoded, |seq| {
            if !told.is_empty() {
                self.log.push(seq, told);
            }
        })
    }

    fn sync(&mut self) {
        self.journal.writer.step().unwrap();
        let _ = self.journal.prepare();
    }

    /// Appends entries of `counts` events, makes them durable and writes the log.
    fn live(&mut self, counts: &[usize]) {
        for count in counts {
            self.append(*count);
            self.sync();
            self.writer.step().unwrap();
        }
    }
}

/// Every event of the log after `after`, as its text, and the last page.
fn read(log: &EventLog, after: Option<u64>) -> (Vec<String>, Page) {
    let mut all = Vec::new();
    let mut after = after;
    let mut gap = None;
    loop {
        let page = log.page(after, 3, 1 << 20).unwrap();
        gap = gap.or(page.gap);
        all.extend(page.events.iter().map(|event| {
            let text = String::from_utf8(event.value.to_vec()).unwrap().trim_end().to_owned();
            assert_eq!(text, format!("{}.{}", entry_of(event.seq), event.seq & 1023));
            text
        }));
        if Some(page.next) == after {
            return (all, Page { gap, ..page });
        }
        after = Some(page.next);
    }
}

fn all(log: &EventLog) -> Vec<String> {
    read(log, None).0
}

#[test]
fn events_come_in_the_order_of_the_journal_and_a_cursor_goes_on_where_it_was() {
    let disk = SimStorage::new();
    let mut run = Run::begin(&disk, KEEP);
    run.live(&[1, 0, 3, 2]);
    assert_eq!(all(&run.log), ["1.0", "3.0", "3.1", "3.2", "4.0", "4.1"]);
    let (_, page) = read(&run.log, None);
    assert_eq!(page.next, end_of(4));
    // Quiet entries move the cursor, so that it does not fall behind what is kept.
    run.live(&[0, 0]);
    let (more, page) = read(&run.log, Some(page.next));
    assert_eq!((more.len(), page.next), (0, end_of(6)));
    run.live(&[1]);
    assert_eq!(read(&run.log, Some(page.next)).0, ["7.0"]);
    // In the middle of an entry.
    assert_eq!(read(&run.log, Some(3 << 10 | 1)).0, ["3.2", "4.0", "4.1", "7.0"]);
}

#[test]
fn an_event_is_readable_once_it_is_durable_in_the_journal_and_no_sooner() {
    let mut run = Run::begin(&SimStorage::new(), KEEP);
    run.append(2);
    run.writer.step().unwrap();
    assert_eq!(all(&run.log), Vec::<String>::new());
    let watch = run.log.watch();
    run.sync();
    run.writer.step().unwrap();
    assert_eq!(all(&run.log), ["1.0", "1.1"]);
    assert!(watch.has_changed().unwrap());
}

#[test]
fn a_start_reads_back_what_the_log_lacks_and_writes_nothing_twice() {
    let disk = SimStorage::new();
    let mut run = Run::begin(&disk, KEEP);
    run.live(&[1, 2]);
    let history = run.log.history();
    // Durable in the journal, and not in the log when the process is killed.
    run.append(3);
    run.append(0);
    run.append(1);
    run.sync();
    drop(run);
    disk.unlock();
    let mut run = Run::begin(&disk, KEEP);
    assert_eq!(run.log.page(Some(9), 5, 100).unwrap().history, None, "not open yet");
    run.writer.step().unwrap();
    assert_eq!(all(&run.log), ["1.0", "2.0", "2.1", "3.0", "3.1", "3.2", "5.0"]);
    assert_eq!(run.log.history(), history);
    run.live(&[1]);
    assert_eq!(all(&run.log).last().unwrap(), "6.0");
}

/// Power is cut at every operation of a story, with any part of what was not synced on the disk.
#[test]
fn a_power_cut_at_any_operation_loses_no_event_that_was_durable_and_shows_none_that_is_gone() {
    let story = |disk: &SimStorage| -> u64 {
        let mut acknowledged = 0;
        let keep = Keep { file_bytes: 400, ..KEEP };
        let Some(mut run) = Run::try_begin(disk, keep) else { return 0 };
        for count in [1, 2, 0, 1, 3, 1, 0, 2, 1, 1, 2, 1] {
            let entry = run.append(count);
            if entry == 0 || run.journal.writer.step().is_err() {
                return acknowledged;
            }
            acknowledged = entry;
            let _ = run.journal.prepare();
            if entry % 3 > 0 {
                let _ = run.writer.step();
            }
            if entry % 4 == 0 {
                run.log.shared.queue.lock().settle = entry;
                let _ = run.writer.step();
            }
        }
        acknowledged
    };
    let whole = SimStorage::new();
    assert_eq!(story(&whole), 12);
    let operations = whole.operations();
    assert!(operations > 60, "{operations}");
    let mut seen = 0;
    for at in 1..=operations {
        for seed in 0..3 {
            let disk = SimStorage::new();
            disk.stop_at(at);
            let acknowledged = story(&disk);
            let after = disk.after_crash(seed);
            let mut run = Run::begin(&after, Keep { file_bytes: 400, ..KEEP });
            run.writer.step().unwrap();
            let durable = run.journal.handle.durable();
            assert!(durable >= acknowledged);
            let counts = [1, 2, 0, 1, 3, 1, 0, 2, 1, 1, 2, 1];
            let expected: Vec<String> = (1..=durable)
                .zip(counts)
                .flat_map(|(entry, count)| (0..count).map(move |place| format!("{entry}.{place}")))
                .collect();
            let (found, page) = read(&run.log, None);
            assert_eq!(found, expected, "stopped at {at}, seed {seed}");
            assert_eq!(page.gap, None);
            seen += found.len();
        }
    }
    assert!(seen > 1_000, "{seen}");
}

/// Every operation on the disk fails once, and the writer tries again.
#[test]
fn a_failed_operation_of_the_log_is_tried_again_and_nothing_is_lost_or_doubled() {
    for at in 0..200 {
        let disk = SimStorage::new();
        let mut run = Run::begin(&disk, Keep { file_bytes: 300, ..KEEP });
        for _ in 0..6 {
            run.append(2);
            run.sync();
        }
        disk.fail(Some(Failure {
            at: disk.operations() + at,
            lasting: false,
            only: None,
            error: std::io::ErrorKind::Other,
        }));
        run.log.shared.queue.lock().settle = 6;
        let mut failed = 0;
        for _ in 0..8 {
            failed += u32::from(run.writer.step().is_err());
        }
        let has_failed = disk.has_failed();
        disk.fail(None);
        run.writer.step().unwrap();
        let expected: Vec<String> =
            (1..=6).flat_map(|entry| [0, 1].map(|place| format!("{entry}.{place}"))).collect();
        assert_eq!(all(&run.log), expected, "{at}");
        if !has_failed {
            assert!(at > 8, "{at}");
            return;
        }
        // Without room after the last record it goes on.
        assert!(failed <= 1, "{at}: {failed}");
    }
    panic!("the story has too many operations");
}

#[test]
fn what_the_queue_has_no_room_for_is_read_back_in_order() {
    let disk = SimStorage::new();
    let mut run = Run::begin(&disk, KEEP);
    run.live(&[1]);
    {
        // As if so many bytes waited.
        run.log.shared.queue.lock().bytes = usize::MAX / 2;
    }
    for _ in 0..3 {
        run.append(2);
        run.sync();
    }
    assert_eq!(run.log.shared.queue.lock().events.len(), 0);
    assert_eq!(run.log.shared.queue.lock().overflow, Some((2, 4)));
    run.log.shared.queue.lock().bytes = 0;
    run.writer.step().unwrap();
    run.live(&[1]);
    assert_eq!(all(&run.log), ["1.0", "2.0", "2.1", "3.0", "3.1", "4.0", "4.1", "5.0"]);
}

#[test]
fn the_queue_is_bounded_whatever_is_pushed() {
    let mut run = Run::begin(&SimStorage::new(), KEEP);
    for entry in 1..50_000 {
        let value = Some(vec![0; 200]);
        run.log.push(entry, vec![Change { table: EVENTS, schema: 1, key: vec![0, 7], value }]);
    }
    let (events, bytes, overflow) = {
        let queue = run.log.shared.queue.lock();
        (queue.events.len(), queue.bytes, queue.overflow)
    };
    assert!(events <= 16_384 && bytes <= 4 << 20, "{events} {bytes}");
    assert_eq!(overflow.unwrap().1, 49_999);
    run.append(0);
}

#[test]
fn old_files_are_removed_and_whoever_was_not_there_is_told() {
    let disk = SimStorage::new();
    let mut run = Run::begin(&disk, Keep { file_bytes: 200, bytes_max: 1_000, ..KEEP });
    for _ in 0..40 {
        run.live(&[1]);
    }
    let stats = run.log.stats();
    assert!(stats.bytes <= 1_200, "{stats:?}");
    let (kept, page) = read(&run.log, None);
    assert!(kept.len() < 30 && kept.len() > 3, "{kept:?}");
    assert_eq!(page.gap, None, "who asks for the oldest misses nothing");
    let (late, page) = read(&run.log, Some(end_of(2)));
    assert_eq!(late, kept);
    assert!(matches!(page.gap, Some(Gap::Expired { .. })), "{:?}", page.gap);
    let (newest, page) = read(&run.log, Some(end_of(39)));
    assert_eq!((newest, page.gap), (vec![String::from("40.0")], None));
    // By age.
    let mut run = Run::begin(&SimStorage::new(), KEEP);
    run.live(&[1]);
    for _ in 0..9 {
        run.clock.advance(Duration::from_hours(25));
        run.live(&[1]);
    }
    let (kept, _) = read(&run.log, None);
    assert!(kept.len() < 10 && kept.len() >= 7, "{kept:?}");
}

#[test]
fn what_can_be_read_nowhere_any_more_is_a_gap() {
    let disk = SimStorage::new();
    let mut run = Run::begin(&disk, KEEP);
    run.live(&[1, 1]);
    // The log cannot be written for so long that the journal gives way.
    while numbers(&disk, JOURNAL_DIR, ".log").unwrap().len() < 3 {
        run.append(1);
        run.sync();
    }
    run.log.shared.queue.lock().events.clear();
    run.log.shared.queue.lock().overflow = Some((3, run.journal.handle.assigned()));
    disk.unlink(&segment_path(1)).unwrap();
    run.writer.step().unwrap();
    let (found, page) = read(&run.log, None);
    assert!(found.len() > 2, "{found:?}");
    assert_eq!(found[..2], ["1.0", "2.0"]);
    assert!(matches!(page.gap, Some(Gap::Lost { from: 3, .. })), "{:?}", page.gap);
    assert_eq!(run.log.stats().gaps, 1);
}

#[test]
fn a_full_disk_costs_the_oldest_events() {
    let disk = SimStorage::new();
    let mut run = Run::begin(&disk, Keep { file_bytes: 300, ..KEEP });
    for _ in 0..20 {
        run.live(&[1]);
    }
    let before = all(&run.log).len();
    run.append(1);
    run.sync();
    let error = std::io::ErrorKind::StorageFull;
    disk.fail(Some(Failure { at: disk.operations(), lasting: false, only: Some(Kind::Write), error }));
    run.writer.step().unwrap();
    let kept = all(&run.log);
    assert!(kept.len() < before, "{kept:?}");
    assert_eq!(kept.last().unwrap(), "21.0");
}

#[test]
fn a_log_of_another_past_is_begun_anew_with_another_history() {
    let disk = SimStorage::new();
    let mut run = Run::begin(&disk, KEEP);
    run.live(&[1, 1, 1]);
    let history = run.log.history();
    drop(run);
    let copied: Vec<(String, Vec<u8>)> = disk
        .paths()
        .into_iter()
        .filter(|path| path.starts_with("events/"))
        .map(|path| (path.clone(), disk.peek(&path).unwrap()))
        .collect();
    assert!(!copied.is_empty());
    let other = SimStorage::new();
    drop(Run::begin(&other, KEEP));
    other.unlock();
    for (path, bytes) in copied {
        other.plant(&path, bytes);
    }
    let mut run = Run::begin(&other, KEEP);
    run.live(&[1]);
    assert_ne!(run.log.history(), history);
    assert_eq!(all(&run.log), ["1.0"]);
}

#[test]
fn a_snapshot_waits_until_the_log_is_durable() {
    let disk = SimStorage::new();
    let mut run = Run::begin(&disk, KEEP);
    run.append(1);
    run.sync();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let settled = |log: &EventLog| runtime.block_on(log.settle(1, Duration::from_millis(1)));
    assert!(!settled(&run.log));
    run.writer.step().unwrap();
    assert!(settled(&run.log));
    // It is on the disk, also if the power fails now.
    let after = disk.after_crash(1);
    let found = after.paths().into_iter().find(|path| path.starts_with("events/")).unwrap();
    assert_eq!(after.peek(&found), disk.peek(&found));
}
