//! `/v1/me`: the account that is signed in.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

use crate::flow::account::{self, Settings};
use crate::flow::authenticate::Held;
use crate::flow::client::Client;
use crate::http::api::shared_body::{new_object, null_is_empty};
use crate::http::body::Body;
use crate::http::endpoint::{Eng, resource};
use crate::http::rejection::Rejection;
use crate::http::request::SignedIn;
use crate::http::response::{User, ended_cookie, user};
use crate::registry::account::AccountV4;
use crate::registry::throttle::class::Class;
use crate::value::json_object::NewObject;
use crate::value::secret_text::SecretText;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    let me = resource("/v1/me", "GET, PATCH, DELETE");
    let me = me.route(web::get().to(get_me)).route(web::patch().to(patch_me));
    config.service(me.route(web::delete().to(delete_me)));
    // Some proxies and client libraries drop the body of a DELETE, whose meaning HTTP leaves open (RFC 9110 §9.3.5).
    config.service(resource("/v1/me/delete", "POST").route(web::post().to(delete_me)));
}

/// The account, and what its owner can set.
#[derive(Serialize)]
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchMe {
    /// The name by which the owner wants to be called; null or an empty one takes it away.
    #[serde(default, deserialize_with = "null_is_empty")]
    name: Option<String>,
    /// The language of the owner, likewise.
    #[serde(default, deserialize_with = "null_is_empty")]
    locale: Option<String>,
    /// The object of the owner, likewise. It replaces the one from before as a whole.
    #[serde(default, deserialize_with = "new_object")]
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteMe {
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
