//! `/metrics`: figures for operators. `README.md` beside this file explains each of them.

use std::sync::atomic::Ordering;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpResponse, web};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::engine::Engine;
use crate::http::api::caller::CalledBy;
use crate::http::endpoint::{Eng, resource};
use crate::http::rejection::Rejection;
use crate::password::Lane;
use crate::registry::api_key::Scope;
use crate::registry::outbox::actor::Waiting;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config.service(resource("/metrics", "GET").route(web::get().to(get_metrics)));
}

/// Adds the endpoint of the operators' listener, where no role is required.
pub(super) fn configure_for_operators(config: &mut web::ServiceConfig) {
    config.service(resource("/metrics", "GET").route(web::get().to(get_metrics_for_operators)));
}

async fn get_metrics(engine: Eng, caller: CalledBy) -> Result<HttpResponse, Rejection> {
    caller.may(&["metrics", "admin"], Scope::Metrics)?;
    Ok(get_metrics_for_operators(engine).await)
}

async fn get_metrics_for_operators(engine: Eng) -> HttpResponse {
    HttpResponse::Ok().insert_header((CONTENT_TYPE, OPEN_METRICS)).body(metrics(&engine).await)
}

/// Returns all figures as they are now, in the OpenMetrics text format.
async fn metrics(engine: &Engine) -> String {
    let mut registry = Registry::with_prefix("portcullis");
    let events = Family::<Vec<(String, String)>, Counter>::default();
    for (event, count) in engine.services.audit.counts() {
        events.get_or_create(&vec![(String::from("event"), event.to_owned())]).inc_by(count);
    }
    registry.register("events", "Security events since the start", events);
    if let Some(mode) = engine.storage.used_mode() {
        let modes = Family::<Vec<(String, String)>, Gauge>::default();
        modes.get_or_create(&vec![(String::from("mode"), mode.name().to_owned())]).set(1);
        registry.register("journal_write_mode", "How entries become durable", modes);
    }
    let mut gauge = |name: &str, help: &str, value: u64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    };
    let journal = engine.journal.stats();
    gauge("journal_assigned_sequence", "The last sequence number assigned", journal.assigned);
    gauge("journal_durable_sequence", "The last sequence number that is durable", journal.durable);
    gauge("journal_room_bytes", "Bytes left in prepared segments", journal.room);
    gauge("journal_charged_bytes", "Bytes reserved or not durable yet", journal.charged);
    gauge("journal_frames", "Frames written since the start", journal.frames);
    gauge("journal_frame_bytes", "Bytes of frames written since the start", journal.frame_bytes);
    gauge("journal_body_bytes", "Bytes of entries written since the start", journal.body_bytes);
    let saved = *engine.saved.lock();
    gauge("snapshots_taken", "Snapshots proved and named since the start", saved.taken);
    gauge("snapshot_failing", "1 while a snapshot that is due cannot be taken", u64::from(saved.failing));
    gauge("snapshot_took_seconds", "Duration of the last snapshot, its proof included", saved.took.as_secs());
    let ahead = engine.clock.ahead().as_secs();
    gauge("clock_ahead_seconds", "How far the time of the journal is ahead of the system's clock", ahead);
    if let Some(newest) = saved.newest {
        let age = engine.clock.now().since(newest.begun).as_secs();
        gauge("snapshot_age_seconds", "Time since the newest snapshot was begun", age);
        gauge("snapshot_bytes", "Bytes of the newest snapshot", newest.bytes);
    }
    if let Ok(table) =
        engine.ask_unsealed(&engine.services.throttle, crate::registry::throttle::actor::ReadStats).await
    {
        gauge("throttle_evictions", "Cells evicted since the start", table.evictions);
        gauge("throttle_suspects", "Networks whose log-ins cost more", table.suspects as u64);
        gauge("throttle_bytes", "Memory of the throttle's table", table.bytes as u64);
    }
    if let Ok(watch) =
        engine.ask_unsealed(&engine.services.stuffing, crate::registry::stuffing::actor::ReadStats).await
    {
        gauge("stuffing_alarm", "1 while failures are far above their mean", u64::from(watch.rings));
        let mean = (watch.mean * 1000.0) as u64;
        gauge("stuffing_failing_permille", "The usual share of log-ins that fail", mean);
        gauge("stuffing_bytes", "Memory of the sketches", watch.bytes as u64);
    }
    let pool = engine.services.pool.stats();
    gauge("hash_queue_jobs", "Passwords that wait to be checked", pool.queued() as u64);
    gauge("hash_running_jobs", "Passwords that are being checked", pool.running as u64);
    gauge("hash_shed_jobs", "Passwords refused since the start because the queue was full", pool.shed());
    gauge("hash_time_microseconds", "Duration of one hash", pool.hash_time.as_micros() as u64);
    gauge("check_queue_jobs", "New passwords that wait to be judged", pool.checks.queued as u64);
    gauge(
        "check_shed_jobs",
        "New passwords not judged since the start because the queue was full",
        pool.checks.shed(),
    );
    gauge("check_time_microseconds", "Duration of one judgement", pool.check_time.as_micros() as u64);
    gauge(
        "hash_pepper_missing",
        "Passwords that could not be checked because their pepper is missing",
        engine.services.peppers.unknown(),
    );
    for (lane, stats) in Lane::ALL.into_iter().zip(pool.lanes) {
        let mut of_lane = |what: &str, help: &str, value: u64| {
            gauge(&format!("hash_lane_{}_{what}", lane.name()), help, value);
        };
        of_lane("queued_jobs", "Passwords of this lane that wait", stats.queued as u64);
        of_lane("done_jobs", "Passwords of this lane checked since the start", stats.done);
        of_lane("refused_jobs", "Passwords refused on arrival because the lane was full", stats.refused);
        of_lane(
            "displaced_jobs",
            "Passwords displaced by a network that held less of the lane",
            stats.displaced,
        );
        of_lane("expired_jobs", "Passwords refused after waiting for the whole budget", stats.expired);
        of_lane("abandoned_jobs", "Passwords dropped because their client hung up", stats.abandoned);
        of_lane(
            "waited_milliseconds",
            "Total wait of the passwords that were checked",
            stats.waited.as_millis() as u64,
        );
    }
    if let Ok(waiting) = engine.outbox.ask(Waiting).await {
        gauge("mail_waiting", "Mails that wait to be sent", waiting as u64);
    }
    let dropped = engine.services.dropped_mails.load(Ordering::Relaxed);
    gauge("mail_dropped", "Mails dropped since the start because their links had died", dropped);
    gauge(
        "audit_low",
        "1 while ordinary events are only counted, since space is low",
        u64::from(engine.services.audit.log.is_low()),
    );
    let (failing, lost) = engine.services.audit.log.trouble();
    gauge(
        "audit_failing",
        "1 while the log of security events cannot be written, and administrators change nothing",
        u64::from(failing),
    );
    gauge("audit_lost", "Events that are not in the log of security events", lost);
    if let Some(log) = engine.services.log_figures() {
        let mut counter = |name: &str, help: &str, value: u64| {
            let counter: Counter = Counter::default();
            counter.inc_by(value);
            registry.register(name, help, counter);
        };
        counter("log_lost", "Lines of the log lost because nobody read them fast enough", (log.lost)());
        counter("log_folded", "Lines of the log that were summed up in others", (log.folded)());
    }
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

#[cfg(test)]
mod tests {
    use crate::audit::event::Event;

    #[test]
    fn the_page_names_every_figure_and_event_and_no_other() {
        let page = include_str!("README.md");
        let code = include_str!("metrics.rs");
        let mut figures = 0;
        let mut lines = code.lines().map(str::trim).peekable();
        while let Some(line) = lines.next() {
            let name = match line {
                "gauge(" => lines.peek().copied(),
                line => {
                    ["gauge(\"", "counter(\""].into_iter().any(|call| line.starts_with(call)).then_some(line)
                }
            };
            let Some(name) = name.and_then(|line| line.split('"').nth(1)) else { continue };
            assert!(page.contains(&format!("`portcullis_{name}`")), "{name} is not on the page");
            figures += 1;
        }
        // Plus events, lanes and the write mode, which have labels.
        assert_eq!(page.matches("| `portcullis_").count(), figures + 3);
        for event in Event::ALL {
            assert!(page.contains(&format!("`{}`", event.name())), "{} is not on the page", event.name());
        }
    }
}
