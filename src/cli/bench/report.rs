//! What a storm came to, for people and for programs.

use serde_json::{Value, json};

use super::super::say;
use super::tally::{Kind, Outcome, Phase};

/// What a storm came to.
pub(super) struct Report {
    pub(super) raw: f64,
    pub(super) log_ins: f64,
    pub(super) hashed: Option<f64>,
    /// The share of raw that is left for hashing when log-ins cost next to nothing.
    pub(super) ceiling: Option<f64>,
    pub(super) resident_kib: [Option<u64>; 2],
    pub(super) seconds: u64,
    pub(super) unsent: u64,
    pub(super) calm: Phase,
    pub(super) storm: Phase,
}

impl Report {
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

    pub(super) fn say(&self) {
        say(&format!(
            "{:.0} log-ins a second for {} s; raw hashing on the same cores {:.0}/s, so {:.1} times of what can be hashed",
            self.log_ins,
            self.seconds,
            self.raw,
            self.log_ins / self.raw
        ));
        if let Some(hashed) = self.hashed {
            say(&format!("hashed: {hashed:.0}/s, {:.0} % of raw", hashed / self.raw * 100.0));
        }
        if let Some(ceiling) = self.ceiling {
            say(&format!(
                "ceiling: {:.0} % of raw are left when every log-in asks for /healthz instead",
                ceiling * 100.0
            ));
        }
        if let [Some(calm), Some(storm)] = self.resident_kib {
            say(&format!("memory of the server: {} MiB before, {} MiB after", calm / 1024, storm / 1024));
        }
        say(&format!(
            "longest log-in: {:.2?}; not sent for want of sockets: {}",
            self.storm.longest_log_in(),
            self.unsent
        ));
        say(
            "           requests     2xx     401     429     503   other  failed        p50        p99        max   calm p99",
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
