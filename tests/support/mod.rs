//! Helpers of the tests: a server in this process, the real binary in another, and what both are asked.

mod answer;
pub mod earlier;
pub mod pairs;
pub mod process;
pub mod raw;
pub mod resource_server;
mod server;
pub mod values;

pub use answer::Answer;
pub use server::{ORIGIN, START, TestServer, send};
pub use values::PASSWORD;
