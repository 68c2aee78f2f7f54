//! Helpers of the tests: a server in this process, the real binary in another, and what both are asked.

mod answer;
pub mod backup;
mod browser;
pub mod conformance;
pub mod earlier;
pub mod links;
pub mod pairs;
pub mod process;
pub mod raw;
pub mod resource_server;
mod server;
pub mod tls;
pub mod values;
mod wait;

pub use answer::Answer;
pub use browser::Browser;
pub use server::{ORIGIN, START, TestServer, send};
pub use values::PASSWORD;
pub use wait::wait_until;
