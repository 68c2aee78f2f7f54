//! The HTTP API: what honest clients do, bad input, equal work for known and unknown names, secrets in logs, and
//! the document that describes all of it.

mod bad_input;
mod devices;
mod equal_work;
mod flows;
mod foreign_clients;
mod http_edge;
mod openapi;
mod reference;
mod repeats;
mod secrets;
