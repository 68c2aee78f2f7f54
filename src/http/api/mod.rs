#![doc = include_str!("README.md")]

mod admin;
mod caller;
mod devices;
mod email;
mod event_stream;
mod introspect;
mod invitation;
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

use super::routes::Endpoint;

/// Returns the endpoints of the API.
pub(super) fn endpoints() -> impl Iterator<Item = &'static Endpoint> {
    let own = [
        sign_up::ENDPOINTS,
        invitation::ENDPOINTS,
        log_in::ENDPOINTS,
        refresh::ENDPOINTS,
        reauthenticate::ENDPOINTS,
        log_out::ENDPOINTS,
        unlock::ENDPOINTS,
        session::ENDPOINTS,
        devices::ENDPOINTS,
        me::ENDPOINTS,
        password::ENDPOINTS,
        email::ENDPOINTS,
        introspect::ENDPOINTS,
        revocations::ENDPOINTS,
    ];
    let for_machines = [operations::ENDPOINTS, metrics::ENDPOINTS];
    own.into_iter().chain(admin::ENDPOINTS).chain(for_machines).flatten()
}
