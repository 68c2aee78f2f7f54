//! Thieves: one has the cookies of devices that the owner has lost, one has copied a refresh token.

use super::ledger::{Broken, Holder};
use super::owner::{Owner, present};
use super::stranger::{at_once, guess};
use super::town::{Town, Try};

/// Guesses with the stolen cookies, those from before a new password too.
pub(super) async fn guess_with_cookies(town: &mut Town, owner: &mut Owner) -> Result<(), Broken> {
    if owner.lost.is_empty() {
        return Ok(());
    }
    let times = 1 + town.dice.below(7) as usize;
    let cookies: Vec<String> = owner.lost.iter().rev().take(17).cloned().collect();
    match town.dice.below(4) {
        // All of them at once.
        0 => {
            let with = |cookie: &String, town: &mut Town| guess(town, Some(cookie.clone()));
            let each = times.min(3);
            let guesses: Vec<Try> =
                (0..each).flat_map(|_| cookies.iter()).map(|cookie| with(cookie, town)).collect();
            town.show(format!("a thief of {} cookies guesses {each} times with each at once", cookies.len()));
            at_once(town, owner, guesses).await
        }
        // One after another, in turn, the devices that failed longest ago first.
        1 | 2 => {
            town.show(format!("a thief of {} cookies guesses {times} times with each", cookies.len()));
            for cookie in (0..times).flat_map(|_| cookies.iter()) {
                let tried = guess(town, Some(cookie.clone()));
                let answer = town.log_in(tried).await;
                town.judge_guess(&answer)?;
            }
            Ok(())
        }
        // And does not wait for the answers.
        _ => {
            town.show(format!("a thief of {} cookies guesses and hangs up {times} times", cookies.len()));
            for _ in 0..times {
                let at = town.dice.below(cookies.len() as u64) as usize;
                let tried = guess(town, cookies.get(at).cloned());
                if let Some(answer) = town.log_in_and_hang_up(tried).await {
                    town.judge_guess(&answer)?;
                }
            }
            town.settle().await
        }
    }
}

/// Uses a copy of a refresh token of the owner's, from elsewhere or from the same network and program.
pub(super) async fn refresh_with_a_copy(town: &mut Town, owner: &mut Owner) -> Result<(), Broken> {
    if owner.families.is_empty() {
        return Ok(());
    }
    let at = town.dice.below(owner.families.len() as u64) as usize;
    let family = &mut owner.families[at];
    let mut token = family.held().to_owned();
    let by = match town.dice.below(3) {
        0 => Holder { network: town.any_network(), agent: "curl/8" },
        1 => Holder { network: town.any_network(), ..family.from() },
        _ => family.from(),
    };
    let times = 1 + town.dice.below(3);
    town.show(format!("a thief refreshes family {at} {times} times"));
    for _ in 0..times {
        match present(town, &mut family.chain, &token, by).await? {
            Some(new) => token = new,
            None => return Ok(()),
        }
    }
    Ok(())
}
