//! Which records a sweep may have removed by some time, from their bytes alone. For the comparison of two histories of
//! which one was swept and the other was not: expiry is not journalled.

use crate::journal::format::codec::decode;
use crate::registry::api_key::ApiKeyV1;
use crate::registry::lockout::CountV2;
use crate::registry::outbox::MailV2;
use crate::registry::refresh::FamilyV3;
use crate::registry::reset::MailedV2;
use crate::registry::session::SessionV2;
use crate::registry::sign_up::SignUpV2;
use crate::registry::sign_up::invitation::InvitationV1;
use crate::system::clock::Timestamp;

/// Says no, for records that do not expire.
pub(super) const fn never(_: &[u8], _: Timestamp) -> bool {
    false
}

pub(super) fn count(value: &[u8], at: Timestamp) -> bool {
    decode::<CountV2>(value).is_ok_and(|count| count.may_be_forgotten(at))
}

pub(super) fn session(value: &[u8], at: Timestamp) -> bool {
    decode::<SessionV2>(value).is_ok_and(|session| at >= session.end())
}

pub(super) fn family(value: &[u8], at: Timestamp) -> bool {
    decode::<FamilyV3>(value).is_ok_and(|family| at.as_millis() >= family.absolute_end_ms)
}

pub(super) fn mailed(value: &[u8], at: Timestamp) -> bool {
    decode::<MailedV2>(value).is_ok_and(|mailed| at.as_millis() >= mailed.end_ms)
}

pub(super) fn sign_up(value: &[u8], at: Timestamp) -> bool {
    decode::<SignUpV2>(value).is_ok_and(|sign_up| at.as_millis() >= sign_up.end_ms)
}

pub(super) fn invitation(value: &[u8], at: Timestamp) -> bool {
    decode::<InvitationV1>(value).is_ok_and(|invitation| at >= invitation.end())
}

pub(super) fn mail(value: &[u8], at: Timestamp) -> bool {
    decode::<MailV2>(value).is_ok_and(|mail| mail.may_be_forgotten(at))
}

pub(super) fn api_key(value: &[u8], at: Timestamp) -> bool {
    decode::<ApiKeyV1>(value).is_ok_and(|key| at >= key.end())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::kept;
    use super::*;
    use crate::config::{Config, Reader};
    use crate::journal::format::buckets::BUCKETS;
    use crate::journal::format::codec;
    use crate::journal::format::codec::Stored;
    use crate::journal::snapshot::proof::Form;
    use crate::registry::Registry;
    use crate::registry::record::Record;

    /// Checks that a record may be gone at every time at which the registry's sweep removes it. The record is the
    /// golden one of the table, after `change`.
    fn check<S: Registry>(build: impl Fn() -> S, change: fn(&mut S::Record)) {
        // A table that came later has a file of its own.
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/data/golden");
        let read = |file: &str| std::fs::read_to_string(format!("{golden}/{file}")).unwrap();
        let text = read("v1/values.txt") + &read("v2/sign_up.txt") + &read("v2/invitation.txt");
        let form = Form { table: S::Record::TABLE, schema: S::Record::SCHEMA };
        let table = S::Record::TABLE.to_string();
        let line = text.lines().find(|line| line.split(' ').next() == Some(&table)).unwrap();
        let hex = line.rsplit(' ').next().unwrap();
        let mut value: Vec<u8> =
            (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap()).collect();
        value[..2].fill(0);
        let mut record = S::Record::read(1, &value).unwrap();
        change(&mut record);
        let value = codec::encode(&record).unwrap();
        let may_be_gone = |at_ms| kept(form, &value, at_ms).is_none();
        let mut forgotten = 0;
        let mut remaining = 0;
        for day in 0..5000 {
            let at = Timestamp::from_secs(1_800_000_000) + Duration::from_hours(6) * day;
            let mut state = build();
            state.apply(crate::registry::record::Write::Put(record.clone()));
            let swept: usize = (0..BUCKETS).map(|bucket| state.sweep(bucket, at)).sum();
            if swept > 0 {
                forgotten += 1;
                assert!(may_be_gone(at.as_millis()), "table {table}, {at}");
            } else {
                remaining += 1;
            }
        }
        let has_end = forgotten > 0;
        assert_eq!(has_end, may_be_gone(u64::MAX), "{forgotten} {remaining}");
        assert!(remaining > 0);
        assert!(!may_be_gone(1_800_000_000_000));
    }

    #[test]
    fn a_record_that_a_sweep_removes_may_be_gone() {
        let config = Config::from_reader(Reader::new()).unwrap();
        check(crate::registry::account::Accounts::default, |_| ());
        check(|| crate::registry::lockout::Lockouts::new(config.lockout), |_| ());
        check(
            || crate::registry::lockout::Lockouts::new(config.lockout),
            |count| {
                count.consecutive = 0;
                count.devices = Vec::new();
            },
        );
        check(|| crate::registry::session::Sessions::new(config.session), |_| ());
        check(|| crate::registry::refresh::Families::new(config.refresh), |_| ());
        check(|| crate::registry::reset::MailedTokens::new(config.reset), |_| ());
        check(
            || crate::registry::sign_up::SignUps::new(config.signup.limits),
            |sign_up| {
                sign_up.name_key[..2].fill(0);
            },
        );
        check(
            || crate::registry::sign_up::invitation::Invitations::new(config.reset.invitation),
            |invitation| {
                invitation.name_key[..2].fill(0);
            },
        );
        check(crate::registry::outbox::Outbox::default, |_| ());
        check(crate::registry::outbox::Outbox::default, |mail| mail.to = MailV2::to_nobody(15));
    }
}
