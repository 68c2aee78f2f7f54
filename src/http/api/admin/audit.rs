//! `/v1/admin/audit`: security events.

use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::audit::Line;
use crate::audit::names;
use crate::audit::read::Wanted;
use crate::flow::admin;
use crate::flow::client::Client;
use crate::http::api::caller::CalledBy;
use crate::http::endpoint::Eng;
use crate::http::header::accepts;
use crate::http::problem::Problem;
use crate::http::rejection::Rejection;
use crate::http::request::{limit_of_page, query};
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Credential, Endpoint, Operation, Tag};
use crate::registry::api_key::Scope;
use crate::system::clock::Timestamp;

/// The length of a date and time without fractions and zone.
const TIME_BYTES: usize = "2026-01-31T00:00:00".len();
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;
/// Maximum size of the lines of a page, as they are written. A page that reaches it is shorter.
const PAGE_BYTES_MAX: usize = 256 * 1024;

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::at(
    "/v1/admin/audit",
    &[Operation::get("listAuditEvents", "Reads security events, newest last", |to| to.to(get_audit))
        .explained(
            "Those from `since` or after `cursor`, else the newest. `src/audit/README.md` lists the events.",
        )
        .about(Tag::Administration)
        .by(Credential::Admin(Scope::AdminRead))
        .query(Schema::of::<Query>())
        .answers(&[
            Answer::json(200, "A page of events.", &[Schema::of::<Page>()]).or_as("application/x-ndjson")
        ])],
)];

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Query {
    #[schema(format = DateTime, example = "2026-11-30T00:00:00Z")]
    since: Option<String>,
    /// The name of an event, or its first word.
    #[schema(example = "login")]
    r#type: Option<String>,
    /// The id of an account or of a session that the events are about.
    account: Option<String>,
    /// Who did it: the id of an account or an API key, or `operator`.
    by: Option<String>,
    /// The `next_cursor` of the page before.
    cursor: Option<u64>,
    /// How many events a page has at most: 100. A page ends after 256 KiB too.
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Returns events from the files of `audit.dir`, oldest first: those from `since` or after `cursor`, else the newest.
async fn get_audit(
    request: HttpRequest,
    engine: Eng,
    client: Client,
    caller: CalledBy,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminRead)?;
    let query: Query = query(&request, "The query accepts since, type, account, by, cursor and limit.")?;
    let limit = limit_of_page(query.limit, PAGE, PAGE_MAX)?;
    let wanted = Wanted {
        since: query.since.as_deref().map(parse_time).transpose()?,
        event: query.r#type.as_deref().map(wanted_events).transpose()?,
        account: query.account,
        by: query.by,
        after: query.cursor,
        limit,
        bytes_max: Some(PAGE_BYTES_MAX),
        ..Wanted::default()
    };
    let items = admin::audit(&engine, &admin, wanted).await?;
    if accepts(request.headers(), "application/x-ndjson") {
        let mut lines = Vec::new();
        for item in &items {
            // A line has no map whose keys could fail.
            let _ = serde_json::to_writer(&mut lines, item);
            lines.push(b'\n');
        }
        return Ok(HttpResponse::Ok().content_type("application/x-ndjson").body(lines));
    }
    // More can come at any time, so there is always a cursor, also after a page that is not full.
    let next = items.last().map(|line| line.seq).or(query.cursor);
    Ok(HttpResponse::Ok().json(Page { items: &items, next_cursor: next }))
}

/// A page of security events.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEvents)]
struct Page<'a> {
    items: &'a [Line],
    /// For the parameter `cursor`, also after a page that is not full; null if there was no event yet.
    #[schema(required)]
    next_cursor: Option<u64>,
}

fn wanted_events(typed: &str) -> Result<String, Problem> {
    names::wanted(typed).map_err(|error| Problem::new(422, "unprocessable", format!("`type`: {error}.")))
}

fn parse_time(text: &str) -> Result<Timestamp, Problem> {
    let detail = "`since` must be a time in the format of RFC 3339.";
    // A plus sign that was not escaped is read as a blank, as in forms.
    let (date_and_time, zone) = text.split_at_checked(TIME_BYTES).unwrap_or((text, ""));
    Timestamp::parse_rfc3339(&format!("{date_and_time}{}", zone.replace(' ', "+")))
        .ok_or_else(|| Problem::new(422, "unprocessable", detail))
}
