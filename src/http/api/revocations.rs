//! `/v1/revocations`: the feed of ended sessions, for resource servers: by long poll, or as server-sent events.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::flow::client::Client;
use crate::flow::keys::caller::Caller;
use crate::flow::refusal::Refusal;
use crate::http::api::caller::{CalledBy, Standing};
use crate::http::api::event_stream::{self, LOOK_EVERY};
use crate::http::endpoint::Eng;
use crate::http::header::{accepts, only_text};
use crate::http::problem::Problem;
use crate::http::rejection::Rejection;
use crate::http::request::query;
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Credential, Endpoint, Operation, Tag};
use crate::registry::api_key::Scope;
use crate::token::feed::Page;
use crate::token::feed_places::{FeedPlace, NoPlace};

/// The longest wait of a poll, in seconds. Shorter than the time that a stopping server gives to open requests.
const WAIT_SECS_MAX: u64 = 15;
/// When to try again for a stream, if there is no room for one.
const STREAM_RETRY: Duration = Duration::from_secs(15);

/// The roles of accounts that may read the feed.
const ROLES: &[&str] = &["introspect", "admin"];

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::at(
    "/v1/revocations",
    &[Operation::get("listRevocations", "Reads the feed of ended sessions and keys", |to| to.to(get_revocations))
        .explained(
            "With `wait` the answer comes as soon as there is an entry. With `Accept: text/event-stream` each page is an \
             event, whose id is the position to go on from by `Last-Event-ID`; the stream ends with its credential.",
        )
        .about(Tag::ResourceServers)
        .by(Credential::Service(ROLES, Scope::Revocations))
        .or_basic()
        .query(Schema::of::<Query>())
        .reads(&["Last-Event-ID"])
        .answers(&[Answer::json(200, "The entries after `since`.", &[Schema::of::<Page>()])
            .or_as("text/event-stream")
            .with(&["X-Accel-Buffering"])])
        .refuses(&["too_many_streams"])],
)];

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Query {
    /// The `next` of the page before; 0 for the first one.
    #[serde(default)]
    since: u64,
    /// How many seconds to wait for an entry; above 15 it is 15.
    #[serde(default)]
    wait: u64,
}

/// Checks that `caller` may read the feed.
fn check(caller: &Caller) -> Result<(), Refusal> {
    caller.may(ROLES, Scope::Revocations)
}

async fn get_revocations(
    request: HttpRequest,
    engine: Eng,
    client: Client,
    caller: CalledBy,
) -> Result<HttpResponse, Rejection> {
    check(&caller)?;
    let Query { since, wait } = query(&request, "The query accepts since and wait.")?;
    let standing = Standing::of(&request, &engine, client)?;
    if accepts(request.headers(), "text/event-stream") {
        let last = only_text(request.headers(), "last-event-id").unwrap_or_default();
        let last = last.and_then(|id| id.parse().ok());
        let place = engine.services.feed_places.take(caller.id()).map_err(|no_place| {
            let (status, code, detail) = match no_place {
                NoPlace::Full => {
                    let detail = "There are as many streams of the feed as there may be; poll with `wait` instead.";
                    (503, "server_busy", detail)
                }
                NoPlace::OfReader => (
                    429,
                    "too_many_streams",
                    "This API key or account has as many streams of the feed open as one may have; close some, or poll \
                     with `wait` instead.",
                ),
            };
            Problem::new(status, code, detail).with_retry_after(STREAM_RETRY)
        })?;
        return Ok(stream(engine, last.unwrap_or(since), standing, place));
    }
    let feed = &engine.services.revoked;
    let mut watch = feed.watch();
    let page = feed.page(since);
    if !page.items.is_empty() || !page.complete || wait == 0 {
        return Ok(HttpResponse::Ok().json(page));
    }
    // Waits a second at a time, so that a poll does not delay the stop of the server.
    for _ in 0..wait.min(WAIT_SECS_MAX) {
        let added = tokio::time::timeout(LOOK_EVERY, watch.wait_for(|last| *last > since)).await;
        if added.is_ok() || engine.services.is_stopping() {
            break;
        }
    }
    // The credential may have ended since the poll began.
    check(&standing.caller(&engine).await?)?;
    Ok(HttpResponse::Ok().json(feed.page(since)))
}

/// Answers with an event for each change of the feed after entry `since`, until the server stops or the credential of the
/// stream ends. It keeps its `place` as long.
fn stream(engine: Eng, mut since: u64, standing: Standing, place: FeedPlace) -> HttpResponse {
    let (mut writer, answer) = event_stream::open();
    actix_web::rt::spawn(async move {
        let mut watch = engine.services.revoked.watch();
        let mut is_first = true;
        let _place = place;
        while !engine.services.is_stopping() {
            // Before each event, and every second without one: a stream must not outlive its credential.
            if !matches!(standing.caller(&engine).await, Ok(caller) if check(&caller).is_ok()) {
                break;
            }
            watch.mark_unchanged();
            let page = engine.services.revoked.page(since);
            let text = if is_first || !page.items.is_empty() || !page.complete {
                since = page.next;
                format!("id: {since}\ndata: {}\n\n", json!(page))
            } else if writer.is_long_silent() {
                String::from(":\n\n")
            } else {
                String::new()
            };
            is_first = false;
            if !writer.send(text).await || !writer.wait(&mut watch).await {
                break;
            }
        }
    });
    answer
}
