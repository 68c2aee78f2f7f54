//! Tests of the rule.

use proptest::prelude::*;

use super::*;
use crate::value::id::{AccountId, Slot};

const LIMITS: Limits = Limits {
    grace: Duration::from_secs(10),
    idle: Duration::from_hours(720),
    absolute: Duration::from_hours(2160),
};

/// A token as its holder sees it: its generation, and its secret of one byte, whose digest is that byte 32 times.
type Token = (u32, u8);

struct World {
    families: Families,
    now: Timestamp,
    minted: u8,
    journal: Vec<Write<FamilyV1>>,
}

fn id() -> FamilyId {
    FamilyId::mint(Slot::new(9).unwrap(), [1; 14])
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
        };
        let decision = world.families.open(&open, world.now);
        world.apply(decision.writes);
        (world, (0, 0))
    }

    fn apply(&mut self, writes: Vec<Write<FamilyV1>>) {
        for write in writes {
            if let Write::Put(family) = &write {
                assert!(family.is_sound(), "{family:?}");
            }
            self.journal.push(write.clone());
            self.families.apply(write);
        }
    }

    fn rotate(&mut self, token: Token) -> Result<Token, Refusal> {
        self.minted += 1;
        let rotate = Rotate {
            id: id(),
            generation: token.0,
            digest: SecretDigest([token.1; 32]),
            next_digest: SecretDigest([self.minted; 32]),
            next_sealed: [self.minted; 40],
        };
        let decision = self.families.rotate(&rotate, self.now);
        self.apply(decision.writes);
        decision.verdict.map(|rotated| match rotated {
            Rotated::Fresh(family) => (family.generation, self.minted),
            Rotated::Again(family, sealed) => (family.generation, sealed[0]),
        })
    }

    fn end(&mut self, cause: Cause) {
        let decision = self.families.end(End { id: id(), cause });
        self.apply(decision.writes);
    }

    fn restart(&mut self) {
        self.families = Families::new(LIMITS);
        for write in self.journal.clone() {
            self.families.apply(write);
        }
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
        let id = FamilyId::mint(Slot::new(9).unwrap(), [number; 14]);
        let digest = SecretDigest([0; 32]);
        let network = "192.0.2.1/32".into();
        let user_agent = "\u{1F600}".repeat(120).into();
        let open =
            OpenFamily { id, account, auth_epoch: epoch, global_epoch: 0, digest, network, user_agent };
        let decision = world.families.open(&open, world.now);
        world.apply(decision.writes);
    };
    (2..=150).for_each(|number| open(&mut world, number, 1));
    let mut entries = Vec::new();
    loop {
        let others = EndOthers { account, except: Some(id().to_bytes()), cause: Cause::LogOut };
        let Decision { writes, verdict } = world.families.end_others(others, world.now);
        assert!(writes.iter().all(|write| ended_by(write).is_some()));
        let changes: Vec<_> = writes.iter().map(|write| write.to_change().unwrap()).collect();
        assert!(crate::journal::format::entry::Entry::encode(&changes).is_ok());
        entries.push(writes.len());
        world.apply(writes);
        if !verdict {
            break;
        }
    }
    assert_eq!(entries, [64, 64, 21]);
    assert_eq!(world.families.of_account(account, world.now).len(), 1);
    open(&mut world, 200, 0);
    let dead =
        |world: &World, since| world.families.dead_since(since, |family| family.auth_epoch == 1).count();
    assert_eq!(dead(&world, world.now), 150);
    // Within the grace the last rotation may have been answered again, which issues a token at that time.
    assert_eq!(dead(&world, world.now + LIMITS.grace), 150);
    assert_eq!(dead(&world, world.now + LIMITS.grace + Duration::from_secs(1)), 0);
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
