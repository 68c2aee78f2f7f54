//! `/v1/admin/…`: accounts, keys, API keys and security events, for administrators.

mod api_keys;
mod audit;
mod import;
mod keys;
mod shown;
mod users;

use crate::http::routes::Endpoint;

pub(super) const ENDPOINTS: [&[Endpoint]; 5] =
    [import::ENDPOINTS, users::ENDPOINTS, keys::ENDPOINTS, api_keys::ENDPOINTS, audit::ENDPOINTS];
