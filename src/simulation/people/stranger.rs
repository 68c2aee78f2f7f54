//! A stranger from a thousand networks: guesses one by one and many at once, asks for links, signs up with the addresses
//! of others, tries tokens, hangs up.

use super::ledger::{Broken, Holder, Promise};
use super::owner::{LINK_LIFE, NAME, Owner, check_a_link};
use super::town::{TOKENS, Town, Try, client, form, is_closed};
use crate::flow::mailed::{Verified, resend, unlock, verify};
use crate::flow::password::{forgot, reset};
use crate::flow::refusal::{FlowError, Refusal};
use crate::flow::sign_up::{Done, sign_up};
use crate::registry::outbox::Kind;

/// Bytes that the journal gains for a request that was refused, on average.
const BYTES_OF_A_REFUSAL: u64 = 96;
/// The most passwords of one name that are hashed or wait for a thread: four of strangers, four of known devices, and one
/// whose thread has told the result and is not counted as free yet.
const AT_ONCE: usize = 9;

/// A stranger.
#[derive(Default)]
pub(super) struct Stranger {
    /// Addresses whose owners were attacked at their sign-up.
    victims: u64,
    /// Requests that were refused, and the bytes that the journal gained meanwhile.
    refused: u64,
    bytes: u64,
}

impl Stranger {
    pub(super) async fn act(&mut self, town: &mut Town, owner: &mut Owner) -> Result<(), Broken> {
        match town.dice.below(100) {
            0..30 => self.guess(town).await,
            30..45 => storm(town, owner).await,
            45..55 => hang_up(town).await,
            55..75 => ask_for_links(town).await,
            75..82 => sign_up_as_the_owner(town).await,
            82..88 => try_tokens(town).await,
            _ => self.hijack(town).await,
        }
    }

    /// Guesses one after another, and goes on for a while when the name is locked.
    async fn guess(&mut self, town: &mut Town) -> Result<(), Broken> {
        let times = 1 + town.dice.below(12);
        town.show(format!("a stranger guesses {times} times"));
        for _ in 0..times {
            let before = town.engine.work().bytes;
            let tried = guess(town, None);
            let answer = town.log_in(tried).await;
            if !town.judge_guess(&answer)? && is_quiet(&answer) {
                self.refused += 1;
                self.bytes += town.engine.work().bytes - before;
            }
        }
        let (refused, bytes) = (self.refused, self.bytes);
        Promise::RefusalsAreSmall.unless(bytes <= 4096 + refused * BYTES_OF_A_REFUSAL, || {
            format!("{bytes} bytes of the journal for {refused} refusals")
        })
    }

    /// Signs up with the address of a person who is about to do so, and waits for their proof.
    async fn hijack(&mut self, town: &mut Town) -> Result<(), Broken> {
        self.victims += 1;
        let victim = format!("victim{}@test.org", self.victims);
        let own = town.unlike("a password that the victim chose in the morning");
        let evil = town.unlike("a password that the stranger chose at night");
        let home = Holder { network: 3000 + self.victims as u32 % 500, agent: "Firefox/130.0" };
        let mut own_half = None;
        let mut steps = Vec::new();
        for _ in 0..2 + town.dice.below(4) {
            let network = town.any_network();
            let from = Holder { network, agent: "curl/8" };
            match town.dice.below(5) {
                0 | 1 => {
                    steps.push("stranger");
                    town.counts.passwords += 1;
                    let _ = sign_up(&town.engine, &client(from), form(&victim, &evil), TOKENS).await;
                }
                2 => {
                    steps.push("resend");
                    let _ = resend(&town.engine, &client(from), &victim, None).await;
                }
                _ => {
                    steps.push("victim");
                    town.counts.passwords += 1;
                    let done = sign_up(&town.engine, &client(home), form(&victim, &own), TOKENS).await;
                    if let Ok(Done::Mailed(half)) = done.result {
                        own_half = Some(half);
                    }
                }
            }
            town.deliver().await?;
        }
        town.show(format!("a hijack of {victim}: {}", steps.join(", ")));
        let links = town.links(&victim, &[Kind::Verify], LINK_LIFE);
        let at = town.dice.below(links.len() as u64) as usize;
        let Some(link) = links.get(at).and_then(|link| link.token.clone()) else { return Ok(()) };
        let half = own_half.as_ref().map(|half| half.as_str()).filter(|_| !town.dice.once_in(3));
        let mut password = own;
        match verify(&town.engine, &client(home), &link, half).await.result {
            Ok(Verified::Done) => {}
            Ok(Verified::SetPassword(token)) => {
                password = town.unlike("the password that the victim set in the end");
                town.counts.passwords += 1;
                let set = reset(&town.engine, &client(home), &token, &password).await.result;
                Promise::LinksLive.unless(set.is_ok(), || String::from("a first password cannot be set"))?;
            }
            Err(error) => return Promise::LinksLive.broken(format!("a proof of {victim}: {error}")),
        }
        for (password, is_own) in [(evil, false), (password, true)] {
            let tried = Try { name: victim.clone(), password, device: None, from: home };
            let answer = town.log_in(tried).await;
            Promise::OwnPasswordAlone.unless(answer.is_ok() == is_own, || {
                format!("{victim}: the password of the owner: {is_own}, opens: {}", answer.is_ok())
            })?;
        }
        Ok(())
    }
}

/// Returns a guess from any network.
pub(super) fn guess(town: &mut Town, device: Option<String>) -> Try {
    let network = town.any_network();
    let password = town.unlike("guess");
    let agent = if town.dice.once_in(2) { "curl/8" } else { "Firefox/130.0" };
    Try { name: NAME.into(), password, device, from: Holder { network, agent } }
}

/// Says whether an answer is a refusal of a name that is locked, or of a network.
fn is_quiet<T>(answer: &Result<T, FlowError>) -> bool {
    let Err(error) = answer else { return false };
    is_closed(error) || matches!(error, FlowError::Refused(Refusal::Throttled { .. }))
}

/// Guesses many times at once. At times the owner logs in meanwhile.
async fn storm(town: &mut Town, owner: &mut Owner) -> Result<(), Broken> {
    let guesses: Vec<Try> = (0..10 + town.dice.below(30)).map(|_| guess(town, None)).collect();
    town.show(format!("strangers guess {} times at once", guesses.len()));
    at_once(town, owner, guesses).await
}

/// Sends all guesses at once, with a log-in of the owner among them at times, and judges every answer.
pub(super) async fn at_once(town: &mut Town, owner: &mut Owner, guesses: Vec<Try>) -> Result<(), Broken> {
    let honest = if town.dice.once_in(2) { owner.honest_try(town) } else { None };
    let begins_at = town.dice.below(guesses.len().max(1) as u64) as usize;
    let mut going = Vec::new();
    let mut of_owner = None;
    for (at, guess) in guesses.into_iter().enumerate() {
        if at == begins_at
            && let Some((device, tried)) = honest.clone()
        {
            town.note("the owner too");
            of_owner = Some((device, town.begin_log_in(tried)));
        }
        going.push(town.begin_log_in(guess));
    }
    for going in going {
        let answer = going.await.unwrap();
        town.check_in_flight(AT_ONCE)?;
        town.judge_guess(&answer)?;
    }
    if let Some((device, going)) = of_owner {
        let answer = going.await.unwrap();
        owner.note_honest(town, device, answer)?;
    }
    Ok(())
}

/// Guesses and does not wait for the answers.
async fn hang_up(town: &mut Town) -> Result<(), Broken> {
    let times = 1 + town.dice.below(6);
    town.show(format!("a stranger guesses and hangs up {times} times"));
    for _ in 0..times {
        let tried = guess(town, None);
        if let Some(answer) = town.log_in_and_hang_up(tried).await {
            town.judge_guess(&answer)?;
        }
    }
    town.settle().await
}

/// Asks for links for the owner, from one network or several. What is in the mailbox goes on working.
async fn ask_for_links(town: &mut Town) -> Result<(), Broken> {
    let times = 1 + town.dice.below(5);
    let one = town.any_network();
    let is_one = town.dice.once_in(2);
    town.show(format!("strangers ask for {times} links"));
    for _ in 0..times {
        let network = if is_one { one } else { town.any_network() };
        let from = Holder { network, agent: "curl/8" };
        match forgot(&town.engine, &client(from), NAME).await.result {
            Ok(()) | Err(FlowError::Refused(Refusal::Throttled { .. })) => {}
            Err(error) => return Promise::Serves.broken(format!("a link was asked for: {error}")),
        }
        town.deliver().await?;
    }
    check_a_link(town).await
}

/// Signs up with the owner's address, some times.
async fn sign_up_as_the_owner(town: &mut Town) -> Result<(), Broken> {
    town.show("a stranger signs up with the owner's address");
    for _ in 0..=town.dice.below(4) {
        let from = Holder { network: town.any_network(), agent: "curl/8" };
        let password = town.unlike("a password that the stranger chose at night");
        town.counts.passwords += 1;
        let done = sign_up(&town.engine, &client(from), form(NAME, &password), TOKENS).await.result;
        if town.dice.once_in(2) {
            let _ = resend(&town.engine, &client(from), NAME, None).await;
        }
        town.deliver().await?;
        // The half that came back opens nothing, whatever link it is shown with.
        if let Ok(Done::Mailed(half)) = done {
            let answer = verify(&town.engine, &client(from), "pcm_no_link", Some(&half)).await.result;
            Promise::OwnPasswordAlone
                .unless(answer.is_err(), || String::from("half a sign-up was enough"))?;
        }
    }
    check_a_link(town).await
}

/// Tries tokens that were never mailed, and half of one that was.
async fn try_tokens(town: &mut Town) -> Result<(), Broken> {
    town.show("a stranger tries tokens");
    let from = client(Holder { network: town.any_network(), agent: "curl/8" });
    let mailed = town.links(NAME, &[Kind::Reset, Kind::Lockout], LINK_LIFE).pop();
    let mut token = mailed.and_then(|letter| letter.token).unwrap_or_else(|| String::from("pcm_AAAA"));
    // The head of a token names its record. The secret is another one.
    token.truncate(token.len() / 2);
    token.push_str(&"A".repeat(token.len()));
    let password = town.unlike("a password that the stranger chose at night");
    town.counts.passwords += 1;
    let set = reset(&town.engine, &from, &token, &password).await.result.is_ok();
    let unlocked = unlock(&town.engine, &from, &token).await.result.is_ok();
    let verified = verify(&town.engine, &from, &token, None).await.result.is_ok();
    Promise::OwnPasswordAlone.unless(!set && !unlocked && !verified, || {
        format!("a made-up token sets a password: {set}, unlocks: {unlocked}, verifies: {verified}")
    })?;
    check_a_link(town).await
}
