//! Sign-up: a free address and a taken one get the same answer and the same work.
//!
//! A sign-up is no account yet. Its link goes to the mailbox, its other half to the client; [`crate::flow::mailed::verify`]
//! makes the account of both.

pub mod invited;

use zeroize::Zeroizing;

use crate::audit::event::Event;
use crate::config::sections::signup::Signup;
use crate::engine::hook_calls::NotLetIn;
use crate::engine::hooks::{ClaimsReason, SignUpAsked};
use crate::engine::{Engine, Fault};
use crate::flow::admission::Outcome;
use crate::flow::client::Client;
use crate::flow::devices;
use crate::flow::grant::{Grant, Opened, Proved};
use crate::flow::log_in::Mode;
use crate::flow::log_out::end_others;
use crate::flow::post::Addressee;
use crate::flow::refusal::{FlowError, Refusal, parse_new_name};
use crate::journal::append::handle::Class as JournalClass;
use crate::password::{Lane, Password, QueueKey};
use crate::registry::account::actor::{Delete, FindHolder};
use crate::registry::account::{AccountV4, ExtraChange, Holder, Origin, SignUp, SignedUp};
use crate::registry::outbox::Kind;
use crate::registry::reset::{Cause, Purpose};
use crate::registry::sign_up::Begin;
use crate::registry::throttle::class::Class;
use crate::token::opaque::{OpaqueToken, Secret, TokenKind};
use crate::value::account_name::AccountName;
use crate::value::id::AccountId;
use crate::value::locale;

/// Room in the journal for what logs a new account in: its session and its device, each in a block of the disk.
const LOG_IN_BYTES: usize = 16 * 1024;

/// The result of a sign-up.
pub enum Done {
    /// A mail is on its way. The answer does not reveal to whom, nor which one. The token is the half of the sign-up that
    /// its client keeps; that of a taken address looks the same and opens nothing.
    Mailed(Zeroizing<String>),
    /// The account is created and logged in, since addresses need no proof.
    LoggedIn(Box<Opened>),
}

/// What somebody who signs up sends.
#[derive(Clone, Copy)]
pub struct Form<'a> {
    /// The address.
    pub email: &'a str,
    /// The password.
    pub password: &'a str,
    /// The name to display.
    pub name: Option<&'a str>,
    /// The language of the owner.
    pub locale: Option<&'a str>,
}

/// Signs up for an account. Where addresses need no proof, `mode` says what the account is logged in with.
pub async fn sign_up(engine: &Engine, client: &Client, form: Form<'_>, mode: Mode<'_>) -> Outcome<Done> {
    engine
        .admitted(Class::Signup, client, async |_| {
            if !engine.services.config.signup.enabled {
                return Err(Refusal::SignupDisabled.into());
            }
            let account_name = parse_new_name(&engine.services.config, form.email)?;
            judge(&engine.services.config.signup, &account_name)?;
            let display = display_name(form.name)?;
            let locale = language(form.locale)?;
            ask_hook(engine, client, &account_name, display.as_deref()).await?;
            let place = client.place(Lane::Quiet);
            let phc = new_password(engine, place, form.password, account_name.as_str(), "/password").await?;
            let new = New { name: account_name, display, locale, phc };
            if engine.services.config.signup.verify_email {
                begin(engine, client, new).await.map(Done::Mailed)
            } else {
                let opened = create_and_log_in(engine, client, new, mode).await?;
                Ok(Done::LoggedIn(Box::new(opened)))
            }
        })
        .await
}

/// Refuses who may not sign up by the rules of the configuration.
///
/// Security: it is judged from the request alone, before any actor is asked, so that neither the answer nor its time tells
/// whether the address has an account.
pub(in crate::flow) fn judge(rules: &Signup, name: &AccountName) -> Result<(), Refusal> {
    let why = if rules.invite_only {
        "Sign-up is by invitation only: follow the link in the mail that invites you."
    } else if rules.allows(name) {
        return Ok(());
    } else {
        "Addresses of this domain cannot sign up here."
    };
    Err(Refusal::SignupRefused { why: why.to_owned() })
}

/// Asks the hook whether the sign-up is let in.
///
/// Security: asked before any actor is, like [`judge`].
async fn ask_hook(
    engine: &Engine,
    client: &Client,
    name: &AccountName,
    display: Option<&str>,
) -> Result<(), FlowError> {
    if !engine.services.has_sign_up_hook() {
        return Ok(());
    }
    let display = display.map(ToOwned::to_owned);
    let asked = SignUpAsked::new(name.as_str().to_owned(), display, client.network());
    match engine.services.judge_sign_up(asked).await {
        Ok(()) => Ok(()),
        Err(NotLetIn::Refused(why)) => {
            engine.record(client.note(Event::HookRefused).with_reason("sign-up"));
            Err(Refusal::SignupRefused { why }.into())
        }
        Err(NotLetIn::Failed) => Err(Fault::Hook.into()),
    }
}

/// The data of a sign-up.
struct New {
    name: AccountName,
    display: Option<Box<str>>,
    locale: Option<Box<str>>,
    phc: Box<str>,
}

/// Records a sign-up that waits for the proof of its address, and mails its link. The holder of a taken address gets
/// another mail. Returns the half that the client keeps.
async fn begin(engine: &Engine, client: &Client, new: New) -> Result<Zeroizing<String>, FlowError> {
    let name_key = new.name.key(&engine.services.keys.directory);
    let holder = engine.accounts.ask(FindHolder { name: name_key }).await?;
    let holder = holder.filter(Holder::holds);
    let secret = Secret::mint(&engine.services.random)?;
    let id = AccountId::mint(name_key.slot(), engine.services.random.bytes()?);
    let begin = Begin {
        id,
        name_key,
        email: new.name.as_str().into(),
        name: new.display,
        locale: new.locale,
        phc: new.phc,
        half: secret.digest(),
        global_epoch: engine.global_epoch,
        is_taken: holder.is_some(),
    };
    let begun = engine.sign_ups.ask(begin).await?;
    let event = if holder.is_some() { Event::SignUpTaken } else { Event::SignedUp };
    engine.record(client.note(event).for_account(holder.as_ref().map(|holder| &holder.account)));
    let cause = Cause::Stranger(engine.mailing_network(client));
    let is_sent = if let Some(holder) = &holder {
        engine.mail_holder(cause, holder, &new.name, name_key).await?
    } else {
        let to = match &begun {
            Some(sign_up) => Addressee::of_sign_up(sign_up),
            None => Addressee::of(None, &new.name, name_key),
        };
        engine.mail_token(cause, to, Purpose::Verify, Kind::Verify).await?.is_some()
    };
    engine.note_withheld(client, holder.as_ref().map(|holder| &holder.account), is_sent);
    let token = OpaqueToken { kind: TokenKind::SignUp, id: id.to_bytes(), generation: 0, secret };
    Ok(engine.services.edge.write(&token))
}

/// Creates an account whose address needs no proof, and logs it in. An account that cannot be logged in does not stay,
/// so that a client that is refused may sign up again.
async fn create_and_log_in(
    engine: &Engine,
    client: &Client,
    new: New,
    mode: Mode<'_>,
) -> Result<Opened, FlowError> {
    let name_key = new.name.key(&engine.services.keys.directory);
    let sign_up = SignUp {
        id: AccountId::mint(name_key.slot(), engine.services.random.bytes()?),
        name_key,
        email: new.name.as_str().into(),
        name: new.display,
        phc: Some(new.phc),
        roles: Vec::new(),
        verified: true,
        origin: Origin::Nobody,
        extra: ExtraChange { locale: new.locale, ..ExtraChange::default() }.made(),
    };
    // On a full disk refuse before anything changes.
    let room = engine.journal.reserve(LOG_IN_BYTES, JournalClass::Ordinary)?;
    let SignedUp::Created(account) = engine.accounts.ask(sign_up).await? else {
        return Err(Refusal::EmailTaken.into());
    };
    engine.record(client.note(Event::SignedUp).for_account(Some(&account)));
    drop(room);
    let logged_in = log_in_new(engine, client, &account, mode).await;
    let (grant, device) = or_delete(engine, client, &account, logged_in).await?;
    Ok(Opened { account, grant, device: Some(device) })
}

/// Logs a new account in, and lists its device.
async fn log_in_new(
    engine: &Engine,
    client: &Client,
    account: &AccountV4,
    mode: Mode<'_>,
) -> Result<(Grant, String), FlowError> {
    let issued = engine.issue(account, mode.wanted(), Proved::Now, client, ClaimsReason::SignUp).await?;
    let issued = engine.journal.open(issued).await?;
    let grant = engine.grant(account, issued)?;
    Ok((grant, devices::give(engine, client, account).await?))
}

/// Deletes a new account that could not be logged in: others may have taken the room since it was looked for. Deleting
/// uses the room that is kept back, so it fails only if the journal has stopped or has too much waiting.
async fn or_delete<T>(
    engine: &Engine,
    client: &Client,
    account: &AccountV4,
    logged_in: Result<T, FlowError>,
) -> Result<T, FlowError> {
    if logged_in.is_err() {
        let id = account.account_id();
        engine.accounts.ask(Delete { id, spares_last_admin: false }).await?.map_err(Refusal::from)?;
        end_others(engine, id, None, None).await?;
        engine.record(client.note(Event::AccountDeleted).for_account(Some(account)));
    }
    logged_in
}

/// Reads a new password of `email`, which waits at `place` to be judged and hashed, and returns its PHC string. `pointer`
/// names its field.
pub(in crate::flow) async fn new_password(
    engine: &Engine,
    place: QueueKey,
    typed: &str,
    email: &str,
    pointer: &'static str,
) -> Result<Box<str>, FlowError> {
    let password = parse_password(typed, pointer)?;
    let policy = &engine.services.password_policy;
    match engine.services.pool.accept(place, policy, password, email).await? {
        Ok(phc) => Ok(phc.into()),
        Err(found) => Err(Refusal::WeakPassword { pointer, found }.into()),
    }
}

/// Reads a new password. `pointer` names its field.
pub(in crate::flow) fn parse_password(typed: &str, pointer: &'static str) -> Result<Password, Refusal> {
    Password::parse(typed).map_err(|error| Refusal::Field {
        pointer,
        code: "invalid_length",
        message: error.to_string(),
    })
}

/// Reads a display name. An empty one is none.
pub(in crate::flow) fn display_name(name: Option<&str>) -> Result<Option<Box<str>>, Refusal> {
    let Some(name) = name.map(str::trim).filter(|name| !name.is_empty()) else { return Ok(None) };
    if name.chars().count() > 100 || name.chars().any(char::is_control) {
        return Err(Refusal::Field {
            pointer: "/name",
            code: "invalid_name",
            message: String::from("a name has at most 100 characters and no control characters"),
        });
    }
    Ok(Some(name.into()))
}

/// Reads the language of an owner. An empty one is none.
pub(in crate::flow) fn language(locale: Option<&str>) -> Result<Option<Box<str>>, Refusal> {
    let Some(typed) = locale.filter(|typed| !typed.is_empty()) else { return Ok(None) };
    let parsed = locale::parse(typed).map_err(|error| Refusal::Field {
        pointer: "/locale",
        code: "invalid_locale",
        message: error.to_string(),
    });
    parsed.map(Some)
}

/// Reads the language that the owner of an account is to have from now on. An empty one takes the language away.
pub(in crate::flow) fn new_locale(locale: &str) -> Result<Box<str>, Refusal> {
    language(Some(locale)).map(Option::unwrap_or_default)
}

/// Reads the name that an account is to have from now on. An empty one takes the name away.
pub(in crate::flow) fn new_name(name: &str) -> Result<Box<str>, Refusal> {
    display_name(Some(name)).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::Config;
    use crate::engine::hooks::{HookError, Hooks, SetHooks, SignUpVerdict, open};
    use crate::engine::start::start_first;
    use crate::journal::append::handle::{NoRoom, Permit};
    use crate::registry::account::actor::Find;
    use crate::registry::refresh::Audience;
    use crate::system::clock::{Clock, Timestamp};
    use crate::system::fail_stop::FailStop;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const MODE: Mode<'_> = Mode::Token { audience: Audience::App };

    /// Takes all room that ordinary entries have.
    fn fill(engine: &Engine) -> Vec<Permit> {
        let mut taken = Vec::new();
        loop {
            match engine.journal.reserve(1, JournalClass::Ordinary) {
                Ok(permit) => taken.push(permit),
                Err(NoRoom::StorageFull) => return taken,
                Err(other) => panic!("{other} after {} entries", taken.len()),
            }
        }
    }

    async fn sign_up(engine: &Engine, client: &Client, email: &str) -> Result<Opened, FlowError> {
        let name = AccountName::parse(email).unwrap();
        let phc = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA".into();
        create_and_log_in(engine, client, New { name, display: None, locale: None, phc }, MODE).await
    }

    async fn exists(engine: &Engine, email: &str) -> bool {
        let name = AccountName::parse(email).unwrap().key(&engine.services.keys.directory);
        engine.accounts.ask(Find { name }).await.unwrap().is_some()
    }

    fn is_full(error: &FlowError) -> bool {
        matches!(error, FlowError::Fault(Fault::NoRoom(NoRoom::StorageFull)))
    }

    #[test]
    fn a_sign_up_that_finds_too_little_room_leaves_no_account_however_much_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let fail_stop = FailStop::new(|why| panic!("{why}"));
        let client = Client::new(Ipv4Addr::LOCALHOST.into(), "test");
        actix::System::new().block_on(async {
            let config = Config::for_unit_tests(dir.path(), &[("journal.segment_bytes", "4194304")]);
            let (engine, running, services) =
                start_first(config, Clock::manual(NOW), true, &fail_stop).unwrap();
            let mut refused = 0;
            for entries in 0.. {
                let mut taken = fill(&engine);
                assert!(taken.len() > entries, "the journal is too small for this test");
                taken.truncate(taken.len() - entries);
                let email = format!("ada{entries}@test.org");
                match sign_up(&engine, &client, &email).await {
                    Ok(_) => break,
                    Err(error) => assert!(is_full(&error), "{error}"),
                }
                assert!(!exists(&engine, &email).await, "with room for {entries} entries");
                drop(taken);
                assert!(sign_up(&engine, &client, &email).await.is_ok(), "with room for {entries} entries");
                refused += 1;
            }
            // With room for the account alone, too.
            assert!(refused > 2, "{refused}");

            // Others took the room after it was looked for.
            let email = "late@test.org";
            let opened = sign_up(&engine, &client, email).await.unwrap();
            let taken = fill(&engine);
            let late = log_in_new(&engine, &client, &opened.account, MODE).await;
            let late = or_delete(&engine, &client, &opened.account, late).await.map(|_| ());
            assert!(late.as_ref().is_err_and(is_full), "{late:?}");
            assert!(!exists(&engine, email).await);
            drop(taken);
            assert!(sign_up(&engine, &client, email).await.is_ok());
            running.stop();
            services.stop();
        });
    }

    /// A hook that refuses everybody.
    struct Nobody;

    impl Hooks for Nobody {
        async fn sign_up(&self, _: &SignUpAsked) -> Result<SignUpVerdict, HookError> {
            Ok(SignUpVerdict::Refuse(String::from("no")))
        }
    }

    /// Whatever rule refuses a sign-up, nothing is asked about its address.
    #[test]
    fn a_sign_up_that_a_rule_refuses_asks_the_throttle_alone_whoever_has_the_address() {
        let client = Client::new(Ipv4Addr::LOCALHOST.into(), "test");
        let password = "correct horse battery staple";
        let rules = [
            ("signup.invite_only", "true"),
            ("signup.allow_domains", "example.org"),
            ("hook.on_error", "refuse"),
        ];
        for rule in rules {
            let dir = tempfile::tempdir().unwrap();
            let fail_stop = FailStop::new(|why| panic!("{why}"));
            actix::System::new().block_on(async {
                let config = Config::for_unit_tests(dir.path(), &[rule]);
                let (engine, running, services) =
                    start_first(config, Clock::manual(NOW), true, &fail_stop).unwrap();
                sign_up(&engine, &client, "ada@test.org").await.unwrap();
                if rule.0 == "hook.on_error" {
                    let (door, questions) = open(SetHooks::all(Nobody));
                    actix::spawn(questions.run(std::future::pending()));
                    engine.services.set_hooks(door);
                }
                let mut works = Vec::new();
                for email in ["ada@test.org", "bob@test.org"] {
                    let before = engine.work();
                    let form = Form { email, password, name: None, locale: None };
                    let signed_up = super::sign_up(&engine, &client, form, MODE).await;
                    let refused = signed_up.result.err();
                    assert!(
                        matches!(refused, Some(FlowError::Refused(Refusal::SignupRefused { .. }))),
                        "{rule:?}: {refused:?}"
                    );
                    let after = engine.work();
                    let entries = after.entries - before.entries;
                    works.push((after.calls - before.calls, after.hashes - before.hashes, entries));
                }
                assert_eq!(works, [(1, 0, 0); 2], "{rule:?}");
                running.stop();
                services.stop();
            });
        }
    }
}
