//! Mailed links: they prove an address or lift a lockout. Opening a link changes nothing; posting its token does.

use zeroize::Zeroizing;

use super::admission::Outcome;
use super::check::confirm_beside_link;
use super::check::link_turn::LinkTurn;
use super::client::Client;
use super::log_out::end_others;
use super::post::Addressee;
use super::refusal::{FlowError, Refusal, parse_name};
use super::sign_up::judge;
use crate::audit::event::Event;
use crate::engine::Engine;
use crate::registry::account::actor::{Alter, ById, FindHolder};
use crate::registry::account::{AccountV4, Change, ExtraChange, Origin, SignUp, SignedUp};
use crate::registry::lockout::actor::{Clear, StateOf};
use crate::registry::outbox::Kind;
use crate::registry::reset::actor::{HandOut, Peek, RememberUse, UsedLately};
use crate::registry::reset::{Cause, LinkUse, MailedV2, Mint, Purpose, Redeem};
use crate::registry::sign_up::actor::{Confirm, Discard, FindWaiting, Half, Prove, Settle};
use crate::registry::sign_up::{Proof, SignUpV2};
use crate::registry::throttle::class::Class;
use crate::token::opaque::{OpaqueToken, TokenKind};
use crate::value::account_name::{AccountName, NameKey};
use crate::value::id::{AccountId, MailedId, keyed_digest};

/// Reads a mailed token that is to be redeemed for `purpose`.
pub(super) fn read(engine: &Engine, token: &str, purpose: Purpose) -> Result<Redeem, Refusal> {
    redeem(&read_opaque(engine, token)?, purpose)
}

pub(super) fn read_opaque(engine: &Engine, token: &str) -> Result<OpaqueToken, Refusal> {
    engine.services.edge.read(TokenKind::Mailed, token).map_err(|_| Refusal::InvalidMailedToken)
}

pub(super) fn redeem(token: &OpaqueToken, purpose: Purpose) -> Result<Redeem, Refusal> {
    let id = MailedId::from_bytes(token.id).ok_or(Refusal::InvalidMailedToken)?;
    Ok(Redeem { id, digest: token.secret.digest(), purpose })
}

/// Reads the half of a sign-up that its client keeps. Other text is no half: the link counts alone.
fn read_half(engine: &Engine, half: &str) -> Option<Half> {
    let read = engine.services.edge.read(TokenKind::SignUp, half).ok()?;
    Some(Half { id: AccountId::from_bytes(read.id)?, digest: read.secret.digest() })
}

/// Returns the use of a link that is used again: a page has posted it twice, or an answer was lost.
///
/// Errors: [`Refusal::InvalidMailedToken`] if it was not used, or not lately.
pub(super) async fn used_lately(engine: &Engine, redeem: Redeem) -> Result<LinkUse, FlowError> {
    Ok(engine.mailed.ask(UsedLately { redeem }).await?.ok_or(Refusal::InvalidMailedToken)?)
}

/// Judges a request with a password whose link was used a short while ago: it is the same request if it has the password of
/// the account.
///
/// Security: whoever finds the used link could guess the password by it, so guesses are counted like those beside a link.
/// They all get the answer of a link that was never good.
pub(super) async fn repeat_with_password(
    engine: &Engine,
    client: &Client,
    redeem: Redeem,
    password: &str,
) -> Result<(), FlowError> {
    let account = account_by_id(engine, used_lately(engine, redeem).await?.account).await?;
    let phcs = account.phc.clone().into_iter().collect();
    let checked = confirm_beside_link(engine, client, redeem.id, &account, password, phcs).await;
    checked.map_err(|error| match error {
        FlowError::Refused(_) => Refusal::InvalidMailedToken.into(),
        fault @ FlowError::Fault(_) => fault,
    })
}

/// Returns the account of a token.
///
/// Errors: [`Refusal::InvalidMailedToken`] if the account is gone or its epoch has changed since.
pub(super) async fn account_of(engine: &Engine, token: &MailedV2) -> Result<AccountV4, FlowError> {
    let id = AccountId::from_bytes(token.account).ok_or(Refusal::InvalidMailedToken)?;
    let account = account_by_id(engine, id).await?;
    if account.auth_epoch != token.auth_epoch || token.global_epoch != engine.global_epoch {
        return Err(Refusal::InvalidMailedToken.into());
    }
    Ok(account)
}

/// The result of following a link that proves an address.
pub enum Verified {
    /// The address is proved, and its account has a password.
    Done,
    /// The address is proved, and its owner is to set a password with this token.
    SetPassword(Zeroizing<String>),
}

async fn account_by_id(engine: &Engine, id: AccountId) -> Result<AccountV4, FlowError> {
    Ok(engine.accounts.ask(ById { id }).await?.ok_or(Refusal::InvalidMailedToken)?)
}

/// Proves an address by a mailed link. `half` is the half of a sign-up that the client keeps, if it shows one.
///
/// Both halves of one sign-up make its account, with its password. The link alone drops every password that waits for the
/// address and leads to a new one. The same link and half get the same answer for an hour. A crash between two steps costs
/// nothing: the next request with the same link goes on from there.
pub async fn verify(engine: &Engine, client: &Client, link: &str, half: Option<&str>) -> Outcome<Verified> {
    engine
        .admitted(Class::Verify, client, async |_| {
            let link = read_opaque(engine, link)?;
            let redeem = redeem(&link, Purpose::Verify)?;
            let token = engine.mailed.ask(Peek { redeem }).await?.map_err(|_| Refusal::InvalidMailedToken)?;
            let id = AccountId::from_bytes(token.account).ok_or(Refusal::InvalidMailedToken)?;
            let global_epoch = engine.global_epoch;
            if token.global_epoch != global_epoch {
                return Err(Refusal::InvalidMailedToken.into());
            }
            let account = engine.accounts.ask(ById { id }).await?;
            let has_account = account.is_some();
            if account.is_some_and(|account| !account.email_verified) {
                // What is remembered of its sign-up does not answer for a link that was mailed since.
                let account = prove_account(engine, client, &token, Proof::Unknown).await?;
                return next_step(engine, &account, &link).await;
            }
            let half = half.and_then(|half| read_half(engine, half));
            // Spend first, grant second: from here on no other link of the address makes an account.
            match engine.sign_ups.ask(Prove { id, half, global_epoch }).await? {
                Proof::Opened => Ok(Verified::Done),
                Proof::Open(sign_up) => {
                    judge_again(engine, &sign_up, has_account)?;
                    open_account(engine, client, sign_up).await.map(|()| Verified::Done)
                }
                Proof::SetPassword(sign_up) => {
                    judge_again(engine, &sign_up, has_account)?;
                    let account = account_to_set_password(engine, client, sign_up).await?;
                    hand_out_reset(engine, &account, &link).await.map(Verified::SetPassword)
                }
                Proof::Refused => Err(Refusal::InvalidMailedToken.into()),
                of_account @ (Proof::Unknown | Proof::Confirmed { .. }) => {
                    let account = prove_account(engine, client, &token, of_account).await?;
                    next_step(engine, &account, &link).await
                }
            }
        })
        .await
}

/// Judges a sign-up by the rules of now, which may be others than when it began, unless its account was made since. It goes on
/// waiting, in case they are changed back. Its client has the link, so the answer tells nobody of the address.
fn judge_again(engine: &Engine, sign_up: &SignUpV2, has_account: bool) -> Result<(), Refusal> {
    if has_account {
        return Ok(());
    }
    let rules = &engine.services.config.signup;
    if !rules.enabled {
        return Err(Refusal::SignupDisabled);
    }
    let name = AccountName::parse(&sign_up.email).map_err(|_| Refusal::InvalidMailedToken)?;
    judge(rules, &name)
}

/// Returns what the owner of `account` does after `link` has proved its address.
async fn next_step(engine: &Engine, account: &AccountV4, link: &OpaqueToken) -> Result<Verified, FlowError> {
    match account.phc {
        Some(_) => Ok(Verified::Done),
        None => hand_out_reset(engine, account, link).await.map(Verified::SetPassword),
    }
}

/// Makes the account of a sign-up of which both halves were shown.
async fn open_account(engine: &Engine, client: &Client, sign_up: SignUpV2) -> Result<(), FlowError> {
    let id = sign_up.id;
    let name = NameKey(sign_up.name_key);
    let phc = sign_up.phc.clone();
    match engine.accounts.ask(proved(sign_up)).await? {
        SignedUp::Created(account) => {
            let replaces = account.auth_epoch > 0;
            note_proof(engine, client, &account, replaces, "sign-up").await?;
        }
        // Another request with the same halves was faster. A password is hashed with a salt of its own.
        SignedUp::Taken(account) if account.phc == phc => {}
        // An administrator has made an account of this address, or another account has moved there, or has left it and can
        // go back.
        SignedUp::Taken(_) | SignedUp::Kept | SignedUp::ExternalIdTaken => {
            engine.sign_ups.ask(Discard { id }).await?;
            return Err(Refusal::InvalidMailedToken.into());
        }
    }
    // Strangers may have locked the name before it had an account. Nobody was told of it.
    engine.lockout.ask(Clear { name }).await?;
    engine.sign_ups.ask(Settle { id }).await?;
    Ok(())
}

/// Makes the account of an address that the mailbox alone has proved, without a password.
///
/// Errors: [`Refusal::InvalidMailedToken`] once the account has a password.
async fn account_to_set_password(
    engine: &Engine,
    client: &Client,
    sign_up: SignUpV2,
) -> Result<AccountV4, FlowError> {
    match engine.accounts.ask(proved(sign_up)).await? {
        SignedUp::Created(account) => {
            let replaces = account.auth_epoch > 0;
            note_proof(engine, client, &account, replaces, "sign-up, by the mailbox alone").await?;
            Ok(account)
        }
        SignedUp::Taken(account) if account.email_verified && account.phc.is_none() => Ok(account),
        SignedUp::Taken(_) | SignedUp::Kept | SignedUp::ExternalIdTaken => {
            Err(Refusal::InvalidMailedToken.into())
        }
    }
}

fn proved(sign_up: SignUpV2) -> SignUp {
    SignUp {
        id: sign_up.id,
        name_key: NameKey(sign_up.name_key),
        email: sign_up.email,
        name: sign_up.name,
        phc: sign_up.phc,
        roles: Vec::new(),
        verified: true,
        origin: Origin::Mailbox,
        extra: ExtraChange { locale: sign_up.locale, ..ExtraChange::default() }.made(),
    }
}

/// Marks the address of an account as proved that was there before its proof: an administrator has made it, or an earlier
/// version of a mere sign-up. A password that a stranger may have typed is removed. `proof` says whether the link was used
/// within the hour.
async fn prove_account(
    engine: &Engine,
    client: &Client,
    token: &MailedV2,
    mut proof: Proof,
) -> Result<AccountV4, FlowError> {
    let id = AccountId::from_bytes(token.account).ok_or(Refusal::InvalidMailedToken)?;
    let mut account = account_by_id(engine, id).await?;
    if !account.email_verified {
        if account.auth_epoch != token.auth_epoch {
            return Err(Refusal::InvalidMailedToken.into());
        }
        let clear_phc = account.has_doubtful_password();
        let has_password = account.phc.is_some() && !clear_phc;
        let confirm = Confirm {
            id,
            name_key: NameKey(account.name_key),
            email: account.email.clone(),
            global_epoch: token.global_epoch,
            has_password,
        };
        engine.sign_ups.ask(confirm).await?;
        let if_epoch = Some(token.auth_epoch);
        let change = Change { verified: true, clear_phc, if_epoch, ..Change::default() };
        match engine.accounts.ask(Alter { id, change }).await? {
            Ok(changed) => {
                note_proof(engine, client, &changed, clear_phc, "link").await?;
                return Ok(changed);
            }
            // Another request with the same link was faster, or the account has changed.
            Err(_) => account = account_by_id(engine, id).await?,
        }
    }
    if matches!(proof, Proof::Unknown) {
        // Another request may have been faster between the two questions.
        let prove = Prove { id, half: None, global_epoch: token.global_epoch };
        proof = engine.sign_ups.ask(prove).await?;
    }
    match proof {
        // A password that was set since belongs to the account and not to the link.
        Proof::Confirmed { has_password } if has_password == account.phc.is_some() => Ok(account),
        _ => Err(Refusal::InvalidMailedToken.into()),
    }
}

/// Records that an address was proved. If the account that it had before was `replaced`, the sessions of that one end:
/// they are dead by their epoch already, and resource servers learn of it.
async fn note_proof(
    engine: &Engine,
    client: &Client,
    account: &AccountV4,
    replaced: bool,
    reason: &str,
) -> Result<(), FlowError> {
    if replaced {
        end_others(engine, account.account_id(), None, None).await?;
    }
    let note = client.note(Event::EmailVerified).for_account(Some(account)).with_reason(reason);
    engine.record_durably(note).await;
    Ok(())
}

/// Hands out the token that sets the first password of an account. It is derived from the link that has proved the
/// address: who asks twice gets the same token twice, and it works until a password is set.
async fn hand_out_reset(
    engine: &Engine,
    account: &AccountV4,
    link: &OpaqueToken,
) -> Result<Zeroizing<String>, FlowError> {
    const LABEL: &[u8] = b"set password";
    let secret = link.secret.derive_next(LABEL);
    let digest = secret.digest();
    let random = keyed_digest(&digest.0, &[LABEL]);
    let random = std::array::from_fn(|at| random.get(at).copied().unwrap_or_default());
    let id = MailedId::mint(account.account_id().slot(), random);
    let redeem = Redeem { id, digest, purpose: Purpose::Reset };
    let held = engine.mailed.ask(Peek { redeem }).await?;
    if held.is_ok_and(|token| token.auth_epoch == account.auth_epoch) {
        // It is alive. Minting it again would lengthen its life.
    } else {
        let mint = Mint {
            id,
            account: account.account_id(),
            pending: None,
            auth_epoch: account.auth_epoch,
            global_epoch: engine.global_epoch,
            purpose: Purpose::Reset,
            digest,
            // Only the link leads to its secret, so it cannot be mailed again.
            kid: MailedV2::UNDERIVED,
            bound_to: None,
            cause: Cause::Owner,
            domain: [0; 8],
            for_nobody: false,
            end_max: None,
            asker_since: None,
        };
        engine.mailed.ask(HandOut { mint }).await?;
    }
    let token = OpaqueToken { kind: TokenKind::Mailed, id: id.to_bytes(), generation: 0, secret };
    Ok(engine.services.edge.write(&token))
}

/// Mails the link that proves an address once more: that of the client's own sign-up if it shows its half, or else that of
/// the last sign-up, or that of an account which waits for it. The answer and the work are the same if there is nothing
/// to prove.
pub async fn resend(engine: &Engine, client: &Client, email: &str, half: Option<&str>) -> Outcome<()> {
    engine
        .admitted(Class::Forgot, client, async |_| {
            let name = parse_name(email)?;
            let key = name.key(&engine.services.keys.directory);
            let holder = engine.accounts.ask(FindHolder { name: key }).await?;
            let half = half.and_then(|half| read_half(engine, half));
            let find = FindWaiting { name: key, half, global_epoch: engine.global_epoch };
            let sign_up = engine.sign_ups.ask(find).await?;
            // One whose former address this is has proved another one.
            let account = holder.as_ref().map(|holder| &holder.account);
            let unproved = account.filter(|account| !account.email_verified);
            let to = match (&holder, &sign_up) {
                // An address that is held has no use for a sign-up.
                (Some(holder), _) if holder.holds() => Addressee::of_active(unproved, &name, key),
                (_, Some(sign_up)) => Addressee::of_sign_up(sign_up),
                _ => Addressee::of_active(unproved, &name, key),
            };
            let cause = Cause::Stranger(engine.mailing_network(client));
            let mail = engine.mail_token(cause, to, Purpose::Verify, Kind::Verify).await?;
            engine.note_withheld(client, unproved, mail.is_some());
            Ok(())
        })
        .await
}

/// Lifts the lockout of an account name.
pub async fn unlock(engine: &Engine, client: &Client, token: &str) -> Outcome<()> {
    engine
        .admitted(Class::Unlock, client, async |_| {
            let redeem = read(engine, token, Purpose::Unlock)?;
            let _turn = LinkTurn::take(engine, redeem.id).await;
            let Ok(token) = engine.mailed.ask(redeem).await? else {
                return repeat_unlock(engine, redeem).await;
            };
            let account = account_of(engine, &token).await?;
            engine.lockout.ask(Clear { name: NameKey(account.name_key) }).await?;
            engine.mailed.ask(RememberUse { redeem, done: LinkUse::of(account.account_id()) }).await?;
            let note = client
                .note(Event::LockoutCleared)
                .for_account(Some(&account))
                .with_reason("link in the mail");
            engine.record_durably(note).await;
            Ok(())
        })
        .await
}

/// Judges a link that lifts a lockout and was used a short while ago: it is done unless the name is locked again.
async fn repeat_unlock(engine: &Engine, redeem: Redeem) -> Result<(), FlowError> {
    let id = used_lately(engine, redeem).await?.account;
    let account = account_by_id(engine, id).await?;
    let state = engine.lockout.ask(StateOf { name: NameKey(account.name_key) }).await?;
    if state.locked_until.is_some() { Err(Refusal::InvalidMailedToken.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::engine::start::start_first;
    use crate::flow::password::reset;
    use crate::journal::append::handle::Class as JournalClass;
    use crate::journal::format::codec::{Stored, encode};
    use crate::journal::format::entry::{Change as JournalChange, Entry};
    use crate::journal::format::layout::Sizes;
    use crate::journal::recovery::report::ReplayTarget;
    use crate::journal::recovery::{Options, recover};
    use crate::registry::account::Status;
    use crate::registry::account::record::AccountV1;
    use crate::registry::reset::MailedV1;
    use crate::storage::local::LocalStorage;
    use crate::system::clock::{Clock, Timestamp};
    use crate::system::fail_stop::FailStop;
    use crate::system::random::Random;
    use crate::token::opaque::Secret;
    use crate::value::account_name::AccountName;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const SEGMENT: u64 = 4_194_304;
    const EMAIL: &str = "ada@test.org";

    /// Replays a directory without keeping anything.
    struct Blind;

    impl ReplayTarget for Blind {
        fn apply(&mut self, _: u16, _: u16, _: &[u8], _: Option<&[u8]>) -> Result<(), String> {
            Ok(())
        }
    }

    fn put<T: Stored>(key: [u8; 16], record: &T) -> JournalChange {
        let value = Some(encode(record).unwrap());
        JournalChange { table: T::TABLE, schema: T::SCHEMA, key: key.to_vec(), value }
    }

    /// Writes an account that an earlier version made of a mere sign-up, and its link, as that version wrote them.
    fn write_as_before(dir: &Path, directory_key: &[u8; 32], secret: &Secret) -> (AccountId, MailedId) {
        let name = AccountName::parse(EMAIL).unwrap().key(directory_key);
        let account = AccountV1 {
            id: AccountId::mint(name.slot(), [1; 14]),
            name_key: name.0,
            email: EMAIL.into(),
            email_verified: false,
            name: Some("Mallory".into()),
            phc: Some("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA".into()),
            roles: Vec::new(),
            status: Status::Active,
            auth_epoch: 2,
            created_ms: NOW.as_millis(),
        };
        let id = MailedId::mint(name.slot(), [2; 14]);
        let link = MailedV1 {
            id: id.to_bytes(),
            account: account.id.to_bytes(),
            purpose: Purpose::Verify,
            auth_epoch: account.auth_epoch,
            global_epoch: 0,
            digest: secret.digest().0,
            minted_ms: NOW.as_millis(),
            end_ms: (NOW + std::time::Duration::from_hours(24)).as_millis(),
        };
        let options = Options {
            storage: Arc::new(LocalStorage::open(dir).unwrap()),
            sizes: Sizes { segment: SEGMENT, ..Sizes::PRODUCTION },
            clock: Clock::manual(NOW),
            random: Arc::new(Random::seeded(1)),
            accept_clock_floor: true,
        };
        let mut journal = recover(options, &mut Blind).unwrap();
        journal.prepare().unwrap();
        let changes = [put(account.id.to_bytes(), &account), put(id.to_bytes(), &link)];
        let entry = Entry::encode(&changes).unwrap();
        let permit = journal.handle.reserve(entry.as_bytes().len(), JournalClass::Ordinary).unwrap();
        journal.handle.append(permit, &entry);
        journal.writer.step().unwrap();
        journal.writer.close().unwrap();
        (account.id, id)
    }

    /// A directory of an earlier version holds a sign-up of a stranger as an account, and a live link that its owner may
    /// follow: the stranger's password goes, and the owner sets one.
    #[test]
    fn the_link_of_an_earlier_version_takes_the_password_away_and_leads_to_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let fail_stop = FailStop::new(|why| panic!("{why}"));
        let client = Client::new(Ipv4Addr::LOCALHOST.into(), "test");
        actix::System::new().block_on(async {
            let segment = SEGMENT.to_string();
            let config = || Config::for_unit_tests(dir.path(), &[("journal.segment_bytes", &segment)]);
            let start = || start_first(config(), Clock::manual(NOW), true, &fail_stop).unwrap();
            let (engine, running, services) = start();
            let directory_key = engine.services.keys.directory.clone();
            running.stop();
            services.stop();
            drop(engine);
            let secret = Secret::mint(&Random::seeded(2)).unwrap();
            let (account, link) = write_as_before(dir.path(), &directory_key, &secret);

            let (engine, running, services) = start();
            let kind = TokenKind::Mailed;
            let link = OpaqueToken { kind, id: link.to_bytes(), generation: 0, secret };
            let link = engine.services.edge.write(&link);
            let before = engine.accounts.ask(ById { id: account }).await.unwrap().unwrap();
            assert!(before.has_doubtful_password());
            let mut tokens = Vec::new();
            for _ in 0..2 {
                let verified = verify(&engine, &client, &link, None).await.result.unwrap();
                let Verified::SetPassword(token) = verified else { panic!("the password was kept") };
                tokens.push(token);
                let after = engine.accounts.ask(ById { id: account }).await.unwrap().unwrap();
                assert_eq!(after.phc, None);
                assert!(after.email_verified);
                assert_eq!(after.auth_epoch, before.auth_epoch + 1);
            }
            let [one, two] = &tokens[..] else { panic!("two answers") };
            assert_eq!(one, two);
            let password = "an entirely different phrase";
            assert!(reset(&engine, &client, one, password).await.result.is_ok());
            // From here on the link is worth nothing.
            let late = verify(&engine, &client, &link, None).await.result;
            assert!(matches!(late, Err(FlowError::Refused(Refusal::InvalidMailedToken))));
            running.stop();
            services.stop();
        });
    }
}
