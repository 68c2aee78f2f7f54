//! Decoders of the dumps of other systems: each form of each system, with its hashes, its second file and the parameters of
//! its project.

use std::io::Write;

use portcullis::flow::admin::import::parse;
use portcullis::server::operator::dumps::{Dump, Format, Options, Part, hash_config};
use portcullis::system::clock::Timestamp;
use serde_json::Value;

use crate::Reader;
use crate::mutate::Input;

/// The names of the files of an input beside the dump, which is named after its system.
const SECOND: &str = "second";
const PARAMETERS: &str = "parameters";

const SUPABASE: &str = "id,email,encrypted_password,email_confirmed_at,raw_app_meta_data,raw_user_meta_data,created_at,banned_until,\
    deleted_at\n1,a@example.org,$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy,2023-01-02 03:05:00+00,\
    \"{\"\"provider\"\": \"\"email\"\"}\",\"{\"\"full_name\"\": \"\"A, B\"\"}\",2023-01-02 03:04:05.678+00,,\n\
    2,b@example.org,,,,,,2099-01-01 00:00:00+00,\r\n3,c@example.org,,,,,,,2023-02-02 03:05:00+00\n";
const SUPABASE_ROWS: &str = r#"[{"id":"1","email":"a@example.org","encrypted_password":"$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=ou9tdYTGyYm8kuR6Dt0Bp0kDuAYoXrK16mbZO4yGwAn3oLspjnN0/c41v8xZnO1n14J3MjKj1b2g6AUCAlFwMw==$C0sHCg9ek77hsg==$zKVTMvnWVw5BBOZNUdnsalx4c4c7y/w7IS5p6Ut2+CfEFFlz37J9huyQfov4iizN8dbjvEJlM5tQaJP84+hfTw==","created_at":"2023-01-02T03:04:05.678+00:00","raw_user_meta_data":{"name":"A"}}]"#;
const KEYCLOAK: &str = r#"{"realm":"x","roles":{"realm":[{"name":"users"}]},"users":[
    {"id":"6a1f7e0c-5b1d-4d8e-9f35-0b8a7a5d1c2e","createdTimestamp":1672628645678,"username":"a","enabled":true,
     "emailVerified":true,"firstName":"A","lastName":"B","email":"a@example.org","attributes":{"locale":["de"]},
     "credentials":[{"type":"otp","secretData":"{}"},{"type":"password",
      "secretData":"{\"value\":\"aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g=\",\"salt\":\"c2VhIHNhbHQ=\"}",
      "credentialData":"{\"hashIterations\":27500,\"algorithm\":\"pbkdf2-sha256\"}"}],
     "realmRoles":["admin"],"groups":["/staff"]},
    {"id":"2","username":"service","serviceAccountClientId":"x"},
    {"id":"3","email":"c@example.org","enabled":false,"credentials":[{"type":"password","hashedSaltedValue":
     "aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g=","salt":"c2VhIHNhbHQ=","hashIterations":20000,
     "algorithm":"pbkdf2-sha256"}]}],"clients":[]}"#;
const FIREBASE: &str = r#"{"users":[
    {"localId":"VkZ1ExampleLocalId","email":"a@example.org","emailVerified":true,"displayName":"A","disabled":true,
     "passwordHash":"V358E8LdWJXAO7muq0CufVpEOXaj8aFiC7T/rcaGieN04q/ZPJ08WhJEHGjj9lz/2TT+/86N5VjVoc5DdBhBiw==",
     "salt":"42xEC+ixf3L2lw==","createdAt":"1672628645678","customAttributes":"{\"plan\":\"pro\"}"},
    {"localId":"2","email":"b@example.org","createdAt":"1672628645678","providerUserInfo":[{"providerId":"google.com"}]}]}"#;
const FIREBASE_PROJECT: &str = "hash_config {\n  algorithm: SCRYPT,\n  base64_signer_key: jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8\
    pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==,\n  base64_salt_separator: Bw==,\n  rounds: 8,\n  mem_cost: 14,\n}";
const AUTH0: &str = r#"{"user_id":"auth0|1","email":"a@example.org","email_verified":true,"given_name":"A","family_name":"B",
    "created_at":"2023-01-02T03:04:05.678Z","app_metadata":{"plan":"pro"},"user_metadata":{"theme":"dark"}}
    {"user_id":"auth0|b","email":"b@example.org","blocked":true}"#;
const AUTH0_HASHES: &str = r#"{"_id":{"$oid":"1"},"email":"a@example.org","email_verified":true,"tenant":"x",
    "passwordHash":"$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"}
    {"_id":{"$oid":"2"},"alt_id":"b","passwordHash":"$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
     "identifiers":[{"type":"email","value":"b@example.org","verified":true}]}"#;
const BETTER_AUTH: &str = include_str!("../vectors/dumps/better_auth.json");
const BETTER_AUTH_USERS: &str = r#"[{"id":"1","email":"a@example.org","email_verified":true,"name":"A","role":"admin","created_at":"2026-11-30T21:56:00Z"}]"#;
const BETTER_AUTH_ACCOUNTS: &str = r#"[{"providerId":"google","userId":"1"},{"provider_id":"credential","user_id":"1",
    "password":"e1e1cd8af58f7eb3d349ffbda8a324f2:674b4d7df07ffb33c8c17401ecc56d3eb7359f6d374309906ee62e3e19e2f45b9044c9583ce7aff0a886b3e73ea01e9f54a7b197637a0701ae5f0d83e21aa8a1"}]"#;
const DJANGO: &str = include_str!("../vectors/dumps/django.json");
const OWN: &str = r#"{"id":7,"email":"a@example.org","roles":["a"],"status":"disabled",
    "created_at":"2020-01-02T03:04:05Z","password_hash":"$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"}"#;

fn files(files: &[(&str, &str)]) -> Input {
    files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

/// Returns the text of the file `name` of `input`.
fn text_of<'a>(input: &'a Input, name: &str) -> Option<&'a [u8]> {
    input.iter().find(|(of, _)| of == name).map(|(_, bytes)| &bytes[..])
}

/// Reads an input to its end, or to where it cannot be read, and gives each part to `take`.
fn read_parts(input: &Input, mut take: impl FnMut(Format, Part)) {
    let dump = input.iter().find_map(|(name, bytes)| {
        let format = Format::ALL.iter().find(|(of, _)| of == name)?.1;
        Some((format, bytes))
    });
    let Some((format, bytes)) = dump else { return };
    let parameters = text_of(input, PARAMETERS).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let firebase = parameters.and_then(|text| hash_config(text).ok());
    let options = Options { now: Timestamp::from_secs(1_800_000_000), firebase };
    let second = text_of(input, SECOND).map(|bytes| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    });
    let second = second.as_ref().map(tempfile::NamedTempFile::path);
    let Ok(mut dump) = Dump::open(format, options, &bytes[..], second) else { return };
    let mut parts = 0;
    while let Ok(Some(part)) = dump.next_part() {
        parts += 1;
        assert!(parts <= bytes.len(), "a part of nothing");
        take(format, part);
    }
}

fn read(input: &Input) -> bool {
    let mut is_taken = false;
    read_parts(input, |format, part| match part {
        Part::Line(line) => {
            assert!(!line.contains('\n'));
            let fields: Value = serde_json::from_str(&line).unwrap();
            assert!(format == Format::Portcullis || fields.get("roles").is_none(), "{line}");
            is_taken |= parse(line.as_bytes()).is_ok();
        }
        Part::Refused { refused, .. } => assert!(refused.why.len() < 300, "{}", refused.why),
        Part::Skipped => {}
    });
    is_taken
}

/// Whatever a dump holds, its reader comes to its end, every line that it makes is JSON of one line, and no role of another
/// system is one here.
pub fn dumps() -> Reader {
    let hashes = [("auth0", AUTH0), (SECOND, AUTH0_HASHES)];
    let accounts = [("better-auth", BETTER_AUTH_USERS), (SECOND, BETTER_AUTH_ACCOUNTS)];
    let seeds: [&[(&str, &str)]; 10] = [
        &[("portcullis", OWN)],
        &[("supabase", SUPABASE)],
        &[("supabase", SUPABASE_ROWS)],
        &[("keycloak", KEYCLOAK)],
        &[("firebase", FIREBASE), (PARAMETERS, FIREBASE_PROJECT)],
        &hashes,
        &[("auth0", AUTH0_HASHES)],
        &accounts,
        &[("better-auth", BETTER_AUTH), (SECOND, BETTER_AUTH)],
        &[("django", DJANGO)],
    ];
    for (name, _) in Format::ALL {
        assert!(seeds.iter().any(|seed| seed[0].0 == name), "no dump of {name}");
    }
    Reader { name: "dumps", seeds: seeds.map(files).into(), repair: |_, _| (), read }
}

#[test]
fn each_valid_input_has_a_hash_that_its_reader_finds() {
    for seed in dumps().seeds {
        let mut hashes = 0;
        read_parts(&seed, |_, part| {
            hashes += usize::from(matches!(part, Part::Line(line) if line.contains("\"password_hash\":")));
        });
        assert!(hashes > 0, "{}", seed[0].0);
    }
}
