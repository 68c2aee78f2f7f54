//! The feed of what was ended, for resource servers: by long poll, or as server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use crate::engine::Engine;
use crate::http::rejection::{Rejection, answer};
use crate::http::request::signed_in;
use crate::http::{Problem, resource};

type Eng = web::Data<Engine>;

/// Shorter than a stop waits for requests that are being served.
const WAIT_SECS_MAX: u64 = 15;
/// A comment, so that nobody between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How soon a stream ends once the server stops.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(in crate::http) fn configure(config: &mut web::ServiceConfig) {
    config.service(resource("/v1/revocations", "GET").route(web::get().to(get_revocations)));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    #[serde(default)]
    since: u64,
    #[serde(default)]
    wait: u64,
}

async fn get_revocations(request: HttpRequest, engine: Eng) -> HttpResponse {
    let result = async {
        signed_in(&request, &engine).await?.has_role(&["introspect", "admin"])?;
        let query = web::Query::<Query>::from_query(request.query_string())
            .map_err(|_| Problem::new(422, "unprocessable", "The query takes since and wait."))?;
        let is_stream = request.headers().get("accept").is_some_and(|accept| accept == "text/event-stream");
        if is_stream {
            let last = request.headers().get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
            return Ok(stream(engine.clone(), last.unwrap_or(query.since)));
        }
        let mut watch = engine.services.revoked.watch();
        let page = engine.services.revoked.page(query.since);
        if !page.items.is_empty() || !page.complete || query.wait == 0 {
            return Ok::<_, Rejection>(HttpResponse::Ok().json(page));
        }
        // Second by second, so that a stop does not wait for whoever waits here.
        for _ in 0..query.wait.min(WAIT_SECS_MAX) {
            let added = tokio::time::timeout(LOOK_EVERY, watch.wait_for(|last| *last > query.since)).await;
            if added.is_ok() || engine.services.is_stopping() {
                break;
            }
        }
        Ok(HttpResponse::Ok().json(engine.services.revoked.page(query.since)))
    };
    answer(&request, &engine, result.await)
}

fn stream(engine: Eng, mut since: u64) -> HttpResponse {
    let (events, body) = mpsc::channel(8);
    actix_web::rt::spawn(async move {
        let mut watch = engine.services.revoked.watch();
        let mut silent = Duration::ZERO;
        let mut is_first = true;
        while !engine.services.is_stopping() {
            watch.mark_unchanged();
            let page = engine.services.revoked.page(since);
            let text = if is_first || !page.items.is_empty() || !page.complete {
                since = page.next;
                format!("id: {since}\ndata: {}\n\n", json!(page))
            } else if silent >= KEEP_ALIVE {
                String::from(":\n\n")
            } else {
                String::new()
            };
            is_first = false;
            if !text.is_empty() {
                silent = Duration::ZERO;
                // The other side is gone.
                if events.send(web::Bytes::from(text)).await.is_err() {
                    break;
                }
            }
            if tokio::time::timeout(LOOK_EVERY, watch.changed()).await.is_err() {
                silent += LOOK_EVERY;
            }
        }
    });
    HttpResponse::Ok().content_type("text/event-stream").body(Events(body))
}

/// A body that lasts as long as there are events.
struct Events(mpsc::Receiver<web::Bytes>);

impl MessageBody for Events {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<web::Bytes, Infallible>>> {
        self.get_mut().0.poll_recv(context).map(|event| event.map(Ok))
    }
}
