//! The HTTP API: what honest clients do, bad input, equal work for known and unknown names, secrets in logs, and
//! the document that describes all of it.

mod bad_input;
mod carried;
mod devices;
mod equal_work;
mod flows;
mod foreign_clients;
pub mod foreign_hashes;
mod http_edge;
mod imports;
mod log_out;
mod openapi;
mod reference;
mod repeats;
mod sdk;
mod secrets;
