//! Everybody who has to do with one account, acting at once against a real engine for a year of virtual time.

mod act;
mod ledger;
mod neighbour;
mod owner;
mod search;
mod stranger;
mod thieves;
mod town;
