//! `/v1/admin/audit`: security events.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use crate::audit::read::Wanted;
use crate::flow::admin;
use crate::http::api::caller::CalledBy;
use crate::http::endpoint::{Eng, resource};
use crate::http::header::accepts;
use crate::http::problem::Problem;
use crate::http::rejection::Rejection;
use crate::http::request::query;
use crate::registry::api_key::Scope;
use crate::system::clock::Timestamp;

const PAGE: usize = 100;
const PAGE_MAX: usize = 10_000;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.service(resource("/v1/admin/audit", "GET").route(web::get().to(get_audit)));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    since: Option<String>,
    r#type: Option<String>,
    account: Option<String>,
    cursor: Option<u64>,
    limit: Option<usize>,
}

/// Returns events from the files of `audit.dir`, oldest first: those from `since` or after `cursor`, else the newest.
async fn get_audit(request: HttpRequest, engine: Eng, caller: CalledBy) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, Scope::AdminRead)?;
    let query: Query = query(&request, "The query accepts since, type, account, cursor and limit.")?;
    let wanted = Wanted {
        since: query.since.as_deref().map(parse_time).transpose()?,
        event: query.r#type,
        account: query.account,
        after: query.cursor,
        limit: query.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX),
    };
    let items = admin::audit(&engine, &admin, wanted).await?;
    if accepts(request.headers(), "application/x-ndjson") {
        let lines: String = items.iter().map(|item| format!("{}\n", json!(item))).collect();
        return Ok(HttpResponse::Ok().content_type("application/x-ndjson").body(lines));
    }
    // More can come at any time, so there is always a cursor, also after a page that is not full.
    let next = items.last().map(|line| line.seq).or(query.cursor);
    Ok(HttpResponse::Ok().json(json!({"items": items, "next_cursor": next})))
}

fn parse_time(text: &str) -> Result<Timestamp, Problem> {
    let detail = "`since` must be a time in the format of RFC 3339.";
    Timestamp::parse_rfc3339(text).ok_or_else(|| Problem::new(422, "unprocessable", detail))
}
