//! Records as an operator may see them, without anything that would let an attacker in.
//!
//! Digests, hashes and sealed tokens are left out, and addresses are masked as in logs. The rest answers questions
//! about a data directory: which account, until when, how often, why it ended.

use serde_json::{Value, json};

use crate::journal::format::codec::{CodecError, decode};
use crate::password::foreign::Stored;
use crate::registry::account::AccountV4;
use crate::registry::api_key::ApiKeyV1;
use crate::registry::file_check::FileCheckV1;
use crate::registry::lockout::CountV2;
use crate::registry::lockout::record::DeviceV2;
use crate::registry::outbox::MailV2;
use crate::registry::refresh::FamilyV3;
use crate::registry::reset::MailedV2;
use crate::registry::session::SessionV2;
use crate::registry::sign_up::SignUpV2;
use crate::registry::sign_up::invitation::{InvitationV1, Inviter};
use crate::system::clock::Timestamp;
use crate::token::KeyKind;
use crate::value::account_name::masked;
use crate::value::id::hex;

/// Returns a time in words; `None` if it was never set.
fn time(ms: u64) -> Option<String> {
    (ms > 0).then(|| Timestamp(ms).to_string())
}

pub(super) fn account(value: &[u8]) -> Result<Value, CodecError> {
    let account: AccountV4 = decode(value)?;
    let cost = account.phc.as_ref().map(|text| {
        Stored::parse(text).map_or_else(|_| String::from("of another form"), |stored| stored.to_string())
    });
    Ok(json!({
        "email": masked(&account.email),
        "email_verified": account.email_verified,
        "has_name": account.name.is_some(),
        "password": cost,
        "roles": account.roles,
        "status": format!("{:?}", account.status).to_lowercase(),
        "auth_epoch": account.auth_epoch,
        "created": time(account.created_ms),
        "device_epoch": account.device_epoch,
        "tokens_from": time(account.tokens_from_secs * 1000),
        "undo_of_address_until": account.former.as_ref().and_then(|former| time(former.undo_end_ms)),
        "passwords_replaced": account.replaced.iter().map(|replaced| time(replaced.replaced_ms)).collect::<Vec<_>>(),
        "mutes_new_device": account.mutes_new_device,
        "is_vouched": account.is_vouched,
        "has_external_id": account.external_id().is_some(),
        "locale": account.locale(),
        "user_metadata_bytes": account.user_metadata().map_or(0, str::len),
        "app_metadata_bytes": account.app_metadata().map_or(0, str::len),
        "imported": account.extra.as_ref().and_then(|extra| time(extra.imported_ms)),
    }))
}

pub(super) fn count(value: &[u8]) -> Result<Value, CodecError> {
    let count: CountV2 = decode(value)?;
    let device = |device: &DeviceV2| {
        json!({
            "family": device.family,
            "used": time(u64::from(device.used_secs) * 1000),
            "failures": device.failures,
        })
    };
    let session_failures: Vec<_> = count.sessions.iter().map(|session| session.failures).collect();
    Ok(json!({
        "failures": count.failures,
        "consecutive": count.consecutive,
        "device_consecutive": count.device_consecutive,
        "last": time(count.last_ms),
        "locked_until": time(count.locked_until_ms),
        "era": count.era,
        "known": count.known,
        "devices": count.devices.iter().map(device).collect::<Vec<_>>(),
        "device_epoch": count.device_epoch,
        "session_failures": session_failures,
        "failures_of_a_day": count.guesses_secs.len(),
        "device_failures_of_a_day": count.device_guesses.len(),
        "mails": count.mails,
    }))
}

pub(super) fn session(value: &[u8]) -> Result<Value, CodecError> {
    let session: SessionV2 = decode(value)?;
    Ok(json!({
        "account": hex(&session.account),
        "auth_epoch": session.auth_epoch,
        "global_epoch": session.global_epoch,
        "opened": time(session.opened_ms),
        "used": time(session.used_ms),
        "ends": session.end().to_string(),
        "remember": session.remember,
        "network": session.network,
        "user_agent": session.user_agent,
        "proved": time(session.proved_ms),
        "root": hex(&session.root),
    }))
}

pub(super) fn family(value: &[u8]) -> Result<Value, CodecError> {
    let family: FamilyV3 = decode(value)?;
    Ok(json!({
        "account": family.account.to_string(),
        "auth_epoch": family.auth_epoch,
        "global_epoch": family.global_epoch,
        "opened": time(family.opened_ms),
        "rotated": time(family.rotated_ms),
        "ends_unused": time(family.idle_end_ms),
        "ends": time(family.absolute_end_ms),
        "generation": family.generation,
        "ended": family.ended.map(|cause| format!("{cause:?}")),
        "client": family.client,
        "proved": time(family.proved_ms),
        "audience": format!("{:?}", family.audience).to_lowercase(),
        "second_network": family.second_network,
    }))
}

pub(super) fn mailed(value: &[u8]) -> Result<Value, CodecError> {
    let mailed: MailedV2 = decode(value)?;
    Ok(json!({
        "account": hex(&mailed.account),
        "purpose": format!("{:?}", mailed.purpose),
        "auth_epoch": mailed.auth_epoch,
        "global_epoch": mailed.global_epoch,
        "minted": time(mailed.minted_ms),
        "ends": time(mailed.end_ms),
        "kid": mailed.kid,
        "is_bound": mailed.bound_to.is_some(),
    }))
}

pub(super) fn mail(value: &[u8]) -> Result<Value, CodecError> {
    let mail: MailV2 = decode(value)?;
    Ok(json!({
        "to": masked(&mail.to),
        "kind": format!("{:?}", mail.kind),
        "has_token": mail.token.is_some(),
        "written": time(mail.written_ms),
        "next": time(mail.next_ms),
        "tries": mail.tries,
        "kid": mail.kid,
        "about": mail.about,
    }))
}

pub(super) fn api_key(value: &[u8]) -> Result<Value, CodecError> {
    let key: ApiKeyV1 = decode(value)?;
    Ok(json!({
        "name": key.name,
        "scopes": key.scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>(),
        "global_epoch": key.global_epoch,
        "made": time(key.made_ms),
        "made_by": key.made_by,
        "used": time(key.used_ms),
        "ends": key.end().to_string(),
    }))
}

pub(super) fn sign_up(value: &[u8]) -> Result<Value, CodecError> {
    let sign_up: SignUpV2 = decode(value)?;
    Ok(json!({
        "email": masked(&sign_up.email),
        "has_name": sign_up.name.is_some(),
        "has_locale": sign_up.locale.is_some(),
        "has_password": sign_up.phc.is_some(),
        "global_epoch": sign_up.global_epoch,
        "begun": time(sign_up.begun_ms),
        "ends": time(sign_up.end_ms),
        "stage": format!("{:?}", sign_up.stage).to_lowercase(),
    }))
}

pub(super) fn invitation(value: &[u8]) -> Result<Value, CodecError> {
    let invitation: InvitationV1 = decode(value)?;
    Ok(json!({
        "email": masked(&invitation.email),
        "has_name": invitation.name.is_some(),
        "roles": invitation.roles,
        "locale": invitation.locale,
        "inviter": match invitation.inviter {
            Inviter::Operator => String::from("operator"),
            Inviter::Account(id) => hex(&id),
            Inviter::ApiKey(id) => format!("API key {}", hex(&id)),
        },
        "global_epoch": invitation.global_epoch,
        "sent": time(invitation.sent_ms),
        "ends": invitation.end().to_string(),
    }))
}

pub(super) fn file_check(value: &[u8]) -> Result<Value, CodecError> {
    let check: FileCheckV1 = decode(value)?;
    Ok(json!({
        "file": match check.key_check() {
            Some(key) if key.kind == KeyKind::Signing => String::from("a signing key"),
            Some(key) => key.file(),
            None => String::from("audit.end"),
        },
        "line": check.line,
        "at": time(check.at_ms),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::{name, redacted};
    use super::*;
    use crate::registry::record::Record;
    use crate::registry::refresh::record::FamilyV1;

    /// Returns the golden value of each table: number, schema and bytes. Each secret field has a byte of its own.
    fn golden() -> Vec<(u16, u16, Vec<u8>)> {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/data/golden");
        let read = |file: &str| std::fs::read_to_string(format!("{golden}/{file}")).unwrap();
        let text = read("v1/values.txt") + &read("v2/sign_up.txt") + &read("v2/invitation.txt");
        let value = |line: &str| {
            let [table, schema, digits] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let byte = |at: usize| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).unwrap();
            (table.parse().unwrap(), schema.parse().unwrap(), (0..digits.len() / 2).map(byte).collect())
        };
        text.lines().map(value).collect()
    }

    #[test]
    fn a_dump_shows_a_record_and_none_of_its_secrets() {
        let mut seen = Vec::new();
        for (number, schema, value) in golden() {
            let shown = redacted(number, schema, &value).unwrap();
            let text = shown.to_string();
            assert!(shown.as_object().is_some_and(|fields| fields.len() >= 6), "{text}");
            assert!(!text.contains("ada@"), "{text}");
            assert!(!text.contains("aGFzaA"), "{text}");
            let secrets: Vec<String> = match name(number).as_str() {
                "account" => vec![hex(&AccountV4::read(schema, &value).unwrap().name_key)],
                "lockout" => vec![hex(&CountV2::read(schema, &value).unwrap().name)],
                "session" => vec![hex(&SessionV2::read(schema, &value).unwrap().digest)],
                "family" => {
                    // It has ended, so that today's form has none of these.
                    let family: FamilyV1 = decode(&value).unwrap();
                    let spent = family.spent.unwrap();
                    vec![hex(&family.digest), hex(&spent.digest), hex(&spent.successor)]
                }
                "sign_up" => vec![hex(&SignUpV2::read(schema, &value).unwrap().half.unwrap())],
                "invitation" => vec![hex(&InvitationV1::read(schema, &value).unwrap().digest)],
                "mailed" => vec![hex(&MailedV2::read(schema, &value).unwrap().digest)],
                _ => vec![hex(&MailV2::read(schema, &value).unwrap().token.unwrap())],
            };
            for secret in secrets {
                assert!(secret.len() >= 4, "{secret}");
                assert!(!text.contains(&secret), "{text}");
            }
            seen.push(name(number));
        }
        assert_eq!(
            seen,
            ["account", "lockout", "session", "family", "mailed", "mail", "sign_up", "invitation"]
        );
    }

    #[test]
    fn a_record_of_another_version_is_null_and_damaged_bytes_are_refused() {
        assert_eq!(redacted(1, 9, &[1]).unwrap(), Value::Null);
        assert_eq!(redacted(99, 1, &[]).unwrap(), Value::Null);
        assert_eq!(name(99), "99");
        assert!(redacted(1, 1, &[1]).is_err());
    }
}
