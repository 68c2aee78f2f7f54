//! Tests of the rule.

use proptest::prelude::*;

use super::*;
use crate::journal::format::buckets::BUCKETS;
use crate::value::id::Slot;

const START: Timestamp = Timestamp::from_secs(1_800_000_000);

fn mailed() -> MailedTokens {
    let hour = Duration::from_hours(1);
    MailedTokens::new(Limits { reset: hour / 2, verify: hour * 24, mails_per_hour: 3 })
}

fn account() -> AccountId {
    AccountId::mint(Slot::FIRST, [1; 14])
}

fn wish(number: u8, purpose: Purpose) -> Mint {
    Mint {
        id: MailedId::mint(Slot::FIRST, [number; 14]),
        account: account(),
        auth_epoch: 0,
        global_epoch: 0,
        purpose,
        digest: SecretDigest([number + 1; 32]),
        network: None,
        for_nobody: false,
    }
}

/// Decides and applies like the actor. Returns the writes, and whether a mail is sent.
fn settle(mailed: &mut MailedTokens, mint: &Mint, now: Timestamp) -> (Vec<Write<MailedV1>>, bool) {
    let Decision { writes, verdict } = mailed.mint(mint, now);
    writes.iter().cloned().for_each(|write| mailed.apply(write));
    if verdict {
        mailed.count_mail(mint, now);
    }
    if let Some(network) = mint.network {
        mailed.count_asked(network, now);
    }
    (writes, verdict)
}

fn mint(mailed: &mut MailedTokens, number: u8, purpose: Purpose, now: Timestamp) -> (Redeem, bool) {
    let mint = wish(number, purpose);
    let (_, sent) = settle(mailed, &mint, now);
    (Redeem { id: mint.id, digest: mint.digest, purpose }, sent)
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
fn a_new_token_ends_the_one_before_and_the_quota_is_silent() {
    let mut mailed = mailed();
    let (first, _) = mint(&mut mailed, 1, Purpose::Reset, START);
    let (second, sent) = mint(&mut mailed, 2, Purpose::Reset, START);
    assert!(sent && !redeem(&mut mailed, first, START));
    assert!(mint(&mut mailed, 3, Purpose::Reset, START).1);
    let (_, sent) = mint(&mut mailed, 4, Purpose::Reset, START);
    assert!(!sent && !redeem(&mut mailed, second, START));
    assert!(mint(&mut mailed, 5, Purpose::Reset, START + Duration::from_hours(1)).1);
}

#[test]
fn a_network_gets_ten_mails_an_hour_and_a_flood_holds_back_no_first_mail() {
    let mut mailed = mailed();
    let network = Network::of(std::net::Ipv4Addr::LOCALHOST.into());
    let ask = |mailed: &mut MailedTokens, number: u16, network: Option<Network>| {
        let mut random = [0; 14];
        random[..2].copy_from_slice(&number.to_le_bytes());
        let account = AccountId::mint(Slot::FIRST, random);
        let id = MailedId::mint(Slot::FIRST, random);
        settle(mailed, &Mint { id, account, network, ..wish(1, Purpose::Reset) }, START).1
    };
    let sent = (0..40).filter(|number| ask(&mut mailed, *number, Some(network))).count();
    assert_eq!(sent, 10);
    let flood: usize = (100..1100).map(|number| usize::from(ask(&mut mailed, number, None))).sum();
    assert_eq!(flood, 1000);
    assert!(!ask(&mut mailed, 100, None), "a second mail of an account, beyond what goes out in all");
    assert!(ask(&mut mailed, 5000, None), "the first mail of an account that had none");
}

#[test]
fn only_the_sweep_clears_a_full_table_of_networks() {
    let mut mailed = mailed();
    let network = |number: u32| Network::of(std::net::Ipv4Addr::from_bits(number).into());
    (0..ASKED_MAX as u32).for_each(|number| mailed.count_asked(network(number), START));
    let later = START + HOUR;
    mailed.count_asked(network(u32::MAX), later);
    assert_eq!(mailed.asked.len(), ASKED_MAX, "a request looked through all of them");
    // A network that is remembered is still counted.
    mailed.count_asked(network(7), later);
    (0..BUCKETS).for_each(|bucket| {
        mailed.sweep(bucket, later);
    });
    assert_eq!(mailed.asked.len(), 1);
    mailed.count_asked(network(u32::MAX), later);
    assert_eq!(mailed.asked.len(), 2);
}

#[test]
fn for_an_unknown_name_as_much_is_written_and_no_secret_redeems_it() {
    use crate::journal::format::codec::encode;
    let size = |writes: &[Write<MailedV1>]| -> Vec<usize> {
        let bytes = |write: &Write<MailedV1>| match write {
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
    assert_eq!(without.nobodys, 1);
}

#[test]
fn a_flood_for_unknown_names_is_bounded_and_uses_up_no_common_quota() {
    let mut mailed = mailed();
    for number in 0..NOBODYS_MAX as u64 + 10 {
        let mut random = [0; 14];
        random[..8].copy_from_slice(&number.to_le_bytes());
        let id = MailedId::mint(Slot::FIRST, random);
        let account = AccountId::mint(Slot::FIRST, random);
        let nobody = Mint { id, account, for_nobody: true, ..wish(1, Purpose::Reset) };
        assert!(settle(&mut mailed, &nobody, START).1);
    }
    assert_eq!((mailed.nobodys, mailed.by_id.len(), mailed.in_hour), (NOBODYS_MAX, NOBODYS_MAX, 0));
    assert!(mint(&mut mailed, 1, Purpose::Reset, START).1 && mint(&mut mailed, 2, Purpose::Reset, START).1);
    (0..BUCKETS).for_each(|bucket| {
        mailed.sweep(bucket, START + Duration::from_hours(1));
    });
    assert_eq!((mailed.nobodys, mailed.by_id.len()), (0, 0));
}

proptest! {
    /// Invariant: in any order of calls, no token is redeemed that was not minted for that purpose, and none twice.
    #[test]
    fn no_order_of_calls_redeems_what_was_not_minted(
        steps in prop::collection::vec((0_u8..4, 0_u8..6, 0_u64..20), 1..60),
    ) {
        let mut mailed = mailed();
        let mut now = START;
        let mut live = HashMap::new();
        let mut minted: Vec<Redeem> = Vec::new();
        for (act, number, minutes) in steps {
            now = now + Duration::from_mins(minutes);
            let purpose = if number % 2 == 0 { Purpose::Reset } else { Purpose::Unlock };
            let any = minted.iter().rev().nth(number.into()).copied();
            if act == 0 {
                let (token, sent) = mint(&mut mailed, minted.len() as u8, purpose, now);
                minted.push(token);
                if sent {
                    live.insert(purpose, (token, now + Duration::from_mins(30)));
                }
            } else if let Some(token) = any {
                let token = if act == 1 { Redeem { purpose, ..token } } else { token };
                let expected = live.get(&token.purpose).is_some_and(|(live, end): &(Redeem, Timestamp)| {
                    live.id == token.id && now < *end
                });
                prop_assert_eq!(redeem(&mut mailed, token, now), expected);
                if expected {
                    live.remove(&token.purpose);
                }
            }
        }
    }
}
