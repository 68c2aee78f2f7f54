//! The commands that print a file for other programs: completions for a shell, and a client of the API.

pub(super) mod completions;
pub(super) mod sdk;

use super::{Cli, Failure, shown, write_out};
