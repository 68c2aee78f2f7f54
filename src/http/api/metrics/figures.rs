//! The figures of an engine. All of them are there from the start, with every label that they can have: a collector takes
//! the first value of a series that appears later for no change at all.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use prometheus_client::metrics::MetricType;

use super::exposition::{Figure, Labels, Value};
use crate::engine::Engine;
use crate::engine::request_figures::{BOUNDS_SECS, OTHER, RequestFigures};
use crate::engine::webhook_status::WebhookState;
use crate::password::Lane;
use crate::registry::account::actor::CountForeign;
use crate::registry::outbox::actor::Waiting;
use crate::registry::{stuffing, throttle};
use crate::storage::write_mode::WriteMode;
use crate::system::clock::Timestamp;

/// The figures that were collected so far.
#[derive(Default)]
struct Figures(Vec<Figure>);

impl Figures {
    fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: MetricType,
        values: Vec<(Labels, Value)>,
    ) {
        self.0.push(Figure { name, help, kind, values });
    }

    /// Adds a number that only rises, until the process ends. `_total` is added to its name.
    fn counter(&mut self, name: &'static str, help: &'static str, count: u64) {
        self.add(name, help, MetricType::Counter, vec![(Labels::new(), Value::Count(count))]);
    }

    /// Adds a number that rises and falls.
    fn gauge(&mut self, name: &'static str, help: &'static str, count: u64) {
        self.add(name, help, MetricType::Gauge, vec![(Labels::new(), Value::Count(count))]);
    }

    /// Adds a measure in a base unit: seconds, or a ratio.
    fn measure(&mut self, name: &'static str, help: &'static str, measure: f64) {
        self.add(name, help, MetricType::Gauge, vec![(Labels::new(), Value::Measure(measure))]);
    }
}

/// Returns the label `name`.
fn label(name: &'static str, value: impl Into<Cow<'static, str>>) -> (&'static str, Cow<'static, str>) {
    (name, value.into())
}

/// Collects all figures as they are now.
pub(super) async fn collect(engine: &Engine) -> Vec<Figure> {
    let mut figures = Figures::default();
    of_process(engine, &mut figures);
    of_requests(engine, &mut figures);
    let events = engine.services.audit.counts().into_iter();
    let events = events.map(|(event, count)| (vec![label("event", event)], Value::Count(count)));
    figures.add(
        "portcullis_events",
        "Security events since the start.",
        MetricType::Counter,
        events.collect(),
    );
    of_tables(engine, &mut figures).await;
    of_journal(engine, &mut figures);
    of_events(engine, &mut figures);
    of_defences(engine, &mut figures).await;
    of_hashing(engine, &mut figures);
    of_mails_and_logs(engine, &mut figures).await;
    figures.0
}

fn of_process(engine: &Engine, figures: &mut Figures) {
    let labels = vec![
        label("version", env!("CARGO_PKG_VERSION")),
        label("os", std::env::consts::OS),
        label("arch", std::env::consts::ARCH),
        label("hashing", engine.services.pool.implementation().to_owned()),
    ];
    figures.add(
        "portcullis_build_info",
        "The version that runs, and how it hashes.",
        MetricType::Gauge,
        vec![(labels, Value::Count(1))],
    );
    let started = engine.services.started.as_secs();
    figures.gauge("process_start_time_seconds", "When the process started, in seconds since 1970.", started);
}

fn of_requests(engine: &Engine, figures: &mut Figures) {
    let mut counts = Vec::new();
    let mut durations = Vec::new();
    for row in engine.services.request_figures().into_iter().flat_map(RequestFigures::routes) {
        for (status, count) in row.by_status {
            let status = status.map_or(Cow::Borrowed(OTHER), |status| Cow::Owned(status.to_string()));
            counts.push((vec![label("route", row.route), label("status", status)], Value::Count(count)));
        }
        let bounds = BOUNDS_SECS.into_iter().chain([f64::INFINITY]);
        let buckets = bounds.zip(row.by_duration.iter().map(|count| count.load(Ordering::Relaxed)));
        let spread = Value::Spread { sum: row.total.as_secs_f64(), buckets: buckets.collect() };
        durations.push((vec![label("route", row.route)], spread));
    }
    figures.add(
        "portcullis_http_requests",
        "Requests since the start, by the pattern of their path and the status of the answer.",
        MetricType::Counter,
        counts,
    );
    figures.add(
        "portcullis_http_request_seconds",
        "Time from the head of a request to the head of its answer.",
        MetricType::Histogram,
        durations,
    );
}

async fn of_tables(engine: &Engine, figures: &mut Figures) {
    // A fault is that the server is stopping, and then nobody reads the figures.
    let records = |records: Result<usize, _>| records.unwrap_or(0) as u64;
    let accounts = records(engine.accounts.records().await);
    figures.gauge("portcullis_accounts", "Accounts.", accounts);
    let foreign = engine.accounts.ask_of_memory(CountForeign).await.unwrap_or(0);
    figures.gauge(
        "portcullis_foreign_hashes",
        "Hashes of other systems that no log-in has replaced yet.",
        foreign,
    );
    let sessions = records(engine.sessions.records().await);
    figures.gauge("portcullis_sessions", "Sessions by cookie that are kept.", sessions);
    let families = records(engine.refresh.records().await);
    figures.gauge("portcullis_families", "Families of refresh tokens that are kept.", families);
}

fn of_events(engine: &Engine, figures: &mut Figures) {
    let log = engine.event_log.stats();
    let now = engine.clock.now();
    figures.counter("portcullis_events_written", "Events written to their log since the start.", log.written);
    figures.counter(
        "portcullis_events_gaps",
        "Parts of the events that could not be kept, since the start.",
        log.gaps,
    );
    figures.gauge("portcullis_events_bytes", "Bytes of the log of events.", log.bytes);
    figures.gauge(
        "portcullis_events_failing",
        "Whether the log of events cannot be written: 1 or 0.",
        log.failing.into(),
    );
    let oldest = if log.oldest_ms == 0 { 0.0 } else { now.since(Timestamp(log.oldest_ms)).as_secs_f64() };
    figures.measure(
        "portcullis_events_oldest_seconds",
        "Age of the oldest file of the log of events.",
        oldest,
    );
    let webhooks = engine.services.webhooks();
    if webhooks.is_empty() {
        return;
    }
    let mut each = |name, help, kind, value: fn(&WebhookState, Timestamp) -> Value| {
        let values = webhooks
            .iter()
            .map(|webhook| (vec![label("webhook", webhook.host.clone())], value(&webhook.state(), now)));
        figures.add(name, help, kind, values.collect());
    };
    each("portcullis_webhook_taken", "Events that a webhook has taken.", MetricType::Counter, |state, _| {
        Value::Count(state.taken)
    });
    each("portcullis_webhook_failed", "Calls of a webhook that failed.", MetricType::Counter, |state, _| {
        Value::Count(state.failed)
    });
    each(
        "portcullis_webhook_disabled",
        "Whether a webhook is not called any more: 1 or 0.",
        MetricType::Gauge,
        |state, _| Value::Count(state.disabled.is_some().into()),
    );
    each(
        "portcullis_webhook_lag_seconds",
        "Age of the oldest event that a webhook has not taken.",
        MetricType::Gauge,
        |state, now| Value::Measure(state.waiting_since.map_or(0.0, |since| now.since(since).as_secs_f64())),
    );
}

fn of_journal(engine: &Engine, figures: &mut Figures) {
    let used = engine.storage.used_mode();
    let modes = WriteMode::ALL.into_iter();
    let modes =
        modes.map(|mode| (vec![label("mode", mode.name())], Value::Count(u64::from(used == Some(mode)))));
    figures.add(
        "portcullis_journal_write_mode",
        "1 for the way by which entries become durable.",
        MetricType::Gauge,
        modes.collect(),
    );
    let journal = engine.journal.stats();
    figures.gauge(
        "portcullis_journal_assigned_sequence",
        "The last sequence number assigned.",
        journal.assigned,
    );
    figures.gauge(
        "portcullis_journal_durable_sequence",
        "The last sequence number that is durable.",
        journal.durable,
    );
    figures.gauge("portcullis_journal_room_bytes", "Bytes left in prepared segments.", journal.room);
    figures.counter(
        "portcullis_journal_storage_full",
        "Entries refused since the start because the disk is full.",
        journal.refused,
    );
    figures.gauge(
        "portcullis_journal_charged_bytes",
        "Bytes that are reserved, or not durable yet.",
        journal.charged,
    );
    figures.counter("portcullis_journal_frames", "Frames written since the start.", journal.frames);
    figures.counter(
        "portcullis_journal_frame_bytes",
        "Bytes of frames written since the start.",
        journal.frame_bytes,
    );
    figures.counter(
        "portcullis_journal_body_bytes",
        "Bytes of entries written since the start.",
        journal.body_bytes,
    );
    let saved = *engine.saved.lock();
    figures.counter("portcullis_snapshots_taken", "Snapshots proved and named since the start.", saved.taken);
    figures.gauge(
        "portcullis_snapshot_failing",
        "1 while a snapshot that is due cannot be taken.",
        u64::from(saved.failing),
    );
    figures.measure(
        "portcullis_snapshot_duration_seconds",
        "Duration of the last snapshot, its proof included.",
        saved.took.as_secs_f64(),
    );
    let begun = saved.newest.map_or(0, |newest| newest.begun.as_secs());
    figures.gauge(
        "portcullis_snapshot_begun_timestamp_seconds",
        "When the newest snapshot was begun, in seconds since 1970; 0 if there is none.",
        begun,
    );
    let bytes = saved.newest.map_or(0, |newest| newest.bytes);
    figures.gauge("portcullis_snapshot_bytes", "Bytes of the newest snapshot.", bytes);
    figures.measure(
        "portcullis_clock_ahead_seconds",
        "How far the time of the journal is ahead of the system's clock.",
        engine.clock.ahead().as_secs_f64(),
    );
}

async fn of_defences(engine: &Engine, figures: &mut Figures) {
    let services = &engine.services;
    let table = engine.ask_unsealed(&services.throttle, throttle::actor::ReadStats).await;
    let table = table.unwrap_or_default();
    figures.counter("portcullis_throttle_evictions", "Cells evicted since the start.", table.evictions);
    figures.gauge("portcullis_throttle_suspects", "Networks whose log-ins cost more.", table.suspects as u64);
    figures.gauge("portcullis_throttle_bytes", "Memory of the throttle's table.", table.bytes as u64);
    let watch = engine.ask_unsealed(&services.stuffing, stuffing::actor::ReadStats).await;
    let watch = watch.unwrap_or_default();
    figures.gauge(
        "portcullis_stuffing_alarm",
        "1 while failures are far above their mean.",
        u64::from(watch.rings),
    );
    figures.measure("portcullis_stuffing_failing_ratio", "The usual share of log-ins that fail.", watch.mean);
    figures.gauge("portcullis_stuffing_bytes", "Memory of the sketches.", watch.bytes as u64);
}

fn of_hashing(engine: &Engine, figures: &mut Figures) {
    let pool = engine.services.pool.stats();
    figures.gauge("portcullis_hash_queue_jobs", "Passwords that wait to be checked.", pool.queued() as u64);
    figures.gauge("portcullis_hash_running_jobs", "Passwords that are being checked.", pool.running as u64);
    figures.counter(
        "portcullis_hash_shed_jobs",
        "Passwords refused since the start because the queue was full.",
        pool.shed(),
    );
    figures.measure("portcullis_hash_seconds", "Duration of one hash.", pool.hash_time.as_secs_f64());
    figures.gauge(
        "portcullis_check_queue_jobs",
        "New passwords that wait to be judged.",
        pool.checks.queued as u64,
    );
    figures.counter(
        "portcullis_check_shed_jobs",
        "New passwords not judged since the start because the queue was full.",
        pool.checks.shed(),
    );
    figures.measure("portcullis_check_seconds", "Duration of one judgement.", pool.check_time.as_secs_f64());
    figures.counter(
        "portcullis_hash_pepper_missing",
        "Passwords that could not be checked because their pepper is missing.",
        engine.services.peppers.unknown(),
    );
    let mut queued = Vec::new();
    let mut jobs = Vec::new();
    let mut waited = Vec::new();
    for (lane, stats) in Lane::ALL.into_iter().zip(pool.lanes) {
        let of_lane = || vec![label("lane", lane.name())];
        queued.push((of_lane(), Value::Count(stats.queued as u64)));
        waited.push((of_lane(), Value::Measure(stats.waited.as_secs_f64())));
        for (outcome, count) in [
            ("done", stats.done),
            ("refused", stats.refused),
            ("displaced", stats.displaced),
            ("expired", stats.expired),
            ("abandoned", stats.abandoned),
        ] {
            jobs.push(([of_lane(), vec![label("outcome", outcome)]].concat(), Value::Count(count)));
        }
    }
    figures.add(
        "portcullis_hash_lane_queue_jobs",
        "Passwords that wait, by lane.",
        MetricType::Gauge,
        queued,
    );
    figures.add(
        "portcullis_hash_lane_jobs",
        "Passwords that left a lane since the start, by what became of them.",
        MetricType::Counter,
        jobs,
    );
    figures.add(
        "portcullis_hash_lane_wait_seconds",
        "Total wait of the passwords that were checked, by lane.",
        MetricType::Counter,
        waited,
    );
}

async fn of_mails_and_logs(engine: &Engine, figures: &mut Figures) {
    let services = &engine.services;
    let waiting = engine.outbox.ask(Waiting).await.unwrap_or(0);
    figures.gauge("portcullis_mail_waiting", "Mails that wait to be sent.", waiting as u64);
    let dropped = services.dropped_mails.load(Ordering::Relaxed);
    figures.counter(
        "portcullis_mail_dropped",
        "Mails dropped since the start because their links had died.",
        dropped,
    );
    let log = &services.audit.log;
    figures.gauge(
        "portcullis_audit_low",
        "1 while ordinary events are only counted, since space is low.",
        u64::from(log.is_low()),
    );
    let (failing, lost) = log.trouble();
    figures.gauge(
        "portcullis_audit_failing",
        "1 while the log of security events cannot be written, and administrators change nothing.",
        u64::from(failing),
    );
    figures.counter("portcullis_audit_lost", "Events that are not in the log of security events.", lost);
    figures.counter(
        "portcullis_claims_left_out",
        "Claims left out of access tokens since the start because they did not fit.",
        services.claims_left_out.count(),
    );
    let hooks = &services.hook_figures;
    for (name, help, count) in [
        ("portcullis_hook_allowed", "Answers of hooks that let somebody in.", &hooks.allowed),
        ("portcullis_hook_refused", "Answers of hooks that refused somebody.", &hooks.refused),
        ("portcullis_hook_failed", "Hooks that gave no answer, or none that counts.", &hooks.failed),
    ] {
        figures.counter(name, help, count.load(Ordering::Relaxed));
    }
    if let Some(log) = services.log_figures() {
        figures.counter(
            "portcullis_log_lost",
            "Lines of the log lost because nobody read them fast enough.",
            (log.lost)(),
        );
        figures.counter(
            "portcullis_log_folded",
            "Lines of the log that were summed up in others.",
            (log.folded)(),
        );
    }
}
