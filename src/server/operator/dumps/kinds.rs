//! What tells the users of each system from other objects.

use super::fields::{Object, id};
use super::format::Format;
use super::systems::{auth0_id, django_user};

/// Says whether an object has what every user of `format` has, and hardly anything else.
pub(super) fn is_user(format: Format, object: &Object) -> bool {
    let has_any = |names: &[&str]| names.iter().any(|name| object.contains_key(*name));
    match format {
        Format::Portcullis => true,
        Format::Supabase => has_any(&[
            "encrypted_password",
            "raw_app_meta_data",
            "raw_user_meta_data",
            "email_confirmed_at",
            "confirmed_at",
            "banned_until",
            "deleted_at",
        ]),
        Format::Keycloak => {
            has_any(&["enabled", "createdTimestamp", "credentials", "serviceAccountClientId"])
        }
        Format::Firebase => has_any(&["localId"]),
        Format::Auth0 => has_any(&["user_id", "_id"]),
        Format::BetterAuth => has_any(&["emailVerified", "email_verified"]),
        Format::Django => django_user(object).is_some(),
    }
}

/// Returns the id that a user of `format` has there.
pub(super) fn id_of(format: Format, object: &Object) -> Option<String> {
    match format {
        Format::Portcullis => id(object, "external_id").or_else(|| id(object, "id")),
        Format::Supabase | Format::Keycloak | Format::BetterAuth => id(object, "id"),
        Format::Firebase => id(object, "localId"),
        Format::Auth0 => id(object, "user_id").or_else(|| auth0_id(object)),
        Format::Django => id(object, "pk"),
    }
}
