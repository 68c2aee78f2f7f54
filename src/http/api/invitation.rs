//! `/v1/invitations/accept`: the account of somebody who was invited.

use actix_web::HttpResponse;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::flow::client::Client;
use crate::flow::sign_up::invited::{Acceptance, accept};
use crate::http::body::Body;
use crate::http::endpoint::Eng;
use crate::http::rejection::Rejection;
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Endpoint, Operation, Tag, Takes};
use crate::registry::throttle::class::Class;
use crate::value::secret_text::SecretText;

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::at(
    "/v1/invitations/accept",
    &[Operation::post("acceptInvitation", "Makes an account by the link of an invitation", |to| to.to(post_accept))
        .explained(
            "The link of the mail leads to the page `/invitation`, which sends its token. The account has a proved address and \
             the roles of the invitation; log in to it afterwards. The same again within ten minutes gets the same answer.",
        )
        .about(Tag::SignUp)
        .takes(Takes::Json(Schema::of::<AcceptInvitation>()))
        .charged(Class::Reset)
        .answers(&[Answer::empty("There is an account with this password.")])
        .refuses(&["invalid_or_expired_token", "weak_password"])],
)];

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AcceptInvitation {
    /// The token of the link.
    #[schema(value_type = String, format = Password)]
    token: SecretText,
    /// At least `password.min_length` characters (15), and hard to guess; at most 1024 bytes.
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 1024, example = "correct horse battery staple")]
    password: SecretText,
    /// The name by which the owner wants to be called, in place of the one that the invitation has.
    #[schema(max_length = 100, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$", example = "Ada")]
    name: Option<String>,
    /// The language of the owner, in place of the one that the invitation has.
    #[schema(max_length = 35, pattern = "^([A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*)?$", example = "en-GB")]
    locale: Option<String>,
}

async fn post_accept(engine: Eng, client: Client, body: Body) -> Result<HttpResponse, Rejection> {
    let read: AcceptInvitation = body.json_charged(&engine, &client, Class::Reset).await?;
    let sent = Acceptance {
        token: &read.token,
        password: &read.password,
        name: read.name.as_deref(),
        locale: read.locale.as_deref(),
    };
    let accepted = accept(&engine, &client, sent).await;
    accepted.respond(|()| HttpResponse::NoContent().finish())
}
