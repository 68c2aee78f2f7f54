//! One file per attack, written as the attacker.

mod covering_tracks;
mod csrf;
mod gate;
mod guessing;
mod kept_verdicts;
mod known_passwords;
mod lockout_evasion;
mod lockout_model;
mod offline_tokens;
mod pre_hijack;
mod reset_abuse;
mod session_theft;
mod slow_bodies;
mod stuffing;
mod throttle_evasion;
mod token_theft;
