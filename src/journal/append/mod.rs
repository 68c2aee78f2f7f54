//! The living end of the journal: space is reserved, entries are appended, frames are written, answers are opened.
//!
//! ```text
//!   actors ──▶ handle (reserve, append, seal) ──▶ writer (one frame at a time) ──▶ segment_log ──▶ storage
//!   requests ◀── handle (open) ◀── durable ◀──┘        preparer ──▶ spare segments ──┘
//! ```

pub mod handle;
pub(crate) mod preparer;
pub mod segment_log;
pub mod writer;
