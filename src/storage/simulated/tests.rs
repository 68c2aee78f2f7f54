//! The simulated disk behaves as the simulator relies on.

use super::*;

#[test]
fn synced_bytes_stay_and_others_may_be_lost() {
    let disk = SimStorage::new();
    let file = disk.create_new("d/a").unwrap();
    file.write_at(&[1; 1024], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("d").unwrap();
    file.write_at(&[2; 1024], 1024).unwrap();
    disk.create_new("d/b").unwrap();
    let found: Vec<_> = (0..64).map(|seed| disk.after_crash(seed)).collect();
    for after in &found {
        assert_eq!(after.open("d/a").unwrap().read_all().unwrap()[..1024], [1; 1024]);
    }
    let lens = |len| found.iter().filter(|d| d.open("d/a").unwrap().length().unwrap() == len).count();
    assert!(lens(1024) > 0);
    assert!(lens(2048) > 0);
    let with_b = found.iter().filter(|disk| disk.open("d/b").is_ok()).count();
    assert!((1..64).contains(&with_b));
}

#[test]
fn a_stopped_machine_does_nothing_more() {
    let disk = SimStorage::new();
    disk.stop_at(2);
    let file = disk.create_new("a").unwrap();
    assert!(file.write_at(&[1], 0).is_err());
    assert!(disk.create_new("b").is_err());
    assert_eq!(disk.after_kill().list("").unwrap(), ["a"]);
}

#[test]
fn after_a_failed_sync_the_cache_shows_what_the_disk_does_not_have() {
    let differ = (0..32).filter(|dummies| {
        let disk = SimStorage::new();
        let file = disk.create_new("a").unwrap();
        (0..*dummies).for_each(|_| drop(disk.free_space()));
        file.write_at(&[1; 512], 0).unwrap();
        disk.sync_dir("").unwrap();
        let at = disk.operations() + 1;
        disk.fail(Some(Failure { at, lasting: false, only: None, error: io::ErrorKind::Other }));
        assert!(file.sync_data().is_err());
        assert_eq!(file.read_all().unwrap(), [1; 512]);
        // The second sync has nothing to do, succeeds, and lies.
        file.sync_data().unwrap();
        let disk = disk.after_crash(1);
        disk.open("a").unwrap().read_all().unwrap() != [1; 512]
    });
    assert!(differ.count() > 4);
}

#[test]
fn a_read_only_disk_does_not_change() {
    let disk = SimStorage::new();
    let file = disk.create_new("d/a").unwrap();
    disk.set_read_only();
    let refused = [
        disk.open_to_write("d/a").err(),
        disk.create_new("d/b").err(),
        disk.rename("d/a", "d/b").err(),
        disk.unlink("d/a").err(),
        disk.remove_dir("e").err(),
        file.write_at(&[1], 0).err(),
        file.set_len(9).err(),
    ];
    for error in refused {
        assert_eq!(error.unwrap().kind(), io::ErrorKind::ReadOnlyFilesystem);
    }
    assert!(disk.open("d/a").unwrap().read_all().unwrap().is_empty());
    assert_eq!(disk.list("d").unwrap(), ["a"]);
}

#[test]
fn a_file_opened_for_reading_cannot_be_written() {
    let disk = SimStorage::new();
    disk.create_new("a").unwrap().write_at(&[1; 9], 0).unwrap();
    let file = disk.open("a").unwrap();
    assert!(file.write_at(&[2], 0).is_err());
    assert!(file.set_len(1).is_err());
    assert_eq!(disk.peek("a").unwrap(), [1; 9]);
    disk.open_to_write("a").unwrap().write_at(&[2], 0).unwrap();
    assert_eq!(disk.peek("a").unwrap()[0], 2);
}

#[test]
fn a_lost_sector_fails_every_read_of_it_and_no_other() {
    let disk = SimStorage::new();
    for name in ["a", "b"] {
        disk.create_new(name).unwrap().write_at(&[1; 100], 0).unwrap();
    }
    disk.lose_sector("a", 50);
    let read =
        |name: &str, from: u64, len: usize| disk.open(name).unwrap().read_at(&mut vec![0; len], from).is_ok();
    for (name, from, len, is_readable) in [
        ("a", 0, 50, true),
        ("a", 51, 49, true),
        ("b", 0, 100, true),
        ("a", 0, 51, false),
        ("a", 50, 1, false),
        ("a", 0, 100, false),
    ] {
        assert_eq!(read(name, from, len), is_readable, "{len} bytes at {from} of {name}");
    }
}

#[test]
fn only_an_empty_directory_is_removed_and_readers_lock_no_reader_out() {
    let disk = SimStorage::new();
    disk.create_new("d/e/a").unwrap();
    assert!(disk.remove_dir("d").is_err());
    assert!(disk.remove_dir("d/e").is_err());
    disk.unlink("d/e/a").unwrap();
    disk.remove_dir("d").unwrap();
    drop(disk.lock_to_read().unwrap());
    let held = disk.lock().unwrap();
    assert!(disk.lock_to_read().is_err());
    drop(held);
    assert!(disk.lock_to_read().is_ok());
    assert!(disk.lock().is_ok());
}
