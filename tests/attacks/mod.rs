//! One file per attack, written as the attacker.

mod api_keys;
mod covering_tracks;
mod csrf;
mod gate;
mod guessing;
mod kept_verdicts;
mod known_passwords;
mod lockout_evasion;
mod lockout_model;
mod lost_feed;
mod offline_tokens;
mod old_keys;
mod reset_abuse;
mod session_theft;
mod slow_bodies;
mod stolen_keys;
mod stuffing;
mod throttle_evasion;
mod token_theft;
