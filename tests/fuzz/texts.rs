//! Decoders of text from outside: tokens, headers, settings, names.

use std::net::IpAddr;
use std::sync::OnceLock;

use portcullis::config::{Config, ForwardedHeader, Reader as Settings};
use portcullis::http::client_address::client_address;
use portcullis::http::cookie::{Repeated, find};
use portcullis::password::foreign::{self, Stored, StoredCost, StoredHash};
use portcullis::password::phc::Phc;
use portcullis::system::clock::Timestamp;
use portcullis::system::random::Random;
use portcullis::token::access::OwnClient;
use portcullis::token::opaque::{EdgeKeys, OpaqueToken, Secret, TokenKind};
use portcullis::token::signing_key;
use portcullis::token::signing_key::Signing;
use portcullis::token::{Claims, Scheme, Signer};
use portcullis::value::account_name::AccountName;
use portcullis::value::json_object::NewObject;
use portcullis::value::{external_id, json_object, locale};

use crate::Reader;
use crate::mutate::Input;

fn one(text: impl Into<Vec<u8>>) -> Input {
    vec![(String::from("input"), text.into())]
}

fn text(input: &Input) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&input[0].1)
}

fn nothing(_: &str, _: &mut [u8]) {}

const KINDS: [TokenKind; 3] = [TokenKind::Refresh, TokenKind::Session, TokenKind::Mailed];

fn edge_keys() -> EdgeKeys {
    EdgeKeys::new((2, [7; 32]), vec![(1, [5; 32])])
}

/// Returns tokens of every kind, written with keys that only this file uses.
fn written() -> Vec<String> {
    let random = Random::seeded(1);
    let token = |kind, number: u8| {
        let secret = Secret::mint(&random).unwrap();
        let token = OpaqueToken { kind, id: [number; 16], generation: u32::from(number) << 24, secret };
        edge_keys().write(&token).to_string()
    };
    KINDS.into_iter().zip([0, 1, 255]).map(|(kind, number)| token(kind, number)).collect()
}

/// Every text that is taken for a token is exactly the text of that token.
pub fn opaque_tokens() -> Reader {
    fn read(input: &Input) -> bool {
        let keys = edge_keys();
        let text = text(input);
        KINDS
            .into_iter()
            .filter_map(|kind| keys.read(kind, &text).ok())
            .inspect(|token| assert_eq!(*keys.write(token), *text))
            .count()
            > 0
    }
    Reader { name: "opaque_tokens", seeds: written().into_iter().map(one).collect(), repair: nothing, read }
}

/// Every access token that is accepted has the claims that were signed.
pub fn access_tokens() -> Reader {
    fn signer() -> &'static (Signer, String) {
        static SIGNER: OnceLock<(Signer, String)> = OnceLock::new();
        SIGNER.get_or_init(|| {
            let now = Timestamp::from_secs(1_800_000_000);
            let key = |scheme| Signing { pkcs8: signing_key::generate(scheme).unwrap(), from: now };
            let keys = [Scheme::Es256, Scheme::EdDsa].map(key);
            let signer = Signer::new(&keys, "https://login.test", "https://api.test").unwrap();
            let signed = signer.sign(&claims(), now).unwrap();
            (signer, signed)
        })
    }
    fn claims() -> Claims {
        Claims {
            iss: "https://login.test".into(),
            sub: "account".into(),
            aud: "https://api.test".into(),
            exp: 1_800_000_900,
            iat: 1_800_000_000,
            jti: "1".into(),
            sid: "family".into(),
            roles: vec!["admin".into()],
            auth_time: 1_800_000_000,
            amr: vec!["pwd".into()],
            client_id: OwnClient,
        }
    }
    fn read(input: &Input) -> bool {
        let now = Timestamp::from_secs(1_800_000_001);
        signer().0.verify(&text(input), now, std::time::Duration::ZERO).is_ok_and(|believed| {
            assert_eq!(believed, claims());
            true
        })
    }
    Reader { name: "access_tokens", seeds: vec![one(signer().1.as_str())], repair: nothing, read }
}

/// Headers in which a proxy names the client.
pub fn forwarding_headers() -> Reader {
    fn read(input: &Input) -> bool {
        let text = text(input);
        let mut is_believed = false;
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
            for peer in ["10.0.0.1", "192.0.2.1", "::ffff:10.0.0.1"] {
                let peer: IpAddr = peer.parse().unwrap();
                let client = client_address(peer, header, text.split('\n'), &trusted);
                // Only a trusted peer is believed.
                let is_peer = client == peer.to_canonical();
                if !is_peer {
                    assert!(trusted.iter().any(|net| net.contains(&peer.to_canonical())));
                }
                // One client has one spelling of its address.
                assert_eq!(client, client.to_canonical());
                is_believed |= !is_peer;
            }
        }
        is_believed
    }
    let seeds = [
        "203.0.113.9, 10.0.0.7",
        "6.6.6.6\n198.51.100.7, 10.0.0.2, [2001:db8::1]:443",
        "for=203.0.113.9;proto=https, for=\"[2001:db8::1]:4711\"",
        "unknown, _hidden, ::ffff:203.0.113.9",
        "203.0.113.9:4711",
    ];
    Reader { name: "forwarding_headers", seeds: seeds.map(one).into(), repair: nothing, read }
}

/// Headers with cookies, one in a line. Whatever the neighbours hold, a cookie is found by its exact name alone.
pub fn cookie_headers() -> Reader {
    const NAME: &str = "__Host-portcullis_session";
    fn read(input: &Input) -> bool {
        let bytes = &input[0].1;
        let lines = || bytes.split(|byte| *byte == b'\n');
        // The slow way: every place where the name stands between a separator and an equals sign.
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let mut values = Vec::new();
        for pair in lines().flat_map(|line| line.split(|byte| *byte == b';')) {
            let text: Vec<u8> = pair.iter().copied().skip_while(blank).collect();
            let Some(rest) = text.strip_prefix(NAME.as_bytes()) else { continue };
            let rest: Vec<u8> = rest.iter().copied().skip_while(blank).collect();
            if let Some(value) = rest.strip_prefix(b"=") {
                let end = value.iter().rposition(|byte| !blank(byte)).map_or(0, |last| last + 1);
                let begin = value.iter().position(|byte| !blank(byte)).unwrap_or(0).min(end);
                values.push(std::str::from_utf8(&value[begin..end]).unwrap_or("").to_owned());
            }
        }
        let found = find(lines(), NAME);
        match values.as_slice() {
            [] => assert_eq!(found, Ok(None)),
            [value] => assert_eq!(found, Ok(Some(value.as_str()))),
            _ => assert_eq!(found, Err(Repeated)),
        }
        !values.is_empty()
    }
    let seeds = [
        &b"__Host-portcullis_session=pcs_AAAA; theme=dark"[..],
        b"a=1;\t__Host-portcullis_session \t= pcs_AAAA \nb=2; c=\"x, y\"",
        b"\xff=\xff; __Host-portcullis_session=pcs_AAAA;;=",
        b"__Host-portcullis_session=a; __Host-portcullis_session=b",
        b"__%48ost-portcullis_session=1; \xa0__Host-portcullis_session=1\n__Host-portcullis_session=",
    ];
    Reader { name: "cookie_headers", seeds: seeds.map(one).into(), repair: nothing, read }
}

/// Every text is either a configuration or a list of faults.
pub fn configurations() -> Reader {
    fn read(input: &Input) -> bool {
        let text = text(input);
        let mut settings = Settings::new();
        // A file, and after a line `---` the environment variables.
        let (file, environment) = text.split_once("\n---\n").unwrap_or((&text, ""));
        settings.file("fuzz.toml", file);
        let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        settings.environment(environment.lines().filter_map(pair));
        let _ = settings.show();
        match Config::from_reader(settings) {
            Ok(config) => {
                let _ = portcullis::config::checks::unsafe_settings(&config);
                true
            }
            Err(faults) => {
                assert!(!faults.is_empty());
                false
            }
        }
    }
    let whole = Settings::new().show();
    let seeds = [
        whole.as_str(),
        "[http]\nlisten = \"127.0.0.1:8080\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n[lockout]\nfailures = 5\n",
        "data_dir = \"x\"\n[throttle.login]\nburst = 20\nper_minute = 20\n",
        "journal.segment_bytes = 16777216\nthrottle.exempt_networks = [\"10.0.0.0/8\", \"::1/128\"]\n",
        "[mail]\ntransport = \"file\"\n\n---\nPORTCULLIS__MAIL__FROM=a@b.example\nPORTCULLIS__THROTTLE__CELLS=1000\n",
        "\n---\nPORTCULLIS__HTTP__TRUSTED_PROXIES=10.0.0.0/8,::1/128\nPORTCULLIS__LOCKOUT__FAILURES=3\n",
    ];
    Reader { name: "configurations", seeds: seeds.map(one).into(), repair: nothing, read }
}

/// A stored hash that is accepted never asks for more work or memory than is allowed.
pub fn phc_strings() -> Reader {
    fn read(input: &Input) -> bool {
        Phc::parse(&text(input)).is_ok_and(|phc| {
            assert!(phc.cost().is_bounded());
            true
        })
    }
    let seeds = [
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g",
        "$argon2id$v=19$m=64,t=1,p=1,keyid=AQ$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g",
    ];
    Reader { name: "phc_strings", seeds: seeds.map(one).into(), repair: nothing, read }
}

/// Every hash of another program that is taken is stored within the bounds, and read back as what it was; a fault says
/// nothing of what was read.
pub fn foreign_hashes() -> Reader {
    fn read(input: &Input) -> bool {
        let text = text(input);
        let parsed = serde_json::from_str::<serde_json::Value>(&text);
        let read = parsed.map_or_else(|_| foreign::read_text(&text), |value| foreign::read(&value));
        let _ = foreign::is_hash_text(&text);
        let _ = Stored::parse(&text);
        match read {
            Ok(StoredHash::Text(stored)) => {
                let cost = StoredCost::of(&stored).expect("the cost of a stored text is known");
                match cost {
                    StoredCost::Native(cost) | StoredCost::Wrapped(cost) => assert!(cost.is_bounded()),
                    StoredCost::Foreign(cost) => cost.check().unwrap(),
                }
                assert!(Stored::parse(&stored).is_ok(), "{stored}");
                let again = foreign::read_text(&stored);
                assert!(matches!(again, Ok(StoredHash::Text(again)) if again == stored), "{stored}");
                true
            }
            Ok(StoredHash::Fast(_)) => true,
            Err(fault) => {
                assert!(fault.to_string().len() < 200, "{fault}");
                false
            }
        }
    }
    let vectors: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../vectors/foreign_hashes.json")).unwrap();
    let seeds = vectors.iter().map(|vector| {
        let hash = &vector["hash"];
        one(hash.as_str().map_or_else(|| hash.to_string(), str::to_owned))
    });
    Reader { name: "foreign_hashes", seeds: seeds.collect(), repair: nothing, read }
}

/// The normal form of a name is its own normal form.
pub fn account_names() -> Reader {
    fn read(input: &Input) -> bool {
        AccountName::parse(&text(input)).is_ok_and(|name| {
            let again = AccountName::parse(name.as_str()).unwrap();
            assert_eq!(again.as_str(), name.as_str());
            true
        })
    }
    let seeds = ["Ada@Example.org", " grace@b\u{fc}cher.example ", "a.b+c@xn--bcher-kva.example"];
    Reader { name: "account_names", seeds: seeds.map(one).into(), repair: nothing, read }
}

/// What an account carries is read back as it was stored, and stored as it was read back.
pub fn carried_fields() -> Reader {
    fn read(input: &Input) -> bool {
        let text = text(input);
        let object = NewObject::of_text(&text).text();
        if let Ok(object) = object.as_deref().map(str::to_owned)
            && !object.is_empty()
        {
            assert!(json_object::is_stored_form(&object), "{object}");
            assert_eq!(NewObject::of_text(&object).text().as_deref(), Ok(object.as_str()));
        }
        let locale = locale::parse(&text);
        assert!(locale.as_deref().is_ok_and(locale::is_stored_form) || locale.is_err());
        let external_id = external_id::parse(&text);
        assert!(external_id.as_deref().is_ok_and(external_id::is_stored_form) || external_id.is_err());
        object.is_ok() || locale.is_ok() || external_id.is_ok()
    }
    let seeds = [
        "{\"a\":[1,-2.5e3,true,null,{\"b\":\"\\u00e9\"}],\"c\":{}}",
        " { \"n\" : 18446744073709551615 } ",
        "zh-Hant-TW",
        "auth0|5f7c",
    ];
    Reader { name: "carried_fields", seeds: seeds.map(one).into(), repair: nothing, read }
}
