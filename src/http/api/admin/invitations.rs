//! `/v1/admin/invitations`: who may make an account although nobody else may.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::shown::RoleName;
use crate::flow::admin::cut_to_page;
use crate::flow::admin::invitations::{self, NewInvitation, described};
use crate::flow::client::Client;
use crate::flow::refusal::Refusal;
use crate::http::api::caller::CalledBy;
use crate::http::body::Body;
use crate::http::endpoint::Eng;
use crate::http::rejection::Rejection;
use crate::http::request::{limit_of_page, query};
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Credential, Endpoint, Operation, PathPart, Tag, Takes};
use crate::registry::api_key::Scope;
use crate::value::id::AccountId;

const PAGE: usize = 50;
const PAGE_MAX: usize = 1_000;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::at(
        "/v1/admin/invitations",
        &[
            Operation::get("listInvitations", "Lists the open invitations", |to| to.to(get_invitations))
                .explained("In the order of ids.")
                .about(Tag::Administration)
                .by(Credential::Admin(Scope::AdminRead))
                .query(Schema::of::<InvitationQuery>())
                .answers(&[Answer::json(200, "A page of invitations.", &[Schema::of::<Invitations>()])])
                .refuses(&["not_found"]),
            Operation::post("createInvitation", "Invites somebody to have an account", |to| {
                to.to(post_invitation)
            })
            .explained(
                "The address is mailed a link, good once within `reset.invitation_ttl_secs` (7 days), by which its owner makes \
                 an account with these roles. Another invitation of the same address ends. Roles are given only if the \
                 inviter may still give them when the link is used. An API key cannot invite an administrator.",
            )
            .about(Tag::Administration)
            .by(Credential::Admin(Scope::AdminWrite))
            .takes(Takes::Json(Schema::of::<InvitationForm>()))
            .answers(&[Answer::json(201, "The mail is on its way.", &[Schema::of::<Invitation>()])])
            .refuses(&["email_taken", "mail_quota", "too_many_invitations"]),
        ],
    ),
    Endpoint::at(
        "/v1/admin/invitations/{id}",
        &[Operation::delete("withdrawInvitation", "Withdraws an invitation", |to| to.to(delete_invitation))
            .explained("Its link is dead at once.")
            .about(Tag::Administration)
            .by(Credential::Admin(Scope::AdminWrite))
            .path(&[PathPart {
                name: "id",
                meaning: "The `id` of the invitation.",
                example: "00000000000000000000000000000000",
            }])
            .answers(&[Answer::empty("There is no such invitation any more.")])
            .refuses(&["not_found"])],
    ),
];

/// An open invitation.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `invitations::described` writes")]
struct Invitation {
    /// The id of the invitation, which the account will have.
    id: String,
    #[schema(format = Email)]
    email: String,
    #[schema(required)]
    name: Option<String>,
    roles: Vec<String>,
    #[schema(required)]
    locale: Option<String>,
    /// The id of an account, `operator`, or `API key` and its id.
    invited_by: String,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `get_invitations` writes")]
struct Invitations {
    items: Vec<Invitation>,
    /// For the parameter `cursor`; null on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct InvitationQuery {
    /// The `next_cursor` of the page before.
    #[schema(pattern = "^[0-3][0-9a-f]{31}$")]
    cursor: Option<String>,
    /// How many invitations a page has at most: 50.
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = NewInvitation)]
#[serde(deny_unknown_fields)]
struct InvitationForm {
    #[schema(format = Email, example = "ada@example.org")]
    email: String,
    /// The name that the account will have, unless its owner gives another.
    #[schema(max_length = 100, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    name: Option<String>,
    /// At most 32, each of 1 to 64 characters from a-z, 0-9 and `_`.
    #[serde(default)]
    #[schema(value_type = Vec<RoleName>, max_items = 32)]
    roles: Vec<String>,
    /// The language of the owner.
    #[schema(max_length = 35, pattern = "^([A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*)?$", example = "en-GB")]
    locale: Option<String>,
}

fn parse_id(id: &str) -> Result<AccountId, Refusal> {
    id.parse().map_err(|_| Refusal::NotFound)
}

async fn get_invitations(
    request: HttpRequest,
    engine: Eng,
    client: Client,
    caller: CalledBy,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminRead)?;
    let query: InvitationQuery = query(&request, "The query accepts cursor and limit.")?;
    let limit = limit_of_page(query.limit, PAGE, PAGE_MAX)?;
    let after = query.cursor.as_deref().map(parse_id).transpose()?;
    // One more than the page: it says whether there is another page.
    let mut found = invitations::list(&engine, &admin, after, limit + 1).await?;
    let next = cut_to_page(&mut found, limit, |invitation| invitation.id);
    let items: Vec<Value> = found.iter().map(described).collect();
    Ok(HttpResponse::Ok().json(json!({"items": items, "next_cursor": next})))
}

async fn post_invitation(
    engine: Eng,
    client: Client,
    caller: CalledBy,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminWrite)?;
    let read: InvitationForm = body.json()?;
    let new = NewInvitation {
        email: &read.email,
        name: read.name.as_deref(),
        roles: read.roles,
        locale: read.locale.as_deref(),
    };
    let (invitation, _) = invitations::send(&engine, &admin, new).await?;
    Ok(HttpResponse::Created().json(described(&invitation)))
}

async fn delete_invitation(
    engine: Eng,
    id: web::Path<String>,
    client: Client,
    caller: CalledBy,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminWrite)?;
    body.refuse()?;
    invitations::withdraw(&engine, &admin, parse_id(&id)?).await?;
    Ok(HttpResponse::NoContent().finish())
}
