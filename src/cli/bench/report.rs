//! The result of a storm, for people and for programs.

use serde_json::{Value, json};

use super::super::say;
use super::tally::{Kind, Outcome, Phase};

/// The result of a storm.
pub(super) struct Report {
    /// Hashes per second on the same cores without a server.
    pub(super) raw: f64,
    /// Log-ins that arrived per second.
    pub(super) log_ins: f64,
    /// Passwords that the server hashed per second, if it tells.
    pub(super) hashed: Option<f64>,
    /// The share of `raw` that is left for hashing when log-ins cost next to nothing, if it was measured.
    pub(super) ceiling: Option<f64>,
    /// Memory of the server before and after, if it is our own.
    pub(super) resident_kib: [Option<u64>; 2],
    /// Length of the storm.
    pub(super) seconds: u64,
    /// Requests that were not sent, since too many waited for an answer.
    pub(super) unsent: u64,
    /// Answers before the storm.
    pub(super) calm: Phase,
    /// Answers during the storm.
    pub(super) storm: Phase,
}

impl Report {
    /// Returns the result as JSON.
    pub(super) fn json(&self) -> Value {
        let phase = |phase: &Phase| -> Value {
            let of = |kind: Kind| {
                let of = phase.of(kind);
                let counts: serde_json::Map<String, Value> = Outcome::ALL
                    .iter()
                    .map(|outcome| (outcome.name().to_owned(), json!(of.count(*outcome))))
                    .collect();
                let value = json!({
                    "outcomes": counts,
                    "p50_us": of.at(0.5).as_micros() as u64,
                    "p99_us": of.at(0.99).as_micros() as u64,
                    "max_us": of.longest().as_micros() as u64,
                });
                (kind.name().to_owned(), value)
            };
            Value::Object(Kind::ALL.map(of).into_iter().collect())
        };
        json!({
            "raw_hashes_per_second": self.raw,
            "log_ins_per_second": self.log_ins,
            "hashed_per_second": self.hashed,
            "hashed_share_of_raw": self.hashed.map(|hashed| hashed / self.raw),
            "ceiling_share_of_raw": self.ceiling,
            "seconds": self.seconds,
            "unsent": self.unsent,
            "resident_kib": {"calm": self.resident_kib.first(), "storm": self.resident_kib.last()},
            "calm": phase(&self.calm),
            "storm": phase(&self.storm),
        })
    }

    /// Prints the result for people.
    pub(super) fn say(&self) {
        say(&format!(
            "{:.0} log-ins per second for {} s: {:.1} times the {:.0} per second that the same cores can hash alone",
            self.log_ins,
            self.seconds,
            self.log_ins / self.raw,
            self.raw
        ));
        if let Some(hashed) = self.hashed {
            say(&format!(
                "hashed: {hashed:.0} per second, {:.0} % of what the cores can",
                hashed / self.raw * 100.0
            ));
        }
        if let Some(ceiling) = self.ceiling {
            say(&format!(
                "ceiling: {:.0} % are left for hashing when every log-in asks for /healthz instead",
                ceiling * 100.0
            ));
        }
        if let [Some(calm), Some(storm)] = self.resident_kib {
            say(&format!("memory of the server: {} MiB before, {} MiB after", calm / 1024, storm / 1024));
        }
        say(&format!(
            "longest log-in: {:.2?}; not sent, since too many waited for an answer: {}",
            self.storm.longest_log_in(),
            self.unsent
        ));
        say(
            "           requests     2xx     401     429     503   other  failed        p50        p99        max   \
             calm p99",
        );
        for kind in Kind::ALL {
            let (of, calm) = (self.storm.of(kind), self.calm.of(kind));
            if of.total() == 0 {
                continue;
            }
            let counts: String =
                Outcome::ALL.iter().map(|outcome| format!("{:>8}", of.count(*outcome))).collect();
            let calm = if calm.total() == 0 { String::from("-") } else { format!("{:.2?}", calm.at(0.99)) };
            say(&format!(
                "{:<10} {:>8}{counts} {:>10} {:>10} {:>10} {calm:>10}",
                kind.name(),
                of.total(),
                format!("{:.2?}", of.at(0.5)),
                format!("{:.2?}", of.at(0.99)),
                format!("{:.2?}", of.longest()),
            ));
        }
    }
}
