//! One file per attack, written as the attacker.

mod csrf;
mod guessing;
mod reset_abuse;
mod throttle_evasion;
mod token_theft;
