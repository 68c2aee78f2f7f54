//! `/v1/admin/…`: accounts, signing keys and security events, for administrators.

mod audit;
mod keys;
mod users;

use actix_web::web;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    users::configure(config);
    keys::configure(config);
    audit::configure(config);
}
