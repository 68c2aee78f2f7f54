//! Decoders of what is imported: lines of accounts, and dumps of other systems.

use portcullis::flow::admin::import::lines::{Groups, LINE_BYTES_MAX};
use portcullis::flow::admin::import::parse;
use portcullis::server::operator::dumps::{Dump, Format, Options, Part};
use portcullis::system::clock::Timestamp;

use crate::Reader;
use crate::mutate::Input;

fn one(text: impl Into<Vec<u8>>) -> Input {
    vec![(String::from("input"), text.into())]
}

fn nothing(_: &str, _: &mut [u8]) {}

/// Lines are bounded, numbered in order, and what is said of one never repeats what stands in it at length.
pub fn import_lines() -> Reader {
    fn read(input: &Input) -> bool {
        let mut groups = Groups::default();
        let (mut is_taken, mut last) = (false, 0);
        for part in input[0].1.chunks(37) {
            groups.feed(part);
        }
        groups.end();
        while let Some(group) = groups.rest() {
            for line in group {
                assert!(line.number > last);
                last = line.number;
                let Ok(bytes) = line.bytes else { continue };
                assert!(bytes.len() <= LINE_BYTES_MAX);
                match parse(&bytes) {
                    Ok(()) => is_taken = true,
                    Err(refused) => {
                        assert!(refused.why.len() < 300, "{}", refused.why);
                        assert!(refused.pointer.len() < 1_000);
                    }
                }
            }
        }
        is_taken
    }
    let seeds = [
        "\u{feff}{\"email\":\"ada@example.org\"}\r\n\n{\"id\":7,\"email\":\"b@example.org\",\"roles\":[\"a\"],\"status\":\"disabled\"}\n",
        "{\"id\":\"f47ac10b-58cc-4372-a567-0e02b2c3d479\",\"email\":\"a@example.org\",\"created_at\":\"2020-01-02T03:04:05Z\",\
         \"password_hash\":\"$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\"}",
        "{\"email\":\"a@example.org\",\"user_metadata\":{\"a\":[1,2.5,null,true,\"x\"]},\"locale\":\"de\",\"password_hash\":\
         {\"keycloak\":{\"algorithm\":\"pbkdf2-sha256\",\"hashIterations\":27500,\"salt\":\"c2VhIHNhbHQ=\",\
         \"value\":\"aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g=\"}}}",
    ];
    Reader { name: "import_lines", seeds: seeds.map(one).into(), repair: nothing, read }
}

/// Whatever a dump holds, its reader comes to its end, and every line that it makes is JSON of one line.
pub fn dumps() -> Reader {
    fn read(input: &Input) -> bool {
        let mut is_taken = false;
        // Each input is named after the system that it is read as one of.
        let format = Format::ALL.iter().find(|(name, _)| *name == input[0].0).unwrap().1;
        let options = Options { now: Timestamp::from_secs(1_800_000_000), firebase: None };
        if let Ok(mut dump) = Dump::open(format, options, &input[0].1[..], None) {
            while let Ok(Some(part)) = dump.next_part() {
                if let Part::Line(line) = part {
                    assert!(!line.contains('\n'));
                    is_taken |= parse(line.as_bytes()).is_ok();
                }
            }
        }
        is_taken
    }
    let seeds = [
        "id,email,encrypted_password,created_at,raw_user_meta_data\n1,a@example.org,,2023-01-02 03:04:05+00,\"{\"\"a\"\": 1}\"\n",
        "{\"realm\":\"x\",\"users\":[{\"id\":\"1\",\"email\":\"a@example.org\",\"enabled\":true,\"createdTimestamp\":1672628645678}]}",
        "{\"users\":[{\"localId\":\"1\",\"email\":\"a@example.org\",\"createdAt\":\"1672628645678\"}]}",
        "{\"user_id\":\"auth0|1\",\"email\":\"a@example.org\"}\n{\"_id\":{\"$oid\":\"2\"},\"email\":\"b@example.org\"}\n",
        "{\"user\":[{\"id\":\"1\",\"email\":\"a@example.org\",\"emailVerified\":true}],\"account\":[]}",
        "[{\"model\":\"auth.user\",\"pk\":1,\"fields\":{\"email\":\"a@example.org\",\"password\":\"!\",\"is_active\":true}}]",
    ];
    let systems = Format::ALL.iter().skip(1).map(|(name, _)| String::from(*name));
    let seeds = systems.zip(seeds).map(|(system, text)| vec![(system, text.as_bytes().to_vec())]);
    Reader { name: "dumps", seeds: seeds.collect(), repair: nothing, read }
}
