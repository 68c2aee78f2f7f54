//! Sign-up: a free address and a taken one get the same answer and the same work.

use super::admission::Outcome;
use super::client::Client;
use super::grant::Opened;
use super::post::Addressee;
use super::refusal::{FlowError, Refusal, parse_name};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::password::{Lane, Password, QueueKey};
use crate::registry::account::{SignUp, SignedUp};
use crate::registry::outbox::Kind;
use crate::registry::reset::{Cause, Purpose};
use crate::registry::throttle::class::Class;
use crate::value::id::AccountId;

/// The result of a sign-up.
pub enum Done {
    /// A mail is on its way. The answer does not reveal to whom, nor which one.
    Mailed,
    /// The account is created and logged in, since addresses need no proof.
    LoggedIn(Box<Opened>),
}

/// Creates an account. `name` is the name to display.
pub async fn sign_up(
    engine: &Engine,
    client: &Client,
    email: &str,
    password: &str,
    name: Option<&str>,
) -> Outcome<Done> {
    engine
        .admitted(Class::Signup, client, async |_| {
            if !engine.services.config.signup.enabled {
                return Err(Refusal::SignupDisabled.into());
            }
            let account_name = parse_name(email)?;
            let display = display_name(name)?;
            let place = client.place(Lane::Quiet);
            let phc = new_password(engine, place, password, account_name.as_str(), "/password").await?;
            let name_key = account_name.key(&engine.services.keys.directory);
            let sign_up = SignUp {
                id: AccountId::mint(name_key.slot(), engine.services.random.bytes()?),
                name_key,
                email: account_name.as_str().into(),
                name: display,
                phc: Some(phc),
                roles: Vec::new(),
                verified: !engine.services.config.signup.verify_email,
                by_admin: false,
            };
            let signed_up = engine.accounts.ask(sign_up).await?;
            match signed_up {
                SignedUp::Created(account) if !engine.services.config.signup.verify_email => {
                    engine.record(client.note(Event::SignedUp).for_account(Some(&account)));
                    let grant = engine.open_family(&account, client).await?;
                    let device = Some(engine.device_cookie(&account_name)?);
                    Ok(Done::LoggedIn(Box::new(Opened { account, grant, device })))
                }
                SignedUp::Created(account) => {
                    engine.record(client.note(Event::SignedUp).for_account(Some(&account)));
                    let cause = Cause::Stranger(engine.mailing_network(client));
                    let to = Addressee::owner(&account);
                    engine.mail_token(cause, to, Purpose::Verify, Kind::Verify).await?;
                    Ok(Done::Mailed)
                }
                SignedUp::Taken(_) if !engine.services.config.signup.verify_email => {
                    Err(Refusal::EmailTaken.into())
                }
                SignedUp::Taken(account) => {
                    engine.record(client.note(Event::SignUpTaken).for_account(Some(&account)));
                    let cause = Cause::Stranger(engine.mailing_network(client));
                    engine.mail_holder(cause, &account).await?;
                    Ok(Done::Mailed)
                }
            }
        })
        .await
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
