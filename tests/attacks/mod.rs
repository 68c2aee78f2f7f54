//! One file per attack, written as the attacker.

mod csrf;
mod guessing;
mod reset_abuse;
mod token_theft;
