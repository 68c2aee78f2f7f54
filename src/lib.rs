//! Portcullis: a hardened authentication server, and the engine that other programs embed.

pub mod clock;
pub mod journal;
