//! One act of one of them, chosen by dice.

use super::ledger::{Broken, Promise};
use super::neighbour::Neighbour;
use super::owner::Owner;
use super::stranger::Stranger;
use super::thieves::{guess_with_cookies, refresh_with_a_copy};
use super::town::Town;

/// Everybody in the town.
pub(super) struct People {
    owner: Owner,
    stranger: Stranger,
    neighbour: Neighbour,
}

impl People {
    /// Lets all of them arrive: the accounts are made.
    pub(super) async fn arrive(town: &mut Town) -> Result<Self, Broken> {
        let neighbour = Neighbour::arrive(town).await?;
        let owner = Owner::arrive(town).await?;
        Ok(Self { owner, stranger: Stranger::default(), neighbour })
    }

    /// Lets time pass, and one of them act. Checks what is promised of every act.
    pub(super) async fn act(&mut self, town: &mut Town) -> Result<(), Broken> {
        town.wait();
        town.counts.acts += 1;
        let hashes = town.engine.work().hashes;
        let passwords = town.counts.passwords;
        match town.dice.below(100) {
            0..40 => self.owner.act(town).await?,
            40..72 => self.stranger.act(town, &mut self.owner).await?,
            72..88 => guess_with_cookies(town, &mut self.owner).await?,
            88..93 => refresh_with_a_copy(town, &mut self.owner).await?,
            93..96 => self.neighbour.storm(town, &mut self.owner).await?,
            _ => self.neighbour.compare(town).await?,
        }
        town.deliver().await?;
        town.finish_what_goes_on().await;
        let hashed = town.engine.work().hashes - hashes;
        let asked = town.counts.passwords - passwords;
        Promise::HashesAreFew
            .unless(hashed <= asked, || format!("{hashed} passwords were hashed for {asked} requests"))
    }
}
