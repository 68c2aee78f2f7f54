//! The one list of tables: what each is called, and how it is restored, saved, shown and known to be over.

pub mod dump;
pub mod expiry;
