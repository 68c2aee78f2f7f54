#![doc = include_str!("README.md")]

mod admin;
mod caller;
mod devices;
mod email;
mod introspect;
mod log_in;
mod log_out;
mod me;
mod metrics;
pub mod operations;
mod password;
mod reauthenticate;
mod refresh;
mod revocations;
mod session;
mod shared_body;
mod sign_up;
mod unlock;

use actix_web::web;

/// Adds all endpoints of the API.
pub(super) fn configure(config: &mut web::ServiceConfig) {
    sign_up::configure(config);
    log_in::configure(config);
    refresh::configure(config);
    reauthenticate::configure(config);
    log_out::configure(config);
    session::configure(config);
    devices::configure(config);
    me::configure(config);
    password::configure(config);
    email::configure(config);
    unlock::configure(config);
    introspect::configure(config);
    revocations::configure(config);
    admin::configure(config);
    operations::configure(config);
    metrics::configure(config);
}
