//! `/v1/admin/users`: accounts of other people.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::shown::{Account, AccountDetails, Accounts, RoleName, WaitingSignUp};
use crate::flow::account::carried::Carried;
use crate::flow::admin::{self, Changes, Found, StatusWanted, account_json, cut_to_page};
use crate::flow::client::Client;
use crate::flow::refusal::Refusal;
use crate::http::api::caller::CalledBy;
use crate::http::api::shared_body::{new_object, null_is_empty};
use crate::http::body::Body;
use crate::http::endpoint::Eng;
use crate::http::problem::Problem;
use crate::http::rejection::Rejection;
use crate::http::request::{limit_of_page, query};
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Credential, Endpoint, Operation, PathPart, Tag, Takes};
use crate::registry::account::Status;
use crate::registry::api_key::Scope;
use crate::value::account_name::NAME_BYTES_MAX;
use crate::value::id::AccountId;
use crate::value::json_object::NewObject;
use crate::value::secret_text::SecretText;

const PAGE: usize = 50;
const PAGE_MAX: usize = 1_000;

/// The path of an account.
const ID: &[PathPart] = &[PathPart {
    name: "id",
    meaning: "The `id` of the account.",
    example: "00000000000000000000000000000000",
}];

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::at(
        "/v1/admin/users",
        &[
            Operation::get("listUsers", "Lists accounts", |to| to.to(get_users))
                .explained(
                    "In the order of ids. Sign-ups that wait for the proof of their address are listed with `status=pending` \
                     or `verified=false`.",
                )
                .about(Tag::Administration)
                .by(Credential::Admin(Scope::AdminRead))
                .query(Schema::of::<Query>())
                .answers(&[Answer::json(200, "A page of accounts.", &[Schema::of::<Accounts>()])])
                .refuses(&["not_found"]),
            Operation::post("createUser", "Makes an account", |to| to.to(post_user))
                .explained("Without a password its owner is mailed a link to set one.")
                .about(Tag::Administration)
                .by(Credential::Admin(Scope::AdminWrite))
                .takes(Takes::Json(Schema::of::<NewUser>()))
                .answers(&[Answer::json(201, "The account.", &[Schema::of::<Account>()])])
                .refuses(&["weak_password", "email_taken", "external_id_taken", "mail_quota"]),
        ],
    ),
    Endpoint::at(
        "/v1/admin/users/{id}",
        &[
            Operation::get("getUser", "Shows an account, and how it stands", |to| to.to(get_user))
                .about(Tag::Administration)
                .by(Credential::Admin(Scope::AdminRead))
                .path(ID)
                .answers(&[Answer::json(
                    200,
                    "The account, or a sign-up that waits for the proof of its address.",
                    &[Schema::of::<AccountDetails>(), Schema::of::<WaitingSignUp>()],
                )])
                .refuses(&["not_found"]),
            Operation::patch("updateUser", "Changes an account", |to| to.to(patch_user))
                .explained(
                    "A member that is left out stays. A new address counts as unproved. It ends every session, and no change of \
                     address that the owner has made: that can still be undone, until `end_undo` names the former address, which \
                     is told.",
                )
                .about(Tag::Administration)
                .by(Credential::Admin(Scope::AdminWrite))
                .path(ID)
                .takes(Takes::Json(Schema::of::<PatchUser>()))
                .answers(&[Answer::json(200, "The account as it is now.", &[Schema::of::<Account>()])])
                .refuses(&["not_found", "email_taken", "external_id_taken", "mail_quota", "last_administrator"]),
            Operation::delete("deleteUser", "Deletes an account", |to| to.to(delete_user))
                .explained("At once and for good.")
                .about(Tag::Administration)
                .by(Credential::Admin(Scope::AdminWrite))
                .path(ID)
                .answers(&[Answer::empty("There is no such account any more.")])
                .refuses(&["not_found", "last_administrator"]),
        ],
    ),
    Endpoint::at(
        "/v1/admin/users/{id}/unlock",
        &[Operation::post("unlockUser", "Lifts the lockout of an account", |to| to.to(post_unlock))
            .explained(
                "Its wrong passwords of the day are forgotten.",
            )
            .about(Tag::Administration)
            .by(Credential::Admin(Scope::AdminWrite))
            .path(ID)
            .answers(&[Answer::empty("It is not locked.")])
            .refuses(&["not_found"])],
    ),
    Endpoint::at(
        "/v1/admin/users/{id}/revoke_sessions",
        &[Operation::post("revokeUserSessions", "Ends every session of an account", |to| to.to(post_revoke_sessions))
            .explained(
                "Its access tokens end at once too.",
            )
            .about(Tag::Administration)
            .by(Credential::Admin(Scope::AdminWrite))
            .path(ID)
            .answers(&[Answer::empty("They have ended.")])
            .refuses(&["not_found"])],
    ),
    Endpoint::at(
        "/v1/admin/users/{id}/send_reset",
        &[Operation::post("sendUserReset", "Mails an account a link for a new password", |to| to.to(post_send_reset))
            .explained(
                "An invitation, if it has none yet. The password lives until the link is used.",
            )
            .about(Tag::Administration)
            .by(Credential::Admin(Scope::AdminWrite))
            .path(ID)
            .answers(&[Answer::empty("The mail is on its way.")])
            .refuses(&["not_found", "mail_quota"])],
    ),
    Endpoint::at(
        "/v1/admin/users/{id}/revoke_password",
        &[Operation::post("revokeUserPassword", "Takes the password of an account away", |to| to.to(post_revoke_password))
            .explained(
                "Every session ends, and a link for a new password is mailed.",
            )
            .about(Tag::Administration)
            .by(Credential::Admin(Scope::AdminWrite))
            .path(ID)
            .answers(&[Answer::empty("The mail is on its way.")])
            .refuses(&["not_found", "mail_quota", "last_administrator"])],
    ),
];

fn parse_id(id: &str) -> Result<AccountId, Refusal> {
    id.parse().map_err(|_| Refusal::NotFound)
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum StatusName {
    Active,
    Disabled,
}

/// The state that listed accounts must have.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum StatusQuery {
    Active,
    Disabled,
    Pending,
}

impl From<StatusQuery> for StatusWanted {
    fn from(name: StatusQuery) -> Self {
        match name {
            StatusQuery::Active => Self::Account(Status::Active),
            StatusQuery::Disabled => Self::Account(Status::Disabled),
            StatusQuery::Pending => Self::Pending,
        }
    }
}

impl From<StatusName> for Status {
    fn from(name: StatusName) -> Self {
        match name {
            StatusName::Active => Self::Active,
            StatusName::Disabled => Self::Disabled,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Query {
    /// Text that the address or the name contains, in any case and form: at most 254 bytes.
    #[schema(max_length = 254)]
    q: Option<String>,
    #[schema(inline)]
    status: Option<StatusQuery>,
    /// Whether the address was proved.
    verified: Option<bool>,
    /// The external id of the one account that is wanted. It stands alone.
    external_id: Option<String>,
    /// The `next_cursor` of the page before.
    #[schema(pattern = "^[0-3][0-9a-f]{31}$")]
    cursor: Option<String>,
    /// How many accounts a page has at most: 50.
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

impl Query {
    /// Says whether something is asked beside an external id.
    const fn has_filters(&self) -> bool {
        let Self { q, status, verified, external_id: _, cursor, limit } = self;
        q.is_some() || status.is_some() || verified.is_some() || cursor.is_some() || limit.is_some()
    }
}

async fn get_users(
    request: HttpRequest,
    engine: Eng,
    client: Client,
    caller: CalledBy,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminRead)?;
    let query: Query =
        query(&request, "The query accepts q, status, verified, cursor and limit; or external_id.")?;
    if let Some(external_id) = &query.external_id {
        if query.has_filters() {
            let detail = "An external id names one account: send `external_id` alone.";
            return Err(Problem::new(422, "unprocessable", detail).into());
        }
        let found = admin::find_external(&engine, &admin, external_id).await?;
        let items: Vec<Value> = found.iter().map(account_json).collect();
        return Ok(HttpResponse::Ok().json(json!({"items": items, "next_cursor": null})));
    }
    let limit = limit_of_page(query.limit, PAGE, PAGE_MAX)?;
    // Every account is compared with it, on the thread that all requests share.
    if query.q.as_ref().is_some_and(|q| q.len() > NAME_BYTES_MAX) {
        let detail = format!("Search for at most {NAME_BYTES_MAX} bytes of an address or a name.");
        return Err(Problem::new(422, "unprocessable", detail).into());
    }
    // One more than the page: it says whether there is another page.
    let list = admin::Query {
        after: query.cursor.as_deref().map(parse_id).transpose()?,
        limit: limit + 1,
        q: query.q.as_deref(),
        status: query.status.map(StatusWanted::from),
        verified: query.verified,
    };
    let mut found = admin::list(&engine, &admin, list).await?;
    let next = cut_to_page(&mut found, limit, Found::id);
    let items: Vec<Value> = found.iter().map(Found::json).collect();
    Ok(HttpResponse::Ok().json(json!({"items": items, "next_cursor": next})))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    #[schema(format = Email, example = "ada@example.org")]
    email: String,
    /// As at sign-up.
    #[schema(value_type = Option<String>, format = Password, min_length = 1, max_length = 1024)]
    password: Option<SecretText>,
    /// In place of `password`: a hash that another system has made of it, as in an import.
    #[schema(value_type = Option<Value>)]
    password_hash: Option<Value>,
    /// At most 32, each of 1 to 64 characters from a-z, 0-9 and `_`.
    #[serde(default)]
    #[schema(value_type = Vec<RoleName>, max_items = 32)]
    roles: Vec<String>,
    /// Whether the address counts as proved.
    #[serde(default)]
    verified: bool,
    /// Whether to mail an invitation; by default to an account without a password.
    invite: Option<bool>,
    /// Null or an empty one is none, as in the fields below.
    #[serde(default, deserialize_with = "null_is_empty")]
    #[schema(max_length = 100, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    name: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    #[schema(max_length = 35, pattern = "^([A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*)?$", example = "en-GB")]
    locale: Option<String>,
    #[serde(default, deserialize_with = "new_object")]
    #[schema(value_type = Option<Object>)]
    user_metadata: Option<NewObject>,
    #[serde(default, deserialize_with = "new_object")]
    #[schema(value_type = Option<Object>)]
    app_metadata: Option<NewObject>,
    /// The id that another program knows the account by.
    #[serde(default, deserialize_with = "null_is_empty")]
    #[schema(max_length = 128)]
    external_id: Option<String>,
}

async fn post_user(
    engine: Eng,
    client: Client,
    caller: CalledBy,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminWrite)?;
    let read: NewUser = body.json()?;
    let new = admin::New {
        email: &read.email,
        password: read.password.as_deref(),
        password_hash: read.password_hash.as_ref(),
        roles: read.roles,
        verified: read.verified,
        carried: Carried {
            name: read.name.as_deref(),
            locale: read.locale.as_deref(),
            user_metadata: read.user_metadata,
            app_metadata: read.app_metadata,
            external_id: read.external_id.as_deref(),
        },
    };
    let has_password = read.password.is_some() || read.password_hash.is_some();
    let invite = read.invite.unwrap_or(!has_password);
    if invite && has_password {
        let message = String::from("an invitation sets the first password, and this account has one");
        return Err(Refusal::Field { pointer: "/invite", code: "has_password", message }.into());
    }
    let account = admin::create(&engine, &admin, new).await?;
    if invite {
        admin::invite(&engine, &admin, &account).await?;
    }
    Ok(HttpResponse::Created().json(account_json(&account)))
}

async fn get_user(
    engine: Eng,
    id: web::Path<String>,
    client: Client,
    caller: CalledBy,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminRead)?;
    let id = parse_id(&id)?.to_string();
    let found = admin::find(&engine, &admin, &id).await?.into_iter().next();
    let body = match found.ok_or(Refusal::NotFound)? {
        Found::Account(account) => admin::details(&engine, &admin, account).await?.json(),
        pending @ Found::SignUp(_) => pending.json(),
    };
    Ok(HttpResponse::Ok().json(body))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PatchUser {
    /// At most 32, each of 1 to 64 characters from a-z, 0-9 and `_`. They replace those of before.
    #[schema(value_type = Option<Vec<RoleName>>, max_items = 32)]
    roles: Option<Vec<String>>,
    #[schema(inline)]
    status: Option<StatusName>,
    /// Null or an empty one takes it away, as in the fields below. An object replaces the one from before as a whole.
    #[serde(default, deserialize_with = "null_is_empty")]
    #[schema(max_length = 100, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    name: Option<String>,
    #[serde(default, deserialize_with = "null_is_empty")]
    #[schema(max_length = 35, pattern = "^([A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*)?$", example = "en-GB")]
    locale: Option<String>,
    #[serde(default, deserialize_with = "new_object")]
    #[schema(value_type = Option<Object>)]
    user_metadata: Option<NewObject>,
    #[serde(default, deserialize_with = "new_object")]
    #[schema(value_type = Option<Object>)]
    app_metadata: Option<NewObject>,
    /// The id that another program knows the account by.
    #[serde(default, deserialize_with = "null_is_empty")]
    #[schema(max_length = 128)]
    external_id: Option<String>,
    #[schema(format = Email)]
    email: Option<String>,
    /// Whether the address counts as proved. A new one does not, unless this says so.
    email_verified: Option<bool>,
    /// The former address, from which the change that the owner has made can then no longer be undone.
    end_undo: Option<String>,
}

async fn patch_user(
    engine: Eng,
    id: web::Path<String>,
    client: Client,
    caller: CalledBy,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminWrite)?;
    let read: PatchUser = body.json()?;
    let id = parse_id(&id)?;
    let changes = Changes {
        roles: read.roles,
        status: read.status.map(Status::from),
        email: read.email.as_deref(),
        email_verified: read.email_verified,
        end_undo: read.end_undo.as_deref(),
        carried: Carried {
            name: read.name.as_deref(),
            locale: read.locale.as_deref(),
            user_metadata: read.user_metadata,
            app_metadata: read.app_metadata,
            external_id: read.external_id.as_deref(),
        },
    };
    let account = admin::change(&engine, &admin, id, changes).await?;
    Ok(HttpResponse::Ok().json(account_json(&account)))
}

async fn delete_user(
    engine: Eng,
    id: web::Path<String>,
    client: Client,
    caller: CalledBy,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminWrite)?;
    body.refuse()?;
    admin::delete(&engine, &admin, parse_id(&id)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn post_unlock(
    engine: Eng,
    id: web::Path<String>,
    client: Client,
    caller: CalledBy,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminWrite)?;
    body.refuse()?;
    admin::unlock(&engine, &admin, parse_id(&id)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn post_revoke_sessions(
    engine: Eng,
    id: web::Path<String>,
    client: Client,
    caller: CalledBy,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminWrite)?;
    body.refuse()?;
    admin::revoke_sessions(&engine, &admin, parse_id(&id)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn post_send_reset(
    engine: Eng,
    id: web::Path<String>,
    client: Client,
    caller: CalledBy,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminWrite)?;
    body.refuse()?;
    admin::send_reset(&engine, &admin, parse_id(&id)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn post_revoke_password(
    engine: Eng,
    id: web::Path<String>,
    client: Client,
    caller: CalledBy,
    body: Body,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminWrite)?;
    body.refuse()?;
    admin::revoke_password(&engine, &admin, parse_id(&id)?).await?;
    Ok(HttpResponse::NoContent().finish())
}
