//! The HTTP API: what honest clients do, bad input, equal work for known and unknown names, and secrets in logs.

mod bad_input;
mod carried;
mod devices;
mod equal_work;
mod flows;
mod foreign_clients;
mod http_edge;
mod repeats;
mod secrets;
