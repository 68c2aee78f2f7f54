//! Decoders of what is imported: lines of accounts.

use portcullis::flow::admin::import::lines::{Groups, LINE_BYTES_MAX};
use portcullis::flow::admin::import::parse;

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
