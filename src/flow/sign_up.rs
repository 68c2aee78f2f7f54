//! Sign-up: a free address and a taken one get the same answer and the same work.

use super::admission::Outcome;
use super::client::Client;
use super::grant::Opened;
use super::post::Addressee;
use super::refusal::{Refusal, parse_name};
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::password::{Lane, Password, judge};
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
            let password = new_password(engine, password, account_name.as_str(), "/password")?;
            let display = display_name(name)?;
            let phc = engine.services.pool.hash(client.place(Lane::Quiet), password).await?;
            let name_key = account_name.key(&engine.services.keys.directory);
            let sign_up = SignUp {
                id: AccountId::mint(name_key.slot(), engine.services.random.bytes()?),
                name_key,
                email: account_name.as_str().into(),
                name: display,
                phc: Some(phc.into()),
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

/// Reads a new password and refuses it if it is weak. `pointer` names its field.
pub(super) fn new_password(
    engine: &Engine,
    typed: &str,
    email: &str,
    pointer: &'static str,
) -> Result<Password, Refusal> {
    let password = Password::parse(typed).map_err(|error| Refusal::Field {
        pointer,
        code: "invalid_length",
        message: error.to_string(),
    })?;
    judge(&password, email, &engine.services.config.service_name, &engine.services.known_bad)
        .map_err(|found| Refusal::WeakPassword { pointer, found })?;
    Ok(password)
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
