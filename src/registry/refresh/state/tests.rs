//! Tests of the rule.

use proptest::prelude::*;

use super::*;
use crate::registry::record::BY_PASSWORD;
use crate::value::id::{AccountId, Slot};
use crate::value::network::Network;

const LIMITS: Limits = Limits {
    grace: Duration::from_secs(10),
    idle: Duration::from_hours(720),
    absolute: Duration::from_hours(2160),
    remember_ended: Duration::from_hours(24),
};

/// A token as its holder sees it: its generation, and its secret of one byte, whose digest is that byte 32 times.
type Token = (u32, u8);

struct World {
    families: Families,
    now: Timestamp,
    minted: u8,
    journal: Vec<Write<FamilyV3>>,
}

fn id() -> FamilyId {
    FamilyId::mint(Slot::new(9).unwrap(), [1; 14])
}

fn client(address: &str, agent: &str) -> SpentByV1 {
    SpentByV1::new(Network::of(address.parse().unwrap()), agent)
}

impl World {
    fn new() -> (Self, Token) {
        let mut world = Self {
            families: Families::new(LIMITS),
            now: Timestamp::from_secs(1_800_000_000),
            minted: 0,
            journal: Vec::new(),
        };
        let account = AccountId::mint(Slot::new(9).unwrap(), [2; 14]);
        let open = OpenFamily {
            id: id(),
            account,
            auth_epoch: 1,
            global_epoch: 0,
            digest: SecretDigest([0; 32]),
            network: "192.0.2.1/32".into(),
            user_agent: "test".into(),
            audience: Audience::App,
            proved: None,
            methods: BY_PASSWORD,
            replaces: false,
        };
        let decision = world.families.open(&open, world.now);
        world.apply(decision.writes);
        (world, (0, 0))
    }

    fn apply(&mut self, writes: Vec<Write<FamilyV3>>) {
        for write in writes {
            if let Write::Put(family) = &write {
                assert!(family.is_sound(), "{family:?}");
            }
            self.journal.push(write.clone());
            self.families.apply(write);
        }
    }

    fn rotate(&mut self, token: Token) -> Result<Token, Refusal> {
        self.rotate_by(token, client("192.0.2.1", "Firefox"))
    }

    fn rotate_by(&mut self, token: Token, by: SpentByV1) -> Result<Token, Refusal> {
        self.minted += 1;
        let rotate = Rotate {
            id: id(),
            generation: token.0,
            digest: SecretDigest([token.1; 32]),
            next_digest: SecretDigest([self.minted; 32]),
            next_sealed: [self.minted; 40],
            by,
        };
        let decision = self.families.rotate(&rotate, self.now);
        self.apply(decision.writes);
        decision.verdict.map(|rotated| match rotated {
            Rotated::Fresh(family) => (family.generation, self.minted),
            Rotated::Again(family, sealed) => (family.generation, sealed[0]),
        })
    }

    fn end(&mut self, cause: Cause) {
        let decision = self.families.end(End { id: id(), cause, by: None }, self.now);
        self.apply(decision.writes);
    }

    fn restart(&mut self) {
        self.families = Families::new(LIMITS);
        self.families.recover();
        for write in self.journal.clone() {
            self.families.apply(write);
        }
        self.families.recovered();
    }

    fn advance(&mut self, secs: u64) {
        self.now = self.now + Duration::from_secs(secs);
    }
}

#[test]
fn a_spent_token_returns_the_same_successor_and_later_ends_the_family() {
    let (mut world, first) = World::new();
    let second = world.rotate(first).unwrap();
    for _ in 0..50 {
        assert_eq!(world.rotate(first), Ok(second));
    }
    world.advance(10);
    assert_eq!(world.rotate(first), Err(Refusal::Reused));
    assert_eq!(world.rotate(second), Err(Refusal::EndedForReuse));
}

#[test]
fn a_used_successor_ends_the_grace_of_the_token_before() {
    let (mut world, first) = World::new();
    let second = world.rotate(first).unwrap();
    let third = world.rotate(second).unwrap();
    assert_eq!(world.rotate(first), Err(Refusal::Reused));
    assert_eq!(world.rotate(third), Err(Refusal::EndedForReuse));
}

#[test]
fn log_out_also_ends_tokens_in_grace_and_its_cause_stays() {
    let (mut world, first) = World::new();
    let second = world.rotate(first).unwrap();
    world.end(Cause::LogOut);
    world.end(Cause::Revoked);
    assert_eq!(world.rotate(first), Err(Refusal::Revoked));
    assert_eq!(world.rotate(second), Err(Refusal::Revoked));
}

#[test]
fn a_wrong_secret_neither_rotates_nor_ends_the_family() {
    let (mut world, first) = World::new();
    assert_eq!(world.rotate((0, 99)), Err(Refusal::Unknown));
    let second = world.rotate(first).unwrap();
    assert_eq!(world.rotate((0, 99)), Err(Refusal::Unknown));
    assert_eq!(world.rotate((7, second.1)), Err(Refusal::Unknown));
    assert!(world.rotate(second).is_ok());
}

#[test]
fn a_family_ends_idle_and_at_its_absolute_end_however_busy() {
    let (mut idle, token) = World::new();
    idle.advance(LIMITS.idle.as_secs());
    assert_eq!(idle.rotate(token), Err(Refusal::Expired));

    let (mut busy, mut token) = World::new();
    for _ in 0..89 {
        busy.advance(86_400);
        token = busy.rotate(token).unwrap();
    }
    busy.advance(86_400);
    assert_eq!(busy.rotate(token), Err(Refusal::Expired));
    let swept: usize =
        (0..crate::journal::format::buckets::BUCKETS).map(|at| busy.families.sweep(at, busy.now)).sum();
    assert_eq!(swept, 1);
    assert!(busy.families.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Present(usize),
    Wait(u64),
    LogOut,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any::<prop::sample::Index>().prop_map(|at| Step::Present(at.index(64))),
        3 => (0_u64..15).prop_map(Step::Wait),
        1 => Just(Step::LogOut),
        2 => Just(Step::Restart),
    ]
}

#[test]
fn other_families_of_an_account_end_entry_by_entry_and_are_listed_dead() {
    let (mut world, _) = World::new();
    let account = AccountId::mint(Slot::new(9).unwrap(), [2; 14]);
    let open = |world: &mut World, number: u8, epoch: u64| {
        let open = OpenFamily {
            id: FamilyId::mint(Slot::new(9).unwrap(), [number; 14]),
            account,
            auth_epoch: epoch,
            global_epoch: 0,
            digest: SecretDigest([0; 32]),
            network: "192.0.2.1/32".into(),
            user_agent: "\u{1F600}".repeat(120).into(),
            audience: Audience::App,
            proved: None,
            methods: BY_PASSWORD,
            replaces: false,
        };
        let decision = world.families.open(&open, world.now);
        world.apply(decision.writes);
        decision.verdict.open
    };
    for number in 2..=150 {
        assert_eq!(open(&mut world, number, 1), usize::from(number));
    }
    let mut entries = Vec::new();
    let mut after = None;
    let by = Some(client("2001:db8::1", "Firefox"));
    loop {
        let others = EndOthers { account, except: Some(id().to_bytes()), cause: Cause::LogOut, by, after };
        let Decision { writes, verdict } = world.families.end_others(others, world.now);
        assert!(writes.iter().all(|write| world.families.revoked_by(write).is_some()));
        let changes: Vec<_> = writes.iter().map(|write| write.to_change().unwrap()).collect();
        assert!(crate::journal::format::entry::Entry::encode(&changes).is_ok());
        entries.push(writes.len());
        world.apply(writes);
        after = verdict;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(entries, [64, 64, 21]);
    assert_eq!(world.families.open_count(account, world.now), 1);
    open(&mut world, 200, 0);
    let dead =
        |world: &World, since| world.families.dead_since(since, |family| family.auth_epoch == 1).count();
    assert_eq!(dead(&world, world.now), 150);
    // Within the grace the last rotation may have been answered again, which issues a token at that time.
    assert_eq!(dead(&world, world.now + LIMITS.grace), 150);
    assert_eq!(dead(&world, world.now + LIMITS.grace + Duration::from_secs(1)), 0);
}

#[test]
fn a_lost_answer_comes_again_for_the_same_network_or_program_alone() {
    let owner = client("192.0.2.1", "Firefox");
    for (by, expected, second) in [
        (client("192.0.2.1", "curl"), true, None),
        (client("2001:db8::1", "Firefox"), true, Some("2001:db8::/64")),
        (client("198.51.100.7", "curl"), false, None),
        (client("198.51.100.7", ""), false, None),
    ] {
        let (mut world, first) = World::new();
        let second_token = world.rotate_by(first, owner).unwrap();
        let again = world.rotate_by(first, by);
        assert_eq!(again, if expected { Ok(second_token) } else { Err(Refusal::Reused) }, "{by:?}");
        let family = world.families.get(id()).unwrap();
        assert_eq!(family.second_network.as_deref(), second);
        assert_eq!(world.rotate_by(second_token, owner).is_ok(), expected);
    }
    // Two programs that do not say what they are, are not the same.
    let (mut world, first) = World::new();
    world.rotate_by(first, client("192.0.2.1", "")).unwrap();
    assert_eq!(world.rotate_by(first, client("192.0.2.2", "")), Err(Refusal::Reused));
}

#[test]
fn a_spent_token_is_reused_after_a_log_out_from_elsewhere_and_its_owner_is_told_once() {
    let owner = client("192.0.2.1", "Firefox");
    let thief = client("198.51.100.7", "curl");
    // Who spent the token, who logged out, and who comes back with it, how many seconds later.
    for (spent_by, log_out, by, secs, expected) in [
        (thief, Some(thief), owner, 0, Refusal::Reused),
        (thief, Some(thief), owner, 3600, Refusal::Reused),
        // Another tab, and a phone that has changed its network.
        (owner, Some(owner), client("192.0.2.1", "Chrome"), 3600, Refusal::Revoked),
        (owner, Some(owner), client("203.0.113.9", "Firefox"), 3600, Refusal::Revoked),
        // Its answer was lost while the owner logged out everywhere on another device.
        (owner, Some(client("203.0.113.9", "Safari")), owner, 9, Refusal::Revoked),
        (owner, Some(client("203.0.113.9", "Safari")), owner, 10, Refusal::Reused),
        // An administrator has ended it.
        (thief, None, owner, 0, Refusal::Revoked),
    ] {
        let (mut world, first) = World::new();
        let second = world.rotate_by(first, spent_by).unwrap();
        let end = End { id: id(), cause: Cause::LogOut, by: log_out };
        let ended = world.families.end(end, world.now);
        world.apply(ended.writes);
        world.advance(secs);
        let case = format!("{spent_by:?} {log_out:?} {by:?} {secs}");
        // The live token was not used by two.
        assert_eq!(world.rotate_by(second, by), Err(Refusal::Revoked), "{case}");
        let presented = world.families.get(id()).cloned();
        assert_eq!(world.rotate_by(first, by), Err(expected), "{case}");
        world.restart();
        let after = if expected == Refusal::Reused { Refusal::EndedForReuse } else { expected };
        assert_eq!(world.rotate_by(first, by), Err(after), "{case}");
        // It ends in the feed once, and is forgotten when it would have been.
        let now = world.families.get(id()).cloned();
        let revoked = world.families.revoked_by(&Write::Put(now.clone().unwrap()));
        assert_eq!(revoked, None, "{case}");
        assert_eq!(now.map(|family| family.absolute_end_ms), presented.map(|family| family.absolute_end_ms));
    }
}

#[test]
fn a_log_out_with_a_spent_token_is_a_reuse_unless_it_is_due_its_successor() {
    let owner = client("192.0.2.1", "Firefox");
    let thief = client("198.51.100.7", "curl");
    for (age, by, secs, expected, after) in [
        (0, thief, 0, LoggedOut::Ended, Refusal::Revoked),
        (1, owner, 9, LoggedOut::Ended, Refusal::Revoked),
        (1, owner, 10, LoggedOut::Reused, Refusal::EndedForReuse),
        (1, thief, 0, LoggedOut::Reused, Refusal::EndedForReuse),
        (2, owner, 0, LoggedOut::Reused, Refusal::EndedForReuse),
    ] {
        let (mut world, first) = World::new();
        let mut tokens = vec![first];
        for _ in 0..age {
            tokens.push(world.rotate_by(*tokens.last().unwrap(), owner).unwrap());
        }
        world.advance(secs);
        let presented = Presented { id: id(), generation: first.0, digest: SecretDigest([first.1; 32]), by };
        let wrong = Presented { digest: SecretDigest([77; 32]), ..presented };
        if age < 2 {
            let ended = world.families.log_out(LogOut(wrong), world.now);
            assert_eq!(ended, Decision::unchanged(LoggedOut::Nothing));
        }
        let Decision { writes, verdict } = world.families.log_out(LogOut(presented), world.now);
        assert_eq!(verdict, expected, "{age} {by:?} {secs}");
        world.apply(writes);
        assert_eq!(world.rotate_by(*tokens.last().unwrap(), owner), Err(after), "{age} {by:?} {secs}");
    }
}

#[test]
fn an_outage_longer_than_the_grace_is_no_reuse_and_lengthens_no_grace() {
    let (mut world, first) = World::new();
    let second = world.rotate(first).unwrap();
    let begin = world.now + Duration::from_secs(2);
    world.advance(60);
    world.families.note_pause(begin, world.now);
    // Two seconds before and seven after the outage.
    world.advance(7);
    assert_eq!(world.rotate(first), Ok(second));
    world.advance(4);
    assert_eq!(world.rotate(first), Err(Refusal::Reused));
}

#[test]
fn little_is_left_of_an_ended_family_and_not_for_ever() {
    let (mut world, first) = World::new();
    world.rotate(first).unwrap();
    let size = |world: &World| {
        crate::journal::format::codec::encode(world.families.get(id()).unwrap()).unwrap().len()
    };
    let before = size(&world);
    let by = Some(client("192.0.2.1", "Firefox"));
    let ended = world.families.end(End { id: id(), cause: Cause::LogOut, by }, world.now);
    world.apply(ended.writes);
    assert!(size(&world) < 170 && before > 200, "{} of {before} bytes", size(&world));
    assert_eq!(world.rotate(first), Err(Refusal::Revoked));
    let sweep = |world: &mut World| -> usize {
        let now = world.now;
        (0..crate::journal::format::buckets::BUCKETS).map(|at| world.families.sweep(at, now)).sum()
    };
    world.advance(86_399);
    assert_eq!(sweep(&mut world), 0);
    world.advance(1);
    assert_eq!(sweep(&mut world), 1);
    assert_eq!(world.rotate(first), Err(Refusal::Unknown));
}

#[test]
fn an_account_that_ends_families_without_end_leaves_a_bounded_trace() {
    let (mut world, _) = World::new();
    let account = AccountId::mint(Slot::new(9).unwrap(), [2; 14]);
    let mint = |number: u32| {
        let mut random = [9; 14];
        random[..4].copy_from_slice(&number.to_be_bytes());
        FamilyId::mint(Slot::new(9).unwrap(), random)
    };
    for number in 0..1500 {
        let open = OpenFamily {
            id: mint(number),
            account,
            auth_epoch: 1,
            global_epoch: 0,
            digest: SecretDigest([0; 32]),
            network: "192.0.2.1/32".into(),
            user_agent: "test".into(),
            audience: Audience::App,
            proved: None,
            methods: BY_PASSWORD,
            replaces: false,
        };
        let opened = world.families.open(&open, world.now);
        assert_eq!(opened.verdict.open, 2);
        world.apply(opened.writes);
        let ended = world.families.end(End { id: mint(number), cause: Cause::LogOut, by: None }, world.now);
        world.apply(ended.writes);
        if number == 1200 {
            world.restart();
        }
    }
    assert_eq!(world.families.len(), 1 + crate::registry::refresh::tombstones::TOMBSTONES_MAX);
    // The ones that ended last are remembered.
    assert!(world.families.get(mint(1499)).is_some());
    assert!(world.families.get(mint(100)).is_none());
}

proptest! {
    /// Owner and thief hold copies of all tokens ever issued and use them in any order. Invariants: each generation
    /// has one token only; once a family is ended no token gets anything again; a restart that replays the writes
    /// changes no answer.
    #[test]
    fn two_holders_never_get_two_tokens_of_one_generation(steps in prop::collection::vec(step(), 1..60)) {
        let (mut world, first) = World::new();
        let mut given = vec![first];
        let mut over = false;
        for step in steps {
            match step {
                Step::Present(at) => {
                    let token = given[at % given.len()];
                    match world.rotate(token) {
                        Ok(next) => {
                            prop_assert!(!over);
                            prop_assert_eq!(next.0, token.0 + 1);
                            if given.len() > next.0 as usize {
                                prop_assert_eq!(given[next.0 as usize], next);
                            } else {
                                given.push(next);
                            }
                        }
                        Err(_) => over = true,
                    }
                }
                Step::Wait(secs) => world.advance(secs),
                Step::LogOut => {
                    world.end(Cause::LogOut);
                    over = true;
                }
                Step::Restart => world.restart(),
            }
        }
    }
}
