//! `/v1/unlock`: lifts a lockout with a mailed token.

use actix_web::HttpResponse;

use super::shared_body::Token;
use crate::flow::client::Client;
use crate::flow::mailed;
use crate::http::body::Body;
use crate::http::endpoint::Eng;
use crate::http::rejection::Rejection;
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Endpoint, Operation, Tag, Takes};
use crate::registry::throttle::class::Class;

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::at(
    "/v1/unlock",
    &[Operation::post("unlock", "Lifts a lockout by the link of a mail", |to| to.to(post_unlock))
        .about(Tag::LogIn)
        .takes(Takes::Json(Schema::of::<Token>()))
        .charged(Class::Unlock)
        .answers(&[Answer::empty("The name is not locked any more.")])
        .refuses(&["invalid_or_expired_token"])],
)];

async fn post_unlock(engine: Eng, client: Client, body: Body) -> Result<HttpResponse, Rejection> {
    let read: Token = body.json_charged(&engine, &client, Class::Unlock).await?;
    mailed::unlock(&engine, &client, &read.token).await.respond(|()| HttpResponse::NoContent().finish())
}
