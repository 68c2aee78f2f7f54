//! Tests of the rule.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::super::quotas::{
    DECOYS_A_SECOND, DECOYS_AT_ONCE, DOMAINS_MAX, MAILS_IN_ALL, MAILS_OF_OPERATORS, NETWORKS_MAX,
    NOBODYS_MAX as QUOTA_NOBODYS,
};
use super::*;
use crate::journal::format::buckets::BUCKETS;
use crate::value::id::Slot;
use crate::value::network::Network;

const START: Timestamp = Timestamp::from_secs(1_800_000_000);
const HOUR: Duration = Duration::from_hours(1);

fn limits() -> Limits {
    Limits {
        reset: HOUR / 2,
        verify: HOUR * 24,
        invitation: HOUR * 168,
        mails_per_hour: 3,
        mails_per_network: 10,
        mails_per_domain: 1000,
    }
}

fn mailed() -> MailedTokens {
    MailedTokens::new(limits())
}

fn account() -> AccountId {
    AccountId::mint(Slot::FIRST, [1; 14])
}

fn numbered(number: u64) -> [u8; 14] {
    let mut random = [0; 14];
    random[..8].copy_from_slice(&number.to_le_bytes());
    random
}

/// Returns a network in a /24 of its own.
fn network(number: u32) -> Network {
    Network::of(Ipv4Addr::from_bits(number << 8).into())
}

fn wish(number: u8, purpose: Purpose) -> Mint {
    Mint {
        id: MailedId::mint(Slot::FIRST, [number; 14]),
        account: account(),
        pending: None,
        auth_epoch: 0,
        global_epoch: 0,
        purpose,
        digest: SecretDigest([number + 1; 32]),
        kid: 1,
        bound_to: None,
        cause: Cause::Stranger(None),
        domain: [1; 8],
        for_nobody: false,
        end_max: None,
        asker_since: None,
    }
}

/// Decides and applies like the actor. Returns the writes, and what the mail holds.
fn settle(mailed: &mut MailedTokens, mint: &Mint, now: Timestamp) -> (Vec<Write<MailedV2>>, Minted) {
    let Decision { writes, verdict } = mailed.mint(mint, now);
    writes.iter().cloned().for_each(|write| mailed.apply(write));
    mailed.count_mint(mint, verdict, now);
    (writes, verdict)
}

/// Asks for a mail, and says whether one is sent.
fn asks(mailed: &mut MailedTokens, mint: &Mint, now: Timestamp) -> bool {
    settle(mailed, mint, now).1.is_sent()
}

fn mint(mailed: &mut MailedTokens, number: u8, purpose: Purpose, now: Timestamp) -> (Redeem, Minted) {
    let mint = wish(number, purpose);
    let (_, minted) = settle(mailed, &mint, now);
    (Redeem { id: mint.id, digest: mint.digest, purpose }, minted)
}

fn redeem(mailed: &mut MailedTokens, redeem: Redeem, now: Timestamp) -> bool {
    let decision = mailed.redeem(redeem, now);
    decision.writes.into_iter().for_each(|write| mailed.apply(write));
    decision.verdict.is_ok()
}

#[test]
fn a_token_is_good_once_for_one_purpose_and_in_its_time() {
    let mut mailed = mailed();
    let (token, _) = mint(&mut mailed, 1, Purpose::Reset, START);
    assert!(!redeem(&mut mailed, Redeem { purpose: Purpose::Unlock, ..token }, START));
    assert!(!redeem(&mut mailed, Redeem { digest: SecretDigest([9; 32]), ..token }, START));
    assert!(!redeem(&mut mailed, token, START + Duration::from_mins(30)));
    assert!(redeem(&mut mailed, token, START + Duration::from_mins(29)));
    assert!(!redeem(&mut mailed, token, START + Duration::from_mins(29)));
}

#[test]
fn an_invitation_sets_a_password_for_a_week_and_a_reset_is_no_invitation() {
    let mut mailed = mailed();
    let (invitation, _) = mint(&mut mailed, 1, Purpose::Invitation, START);
    let (reset, minted) = mint(&mut mailed, 2, Purpose::Reset, START);
    assert_eq!(minted, Minted::New, "they are apart");
    let late = START + HOUR * 167;
    assert!(!redeem(&mut mailed, Redeem { purpose: Purpose::Verify, ..invitation }, late));
    assert!(!redeem(&mut mailed, Redeem { purpose: Purpose::Invitation, ..reset }, START));
    assert!(redeem(&mut mailed, Redeem { purpose: Purpose::Reset, ..invitation }, late));
}

#[test]
fn the_live_token_is_mailed_again_and_lives_on() {
    let mut mailed = mailed();
    let (first, _) = mint(&mut mailed, 1, Purpose::Reset, START);
    let later = START + Duration::from_mins(20);
    assert_eq!(mint(&mut mailed, 2, Purpose::Reset, later).1, Minted::Again(first.id));
    assert_eq!(mint(&mut mailed, 3, Purpose::Reset, later).1, Minted::Again(first.id));
    assert_eq!(mint(&mut mailed, 4, Purpose::Reset, later).1, Minted::NotSent);
    let still = START + Duration::from_mins(49);
    assert!(mailed.peek(first, still).is_ok());
    assert!(mailed.peek(first, still + Duration::from_mins(1)).is_err());
    assert!(redeem(&mut mailed, first, still));
    assert_eq!(mint(&mut mailed, 5, Purpose::Reset, START + HOUR).1, Minted::New);
}

#[test]
fn a_link_that_was_mailed_is_ended_by_nothing_but_its_end() {
    let late = START + Duration::from_mins(31);
    for (change, now) in [
        // Another key derives the secrets from now on.
        ((|mint: &mut Mint| mint.kid = 2) as fn(&mut Mint), START + Duration::from_mins(21)),
        // The same link has been mailed for half an hour.
        (|_| (), late),
    ] {
        let mut mailed = mailed();
        let (first, _) = mint(&mut mailed, 1, Purpose::Reset, START);
        let again = mint(&mut mailed, 2, Purpose::Reset, START + Duration::from_mins(20)).1;
        assert_eq!(again, Minted::Again(first.id));
        let mut next = wish(9, Purpose::Reset);
        change(&mut next);
        let (writes, minted) = settle(&mut mailed, &next, now);
        assert_eq!(minted, Minted::New);
        assert_eq!(writes.len(), 1);
        assert!(mailed.peek(first, START + Duration::from_mins(49)).is_ok());
        assert!(mailed.peek(first, START + Duration::from_mins(50)).is_err());
        assert!(redeem(
            &mut mailed,
            Redeem { id: next.id, digest: next.digest, purpose: Purpose::Reset },
            now
        ));
    }
    // A token of another epoch, or for another address, gives way.
    for change in [|mint: &mut Mint| mint.auth_epoch = 1, |mint: &mut Mint| mint.bound_to = Some([7; 16])] {
        let mut mailed = mailed();
        let first = wish(1, Purpose::EmailChange);
        settle(&mut mailed, &first, START);
        let mut next = wish(2, Purpose::EmailChange);
        change(&mut next);
        assert_eq!(settle(&mut mailed, &next, START).0.first(), Some(&Write::Remove(first.id.to_bytes())));
    }
}

#[test]
fn one_mail_of_the_hour_is_kept_for_a_network_that_has_not_asked() {
    let mut mailed = mailed();
    let near = Network::of(Ipv4Addr::from_bits((1 << 8) + 9).into());
    let mut number = 0;
    let mut sent = |network| {
        number += 1;
        let cause = Cause::Stranger(Some(network));
        asks(&mut mailed, &Mint { cause, ..wish(number, Purpose::Reset) }, START)
    };
    assert!(sent(network(1)));
    assert!(sent(network(1)));
    assert!(!sent(network(1)), "the third is kept");
    assert!(!sent(near), "a neighbour is the same network");
    assert!(sent(network(2)), "the owner's own");
    assert!(!sent(network(3)), "three are the bound");
}

#[test]
fn an_account_without_a_live_link_gets_one_though_the_quota_is_used_up() {
    let mut mailed = mailed();
    for number in 0..3 {
        let from_elsewhere = Cause::Stranger(Some(network(number)));
        assert!(asks(&mut mailed, &Mint { cause: from_elsewhere, ..wish(1, Purpose::Reset) }, START));
    }
    let owner = |number| Mint { cause: Cause::Stranger(Some(network(9))), ..wish(number, Purpose::Reset) };
    assert!(!asks(&mut mailed, &owner(2), START + HOUR / 2 - Duration::from_secs(1)), "a link is live");
    let dead = START + HOUR / 2;
    assert!(asks(&mut mailed, &owner(3), dead), "no link is live");
    assert!(!asks(&mut mailed, &owner(4), dead), "a link is live again");
    // The owner uses it, and forgets the new password.
    let used = Redeem { id: owner(3).id, digest: owner(3).digest, purpose: Purpose::Reset };
    assert!(redeem(&mut mailed, used, dead));
    assert!(asks(&mut mailed, &owner(5), dead), "the link was used");
    assert!(!asks(&mut mailed, &owner(6), dead), "a link is live again");
    // All links end together with the epoch that they were minted under.
    let next = Mint { auth_epoch: 1, ..owner(7) };
    assert!(asks(&mut mailed, &next, dead), "the link is of an earlier epoch");
    // What is no account's has no more than its three.
    for purpose in [Purpose::Verify, Purpose::EmailChange] {
        let wishes = (10..20).map(|number| Mint {
            account: AccountId::mint(Slot::FIRST, [number; 14]),
            pending: (purpose == Purpose::Verify).then_some([1; 16]),
            bound_to: (purpose == Purpose::EmailChange).then_some([1; 16]),
            ..wish(number, purpose)
        });
        assert_eq!(wishes.filter(|wish| asks(&mut mailed, wish, dead)).count(), 3, "{purpose:?}");
    }
}

#[test]
fn an_unknown_name_without_a_live_link_is_counted_like_a_known_one() {
    let [mut known, mut unknown] = [mailed(), mailed()];
    for minute in 0..120 {
        let now = START + Duration::from_mins(minute);
        let number = u8::try_from(minute).unwrap();
        let wanted = Mint { cause: Cause::Stranger(Some(network(1))), ..wish(number, Purpose::Reset) };
        let nobody = Mint { for_nobody: true, ..wanted.clone() };
        assert_eq!(settle(&mut known, &wanted, now).1, settle(&mut unknown, &nobody, now).1, "{minute}");
    }
}

#[test]
fn operators_and_owners_have_quotas_apart_from_strangers() {
    let mut mailed = mailed();
    let mut number = 0;
    let mut sent = |cause, now| {
        number += 1;
        asks(&mut mailed, &Mint { cause, ..wish(number, Purpose::Reset) }, now)
    };
    assert_eq!((0..9).filter(|_| sent(Cause::Stranger(None), START)).count(), 3);
    assert_eq!((0..9).filter(|_| sent(Cause::Owner, START)).count(), 3);
    assert_eq!((0..40).filter(|_| sent(Cause::Operator, START)).count(), MAILS_OF_OPERATORS);
    assert!(sent(Cause::Stranger(None), START + HOUR));
}

#[test]
fn an_address_has_a_quota_whoever_asks_for_it() {
    let mut mailed = mailed();
    let by = |number: u64| Mint {
        account: AccountId::mint(Slot::FIRST, numbered(number)),
        bound_to: Some([7; 16]),
        cause: Cause::Asker(Some(network(number as u32))),
        ..wish(1, Purpose::EmailChange)
    };
    assert_eq!((0..9).filter(|number| asks(&mut mailed, &by(*number), START)).count(), 3);
    // The last of them is kept for another network.
    let mut mailed = self::mailed();
    let from_one = |number: u64| Mint { cause: Cause::Asker(Some(network(1))), ..by(number) };
    assert_eq!((0..9).filter(|number| asks(&mut mailed, &from_one(*number), START)).count(), 2);
    assert!(asks(&mut mailed, &by(2), START), "the owner's own");
    assert!(!asks(&mut mailed, &by(3), START), "three are the bound");
    // What the address refuses counts for the account: what it is sent next says nothing of the address.
    let own = |number: u64| Mint { bound_to: Some([8; 16]), ..by(number) };
    for _ in 0..2 {
        assert!(!asks(&mut mailed, &by(3), START));
    }
    assert!(!asks(&mut mailed, &own(3), START), "three asks in an hour");
    assert!(asks(&mut mailed, &own(4), START), "another account");
    assert!(asks(&mut mailed, &own(3), START + HOUR));
}

#[test]
fn a_network_causes_ten_mails_an_hour_and_its_warnings_are_counted_apart() {
    let mut mailed = mailed();
    let to = |number: u64, cause, purpose| Mint {
        account: AccountId::mint(Slot::FIRST, numbered(number)),
        id: MailedId::mint(Slot::FIRST, numbered(number)),
        cause,
        ..wish(1, purpose)
    };
    let asked = Cause::Stranger(Some(network(1)));
    let purposes = [Purpose::Reset, Purpose::Verify];
    let sent = (0..40_u64).filter(|number| {
        let purpose = purposes[*number as usize % 2];
        asks(&mut mailed, &to(*number, asked, purpose), START)
    });
    assert_eq!(sent.count(), 10);
    // The networks of a /24 have eight times as many together.
    let sent = (100..400_u64).filter(|number| {
        let near = Network::of(Ipv4Addr::from_bits((1 << 8) + *number as u32 % 250).into());
        asks(&mut mailed, &to(*number, Cause::Stranger(Some(near)), Purpose::Reset), START)
    });
    let sent = sent.count();
    assert!((1..80).contains(&sent), "{sent}");
    let warned = Cause::Warning(Some(network(1)));
    let mut warn = |number| asks(&mut mailed, &to(number, warned, Purpose::Unlock), START);
    assert!((0..5).all(&mut warn));
    assert_eq!((0..5).filter(|number| warn(*number)).count(), 5, "ten in all");
    assert!(!warn(0), "an eleventh, to an account that was warned");
    assert!((5..40).all(&mut warn), "the first to an account");
    assert!(!warn(39), "its second");
}

#[test]
fn a_flood_holds_back_no_first_mail_of_an_account() {
    let mut mailed = MailedTokens::new(Limits { mails_per_domain: 20, ..limits() });
    let to = |number: u64, domain: u8, for_nobody| Mint {
        account: AccountId::mint(Slot::FIRST, numbered(number)),
        id: MailedId::mint(Slot::FIRST, numbered(number)),
        domain: [domain; 8],
        for_nobody,
        ..wish(1, Purpose::Verify)
    };
    // Made-up names of one domain: the bound of the domain holds.
    let sent = (0..100).filter(|number| asks(&mut mailed, &to(*number, 1, true), START)).count();
    assert_eq!(sent, 20);
    assert!(asks(&mut mailed, &to(200, 1, false), START), "the first mail of an account");
    assert!(!asks(&mut mailed, &to(200, 1, false), START), "its second");
    assert!(asks(&mut mailed, &to(201, 2, true), START), "another domain");
    // Accounts of many domains: the bound of all mails holds.
    let mut mailed = super::MailedTokens::new(limits());
    for number in 0..MAILS_IN_ALL as u64 {
        let mint = Mint { domain: numbered(number)[..8].try_into().unwrap(), ..to(number, 0, false) };
        assert!(asks(&mut mailed, &mint, START));
    }
    assert!(!asks(&mut mailed, &to(0, 0, false), START), "a second mail, beyond what goes out in all");
    assert!(asks(&mut mailed, &to(5000, 0, false), START), "the first mail of an account that had none");
}

#[test]
fn only_the_sweep_clears_a_full_table_of_networks() {
    let mut mailed = mailed();
    let by =
        |number| Mint { cause: Cause::Stranger(Some(network(number))), ..wish(1, Purpose::Reset) }.wish();
    // Each with the /24 around it.
    (0..NETWORKS_MAX as u32 / 2).for_each(|number| mailed.count(&by(number), false, START));
    let later = START + HOUR;
    mailed.count(&by(u32::MAX >> 8), false, later);
    assert_eq!(mailed.quotas.sizes()[1], NETWORKS_MAX, "a request looked through all of them");
    // A network that is remembered is still counted.
    mailed.count(&by(7), false, later);
    (0..BUCKETS).for_each(|bucket| {
        mailed.sweep(bucket, later);
    });
    assert_eq!(mailed.quotas.sizes()[1], 2);
    mailed.count(&by(u32::MAX >> 8), false, later);
    assert_eq!(mailed.quotas.sizes()[1], 4);
}

#[test]
fn every_table_of_the_quotas_is_bounded() {
    let mut mailed = mailed();
    for number in 0..(QUOTA_NOBODYS.max(DOMAINS_MAX) as u64 + 10) {
        let nobody = Mint {
            account: AccountId::mint(Slot::FIRST, numbered(number)),
            domain: number.to_le_bytes(),
            for_nobody: true,
            ..wish(1, Purpose::Reset)
        };
        mailed.count(&nobody.wish(), true, START);
    }
    let [recipients, _, domains] = mailed.quotas.sizes();
    assert_eq!((recipients, domains), (QUOTA_NOBODYS, DOMAINS_MAX));
    (0..BUCKETS).for_each(|bucket| {
        mailed.sweep(bucket, START + HOUR);
    });
    assert_eq!(mailed.quotas.sizes(), [0; 3]);
}

#[test]
fn for_an_unknown_name_as_much_is_written_and_no_secret_redeems_it() {
    use crate::journal::format::codec::encode;
    let size = |writes: &[Write<MailedV2>]| -> Vec<usize> {
        let bytes = |write: &Write<MailedV2>| match write {
            Write::Put(token) => encode(token).unwrap().len(),
            Write::Remove(_) => 0,
        };
        writes.iter().map(bytes).collect()
    };
    let mut with = mailed();
    let mut without = mailed();
    for number in 0..9 {
        let now = START + Duration::from_mins(10) * number.into();
        let known = wish(number, Purpose::Reset);
        let unknown = Mint { for_nobody: true, ..known.clone() };
        let one = settle(&mut with, &known, now);
        let other = settle(&mut without, &unknown, now);
        assert_eq!((size(&one.0), one.1), (size(&other.0), other.1), "{number}");
        for digest in [unknown.digest, SecretDigest([0; 32])] {
            let token = Redeem { id: unknown.id, digest, purpose: Purpose::Reset };
            assert!(!redeem(&mut without, token, now));
        }
    }
    assert_eq!(with.nobodys, 0);
    // The one that is mailed again and again is replaced when it is half an hour old, and lives to its end.
    assert_eq!(without.nobodys, 2);
}

#[test]
fn a_flood_for_unknown_names_is_bounded_and_uses_up_no_common_quota() {
    let mut mailed = MailedTokens::new(Limits { mails_per_domain: u32::MAX, ..limits() });
    let mut now = START;
    for number in 0..NOBODYS_MAX as u64 + 10 {
        assert!(asks(&mut mailed, &nobody(number), now));
        now = now + Duration::from_millis(10);
    }
    let sizes = (mailed.nobodys, mailed.by_id.len(), mailed.quotas.counted_in_all());
    assert_eq!(sizes, (NOBODYS_MAX, NOBODYS_MAX, 0));
    (0..BUCKETS).for_each(|bucket| {
        mailed.sweep(bucket, now + HOUR);
    });
    assert_eq!((mailed.nobodys, mailed.by_id.len()), (0, 0));
}

fn nobody(number: u64) -> Mint {
    let id = MailedId::mint(Slot::FIRST, numbered(number));
    let account = AccountId::mint(Slot::FIRST, numbered(number));
    Mint { id, account, for_nobody: true, ..wish(1, Purpose::Reset) }
}

/// A stranger with ever new networks asks for unknown names, and for one account whose mails are used up.
#[test]
fn a_flood_of_requests_that_send_nothing_writes_a_bounded_rate() {
    let mut mailed = MailedTokens::new(Limits { mails_per_domain: u32::MAX, ..limits() });
    let known =
        |number| Mint { id: MailedId::mint(Slot::FIRST, numbered(number)), ..wish(200, Purpose::Reset) };
    for number in 0..4 {
        assert_eq!(asks(&mut mailed, &known(100_000 + number), START), number < 3);
    }
    let (mut written, mut now) = (0, START);
    for number in 0..20_000 {
        let asked = if number % 2 == 0 { nobody(number) } else { known(number) };
        written += usize::from(!settle(&mut mailed, &asked, now).0.is_empty());
        now = START + Duration::from_millis(number / 10);
    }
    let bound = (DECOYS_AT_ONCE + 2 * DECOYS_A_SECOND) as usize;
    assert!((bound - 2..=bound).contains(&written), "{written}");
    // An owner whose link has run out gets one all the same, and an account that was not asked for its first.
    let other = Mint { account: AccountId::mint(Slot::FIRST, numbered(50_000)), ..known(50_000) };
    assert!(asks(&mut mailed, &other, now));
    assert!(asks(&mut mailed, &known(50_001), now + HOUR / 2));
    // What the owner or an operator asks for is written, sent or not.
    let of_operator = Mint { cause: Cause::Operator, ..known(50_002) };
    for _ in 0..20 {
        assert_ne!(settle(&mut mailed, &of_operator, now).1, Minted::NotWritten);
    }
    // When the flood is over, requests for unknown names are written again.
    assert_eq!(settle(&mut mailed, &nobody(30_000), now).1, Minted::NotWritten);
    assert_eq!(settle(&mut mailed, &nobody(30_000), now + Duration::from_millis(20)).1, Minted::New);
}

#[test]
fn a_mail_that_waited_gives_its_link_the_usual_time() {
    let mut mailed = mailed();
    let (token, _) = mint(&mut mailed, 1, Purpose::Reset, START);
    let late = START + Duration::from_mins(29);
    mailed.restart(token.id, None, late).writes.into_iter().for_each(|write| mailed.apply(write));
    assert!(mailed.find_live(token.id, late + Duration::from_mins(29)).is_some());
    assert!(mailed.find_live(token.id, late + HOUR / 2).is_none());
    assert_eq!(mailed.restart(token.id, None, late + HOUR), Decision::unchanged(()));
}

#[test]
fn a_link_ends_with_what_it_belongs_to_however_often_it_is_mailed() {
    let mut mailed = mailed();
    let end = START + HOUR;
    let of_sign_up = Mint { end_max: Some(end), ..wish(1, Purpose::Verify) };
    assert_eq!(settle(&mut mailed, &of_sign_up, START).1, Minted::New);
    let late = START + Duration::from_mins(50);
    let again = Mint { id: MailedId::mint(Slot::FIRST, [2; 14]), ..of_sign_up.clone() };
    assert_eq!(settle(&mut mailed, &again, late).1, Minted::Again(of_sign_up.id));
    mailed.restart(of_sign_up.id, Some(end), late).writes.into_iter().for_each(|write| mailed.apply(write));
    assert!(mailed.find_live(of_sign_up.id, end - Duration::from_millis(1)).is_some());
    assert!(mailed.find_live(of_sign_up.id, end).is_none());
}

#[test]
fn the_newest_token_of_a_use_is_found_in_whatever_order_records_are_read_back() {
    let token = |number: u8, minted_ms| MailedV2 {
        id: [number; 16],
        account: [0; 16],
        purpose: Purpose::Reset,
        auth_epoch: 0,
        global_epoch: 0,
        digest: [number; 32],
        minted_ms,
        end_ms: START.as_millis() + 60_000,
        kid: 1,
        bound_to: None,
    };
    for order in [[1, 2], [2, 1]] {
        let mut mailed = mailed();
        for number in order {
            mailed.apply(Write::Put(token(number, number.into())));
        }
        let newest = mailed.newest(AccountId::from_bytes([0; 16]).unwrap(), Purpose::Reset);
        assert_eq!(newest.map(|token| token.minted_ms), Some(2));
    }
}

proptest! {
    /// Invariant: in any order of calls, no token is redeemed that was not minted for that purpose, and none twice.
    #[test]
    fn no_order_of_calls_redeems_what_was_not_minted(
        steps in prop::collection::vec((0_u8..4, 0_u8..6, 0_u64..20), 1..60),
    ) {
        let mut mailed = mailed();
        let mut now = START;
        let mut live: Vec<(Redeem, Timestamp)> = Vec::new();
        let mut minted: Vec<Redeem> = Vec::new();
        for (act, number, minutes) in steps {
            now = now + Duration::from_mins(minutes);
            let purpose = if number % 2 == 0 { Purpose::Reset } else { Purpose::Unlock };
            let any = minted.iter().rev().nth(number.into()).copied();
            if act == 0 {
                let (token, sent) = mint(&mut mailed, minted.len() as u8, purpose, now);
                minted.push(token);
                let end = now + Duration::from_mins(30);
                match sent {
                    Minted::New => live.push((token, end)),
                    Minted::Again(id) => {
                        let again = live.iter_mut().find(|(token, _)| token.id == id).unwrap();
                        prop_assert!(again.0.purpose == purpose && now < again.1);
                        again.1 = end;
                    }
                    Minted::NotSent | Minted::NotWritten => {}
                }
            } else if let Some(token) = any {
                let token = if act == 1 { Redeem { purpose, ..token } } else { token };
                let is_it = |(live, end): &(Redeem, Timestamp)| {
                    live.id == token.id && live.purpose == token.purpose && now < *end
                };
                let expected = live.iter().any(is_it);
                prop_assert_eq!(redeem(&mut mailed, token, now), expected);
                live.retain(|token| !is_it(token));
            }
        }
    }
}

#[test]
fn the_links_of_an_account_that_are_good_are_listed_with_their_end() {
    let mut mailed = mailed();
    let mut mint = |number, purpose| {
        let minted = mailed.mint(&wish(number, purpose), START);
        minted.writes.into_iter().for_each(|write| mailed.apply(write));
    };
    mint(1, Purpose::Reset);
    mint(2, Purpose::Verify);
    mint(3, Purpose::EmailUndo);
    let purposes = |auth_epoch, global_epoch, now| {
        let links = mailed.links_of(account(), auth_epoch, global_epoch, now);
        links.into_iter().map(|(purpose, _)| purpose).collect::<Vec<_>>()
    };
    assert_eq!(mailed.links_of(account(), 0, 0, START)[0], (Purpose::Reset, START + HOUR / 2));
    assert_eq!(purposes(0, 0, START), [Purpose::Reset, Purpose::Verify, Purpose::EmailUndo]);
    assert_eq!(purposes(0, 0, START + HOUR / 2), [Purpose::Verify, Purpose::EmailUndo]);
    // Of another epoch only the undo of an address is good, and after a restore nothing is.
    assert_eq!(purposes(1, 0, START), [Purpose::EmailUndo]);
    assert_eq!(purposes(0, 1, START), []);
}
