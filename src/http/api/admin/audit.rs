//! `/v1/admin/audit`: security events.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use crate::audit::Line;
use crate::audit::names;
use crate::audit::read::Wanted;
use crate::flow::admin;
use crate::flow::client::Client;
use crate::http::api::caller::CalledBy;
use crate::http::endpoint::{Eng, resource};
use crate::http::header::accepts;
use crate::http::problem::Problem;
use crate::http::rejection::Rejection;
use crate::http::request::{limit_of_page, query};
use crate::registry::api_key::Scope;
use crate::system::clock::Timestamp;

/// The length of a date and time without fractions and zone.
const TIME_BYTES: usize = "2026-01-31T00:00:00".len();
const PAGE: usize = 100;
const PAGE_MAX: usize = 1_000;
/// Maximum size of the lines of a page, as they are written. A page that reaches it is shorter.
const PAGE_BYTES_MAX: usize = 256 * 1024;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.service(resource("/v1/admin/audit", "GET").route(web::get().to(get_audit)));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    since: Option<String>,
    r#type: Option<String>,
    account: Option<String>,
    by: Option<String>,
    cursor: Option<u64>,
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

/// A page, written without a copy in between.
#[derive(Serialize)]
struct Page<'a> {
    items: &'a [Line],
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
