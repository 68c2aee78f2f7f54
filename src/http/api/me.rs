//! `/v1/me`: the account that is signed in.

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::flow::account::{self, Settings};
use crate::flow::authenticate::Held;
use crate::flow::client::Client;
use crate::http::api::shared_body::{new_object, null_is_empty};
use crate::http::body::Body;
use crate::http::endpoint::Eng;
use crate::http::rejection::Rejection;
use crate::http::request::SignedIn;
use crate::http::response::{User, ended_cookie, user};
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Credential, Endpoint, Operation, Tag, Takes};
use crate::registry::account::AccountV4;
use crate::registry::throttle::class::Class;
use crate::value::json_object::NewObject;
use crate::value::secret_text::SecretText;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::at(
        "/v1/me",
        &[
            Operation::get("getMe", "Shows the account", |to| to.to(get_me))
                .about(Tag::Account)
                .by(Credential::Account)
                .answers(&[Answer::json(200, "The account.", &[Schema::of::<Me>()])]),
            Operation::patch("updateMe", "Changes what the owner can set", |to| to.to(patch_me))
                .explained(
                    "A member that is left out stays. To switch off `new_device_mail` needs a fresh proof, and the owner \
                     is mailed about it. Changes are charged to the account, by the limit `throttle.change`.",
                )
                .about(Tag::Account)
                .by(Credential::Account)
                .takes(Takes::Json(Schema::of::<PatchMe>()))
                .charged(Class::Change)
                .answers(&[Answer::json(200, "The account as it is now.", &[Schema::of::<Me>()])])
                .refuses(&["step_up_required"]),
            DELETE_ME,
        ],
    ),
    // Some proxies and client libraries drop the body of a DELETE, whose meaning HTTP leaves open (RFC 9110 §9.3.5).
    Endpoint::at(
        "/v1/me/delete",
        &[DELETE_ME
            .by_post("deleteMeByPost")
            .explained("The same as `DELETE /v1/me`, for clients and proxies that drop the body of a DELETE.")],
    ),
];

const DELETE_ME: Operation = Operation::delete("deleteMe", "Deletes the account", |to| to.to(delete_me))
    .explained("At once and for good: every session, token and link of it ends, and the cookie is deleted. Its owner is mailed.")
    .about(Tag::Account)
    .by(Credential::Account)
    .fresh()
    .takes(Takes::Json(Schema::of::<DeleteMe>()))
    .charged(Class::Check)
    .answers(&[Answer::empty("There is no such account any more.").with(&["Set-Cookie"])])
    .refuses(&[
        "invalid_credentials",
        "session_expired",
        "too_many_attempts",
        "too_many_at_once",
        "email_changed_lately",
        "last_administrator",
    ]);

/// The account, and what its owner can set.
#[derive(Serialize, ToSchema)]
struct Me<'a> {
    #[serde(flatten)]
    user: User<'a>,
    /// Whether the owner is mailed about a log-in from a new device.
    new_device_mail: bool,
}

async fn get_me(_: Eng, identity: SignedIn) -> HttpResponse {
    me(&identity.account)
}

fn me(account: &AccountV4) -> HttpResponse {
    HttpResponse::Ok().json(Me { user: user(account), new_device_mail: !account.mutes_new_device })
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PatchMe {
    /// The name by which the owner wants to be called; null or an empty one takes it away.
    #[serde(default, deserialize_with = "null_is_empty")]
    #[schema(max_length = 100, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    name: Option<String>,
    /// The language of the owner, likewise.
    #[serde(default, deserialize_with = "null_is_empty")]
    #[schema(max_length = 35, pattern = "^([A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*)?$", example = "en-GB")]
    locale: Option<String>,
    /// The object of the owner, likewise. It replaces the one from before as a whole.
    #[serde(default, deserialize_with = "new_object")]
    #[schema(value_type = Option<Object>)]
    user_metadata: Option<NewObject>,
    /// Whether to mail the owner about a log-in from a new device.
    new_device_mail: Option<bool>,
}

async fn patch_me(
    engine: Eng,
    client: Client,
    identity: SignedIn,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let read: PatchMe = body.json_charged(&engine, &client, Class::Rejected).await?;
    let PatchMe { name, locale, user_metadata, new_device_mail } = read;
    if name.is_none() && locale.is_none() && user_metadata.is_none() && new_device_mail.is_none() {
        return Ok(me(&identity.account));
    }
    let (name, locale) = (name.as_deref(), locale.as_deref());
    let settings = Settings { name, locale, user_metadata, new_device_mail };
    let set = account::set(&engine, &client, &identity, settings).await;
    set.respond(|account| me(&account))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DeleteMe {
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 1024, example = "correct horse battery staple")]
    password: SecretText,
}

async fn delete_me(
    engine: Eng,
    client: Client,
    identity: SignedIn,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let read: DeleteMe = body.json_charged(&engine, &client, Class::Check).await?;
    account::delete(&engine, &client, &identity, &read.password).await.respond(|()| {
        let mut response = HttpResponse::NoContent();
        if matches!(identity.held, Held::Session(_)) {
            response.cookie(ended_cookie(&engine));
        }
        response.finish()
    })
}
