//! `/v1/devices`: the devices that are known to the account, and their end.

use actix_web::HttpResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::flow::client::Client;
use crate::flow::devices;
use crate::http::body::Body;
use crate::http::endpoint::Eng;
use crate::http::rejection::Rejection;
use crate::http::request::SignedIn;
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Credential, Endpoint, Operation, Tag};
use crate::registry::throttle::class::Class;

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::at(
    "/v1/devices",
    &[
        Operation::get("listDevices", "Lists the devices that have logged in before", |to| {
            to.to(get_devices)
        })
        .about(Tag::Sessions)
        .by(Credential::Account)
        .answers(&[Answer::json(
            200,
            "The devices, by kind of browser.",
            &[Schema::of::<Devices>()],
        )]),
        Operation::delete("endDevices", "Makes every known device a stranger again", |to| {
            to.to(delete_devices)
        })
        .about(Tag::Sessions)
        .by(Credential::Account)
        .fresh()
        .charged(Class::Rejected)
        .answers(&[Answer::empty("No device is known.")]),
    ],
)];

/// The known devices of the account.
#[derive(Serialize, ToSchema)]
struct Devices<'a> {
    items: Vec<DeviceFamily<'a>>,
}

/// Known devices of one kind.
#[derive(Serialize, ToSchema)]
pub(super) struct DeviceFamily<'a> {
    /// The kind of browser or program.
    #[schema(example = "firefox")]
    family: &'a str,
    count: usize,
    /// When one of them last logged in.
    #[schema(format = DateTime)]
    newest: String,
}

async fn get_devices(engine: Eng, identity: SignedIn) -> Result<HttpResponse, Rejection> {
    let families = devices::list(&engine, &identity.account).await?;
    let items = families
        .iter()
        .map(|of| DeviceFamily { family: &of.family, count: of.count, newest: of.newest.rfc3339() })
        .collect();
    Ok(HttpResponse::Ok().json(Devices { items }))
}

async fn delete_devices(
    engine: Eng,
    client: Client,
    identity: SignedIn,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    body.refuse_charged(&engine, &client).await?;
    devices::end(&engine, &client, &identity).await?;
    Ok(HttpResponse::NoContent().finish())
}
