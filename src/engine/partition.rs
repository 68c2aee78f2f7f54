//! A partition before it is an engine: its directory, recovered and owned.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use crate::config::{Config, ConfigFaults};
use crate::journal::context::JournalContext;
use crate::journal::format::codec::Stored;
use crate::journal::format::identity_file::{IdentityFile, State};
use crate::journal::format::layout::Sizes;
use crate::journal::recovery::report::{RecoveryReport, Refusal, ReplayTarget};
use crate::journal::recovery::{Options, Ownership, Recovered};
use crate::password::pepper::PepperError;
use crate::registry::account::{self, AccountV4};
use crate::registry::tables::{self, Limits, States};
use crate::storage::Storage;
use crate::storage::local::LocalStorage;
use crate::system::clock::Clock;
use crate::system::random::Random;
use crate::token::key_check::mismatches;
use crate::token::{KeyCheck, KeyError, KeyFiles, KeyKind, Keys, Master, MasterError, Scheme};
use crate::value::id::{AccountId, Slot};

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Recovery refused the directory.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Keys, files or threads.
    #[error("{0}")]
    Io(std::io::Error),
    /// The master key of the key files: missing, or another one.
    #[error(transparent)]
    Master(#[from] MasterError),
    /// The configuration: every mistake.
    #[error(transparent)]
    Config(#[from] ConfigFaults),
    /// The secret of the passwords.
    #[error(transparent)]
    Pepper(#[from] PepperError),
    /// A signing key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The caller's thread runs no actix system, which runs the actors of an engine.
    #[error(
        "no actix system runs on this thread, as under #[tokio::main] or #[tokio::test]: write #[actix_web::main] or \
         #[actix_web::test] there, or call it in actix_web::rt::System::new().block_on(async {{ … }})"
    )]
    NoActixSystem,
}

/// Checks that the actors of an engine can be started on this thread.
///
/// Errors: [`StartError::NoActixSystem`].
pub(super) fn require_actix_system() -> Result<(), StartError> {
    actix::System::try_current().map(|_| ()).ok_or(StartError::NoActixSystem)
}

impl From<std::io::Error> for StartError {
    fn from(error: std::io::Error) -> Self {
        if MasterError::within(&error).is_none() {
            return Self::Io(error);
        }
        match error.downcast::<MasterError>() {
            Ok(master) => Self::Master(master),
            Err(error) => Self::Io(error),
        }
    }
}

/// Opens the directory of the key files, with the master key if `keys.master_file` names one.
///
/// Errors: a directory that cannot be opened; a master key that cannot be read or is too short.
pub fn key_files(config: &Config, random: &Arc<Random>) -> Result<KeyFiles, StartError> {
    let master = master(config)?;
    let storage = LocalStorage::open(&config.keys.dir)?;
    Ok(KeyFiles::new(Arc::new(storage), master, Arc::clone(random)))
}

/// Reads the master key, if `keys.master_file` names one.
pub fn master(config: &Config) -> Result<Option<Master>, MasterError> {
    let Some(file) = &config.keys.master_file else { return Ok(None) };
    let place = file.to_string();
    match file.read() {
        Ok(secret) => Master::from_secret(&secret, &place).map(Some),
        Err(source) => Err(MasterError::Unreadable { place, source }),
    }
}

/// One partition, recovered and owned: the state of its tables and the journal that is ready for its next entry.
pub struct Partition {
    pub(super) states: States,
    pub(super) slots: RangeInclusive<Slot>,
    pub(super) storage: LocalStorage,
    pub(super) recovered: Recovered,
    pub(super) clock: Clock,
    /// Whether the journal of this partition remembers the files of the installation: its keys, and the end of the log of
    /// security events.
    pub(super) remembers_files: bool,
}

/// How a partition is recovered.
pub struct PartitionOptions<'a> {
    /// Its directory.
    pub dir: &'a Path,
    /// The slots whose accounts it holds.
    pub slots: RangeInclusive<Slot>,
    /// Its clock, whose floor recovery raises.
    pub clock: Clock,
    /// The source of randomness.
    pub random: Arc<Random>,
    /// Whether to start although the journal is more than a day ahead of the system's clock.
    pub accept_clock_floor: bool,
    /// Whether the keys of the installation are made at the first start of this partition, and compared with what its
    /// journal remembers at every later one. True for one partition of a process.
    pub makes_keys: bool,
}

impl Partition {
    /// Returns the memory in KiB that a hashing thread needs for new hashes and for the dearest that are stored.
    pub(super) fn hashing_memory_kib(&self, config: &Config) -> u64 {
        self.states.accounts.stored_costs().memory_kib(config.password.cost.memory_kib)
    }

    /// Recovers and owns a partition.
    ///
    /// Errors: a directory that is held, damaged or of a newer version; keys that it was not written with.
    pub fn recover(config: &Config, options: PartitionOptions<'_>) -> Result<Self, StartError> {
        let PartitionOptions { dir, slots, clock, random, accept_clock_floor, makes_keys } = options;
        let storage = LocalStorage::open(dir)?.logging(config.journal.write_mode);
        let keys = if makes_keys { Some(key_files(config, &random)?) } else { None };
        if let Some(keys) = &keys {
            refuse_without_keys(config, &storage, keys)?;
            // Before anything is written: a start with another master key must not begin.
            Keys::check(keys)?;
        }
        let limits = Limits {
            account: account::Limits { foreign_for: config.password.foreign_for },
            lockout: config.lockout,
            refresh: config.refresh,
            session: config.session,
            reset: config.reset,
            sign_up: config.signup.limits,
        };
        let mut target = Target {
            states: States::new(&limits),
            slots,
            keys,
            clock: clock.clone(),
            scheme: config.token.algorithm,
        };
        let options = Options {
            storage: Arc::new(storage.clone()),
            sizes: Sizes { segment: config.journal.fitted_to(dir).segment_bytes, ..Sizes::PRODUCTION },
            clock: clock.clone(),
            random,
            accept_clock_floor,
        };
        target.states.begin_recovery();
        let ownership = Ownership::lock(options)?;
        let past = ownership.read(&mut target)?;
        if let Some(keys) = &target.keys {
            // Before anything is written, as above.
            let remembered = target.states.file_checks.keys();
            refuse_other_keys(config, &storage, &remembered, &Keys::check_values(keys)?)?;
        }
        let recovered = ownership.own(past, &mut target)?;
        target.states.end_recovery();
        let Target { states, slots, .. } = target;
        Ok(Self { states, slots, storage, recovered, clock, remembers_files: makes_keys })
    }

    /// Returns what recovery found.
    pub const fn report(&self) -> &RecoveryReport {
        &self.recovered.report
    }

    /// Returns what the files of this run of the journal have in common.
    pub const fn context(&self) -> &JournalContext {
        self.recovered.context()
    }

    /// Returns the last durable sequence.
    pub fn durable(&self) -> u64 {
        self.recovered.handle.durable()
    }
}

/// Refuses a directory that is in use but has no keys, before anything is written: it is a backup without keys, and a start
/// would change files that its list of sums names.
fn refuse_without_keys(config: &Config, storage: &LocalStorage, keys: &KeyFiles) -> Result<(), StartError> {
    // Keys that may not be seen are not missing.
    keys.names()?;
    if !is_used(storage)? || keys.exist() {
        return Ok(());
    }
    Err(StartError::Refused(Refusal {
        path: config.keys.dir.display().to_string(),
        offset: None,
        what: String::from(
            "there are no keys, although the data directory holds a journal; nothing was changed",
        ),
        next: "if it is a backup, use `portcullis data restore`; otherwise move the keys of this installation there",
    }))
}

/// Says whether a server has finished its first start in the directory `storage`.
pub fn is_used(storage: &dyn Storage) -> std::io::Result<bool> {
    let identity = IdentityFile::open(storage)?;
    Ok(matches!(identity, Some(Ok(identity)) if identity.newest().state != State::Forming))
}

/// Refuses keys that the data was not written with. `remembered` is what the journal in `storage` remembers of them.
pub fn refuse_other_keys(
    config: &Config,
    storage: &dyn Storage,
    remembered: &[KeyCheck],
    in_files: &[KeyCheck],
) -> Result<(), Refusal> {
    let Some(mismatch) = mismatches(remembered, in_files).into_iter().next() else { return Ok(()) };
    let next = match mismatch.kind {
        // The key by which a restore tells its keys from those of before.
        KeyKind::Edge if is_restored(storage) => {
            "nothing was changed; a restore made this directory, and with it keys of its own, which ended the signing \
             keys of before: put the keys of this installation back into keys.dir, those that the restore has made and \
             not those of before it"
        }
        KeyKind::Directory => "nothing was changed; put the keys of this installation back into keys.dir",
        _ => {
            "nothing was changed; put the keys of this installation back into keys.dir; if this one is lost for good, \
             make a new directory without it: take its file away, and run `portcullis data salvage`"
        }
    };
    let path = config.keys.dir.join(&mismatch.file).display().to_string();
    Err(Refusal { path, offset: None, what: mismatch.to_string(), next })
}

/// Says whether a restore or a salvage has made the directory `storage`.
fn is_restored(storage: &dyn Storage) -> bool {
    matches!(IdentityFile::open(storage), Ok(Some(Ok(identity))) if identity.timeline() > 1)
}

/// The target that recovery replays into.
struct Target {
    states: States,
    slots: RangeInclusive<Slot>,
    /// Where keys are made at the first start, if this partition makes them.
    keys: Option<KeyFiles>,
    clock: Clock,
    scheme: Scheme,
}

impl ReplayTarget for Target {
    fn apply(&mut self, table: u16, schema: u16, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        if table == <AccountV4 as Stored>::TABLE {
            let id = key.try_into().ok().and_then(AccountId::from_bytes);
            if let Some(slot) = id.map(AccountId::slot).filter(|slot| !self.slots.contains(slot)) {
                let slot = slot.number();
                return Err(format!("an account of slot {slot}, which this partition does not hold"));
            }
        }
        self.states.restore(table, schema, key, value)
    }

    fn is_newer(&self, table: u16, schema: u16) -> bool {
        tables::is_newer(table, schema)
    }

    fn first_start(&mut self) -> std::io::Result<()> {
        match &self.keys {
            Some(files) => Keys::form(files, self.scheme, self.clock.now()),
            None => Ok(()),
        }
    }

    fn has_keys(&self) -> bool {
        self.keys.as_ref().is_some_and(KeyFiles::exist)
    }
}
