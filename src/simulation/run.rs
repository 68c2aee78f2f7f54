//! One seed is one run: several lives, each ended by a power loss, a kill, a fault of the disk or a clean stop.

use std::io::ErrorKind;
use std::time::Duration;

use super::damage::damage;
use super::oracle::{Fold, Oracle};
use super::toys::{TOY_A, TOY_B};
use super::world::{Saving, What, Wish, World, options};
use crate::journal::append::handle::Class;
use crate::journal::append::writer::Stepped;
use crate::journal::format::layout::Sizes;
use crate::journal::recovery::recover;
use crate::storage::simulated::{Dice, Failure, Kind, SimStorage};
use crate::system::clock::{Clock, Timestamp};

/// The counts of one or several runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub seeds: u64,
    /// Ends of a life after which a start was judged.
    pub crash_points: u64,
    /// Of these, ends of a recovery that was cut short.
    pub in_recovery: u64,
    /// Answers that left the server.
    pub facts: u64,
    /// Entries that were handed in.
    pub entries: u64,
    /// Snapshots that got their final name.
    pub snapshots: u64,
    /// Lives in which an operation of the disk failed.
    pub faults: u64,
    /// Damaged directories on which a start was tried.
    pub damages: u64,
    /// Of these, those that were refused.
    pub refused: u64,
    /// Of these, those that started without the last frame or a vanished tail, as documented.
    pub cut: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.crash_points += other.crash_points;
        self.in_recovery += other.in_recovery;
        self.facts += other.facts;
        self.entries += other.entries;
        self.snapshots += other.snapshots;
        self.faults += other.faults;
        self.damages += other.damages;
        self.refused += other.refused;
        self.cut += other.cut;
    }
}

/// A broken promise.
#[derive(Debug)]
pub(super) enum Violation {
    /// Something that an answer rested on is gone, or the state is none that ever was.
    Loss(String),
    /// A sound directory was refused, or the server stopped on a sound disk.
    WrongRefusal(String),
}

/// The state of one run.
struct Run {
    dice: Dice,
    sizes: Sizes,
    disk: SimStorage,
    oracle: Oracle,
    time: Timestamp,
    /// The latest time that any life has shown.
    latest: Timestamp,
    counts: Counts,
}

/// Chooses sizes so small that every limit comes near.
fn sizes(dice: &mut Dice) -> Sizes {
    let align = [512, 512, 1024, 2048][dice.below(4) as usize];
    let body = [1024, 1500, 4000][dice.below(3) as usize];
    let window = [6_000, 20_000, 65_536][dice.below(3) as usize];
    let least = Sizes { segment: 0, body, align, window }.frame_max() * 2 + 4096;
    let segment = (least + dice.below(12_000)).next_multiple_of(4096);
    Sizes { segment, body, align, window }
}

/// Runs one seed, and returns its counts and the first violation.
pub(super) fn run(seed: u64) -> (Counts, Result<(), Violation>) {
    let mut dice = Dice::new(seed);
    let mut run = Run {
        sizes: sizes(&mut dice),
        dice,
        disk: SimStorage::new(),
        oracle: Oracle::new(),
        time: Timestamp::from_secs(1_800_000_000),
        latest: Timestamp::from_secs(1_800_000_000),
        counts: Counts { seeds: 1, ..Counts::default() },
    };
    let lives = 2 + run.dice.below(4);
    let mut done = Ok(());
    for _ in 0..lives {
        done = run.life();
        if done.is_err() {
            break;
        }
    }
    if done.is_ok() && run.dice.once_in(12) {
        done = run.siblings();
    }
    (run.counts, done)
}

impl Run {
    /// Returns the clock of the next life. Across a restart the system clock may have been set, up to a day back.
    fn clock(&mut self) -> Clock {
        let step = Duration::from_secs(self.dice.below(7200));
        self.time = match self.dice.below(6) {
            0 => self.latest - step * 11,
            1 => self.latest + step * 11,
            _ => self.latest + step / 60,
        };
        self.latest = self.latest.max(self.time);
        Clock::manual(self.time)
    }

    /// Runs one life: a start, steps, an end, and the judgement of copies of the disk.
    fn life(&mut self) -> Result<(), Violation> {
        self.die_in_recovery()?;
        let clock = self.clock();
        let seed = self.dice.next();
        let started = World::start(&self.disk, self.sizes, &clock, seed);
        let mut world = started.map_err(|refusal| Violation::WrongRefusal(refusal.to_string()))?;
        self.judge(&world)?;
        self.arm();
        let steps = 8 + self.dice.below(70);
        let mut is_over = false;
        for _ in 0..steps {
            if let Err(fault) = self.step(&mut world)? {
                if !self.disk.has_failed() {
                    return Err(Violation::WrongRefusal(format!(
                        "the writer stopped on a sound disk: {fault}"
                    )));
                }
                is_over = true;
                break;
            }
        }
        self.time = clock.now();
        self.latest = self.latest.max(self.time);
        if !is_over && self.dice.once_in(4) && !self.disk.has_failed() {
            // A clean stop answers everything that was handed in.
            let World { journal, .. } = world.stop(&mut self.oracle, &mut self.counts.facts);
            match journal.writer.close() {
                Ok(()) => {
                    self.oracle.answered = self.oracle.assigned();
                }
                Err(fault) if !self.disk.has_failed() => {
                    return Err(Violation::WrongRefusal(format!("no clean stop on a sound disk: {fault}")));
                }
                Err(_) => {}
            }
        } else {
            drop(world);
        }
        self.counts.faults += u64::from(self.disk.has_failed());
        self.branches()?;
        self.counts.crash_points += 1;
        let seed = self.dice.next();
        self.disk = if self.dice.once_in(4) { self.disk.after_kill() } else { self.disk.after_crash(seed) };
        Ok(())
    }

    /// Begins up to three recoveries that end before they are done.
    fn die_in_recovery(&mut self) -> Result<(), Violation> {
        for _ in 0..3 {
            if !self.dice.once_in(4) {
                return Ok(());
            }
            let at = self.disk.operations() + 1 + self.dice.below(48);
            if self.dice.once_in(3) {
                let only = [None, Some(Kind::Sync), Some(Kind::Write), Some(Kind::Read)]
                    [self.dice.below(4) as usize];
                let error = if self.dice.once_in(3) { ErrorKind::StorageFull } else { ErrorKind::Other };
                self.disk.fail(Some(Failure { at, lasting: self.dice.once_in(2), only, error }));
            } else {
                self.disk.stop_at(at);
            }
            let clock = self.clock();
            let seed = self.dice.next();
            match World::start(&self.disk, self.sizes, &clock, seed) {
                Ok(world) => {
                    self.judge(&world)?;
                    self.time = clock.now();
                    self.latest = self.latest.max(self.time);
                }
                Err(refusal) if !self.disk.has_failed() => {
                    return Err(Violation::WrongRefusal(refusal.to_string()));
                }
                Err(_) => {}
            }
            for _ in 0..3 {
                let image = self.disk.after_crash(self.dice.next());
                self.start_beside(&image, None)?;
                self.counts.in_recovery += 1;
            }
            self.counts.crash_points += 1;
            self.counts.in_recovery += 1;
            let seed = self.dice.next();
            self.disk =
                if self.dice.once_in(3) { self.disk.after_kill() } else { self.disk.after_crash(seed) };
        }
        Ok(())
    }

    /// Compares the state after a start with the oracle's. From then on it is the past.
    fn judge(&mut self, world: &World) -> Result<(), Violation> {
        let report = &world.journal.report;
        self.compare(report.seq, self.oracle.answered, world.fold(), world.clock.now())?;
        let warning = report.warnings.iter().find(|warning| warning.contains("cannot be used"));
        if let Some(warning) = warning.filter(|_| !self.disk.has_failed()) {
            return Err(Violation::Loss(format!("a snapshot became unreadable by itself: {warning}")));
        }
        if world.clock.now().as_millis() < self.oracle.floor_ms {
            return Err(Violation::Loss(String::from("time ran backwards: expired records are valid again")));
        }
        self.oracle.restarted(report.seq);
        self.oracle.waiting = 0;
        Ok(())
    }

    /// Compares a state with that after the first `seq` entries, which must be at least `floor`.
    fn compare(&self, seq: u64, floor: u64, state: Fold, now: Timestamp) -> Result<(), Violation> {
        let assigned = self.oracle.assigned();
        if !(floor..=assigned).contains(&seq) {
            return Err(Violation::Loss(format!(
                "reached sequence {seq}, but answers rested on {floor} of {assigned}"
            )));
        }
        let expected = self.oracle.fold(seq);
        if state != expected && state.alive(now.as_millis()) != expected.alive(now.as_millis()) {
            return Err(Violation::Loss(format!("not the state of the first {seq} entries")));
        }
        Ok(())
    }

    /// Chooses what goes wrong in the next life.
    fn arm(&mut self) {
        let at = self.disk.operations() + 1 + self.dice.below(220);
        match self.dice.below(8) {
            0..=2 => self.disk.stop_at(at),
            3 | 4 => {
                let kinds =
                    [None, Some(Kind::Sync), Some(Kind::Write), Some(Kind::SyncNames), Some(Kind::Names)];
                let only = kinds[self.dice.below(5) as usize];
                let error = if self.dice.once_in(3) { ErrorKind::StorageFull } else { ErrorKind::Other };
                self.disk.fail(Some(Failure { at, lasting: self.dice.once_in(3), only, error }));
            }
            5 => self.disk.set_free(self.dice.below(3 * self.sizes.segment)),
            _ => {}
        }
        self.disk.set_unsteady(self.dice.once_in(2));
    }

    /// Takes one step of an owner, the writer, the preparer, the snapshot or the clock. The inner error is a fault of
    /// the writer, which ends the life.
    fn step(&mut self, world: &mut World) -> Result<Result<(), String>, Violation> {
        let broken = Violation::Loss;
        let mut fault = None;
        match self.dice.below(20) {
            0..=8 => {
                // Sometimes several at once, which fill more than one frame.
                let wishes = if self.dice.once_in(8) { 2 + self.dice.below(8) } else { 1 };
                for _ in 0..wishes {
                    let wish = self.wish(world.clock.now());
                    let class = match self.dice.below(12) {
                        0 => Class::Essential,
                        1 => Class::Lockout,
                        _ => Class::Ordinary,
                    };
                    world.toy(&mut self.oracle, &wish, class).map_err(broken)?;
                }
            }
            9 => {
                let number = self.dice.below(5) as u8;
                let secret = self.dice.next();
                world.family(&mut self.oracle, number, secret).map_err(broken)?;
            }
            10..=12 => match world.journal.writer.step() {
                Ok(Stepped::Wrote) => {
                    self.oracle.waiting = 0;
                    self.oracle.floor_ms = self.oracle.floor_ms.max(world.clock.now().as_millis());
                }
                Ok(Stepped::Idle) => {}
                Err(error) => fault = Some(error.to_string()),
            },
            13 => fault = world.journal.writer.attest().err().map(|fault| fault.to_string()),
            14 => {
                fault =
                    world.journal.writer.persist_low_bound_if_asked().err().map(|fault| fault.to_string());
            }
            15 => {
                if world.journal.prepare().is_err() && !self.disk.has_failed() && self.is_roomy() {
                    return Err(Violation::WrongRefusal(String::from(
                        "no segment could be prepared on a sound disk",
                    )));
                }
            }
            16 | 17 => self.save(world)?,
            18 => match self.dice.below(4) {
                0 => self.disk.set_free(self.dice.below(4 * self.sizes.segment)),
                1 => self.disk.set_free(u64::MAX),
                2 => world.held.extend(world.journal.handle.reserve(300, Class::Ordinary)),
                _ => world.held.clear(),
            },
            _ => {
                world.clock.advance(Duration::from_secs(self.dice.below(40)));
                if self.dice.once_in(3) {
                    world.sweep();
                }
            }
        }
        self.counts.facts += world.let_out(&mut self.oracle);
        self.counts.entries = self.counts.entries.max(self.oracle.assigned());
        Ok(fault.map_or(Ok(()), Err))
    }

    /// Takes some steps of the snapshot run; other steps come in between.
    fn save(&mut self, world: &mut World) -> Result<(), Violation> {
        for _ in 0..=self.dice.below(8) {
            // Sometimes a bit of an unfinished snapshot flips on its way to the disk.
            let asking = matches!(world.saving, Some(Saving::Asking(..)));
            if asking && self.dice.once_in(60) && self.disk.peek("snapshot/taking.tmp").is_some() {
                let at = self.dice.next() as usize;
                self.disk.damage("snapshot/taking.tmp", |bytes| {
                    let at = at % bytes.len().max(1);
                    bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 4);
                });
                world.rotten = true;
            }
            let named = self.oracle.named;
            let read_back = matches!(world.saving, Some(Saving::Waiting(..)));
            let saved = world.save(&mut self.oracle);
            if read_back && saved.is_err() && world.rotten && !self.disk.has_failed() && self.is_roomy() {
                return Err(Violation::Loss(String::from("a damaged snapshot passed its reading back")));
            }
            self.counts.snapshots += u64::from(self.oracle.named > named);
            if let Err(why) = saved
                && !world.rotten
                && !self.disk.has_failed()
                && self.is_roomy()
            {
                return Err(Violation::WrongRefusal(format!("no snapshot on a sound disk: {why}")));
            }
            if world.saving.is_none() {
                world.rotten = false;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Says whether the disk is far from full.
    fn is_roomy(&self) -> bool {
        use crate::storage::Storage;
        self.disk.free_space().is_ok_and(|free| free > 1 << 30)
    }

    /// Chooses a request of a client.
    fn wish(&mut self, now: Timestamp) -> Wish {
        let dice = &mut self.dice;
        let table = if dice.once_in(3) { TOY_B } else { TOY_A };
        let number = dice.below(26);
        let mut key = [0; 16];
        key.iter_mut().skip(2).zip(number.to_le_bytes().iter().cycle()).for_each(|(to, from)| *to = *from);
        let what = match dice.below(10) {
            0..=4 => {
                let end = if dice.once_in(5) {
                    now + Duration::from_secs(dice.below(90))
                } else {
                    Timestamp(u64::MAX)
                };
                let fill = vec![dice.next() as u8; dice.below(420) as usize];
                What::Put { end_ms: end.as_millis(), fill }
            }
            5 => What::Remove,
            6 | 7 => What::Refuse,
            _ => What::Read,
        };
        Wish { table, key, what }
    }

    /// Judges the same end of a life in several ways, beside the one that the run continues with.
    fn branches(&mut self) -> Result<(), Violation> {
        for at in 0..9 {
            let seed = self.dice.next();
            let image = if at == 0 { self.disk.after_kill() } else { self.disk.after_crash(seed) };
            self.start_beside(&image, None)?;
        }
        for _ in 0..2 {
            let seed = self.dice.next();
            let image =
                if self.dice.once_in(2) { self.disk.after_kill() } else { self.disk.after_crash(seed) };
            if let Some(damaged) = damage(&image, self.sizes, &mut self.dice, self.oracle.answered) {
                self.start_beside(&image, Some(damaged))?;
            }
        }
        Ok(())
    }

    /// Starts on a copy, and compares the result with the oracle's. `damaged` says what a start may do about the
    /// damage.
    fn start_beside(
        &mut self,
        image: &SimStorage,
        damaged: Option<super::damage::Damaged>,
    ) -> Result<(), Violation> {
        let mut fold = Fold::default();
        let clock = Clock::manual(self.time);
        let started = recover(options(image, self.sizes, clock.clone(), self.dice.next()), &mut fold);
        let Some(damaged) = damaged else {
            self.counts.crash_points += 1;
            let started = started.map_err(|refusal| Violation::WrongRefusal(refusal.to_string()))?;
            return self.compare(started.report.seq, self.oracle.answered, fold, clock.now());
        };
        self.counts.damages += 1;
        match started {
            Ok(_) if damaged.must_refuse => {
                Err(Violation::Loss(format!("started although {}", damaged.what)))
            }
            Ok(started) => {
                self.counts.cut += u64::from(started.report.seq < self.oracle.answered);
                self.compare(started.report.seq, damaged.floor, fold, clock.now()).map_err(|violation| {
                    let (Violation::Loss(why) | Violation::WrongRefusal(why)) = violation;
                    Violation::Loss(format!("{}: {why}", damaged.what))
                })
            }
            Err(refusal) if damaged.must_start => {
                Err(Violation::WrongRefusal(format!("{}: {refusal}", damaged.what)))
            }
            Err(_) => {
                self.counts.refused += 1;
                Ok(())
            }
        }
    }

    /// Checks that a segment of one future is not taken for a segment of another: both continue the same past, and
    /// differ in nothing but their content.
    fn siblings(&mut self) -> Result<(), Violation> {
        let one = self.disk.after_kill();
        let other = self.disk.after_kill();
        let mut last = None;
        let mut folds = Vec::new();
        for (which, disk) in [&one, &other].into_iter().enumerate() {
            let clock = Clock::manual(self.time);
            let started = World::start(disk, self.sizes, &clock, which as u64 + 1);
            let mut world = started.map_err(|refusal| Violation::WrongRefusal(refusal.to_string()))?;
            let mut oracle = Oracle::new();
            oracle.restarted(world.journal.report.seq);
            let first = disk.paths().into_iter().rfind(|path| path.starts_with("journal"));
            let mut switched = 0;
            for turn in 0..200_u8 {
                let _ = world.journal.prepare();
                let what = What::Put { end_ms: u64::MAX, fill: vec![turn ^ (which as u8 * 0x80); 300] };
                let wish = Wish { table: TOY_A, key: [turn % 8; 16], what };
                world.toy(&mut oracle, &wish, Class::Ordinary).map_err(Violation::Loss)?;
                if world.journal.writer.step().is_err() {
                    return Ok(());
                }
                oracle.waiting = 0;
                let newest = disk.paths().into_iter().rfind(|path| path.starts_with("journal"));
                switched += u64::from(newest != first);
                if switched > 2 {
                    break;
                }
            }
            last = disk.paths().into_iter().rfind(|path| path.starts_with("journal"));
            folds.push(world.fold());
        }
        let Some(path) = last else { return Ok(()) };
        let Some(bytes) = other.peek(&path).filter(|_| one.peek(&path).is_some()) else { return Ok(()) };
        let image = one.after_kill();
        image.plant(&path, bytes);
        let mut fold = Fold::default();
        let started = recover(options(&image, self.sizes, Clock::manual(self.time), 5), &mut fold);
        self.counts.damages += 1;
        if started.is_ok() && Some(&fold) != folds.first() {
            return Err(Violation::Loss(format!("{path} of another future was taken for one of this")));
        }
        Ok(())
    }
}

impl World {
    /// Lets every answer out that may leave, and returns the world, so that its journal can be closed.
    fn stop(mut self, oracle: &mut Oracle, facts: &mut u64) -> Self {
        self.saving = None::<Saving>;
        self.held.clear();
        *facts += self.let_out(oracle);
        self
    }
}
