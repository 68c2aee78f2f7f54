//! A dump of each system, in the form in which it is exported.

use std::io::Write;

use serde_json::{Value, json};

use super::*;
use crate::password::foreign;
use crate::system::clock::Timestamp;

const BCRYPT: &str = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

fn options() -> Options {
    Options { now: Timestamp::from_secs(1_800_000_000), firebase: None }
}

/// Returns the lines of a dump, and of every part that gives none, why.
fn read(format: Format, options: Options, text: &str, second: Option<&str>) -> Vec<Result<Value, String>> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(second.unwrap_or_default().as_bytes()).unwrap();
    let second = second.map(|_| file.path());
    let mut dump = Dump::open(format, options, text.as_bytes(), second).unwrap();
    let mut all = Vec::new();
    while let Some(part) = dump.next_part().unwrap() {
        all.push(match part {
            Part::Line(line) => Ok(serde_json::from_str(&line).unwrap()),
            Part::Skipped => Err("skipped".into()),
            Part::Refused { refused, .. } => Err(format!("{} {}", refused.pointer, refused.code)),
        });
    }
    all
}

fn is_taken(line: &Value) -> bool {
    foreign::read(&line["password_hash"]).is_ok()
}

#[test]
fn supabase_as_csv_and_as_json() {
    let id = "9f1c6d2e-0f5b-4d43-8a63-0b1f5c2d3e4f";
    let expected = json!({
        "id": id, "email": "ada@example.org", "email_verified": true, "password_hash": BCRYPT, "name": "Ada L",
        "created_at": "2023-01-02T03:04:05.678Z", "app_metadata": {"provider": "email", "providers": ["email"]},
        "user_metadata": {"full_name": "Ada L"},
    });
    let head = "instance_id,id,aud,role,email,encrypted_password,email_confirmed_at,raw_app_meta_data,raw_user_meta_data,\
                is_super_admin,created_at,phone,banned_until,deleted_at,is_anonymous";
    let csv = format!(
        "{head}\n00000000-0000-0000-0000-000000000000,{id},authenticated,authenticated,ada@example.org,{BCRYPT},\
         2023-01-02 03:05:00+00,\"{{\"\"provider\"\": \"\"email\"\", \"\"providers\"\": [\"\"email\"\"]}}\",\
         \"{{\"\"full_name\"\": \"\"Ada L\"\"}}\",,2023-01-02 03:04:05.678+00,,,,f\n\
         ,{id},,,,,,,,,,491701234567,,,f\n,{id},,,eve@example.org,,,,,,,,,2023-02-02 03:05:00+00,f\n\
         ,{id},,,bob@example.org,,,,,,,,2099-01-01 00:00:00+00,,f\n"
    );
    let expected_all = |all: Vec<Result<Value, String>>| {
        let [first, phone, deleted, banned] = &all[..] else { panic!("{all:?}") };
        assert_eq!(first.as_ref(), Ok(&expected));
        assert!(is_taken(first.as_ref().unwrap()));
        assert_eq!(phone, &Err("/email missing_field".into()));
        assert_eq!(deleted, &Err("skipped".into()));
        let banned = banned.as_ref().unwrap();
        assert_eq!((&banned["status"], &banned["email_verified"]), (&json!("disabled"), &json!(false)));
    };
    expected_all(read(Format::Supabase, options(), &csv, None));
    let rows = [
        json!({
            "id": id, "email": "ada@example.org", "encrypted_password": BCRYPT,
            "email_confirmed_at": "2023-01-02T03:05:00+00:00", "created_at": "2023-01-02T03:04:05.678+00:00",
            "raw_app_meta_data": {"provider": "email", "providers": ["email"]},
            "raw_user_meta_data": {"full_name": "Ada L"}, "banned_until": null, "deleted_at": null,
        }),
        json!({"id": id, "email": null, "phone": "491701234567"}),
        json!({"id": id, "email": "eve@example.org", "deleted_at": "2023-02-02T03:05:00+00:00"}),
        json!({"id": id, "email": "bob@example.org", "banned_until": "2099-01-01T00:00:00+00:00"}),
    ];
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    expected_all(read(Format::Supabase, options(), &lines, None));
    expected_all(read(Format::Supabase, options(), &json!(rows).to_string(), None));
}

#[test]
fn supabase_hashes_that_came_from_firebase() {
    let hash = "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=ou9tdYTGyYm8kuR6Dt0Bp0kDuAYoXrK16mbZO4yGwAn3oLspjnN0/c41v8xZnO1n14J3\
                MjKj1b2g6AUCAlFwMw==$C0sHCg9ek77hsg==$zKVTMvnWVw5BBOZNUdnsalx4c4c7y/w7IS5p6Ut2+CfEFFlz37J9huyQfov4iizN8dbjvE\
                JlM5tQaJP84+hfTw==";
    let row = json!({"id": "1", "email": "ada@example.org", "encrypted_password": hash});
    let all = read(Format::Supabase, options(), &row.to_string(), None);
    assert!(is_taken(all[0].as_ref().unwrap()), "{all:?}");
}

#[test]
fn keycloak_as_a_realm_with_users() {
    let realm = json!({
        "id": "x", "realm": "x", "roles": {"realm": [{"name": "users"}]},
        "users": [
            {
                "id": "6a1f7e0c-5b1d-4d8e-9f35-0b8a7a5d1c2e", "createdTimestamp": 1_672_628_645_678_u64,
                "username": "ada", "enabled": true, "totp": false, "emailVerified": true, "firstName": "Ada",
                "lastName": "L", "email": "ada@example.org", "attributes": {"locale": ["de"]},
                "credentials": [
                    {"type": "otp", "secretData": "{}", "credentialData": "{}"},
                    {
                        "id": "1", "type": "password", "createdDate": 1_672_628_645_678_u64,
                        "secretData": "{\"value\":\"aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g=\",\
                                       \"salt\":\"c2VhIHNhbHQ=\",\"additionalParameters\":{}}",
                        "credentialData": "{\"hashIterations\":27500,\"algorithm\":\"pbkdf2-sha256\",\
                                           \"additionalParameters\":{}}",
                    },
                ],
                "disableableCredentialTypes": [], "requiredActions": [], "realmRoles": ["admin", "default-roles-x"],
                "notBefore": 0, "groups": ["/staff"],
            },
            {"id": "2", "username": "service-account-x", "serviceAccountClientId": "x", "enabled": true},
            {"id": "3", "username": "old", "email": "old@example.org", "enabled": false, "credentials": [
                {"type": "password", "hashedSaltedValue": "aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g=",
                 "salt": "c2VhIHNhbHQ=", "hashIterations": 20_000, "algorithm": "pbkdf2-sha256"}
            ]},
        ],
        "clients": [],
    });
    let all = read(Format::Keycloak, options(), &realm.to_string(), None);
    let [Ok(ada), Err(service), Ok(old)] = &all[..] else { panic!("{all:?}") };
    assert_eq!(service, "skipped");
    assert!(is_taken(ada) && is_taken(old), "{all:?}");
    assert_eq!(ada["name"], "Ada L");
    assert_eq!(ada["locale"], "de");
    assert_eq!(ada["created_at"], "2023-01-02T03:04:05.678Z");
    assert_eq!(ada["app_metadata"]["realm_roles"][0], "admin");
    assert_eq!(ada.get("roles"), None, "a role of another system gives nothing here");
    assert_eq!(old["status"], "disabled");
}

#[test]
fn firebase_with_the_parameters_of_its_project() {
    let config = "hash_config {\n  algorithm: SCRYPT,\n  base64_signer_key: jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjL\
                  NmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==,\n  base64_salt_separator: Bw==,\n  rounds: 8,\n  mem_cost: 14,\n}";
    let parameters = hash_config(config).unwrap();
    let as_json = json!({
        "algorithm": "SCRYPT", "base64_signer_key": parameters["signer_key"], "base64_salt_separator": "Bw==",
        "rounds": 8, "mem_cost": 14,
    });
    assert_eq!(hash_config(&as_json.to_string()).unwrap(), parameters);
    assert!(hash_config("rounds: 8").is_err());
    let export = json!({"users": [
        {
            "localId": "VkZ1ExampleLocalId0123456789", "email": "ada@example.org", "emailVerified": true,
            "passwordHash": "V358E8LdWJXAO7muq0CufVpEOXaj8aFiC7T/rcaGieN04q/ZPJ08WhJEHGjj9lz/2TT+/86N5VjVoc5DdBhBiw==",
            "salt": "42xEC+ixf3L2lw==", "displayName": "Ada", "lastSignedInAt": "1700000000000",
            "createdAt": "1672628645678", "disabled": true, "customAttributes": "{\"plan\":\"pro\"}", "providerUserInfo": [],
        },
        {"localId": "2", "email": "bob@example.org", "emailVerified": true, "createdAt": "1672628645678",
         "providerUserInfo": [{"providerId": "google.com", "rawId": "1", "email": "bob@example.org"}]},
        {"localId": "3", "createdAt": "1672628645678", "phoneNumber": "+491701234567", "providerUserInfo": []},
    ]})
    .to_string();
    let all = read(Format::Firebase, Options { firebase: Some(parameters), ..options() }, &export, None);
    let [Ok(ada), Ok(bob), Err(phone)] = &all[..] else { panic!("{all:?}") };
    assert!(is_taken(ada));
    assert_eq!(ada["id"], "VkZ1ExampleLocalId0123456789");
    assert_eq!(ada["app_metadata"], json!({"plan": "pro"}));
    assert_eq!(ada["status"], "disabled");
    assert_eq!(ada["created_at"], "2023-01-02T03:04:05.678Z");
    assert_eq!(bob.get("password_hash"), None);
    assert_eq!(phone, "/email missing_field");
    let without = read(Format::Firebase, options(), &export, None);
    assert_eq!(without[0], Err("/passwordHash needs_hash_config".into()));
}

#[test]
fn auth0_users_with_the_hashes_that_its_support_sends() {
    let users = [
        json!({"user_id": "auth0|5dea9f9c82dd7c0e76e4ec93", "email": "ada@example.org", "email_verified": true,
               "name": "ada@example.org", "given_name": "Ada", "family_name": "L", "created_at": "2023-01-02T03:04:05.678Z",
               "app_metadata": {"plan": "pro"}, "user_metadata": {"theme": "dark"}}),
        json!({"user_id": "auth0|euclid", "email": "euclid@example.org", "email_verified": false, "blocked": true}),
        json!({"user_id": "google-oauth2|1", "email": "bob@example.org", "email_verified": true}),
    ];
    let hash = |id: &str, email: &str, more: Value| {
        let mut line = json!({"_id": {"$oid": id}, "email_verified": true, "email": email, "passwordHash": BCRYPT,
                              "password_set_date": {"$date": "2019-12-06T18:36:12.412Z"}, "tenant": "x",
                              "connection": "Username-Password-Authentication", "_tmp_is_unique": true});
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let hashes = [
        hash("5dea9f9c82dd7c0e76e4ec93", "ada@example.org", json!({})),
        hash("5dea9f9c82dd7c0e76e4ec94", "euclid@example.org", json!({"alt_id": "euclid"})),
        json!({"_id": {"$oid": "5dea9f9c82dd7c0e76e4ec95"}, "passwordHash": BCRYPT,
               "identifiers": [{"type": "email", "value": "eve@example.org", "verified": true}]}),
    ];
    let lines = |rows: &[Value]| rows.iter().map(|row| format!("{row}\n")).collect::<String>();
    let all = read(Format::Auth0, options(), &lines(&users), Some(&lines(&hashes)));
    let [Ok(ada), Ok(euclid), Ok(bob)] = &all[..] else { panic!("{all:?}") };
    assert!(is_taken(ada) && is_taken(euclid));
    assert_eq!(ada["name"], "Ada L");
    assert_eq!(ada["user_metadata"], json!({"theme": "dark"}));
    assert_eq!(euclid["status"], "disabled");
    assert_eq!(bob.get("password_hash"), None);
    let alone = read(Format::Auth0, options(), &lines(&hashes), None);
    let ids: Vec<_> = alone.iter().map(|line| line.as_ref().unwrap()["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["auth0|5dea9f9c82dd7c0e76e4ec93", "auth0|euclid", "auth0|5dea9f9c82dd7c0e76e4ec95"]);
    assert_eq!(alone[2].as_ref().unwrap()["email_verified"], true);
}

#[test]
fn better_auth_with_its_two_tables() {
    let hash = format!("{}:{}", "ab".repeat(16), "cd".repeat(64));
    let users = json!([
        {"id": "u1", "name": "Ada", "email": "ada@example.org", "emailVerified": true, "image": null,
         "createdAt": "2023-01-02T03:04:05.678Z", "updatedAt": "2023-01-02T03:04:05.678Z", "role": "admin", "banned": false},
        {"id": 2, "name": "Bob", "email": "bob@example.org", "emailVerified": 0, "createdAt": 1_672_628_645_678_u64},
    ]);
    let accounts = json!([
        {"id": "a1", "accountId": "1", "providerId": "google", "userId": "u1", "password": null},
        {"id": "a2", "accountId": "u1", "providerId": "credential", "userId": "u1", "password": hash},
        {"id": "a3", "account_id": "2", "provider_id": "credential", "user_id": 2, "password": BCRYPT},
    ]);
    let check = |all: Vec<Result<Value, String>>| {
        let [Ok(ada), Ok(bob)] = &all[..] else { panic!("{all:?}") };
        assert!(is_taken(ada) && is_taken(bob), "{all:?}");
        assert!(ada["password_hash"].as_str().unwrap().starts_with("$scrypt$ln=14,r=16,p=1$"));
        assert_eq!(bob["password_hash"], BCRYPT);
        assert_eq!((&ada["email_verified"], &bob["email_verified"]), (&json!(true), &json!(false)));
        assert_eq!(bob["created_at"], "2023-01-02T03:04:05.678Z");
        assert_eq!(ada.get("roles"), None);
    };
    check(read(Format::BetterAuth, options(), &users.to_string(), Some(&accounts.to_string())));
    let both = json!({"user": users, "account": accounts}).to_string();
    check(read(Format::BetterAuth, options(), &both, Some(&both)));
}

#[test]
fn django_as_dumpdata_writes_it() {
    let dump = json!([
        {"model": "auth.permission", "pk": 1, "fields": {"name": "x", "codename": "x"}},
        {"model": "auth.user", "pk": 7, "fields": {
            "password": "pbkdf2_sha256$600000$seasaltsea$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g=",
            "last_login": null, "is_superuser": true, "username": "ada", "first_name": "Ada", "last_name": "L",
            "email": "ada@example.org", "is_staff": true, "is_active": true, "date_joined": "2023-01-02T03:04:05.678Z",
            "groups": [], "user_permissions": []}},
        {"model": "people.person", "pk": "x", "fields": {"password": "!abc", "email": "bob@example.org", "is_active": false}},
    ]);
    let all = read(Format::Django, options(), &dump.to_string(), None);
    let [Err(skipped), Ok(ada), Ok(bob)] = &all[..] else { panic!("{all:?}") };
    assert_eq!(skipped, "skipped");
    assert!(is_taken(ada));
    assert_eq!((&ada["id"], &ada["name"]), (&json!("7"), &json!("Ada L")));
    assert_eq!(ada.get("email_verified"), None, "Django does not say");
    assert_eq!(ada["app_metadata"], json!({"username": "ada", "is_staff": true, "is_superuser": true}));
    assert_eq!(ada.get("roles"), None);
    assert_eq!((bob.get("password_hash"), &bob["status"]), (None, &json!("disabled")));
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_read() {
    let text = "[7, {\"user_id\": tru}, {\"user_id\":\"1\",\"email\":\"a@example.org\"}]";
    let all = read(Format::Auth0, options(), text, None);
    assert_eq!(all[0], Err(" malformed_json".into()));
    assert_eq!(all[1], Err(" malformed_json".into()));
    assert!(all[2].is_ok());
    for head in [&b"\x1f\x8b\x08\0"[..], b"PK\x03\x04", b"\xff\xfe["] {
        let opened = Dump::open(Format::Django, options(), head, None);
        assert!(matches!(opened, Err(DumpError::Foreign(_))));
    }
    let cut = Dump::open(Format::Keycloak, options(), &b"{\"users\":[{\"id\":1"[..], None);
    assert!(matches!(cut, Err(DumpError::Form(..))));
    let cut = &b"{\"users\":[{\"id\":1,\"email\":\"a@example.org\",\"enabled\":true},{\"id\":2"[..];
    let mut cut = Dump::open(Format::Keycloak, options(), cut, None).unwrap();
    assert!(matches!(cut.next_part(), Ok(Some(Part::Line(_)))));
    assert!(matches!(cut.next_part(), Err(DumpError::Form(..))));
}

/// Whoever takes the wrong file, or the wrong name of a system, is told so once, and nothing is imported without its password.
#[test]
fn a_file_of_another_kind_is_refused_as_a_whole_by_every_reader() {
    let row = json!({"id": 932, "password": "x", "email": "ada@example.org", "username": "ada", "first_name": "Ada"});
    let rows = json!([row, row]).to_string();
    let in_users = json!({"users": [row]}).to_string();
    let of_keycloak =
        json!({"users": [{"id": "1", "enabled": true, "email": "ada@example.org"}]}).to_string();
    let of_auth0 = json!([{"user_id": "auth0|1", "email": "ada@example.org"}]).to_string();
    let csv = "id,email,first_name\n1,ada@example.org,Ada\n2,bob@example.org,Bob\n";
    let html = "<!doctype html>\n<html>\n<p>a,b</p>\n";
    let groups = json!([{"model": "auth.group", "pk": 1, "fields": {"name": "x"}}]).to_string();
    let members = "objects with email, first_name, id, password, username";
    let all =
        Format::ALL.map(|(_, format)| format).into_iter().filter(|format| *format != Format::Portcullis);
    for format in all {
        let texts = [
            (rows.as_str(), members),
            (csv, "CSV"),
            (html, "XML or HTML"),
            ("{}", ""),
            ("[]", "nothing"),
            ("", "nothing"),
            (if format == Format::Keycloak { &of_auth0 } else { &of_keycloak }, ""),
            (if format == Format::Auth0 { &in_users } else { &of_auth0 }, ""),
            (if format == Format::Django { &groups } else { &in_users }, ""),
        ];
        for (text, found) in texts {
            let Err(error) = Dump::open(format, options(), text.as_bytes(), None) else {
                panic!("{format:?} takes {text}")
            };
            let says = error.to_string();
            assert!(matches!(error, DumpError::NoUsers { .. }), "{format:?}: {says}");
            assert!(says.starts_with(&format!("expected {}, found ", format.expected())), "{says}");
            // What a CSV of Supabase lacks is named by its header.
            let is_named = found.is_empty() || format == Format::Supabase || says.contains(found);
            assert!(is_named, "{format:?}: {text}: {says}");
            assert!(!says.contains("ada"), "a value is named: {says}");
        }
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(rows.as_bytes()).unwrap();
    for (format, text) in [
        (Format::Auth0, of_auth0),
        (
            Format::BetterAuth,
            json!([{"id": "1", "email": "ada@example.org", "emailVerified": true}]).to_string(),
        ),
    ] {
        let opened = Dump::open(format, options(), text.as_bytes(), Some(file.path()));
        let says = opened.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(says.contains("as --passwords") && says.contains(members), "{says}");
    }
}

#[test]
fn a_user_that_is_refused_is_named_by_its_id_of_there() {
    let rows = json!([
        {"model": "auth.group", "pk": 1, "fields": {"name": "x"}},
        {"model": "auth.user", "pk": 932, "fields": {"password": "!", "email": ""}},
    ])
    .to_string();
    let mut dump = Dump::open(Format::Django, options(), rows.as_bytes(), None).unwrap();
    assert!(matches!(dump.next_part(), Ok(Some(Part::Skipped))));
    let Ok(Some(Part::Refused { external_id, .. })) = dump.next_part() else { panic!() };
    assert_eq!(external_id.as_deref(), Some("932"));
}
