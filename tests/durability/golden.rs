//! Frozen records keep their bytes: every later version reads what an earlier one has written.

use std::sync::Arc;

use portcullis::journal::format::codec::{Stored, decode, encode};
use portcullis::registry::account::record::{
    AccountV1, AccountV2, AccountV3, FormerAddressV1, FormerAddressV2, ReplacedPasswordV1,
};
use portcullis::registry::account::{AccountExtraV1, AccountV4, Status};
use portcullis::registry::event::{Credential, EndReason, EventV1, Metadata, What};
use portcullis::registry::file_check::{CheckedFile, FileCheckV1};
use portcullis::registry::lockout::record::{DeviceGuessV1, DeviceV1, DeviceV2, NoticeV1, SessionFailuresV1};
use portcullis::registry::lockout::{CountV1, CountV2};
use portcullis::registry::outbox::{Kind, MailV1, MailV2};
use portcullis::registry::record::Record;
use portcullis::registry::refresh::record::{FamilyV1, FamilyV2, LogOutV1, SpentByV1, SpentV1, SpentV2};
use portcullis::registry::refresh::{Audience, Cause, FamilyV3};
use portcullis::registry::reset::{MailedV1, MailedV2, Purpose};
use portcullis::registry::session::SessionV2;
use portcullis::registry::session::record::SessionV1;
use portcullis::registry::sign_up::invitation::{InvitationV1, Inviter};
use portcullis::registry::sign_up::record::SignUpV1;
use portcullis::registry::sign_up::{SignUpV2, Stage};
use portcullis::value::id::{AccountId, FamilyId};

use crate::support::values::{from_hex, hex};

/// One line for each table: its number, its schema, and an encoded record in hexadecimal.
const PATH: &str = "data/golden/v1/values.txt";

/// Returns the line of the golden file that `value` must have.
fn line<T: Stored>(value: &T) -> String {
    format!("{} {} {}", T::TABLE, T::SCHEMA, hex(&encode(value).unwrap()))
}

/// Reads the golden file.
fn golden() -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(PATH)).unwrap()
}

fn account() -> AccountV1 {
    AccountV1 {
        id: AccountId::from_bytes([1; 16]).unwrap(),
        name_key: [2; 16],
        email: "ada@example.org".into(),
        email_verified: true,
        name: Some("Ada".into()),
        phc: Some("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".into()),
        roles: vec!["admin".into(), "metrics".into()],
        status: Status::Disabled,
        auth_epoch: 300,
        created_ms: 1_800_000_000_000,
    }
}

fn count() -> CountV1 {
    CountV1 {
        name: [3; 16],
        failures: 7,
        consecutive: 70_000,
        last_ms: 1_800_000_000_001,
        locked_until_ms: 1_800_000_060_001,
        era: 2,
        known: true,
        devices: vec![DeviceV1 { nonce: [4; 8], failures: 5 }],
        mail_day_ms: 1_800_000_000_002,
        mails: 3,
    }
}

fn session() -> SessionV1 {
    SessionV1 {
        id: [5; 16],
        account: [6; 16],
        auth_epoch: 1,
        global_epoch: 0,
        digest: [7; 32],
        opened_ms: 1_800_000_000_003,
        used_ms: 1_800_000_000_004,
        idle_ms: 1_800_000,
        absolute_end_ms: 1_800_043_200_003,
        remember: true,
        network: "192.0.2.1/32".into(),
        user_agent: "curl/8".into(),
    }
}

fn family() -> FamilyV1 {
    FamilyV1 {
        id: FamilyId::from_bytes([8; 16]).unwrap(),
        account: AccountId::from_bytes([9; 16]).unwrap(),
        auth_epoch: 1,
        global_epoch: 0,
        opened_ms: 1_800_000_000_005,
        rotated_ms: 1_800_000_000_006,
        idle_end_ms: 1_802_592_000_006,
        absolute_end_ms: 1_807_776_000_005,
        generation: 251,
        digest: [10; 32],
        spent: Some(Box::new(SpentV1 { digest: [11; 32], successor: [12; 40] })),
        ended: Some(Cause::Reuse),
        client: "2001:db8::/64 Mozilla/5.0 (X11)".into(),
    }
}

fn mailed() -> MailedV1 {
    MailedV1 {
        id: [13; 16],
        account: [14; 16],
        purpose: Purpose::Unlock,
        auth_epoch: 2,
        global_epoch: 0,
        digest: [15; 32],
        minted_ms: 1_800_000_000_007,
        end_ms: 1_800_001_800_007,
    }
}

fn mail() -> MailV1 {
    MailV1 {
        id: [16; 16],
        to: "ada@example.org".into(),
        kind: Kind::RefreshReused,
        token: Some(vec![17, 18, 19]),
        written_ms: 1_800_000_000_008,
        next_ms: 1_800_000_030_008,
        tries: 1,
    }
}

/// Shows that the codec can be replaced: another crate reads every golden value from declarations of its own and writes
/// the same bytes.
mod other_codec {
    use wincode::config::Configuration;
    use wincode::{SchemaRead, SchemaWrite};

    #[derive(SchemaRead, SchemaWrite)]
    struct Account {
        id: [u8; 16],
        name_key: [u8; 16],
        email: String,
        email_verified: bool,
        name: Option<String>,
        phc: Option<String>,
        roles: Vec<String>,
        status: Status,
        auth_epoch: u64,
        created_ms: u64,
    }

    #[derive(SchemaRead, SchemaWrite)]
    enum Status {
        Active,
        Disabled,
    }

    #[derive(SchemaRead, SchemaWrite)]
    struct Count {
        name: [u8; 16],
        failures: u32,
        consecutive: u32,
        last_ms: u64,
        locked_until_ms: u64,
        era: u32,
        known: bool,
        devices: Vec<Device>,
        mail_day_ms: u64,
        mails: u8,
    }

    #[derive(SchemaRead, SchemaWrite)]
    struct Device {
        nonce: [u8; 8],
        failures: u8,
    }

    #[derive(SchemaRead, SchemaWrite)]
    struct Session {
        id: [u8; 16],
        account: [u8; 16],
        auth_epoch: u64,
        global_epoch: u64,
        digest: [u8; 32],
        opened_ms: u64,
        used_ms: u64,
        idle_ms: u64,
        absolute_end_ms: u64,
        remember: bool,
        network: String,
        user_agent: String,
    }

    #[derive(SchemaRead, SchemaWrite)]
    struct Family {
        id: [u8; 16],
        account: [u8; 16],
        auth_epoch: u64,
        global_epoch: u64,
        opened_ms: u64,
        rotated_ms: u64,
        idle_end_ms: u64,
        absolute_end_ms: u64,
        generation: u32,
        digest: [u8; 32],
        spent: Option<Spent>,
        ended: Option<Cause>,
        client: String,
    }

    #[derive(SchemaRead, SchemaWrite)]
    struct Spent {
        digest: [u8; 32],
        successor: [u8; 40],
    }

    #[derive(SchemaRead, SchemaWrite)]
    enum Cause {
        LogOut,
        Reuse,
        Revoked,
    }

    #[derive(SchemaRead, SchemaWrite)]
    struct Mailed {
        id: [u8; 16],
        account: [u8; 16],
        purpose: Purpose,
        auth_epoch: u64,
        global_epoch: u64,
        digest: [u8; 32],
        minted_ms: u64,
        end_ms: u64,
    }

    #[derive(SchemaRead, SchemaWrite)]
    enum Purpose {
        Reset,
        Verify,
        Unlock,
    }

    #[derive(SchemaRead, SchemaWrite)]
    struct Mail {
        id: [u8; 16],
        to: String,
        kind: Kind,
        token: Option<Vec<u8>>,
        written_ms: u64,
        next_ms: u64,
        tries: u32,
    }

    #[derive(SchemaRead, SchemaWrite)]
    enum Kind {
        Verify,
        AlreadyRegistered,
        Reset,
        ResetDone,
        PasswordChanged,
        Lockout,
        RefreshReused,
    }

    /// Reads `value` of the table with the other codec, and returns the bytes that it writes for it.
    pub fn round_trip(table: &str, value: &[u8]) -> Vec<u8> {
        let config = Configuration::default().with_varint_encoding();
        macro_rules! through {
            ($record:ty) => {{
                let read: $record = wincode::config::deserialize(value, config).unwrap();
                wincode::config::serialize(&read, config).unwrap()
            }};
        }
        match table {
            "1" => through!(Account),
            "3" => through!(Count),
            "4" => through!(Session),
            "5" => through!(Family),
            "6" => through!(Mailed),
            "7" => through!(Mail),
            other => panic!("no table {other}"),
        }
    }
}

fn account_v2() -> AccountV2 {
    let former = FormerAddressV1 {
        phc: Some("$argon2id$former".into()),
        undo_end_ms: 1_800_259_200_000,
        is_settled: true,
    };
    AccountV2 {
        device_epoch: 301,
        tokens_from_secs: 1_800_000_001,
        former: Some(Box::new(former)),
        mutes_new_device: true,
        is_vouched: true,
        ..account().into()
    }
}

fn account_v3() -> AccountV3 {
    let former = FormerAddressV2 {
        name_key: Some([23; 16]),
        phcs: vec!["$argon2id$at the change".into(), "$argon2id$before".into()],
        undo_end_ms: 1_800_259_200_011,
        is_settled: true,
    };
    let replaced = ReplacedPasswordV1 { phc: "$argon2id$replaced".into(), replaced_ms: 1_800_000_000_012 };
    AccountV3 { former: Some(Box::new(former)), replaced: vec![replaced], ..account_v2().into() }
}

fn account_v4() -> AccountV4 {
    let extra = AccountExtraV1 {
        external_id: Some("auth0|5f7c".into()),
        locale: Some("en-GB".into()),
        user_metadata: Some("{\"theme\":\"dark\"}".into()),
        app_metadata: Some("{\"plan\":\"pro\"}".into()),
        imported_ms: 1_800_000_000_013,
    };
    AccountV4 { extra: Some(Arc::new(extra)), ..account_v3().into() }
}

fn session_v2() -> SessionV2 {
    SessionV2 {
        methods: 3,
        level: 2,
        proved_ms: 1_800_000_000_009,
        device: [20; 8],
        root: [21; 16],
        ..session().into()
    }
}

/// A live family with everything that one can have.
fn family_v2() -> FamilyV2 {
    let by = SpentByV1 { network: 0x2001_0db8_0000_0000, is_v6: true, agent: 70_000 };
    let first = family();
    FamilyV2 {
        id: first.id,
        account: first.account,
        auth_epoch: first.auth_epoch,
        global_epoch: first.global_epoch,
        opened_ms: first.opened_ms,
        rotated_ms: first.rotated_ms,
        idle_end_ms: first.idle_end_ms,
        absolute_end_ms: first.absolute_end_ms,
        generation: first.generation,
        digest: first.digest,
        spent: Some(Box::new(SpentV2 { digest: [11; 32], successor: [12; 40], by: Some(by) })),
        ended: None,
        client: first.client,
        methods: 3,
        level: 2,
        proved_ms: 1_800_000_000_010,
        device: [22; 8],
        audience: Audience::Admin,
        second_network: Some("192.0.2.1/32".into()),
    }
}

/// A family with everything that a live one or an ended one can have.
fn family_v3() -> FamilyV3 {
    let by = SpentByV1 { network: 0xC000_0201, is_v6: false, agent: 70_001 };
    let spent_by = Some(SpentByV1 { network: 0x2001_0db8_0000_0000, is_v6: true, agent: 70_000 });
    FamilyV3 {
        ended: Some(Cause::LogOut),
        issued_ms: 1_800_000_000_014,
        log_out: Some(Box::new(LogOutV1 { by, spent_by })),
        ..family_v2().into()
    }
}

fn count_v2() -> CountV2 {
    CountV2 {
        device_consecutive: 8,
        account: [20; 16],
        device_epoch: 302,
        devices: vec![DeviceV2 {
            id: [21; 8],
            family: "Firefox".into(),
            used_secs: 1_800_000_003,
            failures: 4,
        }],
        sessions: vec![SessionFailuresV1 { id: [22; 8], failures: 3, last_secs: 1_800_000_004 }],
        guesses_secs: vec![1_800_000_005, 1_800_000_006],
        device_guesses: vec![DeviceGuessV1 { id: [23; 8], at_secs: 1_800_000_007 }],
        notices: vec![NoticeV1 { family: "Safari".into(), at_secs: 1_800_000_008 }],
        ..count().into()
    }
}

fn mailed_v2() -> MailedV2 {
    MailedV2 { kid: 20, bound_to: Some([21; 16]), ..mailed().into() }
}

fn mail_v2() -> MailV2 {
    MailV2 { kid: 22, about: Some("e***@example.org".into()), ..mail().into() }
}

/// Checks that `value` still has the bytes of its golden file `data/golden/{name}.txt`, and reads back from them. A record
/// of a second schema, and one of a later table, has such a file of its own.
fn check_bytes<T: Stored + PartialEq + std::fmt::Debug>(name: &str, value: &T) {
    let path = format!("{}/data/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(golden.trim_end(), line(value), "{path} is never edited: make a new schema and an upcast");
    let bytes = from_hex(golden.trim_end().rsplit(' ').next().unwrap());
    assert_eq!(&decode::<T>(&bytes).unwrap(), value);
}

/// Checks that a record of an earlier schema means `expected` to this version.
fn check_upcast<B: Stored, T: Record + PartialEq + std::fmt::Debug>(before: &B, expected: &T) {
    assert_eq!(&T::read(B::SCHEMA, &encode(before).unwrap()).unwrap(), expected);
}

#[test]
fn an_account_of_the_fourth_schema_keeps_its_bytes_and_earlier_ones_are_read_as_such() {
    check_bytes("v3/account", &account_v3());
    check_bytes("v4/account", &account_v4());
    // Earlier versions had nothing for an account to carry.
    let third = AccountV4 { extra: None, ..account_v4() };
    check_upcast(&account_v3(), &third);
    // Without anything it takes one byte more on disk, and none in memory.
    assert_eq!(encode(&third).unwrap().len(), encode(&account_v3()).unwrap().len() + 1);
    assert_eq!(size_of::<AccountV4>(), size_of::<AccountV3>());
    // An earlier version remembered one password of a former address, and not the address.
    let former = FormerAddressV2 {
        name_key: None,
        phcs: vec!["$argon2id$former".into()],
        undo_end_ms: 1_800_259_200_000,
        is_settled: true,
    };
    let second = AccountV4 { former: Some(Box::new(former)), replaced: Box::default(), ..third };
    check_upcast(&account_v2(), &second);
    let first = AccountV4 {
        device_epoch: 0,
        tokens_from_secs: 0,
        former: None,
        mutes_new_device: false,
        is_vouched: false,
        ..second
    };
    check_upcast(&account(), &first);
}

#[test]
fn a_family_of_the_third_schema_keeps_its_bytes_and_earlier_ones_are_read_as_such() {
    check_bytes("v2/family", &family_v2());
    check_bytes("v3/family", &family_v3());
    let second = FamilyV3::from(family_v2());
    check_upcast(&family_v2(), &second);
    // What counted as a proof for the whole family was one for a single access token.
    assert_eq!((second.proved_ms, second.issued_ms), (second.opened_ms, family_v2().proved_ms));
    assert_eq!((&second.spent, second.log_out.is_none()), (&family_v2().spent, true));

    let live = FamilyV1 { ended: None, ..family() };
    let by_password = FamilyV3 {
        spent: Some(Box::new(SpentV2 { digest: [11; 32], successor: [12; 40], by: None })),
        methods: 1,
        level: 1,
        device: [0; 8],
        audience: Audience::App,
        second_network: None,
        issued_ms: live.opened_ms,
        ..second
    };
    check_upcast(&live, &by_password);
    // Of one that had ended, as little is left as of one that ends today.
    let ended = FamilyV3 {
        idle_end_ms: family().absolute_end_ms,
        digest: [0; 32],
        spent: None,
        ended: Some(Cause::Reuse),
        client: "".into(),
        ..by_password
    };
    check_upcast(&family(), &ended);
}

#[test]
fn records_of_the_second_schema_keep_their_bytes_and_the_first_is_read_as_the_second() {
    check_bytes("v2/account", &account_v2());
    check_bytes("v2/session", &session_v2());
    let opened_ms = session().opened_ms;
    let by_password = SessionV2 {
        methods: 1,
        level: 1,
        proved_ms: opened_ms,
        device: [0; 8],
        root: session().id,
        ..session_v2()
    };
    check_upcast(&session(), &by_password);

    check_bytes("v2/lockout", &count_v2());
    // Cookies of the first form are those of strangers, so their counts end with them.
    let no_devices = CountV2 {
        device_consecutive: 0,
        account: [0; 16],
        device_epoch: 0,
        devices: vec![],
        sessions: vec![],
        guesses_secs: vec![],
        device_guesses: vec![],
        notices: vec![],
        ..count_v2()
    };
    check_upcast(&count(), &no_devices);
    check_bytes("v2/mailed", &mailed_v2());
    check_upcast(&mailed(), &MailedV2 { kid: 0, bound_to: None, ..mailed_v2() });
    check_bytes("v2/mail", &mail_v2());
    check_upcast(&mail(), &MailV2 { kid: 1, about: None, ..mail_v2() });
}

fn sign_up() -> SignUpV1 {
    SignUpV1 {
        id: AccountId::from_bytes([20; 16]).unwrap(),
        name_key: [21; 16],
        email: "ada@example.org".into(),
        name: Some("Ada".into()),
        phc: Some("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".into()),
        half: Some([22; 32]),
        global_epoch: 1,
        begun_ms: 1_800_000_000_009,
        end_ms: 1_800_086_400_009,
        stage: Stage::Proved,
    }
}

fn sign_up_v2() -> SignUpV2 {
    SignUpV2 { locale: Some("de-AT".into()), ..sign_up().into() }
}

fn invitation() -> InvitationV1 {
    InvitationV1 {
        id: AccountId::from_bytes([26; 16]).unwrap(),
        name_key: [27; 16],
        email: "ada@example.org".into(),
        name: Some("Ada".into()),
        roles: vec!["admin".into(), "editor".into()],
        locale: Some("en-GB".into()),
        inviter: Inviter::Account([28; 16]),
        digest: [29; 32],
        global_epoch: 1,
        sent_ms: 1_800_000_000_012,
        end_ms: 1_800_604_800_012,
    }
}

#[test]
fn records_of_later_tables_keep_their_bytes() {
    check_bytes("v2/sign_up", &sign_up());
    // Earlier versions asked nobody for a language.
    let first = SignUpV2 { locale: None, ..sign_up_v2() };
    check_upcast(&sign_up(), &first);
    assert_eq!(encode(&first).unwrap().len(), encode(&sign_up()).unwrap().len() + 1);
    check_bytes("v5/sign_up", &sign_up_v2());
    check_bytes("v2/invitation", &invitation());
    let key = FileCheckV1 {
        file: CheckedFile::Device,
        number: 3,
        value: [24; 32],
        line: 0,
        at_ms: 1_800_000_000_010,
    };
    check_bytes("v2/file_check", &key);
    let end = FileCheckV1 {
        file: CheckedFile::AuditEnd,
        number: 0,
        value: [25; 32],
        line: 70_000,
        at_ms: 1_800_000_000_011,
    };
    check_bytes("v2/file_check_end", &end);
}

#[test]
fn no_frozen_byte_has_moved() {
    let today =
        [line(&account()), line(&count()), line(&session()), line(&family()), line(&mailed()), line(&mail())];
    let golden = golden();
    let frozen: Vec<&str> = golden.lines().collect();
    assert_eq!(frozen, today, "{PATH} is never edited: make a new schema and an upcast");
}

#[test]
fn every_golden_value_reads_back_to_the_same_record() {
    let mut read = 0;
    for line in golden().lines() {
        let mut parts = line.split(' ');
        let table = parts.next().unwrap();
        let _schema = parts.next().unwrap();
        let value = from_hex(parts.next().unwrap());
        match table {
            "1" => assert_eq!(decode::<AccountV1>(&value).unwrap(), account()),
            "3" => assert_eq!(decode::<CountV1>(&value).unwrap(), count()),
            "4" => assert_eq!(decode::<SessionV1>(&value).unwrap(), session()),
            "5" => assert_eq!(decode::<FamilyV1>(&value).unwrap(), family()),
            "6" => assert_eq!(decode::<MailedV1>(&value).unwrap(), mailed()),
            "7" => assert_eq!(decode::<MailV1>(&value).unwrap(), mail()),
            other => panic!("no table {other}"),
        }
        assert_eq!(other_codec::round_trip(table, &value), value, "table {table} through another codec");
        read += 1;
    }
    assert_eq!(read, 6);
}

/// A table that came later has a file of its own beside those of the first version.
#[test]
fn an_api_key_keeps_its_bytes() {
    use portcullis::registry::api_key::{ApiKeyV1, Scope};
    let key = ApiKeyV1 {
        id: [0xFF; 16],
        name: "shop".into(),
        digest: [21; 32],
        // Those of the first version.
        scopes: Scope::ALL[..5].to_vec(),
        global_epoch: 301,
        made_ms: 1_800_000_000_010,
        end_ms: 1_831_536_000_010,
        used_ms: 1_800_003_600_010,
        made_by: "operator".into(),
    };
    check_bytes("v1/api_key", &key);
}

/// Events of every kind that came with the first form of their table.
#[test]
fn an_event_keeps_its_bytes() {
    let session = [31; 16];
    let credential = Credential::Cookie;
    let all = [
        What::Created {
            email: "ada@example.org".into(),
            name: Some("Ada".into()),
            roles: vec!["admin".into()],
        },
        What::Verified,
        What::EmailChanged { email: "ada@example.net".into() },
        What::NameChanged { name: None },
        What::RolesChanged { roles: Vec::new() },
        What::Disabled,
        What::Enabled,
        What::Deleted,
        What::PasswordChanged,
        What::MetadataChanged(Metadata(5)),
        What::SessionOpened { session, credential },
        What::SessionEnded { session, credential: Credential::Tokens, reason: Some(EndReason::Replaced) },
        What::LockoutStarted { until_ms: 1_800_000_060_000 },
        What::LockoutOfNobody { until_ms: 1_800_000_060_000 },
        What::RefreshReused { session },
    ];
    let lines = all.map(|what| line(&EventV1 { about: [1; 16], at_ms: 1_800_000_000_014, what }));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data/golden/v2/event.txt");
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        golden.lines().collect::<Vec<_>>(),
        lines,
        "{path} is never edited: make a new schema and an upcast"
    );
}
