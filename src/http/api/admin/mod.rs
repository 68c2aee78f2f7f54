//! `/v1/admin/…`: accounts, keys, API keys and security events, for administrators.

mod api_keys;
mod audit;
mod events;
mod import;
mod invitations;
mod keys;
mod shown;
mod users;

use crate::http::routes::Endpoint;

pub(super) const ENDPOINTS: [&[Endpoint]; 7] = [
    import::ENDPOINTS,
    users::ENDPOINTS,
    invitations::ENDPOINTS,
    keys::ENDPOINTS,
    api_keys::ENDPOINTS,
    audit::ENDPOINTS,
    events::ENDPOINTS,
];
