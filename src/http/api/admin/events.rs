//! `/v1/admin/events`: what happened to accounts and sessions, by long poll or as server-sent events.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::flow::admin::events::{Event, EventCursor, EventPage, Wanted, events, parse_cursor};
use crate::flow::client::Client;
use crate::flow::refusal::FlowError;
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
use crate::token::feed_places::{FeedPlace, NoPlace};

/// The longest wait of a poll, in seconds.
const WAIT_SECS_MAX: u64 = 25;
/// When to try again, if there is no room to wait.
const RETRY: Duration = Duration::from_secs(15);

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::at(
    "/v1/admin/events",
    &[Operation::get("listEvents", "Reads what happened to accounts and sessions, in order", |to| to.to(get_events))
        .explained(
            "At least once, in the order in which it became true, also after a crash. Keep `next` beside what you make of the \
             events, and ask for those after it. With `wait` the answer comes as soon as there is an event. With `Accept: \
             text/event-stream` each event is a message whose id is the cursor to go on from by `Last-Event-ID`, and a gap is \
             a message of the type `gap`; the stream ends with its credential. A `gap` says that events are missing before \
             these: then compare all accounts.",
        )
        .about(Tag::Administration)
        .by(Credential::Admin(Scope::EventsRead))
        .query(Schema::of::<Query>())
        .reads(&["Last-Event-ID"])
        .answers(&[Answer::json(200, "The events after `after`, at most 500.", &[Schema::of::<Page>()])
            .or_as("text/event-stream")
            .with(&["X-Accel-Buffering"])])
        .refuses(&["too_many_streams"])],
)];

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Query {
    /// The `next` of the page before; left out for the oldest events.
    after: Option<String>,
    /// How many seconds to wait for an event; above 25 it is 25.
    #[serde(default)]
    wait: u64,
    /// Types, separated by commas; `account.*` stands for all that begin so. Left out: all.
    #[schema(example = "account.*,session.ended")]
    types: Option<String>,
}

/// A page of events.
#[derive(Serialize, ToSchema)]
#[schema(as = Events)]
struct Page {
    events: Vec<Event>,
    /// For the parameter `after`; null if the server has just been started and cannot say.
    #[schema(required)]
    next: Option<String>,
    /// Events are missing before these, if it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    gap: Option<ShownGap>,
}

/// Events that are missing.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[schema(as = EventGap)]
struct ShownGap {
    /// `expired`: they were older than events are kept; `lost`: they could not be kept; `other_history`: the cursor is of data
    /// that were restored since.
    #[schema(value_type = String)]
    reason: &'static str,
}

impl From<EventPage> for Page {
    fn from(page: EventPage) -> Self {
        let EventPage { events, next, gap } = page;
        let gap = gap.map(|gap| ShownGap { reason: gap.reason() });
        Self { events, next: next.map(|next| next.to_string()), gap }
    }
}

async fn get_events(
    request: HttpRequest,
    engine: Eng,
    client: Client,
    caller: CalledBy,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::EventsRead)?;
    let Query { after, wait, types } = query(&request, "The query accepts after, wait and types.")?;
    // An empty list is a mistake of the program that made it: it would read everything.
    let patterns = types.as_deref().into_iter().flat_map(|types| types.split(','));
    let wanted = Wanted::parse(patterns).map_err(|_| {
        Problem::new(422, "unprocessable", "`types` names a type of events that there is not.")
    })?;
    let after = after.as_deref().map(parse_cursor).transpose()?;
    let is_stream = accepts(request.headers(), "text/event-stream");
    let last = only_text(request.headers(), "last-event-id").unwrap_or_default().filter(|_| is_stream);
    let after = last.map(parse_cursor).transpose()?.or(after);
    let reading =
        Reading { standing: Standing::of(&request, &engine, client.clone())?, client, engine, wanted };
    if is_stream {
        let place = take_place(&reading.engine, caller.id())?;
        return Ok(stream(reading, after, place));
    }
    let mut page = events(&reading.engine, &admin, after.as_ref(), wanted).await?;
    if is_idle(&page) && wait > 0 {
        let _place = take_place(&reading.engine, caller.id())?;
        page = reading.wait(page, wait.min(WAIT_SECS_MAX)).await?;
    }
    Ok(HttpResponse::Ok().json(Page::from(page)))
}

/// Says whether a page has nothing to tell.
const fn is_idle(page: &EventPage) -> bool {
    page.events.is_empty() && page.gap.is_none()
}

/// Takes a place among the requests that wait. A page at once needs none.
fn take_place(engine: &Eng, reader: [u8; 16]) -> Result<FeedPlace, Problem> {
    engine.services.event_places.take(reader).map_err(|no_place| {
        let (status, code, detail) = match no_place {
            NoPlace::Full => (503, "server_busy", "As many requests wait for events as may wait; ask with `wait=0`."),
            NoPlace::OfReader => (
                429,
                "too_many_streams",
                "As many requests of this API key or account wait for events as one may have; end some, or ask with \
                 `wait=0`.",
            ),
        };
        Problem::new(status, code, detail).with_retry_after(RETRY)
    })
}

/// A request that reads events, now and later.
struct Reading {
    standing: Standing,
    client: Client,
    engine: Eng,
    wanted: Wanted,
}

impl Reading {
    /// Reads a page, if the credential still may.
    async fn page(&self, after: Option<EventCursor>) -> Result<EventPage, FlowError> {
        let caller = self.standing.caller(&self.engine).await?;
        let admin = caller.admin(&self.engine, &self.client, Scope::EventsRead)?;
        events(&self.engine, &admin, after.as_ref(), self.wanted).await
    }

    /// Waits until there is something to tell after an idle page, for `secs` at most.
    async fn wait(&self, mut page: EventPage, secs: u64) -> Result<EventPage, FlowError> {
        let mut watch = self.engine.event_watch();
        let mut is_over = std::pin::pin!(tokio::time::sleep(Duration::from_secs(secs)));
        loop {
            watch.mark_unchanged();
            let before = page.next;
            page = self.page(before).await?;
            if !is_idle(&page) || self.engine.services.is_stopping() {
                return Ok(page);
            }
            // All that was read may be of other types.
            if page.next != before {
                continue;
            }
            // A second at a time, so that a poll does not delay the stop of the server.
            tokio::select! {
                _ = tokio::time::timeout(LOOK_EVERY, watch.changed()) => {}
                () = &mut is_over => return Ok(page),
            }
        }
    }
}

/// Answers with each event after `after`, until the server stops, the credential ends, or nobody reads. It keeps its `place` as
/// long.
fn stream(reading: Reading, mut after: Option<EventCursor>, place: FeedPlace) -> HttpResponse {
    let (mut writer, answer) = event_stream::open();
    actix_web::rt::spawn(async move {
        let mut watch = reading.engine.event_watch();
        let _place = place;
        while !reading.engine.services.is_stopping() {
            watch.mark_unchanged();
            // Every second without an event too: a stream must not outlive its credential.
            let Ok(page) = reading.page(after).await else { break };
            let is_more = after != page.next;
            after = page.next;
            let text = if !is_idle(&page) {
                messages(&page)
            } else if writer.is_long_silent() {
                // The cursor alone, and a comment: no message.
                after.map_or_else(String::new, |after| format!("id: {after}\n")) + ":\n\n"
            } else {
                String::new()
            };
            if !writer.send(text).await {
                break;
            }
            if !is_more && !writer.wait(&mut watch).await {
                break;
            }
        }
    });
    answer
}

/// Returns the messages of a page. The last one has the cursor of the whole page.
fn messages(page: &EventPage) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    if let Some(gap) = page.gap {
        let _ = write!(text, "event: gap\ndata: {}\n\n", json!(ShownGap { reason: gap.reason() }));
    }
    for event in &page.events {
        let _ = write!(text, "id: {}\ndata: {}\n\n", event.cursor(), event.to_json());
    }
    if let Some(next) = page.next {
        let _ = write!(text, "id: {next}\n\n");
    }
    text
}
