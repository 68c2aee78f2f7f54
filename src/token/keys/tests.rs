use super::*;
use crate::storage::Storage;
use crate::storage::simulated::{Failure, Kind, SimStorage};
use crate::system::random::Random;
use crate::token::key_files::Sealing;
use crate::token::master::{Master, MasterError};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const DAY: Duration = Duration::from_hours(24);
const SECRET: &[u8] = b"a secret of thirty-two bytes, or more";

fn files(disk: &Arc<SimStorage>, secret: Option<&[u8]>) -> KeyFiles {
    let storage: Arc<dyn Storage> = Arc::<SimStorage>::clone(disk);
    let master = secret.map(|secret| Master::from_secret(secret, "test").unwrap());
    KeyFiles::new(storage, master, Arc::new(Random::system()))
}

fn formed() -> (Arc<SimStorage>, KeyFiles, Keys) {
    let disk = Arc::new(SimStorage::new());
    let files = files(&disk, None);
    Keys::form(&files, Scheme::Es256, NOW).unwrap();
    let keys = Keys::load(&files, Scheme::Es256, NOW).unwrap();
    (disk, files, keys)
}

fn kids(signing: &[Signing]) -> Vec<String> {
    signing.iter().map(|key| kid_of(&key.pkcs8).unwrap()).collect()
}

fn newest(ring: &KeyRing) -> [u8; 32] {
    ring.with_newest(|_, key| *key)
}

#[test]
fn keys_are_made_once_and_a_damaged_one_is_named() {
    let (disk, files, first) = formed();
    Keys::form(&files, Scheme::Es256, NOW + DAY).unwrap();
    let second = Keys::load(&files, Scheme::Es256, NOW).unwrap();
    assert_eq!(first.directory, second.directory);
    assert_eq!(first.signing, second.signing);
    assert_ne!(*first.directory, newest(&first.device));
    assert_ne!(newest(&first.device), newest(&first.csrf));
    disk.damage("csrf-1.key", |bytes| bytes.truncate(8));
    let error = Keys::load(&files, Scheme::Es256, NOW).err().unwrap();
    assert!(error.to_string().contains("csrf-1.key"), "{error}");
}

/// Directories of earlier versions have no times beside their keys.
#[test]
fn a_directory_without_times_loads_and_its_keys_rotate() {
    let (disk, files, first) = formed();
    for name in disk.list("").unwrap() {
        if name.ends_with(FROM) {
            disk.unlink(&name).unwrap();
        }
    }
    let keys = Keys::load(&files, Scheme::Es256, NOW).unwrap();
    assert_eq!(keys.signing[0].from, Timestamp::ZERO);
    assert_eq!(newest(&keys.device), newest(&first.device));
    let (kid, from) = keys.rotate_ring(&files, KeyKind::Device, NOW).unwrap();
    assert_eq!((kid, from), (2, NOW));
    assert_eq!(Keys::load(&files, Scheme::Es256, NOW).unwrap().device.listed(), keys.device.listed());
}

#[test]
fn a_kind_that_is_missing_is_not_made_anew_by_a_later_start() {
    let (disk, files, _) = formed();
    disk.unlink("edge-1.key").unwrap();
    let error = Keys::load(&files, Scheme::Es256, NOW).err().unwrap();
    assert!(error.to_string().contains("edge-1.key"), "{error}");
}

#[test]
fn an_older_key_of_a_ring_goes_when_nothing_lives_that_it_made() {
    let (_, files, keys) = formed();
    for kind in RINGS {
        let ring = keys.ring(kind).unwrap();
        let old = newest(ring);
        keys.rotate_ring(&files, kind, NOW + DAY).unwrap();
        assert_ne!(newest(ring), old);
        assert!(ring.find_map(|key| (*key == old).then_some(())).is_some());
        assert!(keys.expired(kind, DAY, NOW + DAY + DAY / 2).is_empty());
        assert_eq!(Keys::load(&files, Scheme::Es256, NOW).unwrap().ring(kind).unwrap().listed().len(), 2);
        assert_eq!(keys.expired(kind, DAY, NOW + DAY * 2), [1]);
        keys.drop_key(&files, kind, 1).unwrap();
        assert!(ring.find_map(|key| (*key == old).then_some(())).is_none());
        assert_eq!(Keys::load(&files, Scheme::Es256, NOW).unwrap().ring(kind).unwrap().listed().len(), 1);
    }
    assert!(keys.expired(KeyKind::Directory, DAY, NOW + DAY * 2).is_empty());
}

#[test]
fn repeated_rotations_stop_at_the_bound_and_kinds_that_never_change_say_why() {
    let (disk, files, keys) = formed();
    let made = (0..100).take_while(|_| keys.rotate_ring(&files, KeyKind::Edge, NOW).is_ok()).count();
    assert_eq!(made, KEYS_MAX - 1);
    let signed = (0..100).take_while(|_| Keys::add_signing(&files, Scheme::Es256, NOW).is_ok()).count();
    assert_eq!(signed, KEYS_MAX - 1);
    assert!(disk.list("").unwrap().len() < 5 * KEYS_MAX);
    for kind in [KeyKind::Directory, KeyKind::Audit] {
        let refused = keys.rotate_ring(&files, kind, NOW).err().unwrap().to_string();
        assert!(refused.contains("cannot change"), "{refused}");
    }
    assert!(KeyKind::ALL.iter().all(|kind| KeyKind::by_name(kind.name()) == Some(*kind)));
    assert_eq!(KeyKind::by_name("Edge"), None);
}

#[test]
fn signing_keys_keep_their_start_and_retired_ones_are_remembered() {
    let (_, files, _) = formed();
    let later = NOW + Duration::from_mins(10);
    let added = Keys::add_signing(&files, Scheme::EdDsa, later).unwrap();
    assert_eq!(added.iter().map(|key| key.from).collect::<Vec<_>>(), [later, NOW]);
    assert_eq!(Keys::load(&files, Scheme::Es256, NOW).unwrap().signing, added);
    let kids = kids(&added);
    assert!(Keys::retire_signing(&files, "x", Scheme::Es256, NOW).unwrap().is_none());
    for kid in &kids {
        assert_eq!(Keys::retire_signing(&files, kid, Scheme::Es256, NOW).unwrap().unwrap().len(), 1);
    }
    let life = Duration::from_mins(15);
    let mut retired = Keys::retired(&files, life, NOW).unwrap();
    retired.sort();
    let mut expected: Vec<_> = kids.into_iter().map(|kid| (kid, NOW)).collect();
    expected.sort();
    assert_eq!(retired, expected);
    assert!(Keys::retired(&files, life, NOW + life).unwrap().is_empty());
    assert!(Keys::retired(&files, life, NOW).unwrap().is_empty());
}

/// Every operation that needs space fails; those that need none work.
fn fill(disk: &SimStorage) {
    let error = std::io::ErrorKind::StorageFull;
    disk.fail(Some(Failure { at: 0, lasting: true, only: Some(Kind::Create), error }));
}

#[test]
fn a_leaked_key_is_retired_on_a_full_disk_also_the_last_one() {
    let (disk, files, keys) = formed();
    let leaked = kids(&keys.signing).remove(0);
    fill(&disk);
    let left = Keys::retire_signing(&files, &leaked, Scheme::Es256, NOW).unwrap().unwrap();
    assert_eq!(left.len(), 1);
    assert_ne!(kids(&left)[0], leaked);
    // Nothing of the key is left, and the record is there.
    let private = <base64ct::Base64 as base64ct::Encoding>::encode_string(&keys.signing[0].pkcs8);
    for name in disk.list("").unwrap() {
        let bytes = disk.open(&name).unwrap().read_all().unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(&private), "{name}");
    }
    assert_eq!(Keys::retired(&files, DAY, NOW).unwrap(), [(leaked.clone(), NOW)]);
    // With space again, a start makes a key that stays.
    disk.fail(None);
    let next = Keys::load(&files, Scheme::Es256, NOW).unwrap();
    assert_eq!(next.signing.len(), 1);
    assert_eq!(Keys::load(&files, Scheme::Es256, NOW).unwrap().signing, next.signing);
}

#[test]
fn a_crash_in_the_middle_of_a_retirement_leaves_no_key_behind() {
    let (disk, files, keys) = formed();
    let leaked = kids(&keys.signing).remove(0);
    disk.rename("signing-00000001.key", &format!("{RETIRED}{leaked}")).unwrap();
    assert_eq!(Keys::retired(&files, DAY, NOW).unwrap(), [(leaked.clone(), NOW)]);
    let bytes = disk.open(&format!("{RETIRED}{leaked}")).unwrap().read_all().unwrap();
    assert_eq!(bytes, NOW.as_secs().to_string().as_bytes());
}

#[test]
fn a_master_seals_every_key_file_and_without_it_nothing_is_read_or_made() {
    let (disk, open, first) = formed();
    assert_eq!(open.sealing().unwrap(), Sealing::Open);
    let sealed = files(&disk, Some(SECRET));
    let count = open.names().unwrap().len();
    assert_eq!(sealed.seal_all().unwrap(), count);
    assert_eq!(sealed.seal_all().unwrap(), 0);
    assert_eq!(sealed.sealing().unwrap(), Sealing::Sealed);
    let second = Keys::load(&sealed, Scheme::Es256, NOW).unwrap();
    assert_eq!(first.directory, second.directory);
    assert_eq!(first.signing, second.signing);
    // New keys are sealed as they are made.
    second.rotate_ring(&sealed, KeyKind::Outbox, NOW).unwrap();
    Keys::add_signing(&sealed, Scheme::Es256, NOW).unwrap();
    assert_eq!(sealed.sealing().unwrap(), Sealing::Sealed);
    let before = disk.list("").unwrap().len();
    let other = files(&disk, Some(&[b"another ", SECRET].concat()));
    for wrong in [&open, &other] {
        let error = Keys::check(wrong).err().unwrap();
        assert!(MasterError::within(&error).is_some(), "{error}");
        assert!(Keys::load(wrong, Scheme::Es256, NOW).is_err());
    }
    assert_eq!(disk.list("").unwrap().len(), before);
}

#[test]
fn files_are_read_with_and_without_a_checksum_and_a_damaged_one_is_named() {
    let (disk, files, keys) = formed();
    let names = disk.list("").unwrap();
    for name in &names {
        let whole = disk.peek(name).unwrap();
        // Every byte of the first line, which the checksum covers, and of the checksum.
        for at in 0..whole.len() - 1 {
            disk.damage(name, |bytes| bytes[at] ^= 1);
            let error = Keys::check(&files).err().unwrap_or_else(|| panic!("byte {at} of {name}"));
            assert!(error.to_string().contains(name.as_str()), "{error}");
            disk.damage(name, |bytes| bytes[at] ^= 1);
        }
        // Without the second line it is a file of an earlier version.
        let line = whole.iter().position(|byte| *byte == b'\n').unwrap();
        disk.damage(name, |bytes| bytes.truncate(line));
    }
    let before = Keys::load(&files, Scheme::Es256, NOW).unwrap();
    assert_eq!(before.loaded_check_values(), keys.loaded_check_values());
    assert_eq!(before.signing, keys.signing);
    let mut in_files = Keys::check_values(&files).unwrap();
    let mut loaded = keys.loaded_check_values();
    for checks in [&mut in_files, &mut loaded] {
        checks.sort_by_key(KeyCheck::name);
    }
    assert_eq!(in_files, loaded);
    // A time that was cut short is none.
    for length in 0..10 {
        disk.damage("device-1.from", |bytes| bytes.truncate(10 - length));
        assert_eq!(Keys::check(&files).is_ok(), length == 0, "{length}");
    }
}
