//! Records, and directories full of them, on which several benches run.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::config::{Config, Reader};
use portcullis::engine::Engine;
use portcullis::journal::append::handle::Class;
use portcullis::journal::append::segment_log::drop_segments;
use portcullis::journal::format::buckets::{BUCKETS, bucket_of};
use portcullis::journal::format::codec::{self, Stored};
use portcullis::journal::format::entry::Entry;
use portcullis::journal::format::layout::Sizes;
use portcullis::journal::recovery::report::ReplayTarget;
use portcullis::journal::recovery::{Options, recover};
use portcullis::journal::snapshot::{Records, SnapshotWriter};
use portcullis::registry::account::{AccountV4, Status};
use portcullis::registry::record::Write;
use portcullis::registry::refresh::{Audience, FamilyV3};
use portcullis::server;
use portcullis::storage::local::LocalStorage;
use portcullis::storage::write_mode::WriteMode;
use portcullis::system::clock::Clock;
use portcullis::system::fail_stop::FailStop;
use portcullis::system::random::Random;
use portcullis::value::account_name::AccountName;
use portcullis::value::id::{AccountId, FamilyId};

/// Returns a configuration over `dir` with `settings`.
pub fn config(dir: &Path, settings: &[(&str, &str)]) -> Config {
    let mut reader = Reader::new();
    reader.plain("data_dir", &dir.to_string_lossy(), "bench");
    reader.plain("http.listen", "127.0.0.1:0", "bench");
    reader.plain("signup.verify_email", "off", "bench");
    for (key, value) in settings {
        reader.plain(key, value, "bench");
    }
    Config::from_reader(reader).unwrap()
}

/// Drops everything that is replayed.
pub struct Nothing;

impl ReplayTarget for Nothing {
    fn apply(&mut self, _: u16, _: u16, _: &[u8], _: Option<&[u8]>) -> Result<(), String> {
        Ok(())
    }
}

/// Returns the options with which a bench opens the journal in `dir`.
pub fn options(dir: &Path) -> Options {
    Options {
        storage: Arc::new(LocalStorage::open(dir).unwrap().logging(WriteMode::Direct)),
        sizes: Sizes::PRODUCTION,
        clock: Clock::system(),
        random: Arc::new(Random::system()),
        accept_clock_floor: false,
    }
}

/// Returns the account of user `number`.
pub fn account(number: u64) -> AccountV4 {
    let name = AccountName::parse(&format!("user{number}@example.org")).unwrap();
    let key = name.key(&[1; 32]);
    let mut random = [0; 14];
    random[..8].copy_from_slice(&number.to_le_bytes());
    AccountV4 {
        id: AccountId::mint(key.slot(), random),
        name_key: key.0,
        email: name.as_str().into(),
        email_verified: true,
        name: None,
        phc: Some("$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into()),
        roles: Vec::new(),
        status: Status::Active,
        auth_epoch: 0,
        created_ms: 1,
        device_epoch: 0,
        tokens_from_secs: 0,
        former: None,
        mutes_new_device: false,
        is_vouched: false,
        replaced: Box::default(),
        extra: None,
    }
}

/// Returns a family of `account`, opened at `now`.
pub fn family(account: &AccountV4, now: u64) -> FamilyV3 {
    let random = account.id.to_bytes().last_chunk::<14>().copied().unwrap();
    FamilyV3 {
        id: FamilyId::mint(account.id.slot(), random),
        account: account.id,
        auth_epoch: 0,
        global_epoch: 0,
        opened_ms: now,
        rotated_ms: now,
        idle_end_ms: now + 1_000_000_000,
        absolute_end_ms: now + 2_000_000_000,
        generation: 0,
        digest: [3; 32],
        spent: None,
        ended: None,
        client: "192.0.2.1/32 Mozilla/5.0".into(),
        methods: 1,
        level: 1,
        proved_ms: now,
        device: [0; 8],
        audience: Audience::App,
        second_network: None,
        issued_ms: now,
        log_out: None,
    }
}

/// Writes a snapshot of `count` accounts, each with a family, into the directory `path`.
pub fn write_snapshot(path: &Path, count: u64) {
    let recovered = recover(options(path), &mut Nothing).unwrap();
    let life = recovered.context().clone();
    let now = Clock::system().now().as_millis();
    let mut buckets: Vec<Vec<u64>> = vec![Vec::new(); BUCKETS];
    for number in 0..count {
        buckets[bucket_of(&account(number).id.to_bytes())].push(number);
    }
    // One entry before the snapshot, so that no later segment can seem to hold everything.
    let mut recovered = recovered;
    let first = Write::Put(account(0)).to_change().unwrap();
    let entry = Entry::encode(&[first]).unwrap();
    let permit = recovered.handle.reserve(entry.as_bytes().len(), Class::Essential).unwrap();
    let seq = recovered.handle.append(permit, &entry);
    recovered.writer.step().unwrap();
    let mut taking = SnapshotWriter::begin(&life, seq).unwrap();
    for (table, schema) in [(1, AccountV4::SCHEMA), (5, FamilyV3::SCHEMA)] {
        for (bucket, numbers) in buckets.iter().enumerate() {
            let mut records = Records::default();
            for account in numbers.iter().map(|number| account(*number)) {
                if table == 1 {
                    records.add(schema, &account.id.to_bytes(), &codec::encode(&account).unwrap());
                } else {
                    let family = family(&account, now);
                    records.add(schema, &family.id.to_bytes(), &codec::encode(&family).unwrap());
                }
            }
            taking.chunk(table, schema, bucket, bucket + 1, &records).unwrap();
        }
    }
    taking.finish(seq, now).unwrap().name(recovered.handle.durable()).unwrap();
    recovered.writer.close().unwrap();
}

/// Makes a data directory with `accounts` accounts, each with a family, of whose journal only the end is left.
pub fn saved(path: &Path, accounts: u64) {
    // The first start makes the keys.
    served(path, &[("password.memory_kib", "64")], |_, _| ());
    write_snapshot(path, accounts);
    let recovered = recover(options(path), &mut Nothing).unwrap();
    let seq = recovered.handle.assigned();
    recovered.writer.close().unwrap();
    drop_segments(&LocalStorage::open(path).unwrap(), seq).unwrap();
}

/// Runs `act` on a server over `path`. Returns its result and how long the start of the server took.
pub fn served<T>(
    path: &Path,
    settings: &[(&str, &str)],
    act: impl FnOnce(SocketAddr, &Engine) -> T,
) -> (T, Duration) {
    let config = config(path, settings);
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let fail_stop = FailStop::new(|why| panic!("{why}"));
            let begun = Instant::now();
            let server = server::build(config, Clock::system(), false, None, &fail_stop).unwrap();
            ready.send((server.address, Arc::clone(&server.engine), begun.elapsed())).unwrap();
            let _ = stopped.await;
            server.stop().await;
        });
    });
    let (address, engine, taken) = is_ready.recv().unwrap();
    let done = act(address, &engine);
    drop(engine);
    drop(stop);
    thread.join().unwrap();
    (done, taken)
}
