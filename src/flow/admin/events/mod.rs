//! Events: what happened to accounts and sessions, in order, for programs that keep something beside them.
//!
//! They come out of the [event log](crate::journal::event_log): once they are durable, at least once, with a cursor that
//! outlives restarts. The API, webhooks and embedding programs read the same pages.

mod cursor;
mod event;
mod follow;

use std::io;

use crate::engine::{Engine, Fault};
use crate::flow::admin::Admin;
use crate::flow::refusal::{FlowError, Refusal};
use crate::journal::event_log::{self, EventLog, Gap};
use crate::registry::event as stored;

pub use crate::registry::event::Wanted;
pub use cursor::EventCursor;
pub use event::{Event, EventData};
pub use follow::Events;

/// The most events of a page.
pub const PAGE_MAX: usize = 500;
/// Bytes of events after which a page ends.
const PAGE_BYTES: usize = 256 << 10;

/// The most pages that are read for one, if nothing in them is wanted.
const PAGES_MAX: u32 = 16;

/// Why events before the next one are missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventGap {
    /// They were older than events are kept, or there was no room for them.
    Expired,
    /// They could not be kept.
    Lost,
    /// The cursor is of another history: the data directory was restored, or the log of events was removed. The oldest
    /// events of this history follow.
    OtherHistory,
}

impl EventGap {
    /// Returns its name in the API.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Lost => "lost",
            Self::OtherHistory => "other_history",
        }
    }
}

impl std::fmt::Display for EventGap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Expired => "events are missing: they were older than events are kept",
            Self::Lost => "events are missing: they could not be kept",
            Self::OtherHistory => "events may be missing: the cursor is of another history of the data",
        })
    }
}

impl std::error::Error for EventGap {}

/// Events in their order.
#[derive(Debug)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
    /// Where the next page begins; `None` before the first event of a log that is not open yet.
    pub next: Option<EventCursor>,
    /// Whether events before these are missing.
    pub gap: Option<EventGap>,
}

/// Reads a page of the events after a cursor, or of the oldest ones.
///
/// Errors: [`Fault::Ending`] if the log cannot be read.
pub async fn events(
    engine: &Engine,
    _: &Admin,
    after: Option<&EventCursor>,
    wanted: Wanted,
) -> Result<EventPage, FlowError> {
    Ok(read(&engine.event_log, after.copied(), wanted, PAGE_MAX).await.map_err(|error| {
        tracing::error!(%error, "cannot read the log of events");
        Fault::Ending
    })?)
}

/// Reads a cursor as a client sends it.
///
/// Errors: it is none.
pub fn parse_cursor(text: &str) -> Result<EventCursor, Refusal> {
    text.parse().map_err(|()| Refusal::Field {
        pointer: "/after",
        code: "invalid_cursor",
        message: String::from("`after` must be the `next` of a page, or be left out."),
    })
}

/// Reads a page of at most `limit` events, on a thread where files may be waited for.
pub async fn read(
    log: &EventLog,
    after: Option<EventCursor>,
    wanted: Wanted,
    limit: usize,
) -> io::Result<EventPage> {
    // Whoever has read everything waits for no file.
    if let Some(cursor) = after
        && log.history() == Some(cursor.history)
        && cursor.seq == event_log::end_of(log.readable())
    {
        return Ok(EventPage { events: Vec::new(), next: after, gap: None });
    }
    let log = log.clone();
    let read = tokio::task::spawn_blocking(move || read_blocking(&log, after, wanted, limit));
    read.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn read_blocking(
    log: &EventLog,
    after: Option<EventCursor>,
    wanted: Wanted,
    limit: usize,
) -> io::Result<EventPage> {
    // Before the log is open, the cursor stays as it is.
    let Some(history) = log.history() else {
        return Ok(EventPage { events: Vec::new(), next: after, gap: None });
    };
    let own = after.filter(|cursor| cursor.history == history && log.may_know(cursor.seq));
    let other = (after.is_some() && own.is_none()).then_some(EventGap::OtherHistory);
    let mut next = own.map(|cursor| cursor.seq);
    let mut tries = 0;
    loop {
        let page = log.page(next, limit, PAGE_BYTES)?;
        let gap = other.or(page.gap.map(|gap| match gap {
            Gap::Expired { .. } => EventGap::Expired,
            Gap::Lost { .. } => EventGap::Lost,
        }));
        let history = page.history.unwrap_or(history);
        let mut events: Vec<Event> = page.events.iter().filter_map(|found| shown(history, found)).collect();
        events.retain(|event| wanted.has(event.kind()));
        tries += 1;
        if gap.is_some() || !events.is_empty() || next == Some(page.next) || tries == PAGES_MAX {
            return Ok(EventPage { events, next: Some(EventCursor { history, seq: page.next }), gap });
        }
        next = Some(page.next);
    }
}

/// Returns a stored event as other programs see it; `None` if it is none, or cannot be read.
fn shown(history: u64, found: &event_log::Event) -> Option<Event> {
    match stored::read(found.schema, &found.value) {
        Ok(event) => Some(Event::new(EventCursor { history, seq: found.seq }, &event)),
        Err(error) => {
            tracing::error!(%error, seq = found.seq, "an event cannot be read, and is passed over");
            None
        }
    }
}

impl Engine {
    /// Reads events as they happen: those after `after`, or all that are kept.
    ///
    /// ```no_run
    /// # async fn example(auth: &portcullis::Engine) {
    /// // The cursor is kept beside what the program made of the event, in one transaction.
    /// let mut events = auth.events(None);
    /// while let Some(event) = events.next().await {
    ///     match event {
    ///         Ok(event) if event.kind() == "account.created" => println!("{}", event.account()),
    ///         Ok(_) => {}
    ///         Err(gap) => eprintln!("{gap}: look at all accounts"),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn events(&self, after: Option<EventCursor>) -> Events {
        Events::new(self.event_log.clone(), after)
    }
}
