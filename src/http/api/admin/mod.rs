//! `/v1/admin/…`: accounts, keys, API keys and security events, for administrators.

mod api_keys;
mod audit;
mod keys;
mod users;

use actix_web::web;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    users::configure(config);
    keys::configure(config);
    api_keys::configure(config);
    audit::configure(config);
}
