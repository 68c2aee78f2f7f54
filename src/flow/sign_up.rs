//! Sign-up: a free address and a taken one get the same answer and the same work.
//!
//! A sign-up is no account yet. Its link goes to the mailbox, its other half to the client; [`super::mailed::verify`]
//! makes the account of both.

use zeroize::Zeroizing;

use super::admission::Outcome;
use super::client::Client;
use super::devices;
use super::grant::{Opened, Proved};
use super::log_in::Mode;
use super::post::Addressee;
use super::refusal::{FlowError, Refusal, parse_new_name};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::password::{Lane, Password, QueueKey};
use crate::registry::account::actor::FindHolder;
use crate::registry::account::{Holder, Origin, SignUp, SignedUp};
use crate::registry::outbox::Kind;
use crate::registry::reset::{Cause, Purpose};
use crate::registry::sign_up::Begin;
use crate::registry::throttle::class::Class;
use crate::token::opaque::{OpaqueToken, Secret, TokenKind};
use crate::value::account_name::AccountName;
use crate::value::id::AccountId;

/// The result of a sign-up.
pub enum Done {
    /// A mail is on its way. The answer does not reveal to whom, nor which one. The token is the half of the sign-up that
    /// its client keeps; that of a taken address looks the same and opens nothing.
    Mailed(Zeroizing<String>),
    /// The account is created and logged in, since addresses need no proof.
    LoggedIn(Box<Opened>),
}

/// Signs up for an account. `name` is the name to display. Where addresses need no proof, `mode` says what the account is
/// logged in with.
pub async fn sign_up(
    engine: &Engine,
    client: &Client,
    email: &str,
    password: &str,
    name: Option<&str>,
    mode: Mode<'_>,
) -> Outcome<Done> {
    engine
        .admitted(Class::Signup, client, async |_| {
            if !engine.services.config.signup.enabled {
                return Err(Refusal::SignupDisabled.into());
            }
            let account_name = parse_new_name(&engine.services.config, email)?;
            let display = display_name(name)?;
            let place = client.place(Lane::Quiet);
            let phc = new_password(engine, place, password, account_name.as_str(), "/password").await?;
            let new = New { name: account_name, display, phc };
            if engine.services.config.signup.verify_email {
                begin(engine, client, new).await.map(Done::Mailed)
            } else {
                let opened = create_and_log_in(engine, client, new, mode).await?;
                Ok(Done::LoggedIn(Box::new(opened)))
            }
        })
        .await
}

/// The data of a sign-up.
struct New {
    name: AccountName,
    display: Option<Box<str>>,
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
        phc: new.phc,
        half: secret.digest(),
        global_epoch: engine.global_epoch,
        is_taken: holder.is_some(),
    };
    let begun = engine.sign_ups.ask(begin).await?;
    let event = if holder.is_some() { Event::SignUpTaken } else { Event::SignedUp };
    engine.record(client.note(event).for_account(holder.as_ref().map(|holder| &holder.account)));
    let cause = Cause::Stranger(engine.mailing_network(client));
    if let Some(holder) = &holder {
        engine.mail_holder(cause, holder, &new.name, name_key).await?;
    } else {
        let to = match &begun {
            Some(sign_up) => Addressee::of_sign_up(sign_up),
            None => Addressee::of(None, &new.name, name_key),
        };
        engine.mail_token(cause, to, Purpose::Verify, Kind::Verify).await?;
    }
    let token = OpaqueToken { kind: TokenKind::SignUp, id: id.to_bytes(), generation: 0, secret };
    Ok(engine.services.edge.write(&token))
}

/// Creates an account whose address needs no proof, and logs it in.
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
    };
    let SignedUp::Created(account) = engine.accounts.ask(sign_up).await? else {
        return Err(Refusal::EmailTaken.into());
    };
    engine.record(client.note(Event::SignedUp).for_account(Some(&account)));
    let issued = engine.issue(&account, mode.wanted(), Proved::Now, client).await?;
    let issued = engine.journal.open(issued).await?;
    let grant = engine.grant(&account, issued)?;
    let device = Some(devices::give(engine, client, &account).await?);
    Ok(Opened { account, grant, device })
}

/// Reads a new password of `email`, which waits at `place` to be judged and hashed, and returns its PHC string. `pointer`
/// names its field.
pub(super) async fn new_password(
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
pub(super) fn parse_password(typed: &str, pointer: &'static str) -> Result<Password, Refusal> {
    Password::parse(typed).map_err(|error| Refusal::Field {
        pointer,
        code: "invalid_length",
        message: error.to_string(),
    })
}

/// Reads a display name. An empty one is none.
pub(super) fn display_name(name: Option<&str>) -> Result<Option<Box<str>>, Refusal> {
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
