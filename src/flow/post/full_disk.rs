//! Acts of several entries on a disk that is nearly full: each does all of it, with its mails, or nothing.

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::config::Config;
use crate::engine::start::start_first;
use crate::engine::{Engine, Fault};
use crate::flow::admin::{self, Admin, Changes, New};
use crate::flow::authenticate::{Credential, Identity, bearer};
use crate::flow::client::Client;
use crate::flow::email::{self, Link, Proof};
use crate::flow::grant::Grant;
use crate::flow::log_in::{Mode, log_in};
use crate::flow::refusal::FlowError;
use crate::flow::{account, password};
use crate::journal::append::handle::{Class, NoRoom, Permit};
use crate::registry::account::AccountV4;
use crate::registry::account::actor::{Admins, ById};
use crate::registry::outbox::actor::{Due, Settle, Waiting};
use crate::registry::outbox::{DeliveryOutcome, open_token};
use crate::registry::refresh::Audience;
use crate::system::clock::{Clock, Timestamp};
use crate::system::fail_stop::FailStop;
use crate::value::id::AccountId;

const PASSWORD: &str = "correct horse battery staple";
const NEXT: &str = "an entirely different phrase";

/// The acts that write more than one entry.
#[derive(Clone, Copy, Debug)]
enum Act {
    Undo,
    ConfirmAddress,
    Reset,
    ChangePassword,
    DeleteOwn,
    MakeAdmin,
    Promote,
    SetAddress,
    RevokePassword,
    Delete,
}

const ACTS: [Act; 10] = [
    Act::Undo,
    Act::ConfirmAddress,
    Act::Reset,
    Act::ChangePassword,
    Act::DeleteOwn,
    Act::MakeAdmin,
    Act::Promote,
    Act::SetAddress,
    Act::RevokePassword,
    Act::Delete,
];

/// The owner of an account, and all that the acts need.
struct Owner {
    client: Client,
    id: AccountId,
    email: String,
    next: String,
    identity: Arc<Identity>,
    link: String,
}

/// Takes all room that entries of `class` have, but that of `left` small ones.
fn fill(engine: &Engine, class: Class, left: usize) -> Vec<Permit> {
    let mut taken = Vec::new();
    loop {
        match engine.journal.reserve(1, class) {
            Ok(permit) => taken.push(permit),
            Err(NoRoom::StorageFull | NoRoom::Busy) => break,
            Err(other) => panic!("{other} after {} entries", taken.len()),
        }
    }
    assert!(taken.len() > left, "the journal is too small for this test");
    taken.truncate(taken.len() - left);
    taken
}

/// Removes all mails that wait, and returns the token of the last one to `to`.
async fn take_mails(engine: &Engine, to: &str) -> String {
    let mut token = String::new();
    while let mails = engine.outbox.ask(Due::default()).await.unwrap()
        && !mails.is_empty()
    {
        for mail in mails {
            if &*mail.to == to
                && let Some(sealed) = &mail.token
            {
                let keys = &engine.services.keys.outbox;
                token = keys.find_map(|key| open_token(key, mail.id, sealed)).unwrap().to_string();
            }
            let (outcome, of) = (DeliveryOutcome::Sent, (mail.to, mail.kind));
            let settle = Settle { id: mail.id, outcome, of, took: None, why: None };
            engine.outbox.ask(settle).await.unwrap();
        }
    }
    token
}

impl Owner {
    /// Makes an account, logs its owner in, and mails what `act` needs.
    async fn before(engine: &Arc<Engine>, act: Act, number: usize) -> Self {
        let client = Client::new(Ipv4Addr::from_bits(0x0B00_0000 + ((number as u32) << 8)).into(), "test");
        let mut email = format!("ada{number}@test.org");
        let mut next = format!("ada{number}@new.test");
        let new = New { email: &email, password: Some(PASSWORD), verified: true, ..New::default() };
        let id = admin::create(engine, &Admin::operator(), new).await.unwrap().account_id();
        let mut identity = Self::identity(engine, &client, &email).await;
        let mut link = String::new();
        match act {
            Act::ConfirmAddress | Act::Undo => {
                email::ask(engine, &client, &identity, PASSWORD, &next).await.result.unwrap();
                link = take_mails(engine, &next).await;
                if matches!(act, Act::Undo) {
                    let confirm = Link { token: &link, email: &next };
                    let proof = Proof::Session(Credential::Bearer(""), Some(&identity));
                    email::confirm(engine, &client, confirm, proof).await.result.unwrap();
                    link = take_mails(engine, &email).await;
                    std::mem::swap(&mut email, &mut next);
                    identity = Self::identity(engine, &client, &email).await;
                }
            }
            Act::Reset => {
                password::forgot(engine, &client, &email).await.result.unwrap();
                link = take_mails(engine, &email).await;
            }
            _ => {}
        }
        take_mails(engine, "").await;
        Self { client, id, email, next, identity, link }
    }

    async fn identity(engine: &Arc<Engine>, client: &Client, email: &str) -> Arc<Identity> {
        let mode = Mode::Token { audience: Audience::App };
        let opened = log_in(engine, client, email, PASSWORD, mode, None).await.result.ok().unwrap();
        let Grant::Tokens { access, .. } = opened.grant else { panic!("no tokens") };
        bearer(engine, &access, None).await.unwrap()
    }

    async fn account(&self, engine: &Engine) -> Option<AccountV4> {
        engine.accounts.ask(ById { id: self.id }).await.unwrap()
    }

    /// Does `act`, and returns how many mails it must have written.
    async fn act(&self, engine: &Engine, act: Act, number: usize) -> Result<usize, FlowError> {
        let Self { client, id, email, next, identity, link } = self;
        let operator = Admin::operator();
        let admins = engine.accounts.ask(Admins { limit: 100 }).await?.len();
        let link = Link { token: link, email: next };
        match act {
            Act::Undo => email::undo(engine, client, link, None).await.result.map(|()| 1),
            Act::ConfirmAddress => {
                let proof = Proof::Session(Credential::Bearer(""), Some(identity));
                email::confirm(engine, client, link, proof).await.result.map(|_| 1)
            }
            Act::Reset => password::reset(engine, client, link.token, NEXT).await.result.map(|_| 1),
            Act::ChangePassword => {
                password::change(engine, client, identity, PASSWORD, NEXT).await.result.map(|_| 1)
            }
            Act::DeleteOwn => account::delete(engine, client, identity, PASSWORD).await.result.map(|()| 1),
            Act::MakeAdmin => {
                let email = format!("root{number}@test.org");
                let roles = vec![String::from("admin")];
                let new = New { email: &email, roles, verified: true, ..New::default() };
                admin::create(engine, &operator, new).await.map(|_| admins)
            }
            Act::Promote => {
                let roles = Some(vec![String::from("admin")]);
                let changes = Changes { roles, ..Changes::default() };
                admin::change(engine, &operator, *id, changes).await.map(|_| admins)
            }
            Act::SetAddress => {
                let changes = Changes { email: Some(next), ..Changes::default() };
                admin::change(engine, &operator, *id, changes).await.map(|_| 2)
            }
            Act::RevokePassword => admin::revoke_password(engine, &operator, *id).await.map(|_| 1),
            Act::Delete => {
                assert!(!email.is_empty());
                admin::delete(engine, &operator, *id).await.map(|()| 1)
            }
        }
    }
}

#[test]
fn an_act_on_a_full_disk_does_nothing_or_all_of_it_with_its_mails() {
    let dir = tempfile::tempdir().unwrap();
    let fail_stop = FailStop::new(|why| panic!("{why}"));
    actix::System::new().block_on(async {
        let now = Timestamp::from_secs(1_800_000_000);
        let settings = [("journal.segment_bytes", "4194304"), ("throttle.exempt_networks", "11.0.0.0/8")];
        let config = Config::for_unit_tests(dir.path(), &settings);
        let clock = Clock::manual(now);
        let (engine, running, services) = start_first(config, clock.clone(), true, &fail_stop).unwrap();
        // There is one administrator to be told.
        let new = New { email: "root@test.org", password: Some(PASSWORD), verified: true, ..New::default() };
        let roles = vec![String::from("admin")];
        admin::create(&engine, &Admin::operator(), New { roles, ..new }).await.unwrap();
        let mut number = 0;
        // Without any room, around what an act is given, and without room for what is not essential.
        let rooms = (0..14).chain([100, 127, 128, 129, 130, 131, 132, 135, 150]);
        let rooms =
            rooms.map(|left| (Class::Essential, left)).chain((0..4).map(|left| (Class::Ordinary, left)));
        for act in ACTS {
            let (mut refused, mut all) = (0, 0);
            for (class, left) in rooms.clone() {
                all += 1;
                number += 1;
                clock.advance(std::time::Duration::from_hours(1));
                let owner = Owner::before(&engine, act, number).await;
                let before = owner.account(&engine).await;
                let taken = fill(&engine, class, left);
                let done = owner.act(&engine, act, number).await;
                drop(taken);
                let after = owner.account(&engine).await;
                let mails = engine.outbox.ask(Waiting).await.unwrap();
                match done {
                    Ok(expected) => assert_eq!(mails, expected, "{act:?} with room for {left} {class:?}"),
                    Err(FlowError::Fault(Fault::NoRoom(_))) => {
                        assert_eq!(after, before, "{act:?} with room for {left} {class:?}");
                        assert_eq!(mails, 0, "{act:?} with room for {left} {class:?}");
                        refused += 1;
                        let again = owner.act(&engine, act, number).await;
                        assert!(again.is_ok(), "{act:?} after {left} {class:?}: {:?}", again.err());
                    }
                    Err(other) => panic!("{act:?} with room for {left} {class:?}: {other}"),
                }
            }
            assert!((14..all).contains(&refused), "{act:?}: {refused}");
        }
        running.stop();
        services.stop();
    });
}
