//! One file per attack, written as the attacker.

mod address_change;
mod connection_hogging;
mod cookie_tossing;
mod costly_passwords;
mod covering_tracks;
mod csrf;
mod disk_filling;
mod enumeration;
mod gate;
mod guessing;
mod hang_ups;
mod kept_verdicts;
mod known_passwords;
mod lockout_evasion;
mod lockout_model;
mod mail_quota;
mod offline_tokens;
mod raw_http;
mod repeated_headers;
mod reset_abuse;
mod session_theft;
mod slow_bodies;
mod stalled_log;
mod stuffing;
mod throttle_evasion;
mod token_theft;
