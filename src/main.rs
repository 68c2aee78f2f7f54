//! The command line: parse, call the library, exit.

mod cli;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything secret is read. A system that does not allow it is named by `portcullis doctor`.
    #[cfg(not(debug_assertions))]
    let _ = portcullis::system::secrets_in_memory::refuse_dumps();
    // Tests that look into /proc of a server may ask for it, of a debug build alone.
    #[cfg(debug_assertions)]
    if std::env::var_os("PORTCULLIS_TRACEABLE").is_none() {
        let _ = portcullis::system::secrets_in_memory::refuse_dumps();
    }
    cli::run()
}
