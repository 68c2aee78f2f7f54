//! Counts the events in the files: who, whence and what is most frequent. A sum counts as all the events that it stands
//! for, so the counts are right under a flood too.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use ipnet::IpNet;

use super::line::Line;
use super::read::{Wanted, each_line, named_files};
use crate::system::clock::Timestamp;

/// Prefixes by which addresses are counted together: as wide as the widest sum of the log.
const V4_PREFIX: u8 = 24;
const V6_PREFIX: u8 = 48;

/// The column by which events are grouped and counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum By {
    /// The network: an IPv4 /24 or an IPv6 /48.
    Network,
    /// The account or session.
    Account,
    /// The name of the event.
    Event,
}

/// One row of the table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Counted {
    /// The network, the id or the name; empty for events that name none.
    pub of: String,
    /// The masked address of an account, if lines have one.
    pub email: String,
    /// How many events.
    pub count: u64,
    /// The most frequent one of them.
    pub mostly: String,
    /// When the last of them was written.
    pub last: Timestamp,
}

/// The events of one row, while they are counted.
#[derive(Default)]
struct Tally {
    email: String,
    events: HashMap<String, u64>,
    last: Option<Timestamp>,
}

/// Counts the events in `dir` that match `wanted`, whatever its limit, the most frequent rows first. It reads files and
/// therefore blocks.
pub fn top(dir: &Path, wanted: &Wanted, by: By) -> io::Result<Vec<Counted>> {
    let first_day = wanted.since.map(|since| since.rfc3339().get(..10).unwrap_or("").to_owned());
    let mut tallies: HashMap<String, Tally> = HashMap::new();
    for (name, path) in named_files(dir)? {
        if first_day.as_deref().is_some_and(|first| name.day.as_str() < first) {
            continue;
        }
        each_line(&path, |line, _| {
            if wanted.matches(&line) {
                let tally = tallies.entry(key(&line, by)).or_default();
                // A sum is no event besides those that it stands for.
                *tally.events.entry(line.event).or_default() += line.folded.max(1);
                tally.last = tally.last.max(Some(line.time));
                if !line.email.is_empty() {
                    tally.email = line.email;
                }
            }
            true
        })?;
    }
    let row = |(of, tally): (String, Tally)| {
        let count = tally.events.values().sum();
        let mostly = tally.events.into_iter().max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0)));
        let last = tally.last.unwrap_or(Timestamp::ZERO);
        let email = if by == By::Account { tally.email } else { String::new() };
        Counted { of, email, count, mostly: mostly.map_or_else(String::new, |(event, _)| event), last }
    };
    let mut rows: Vec<Counted> = tallies.into_iter().map(row).collect();
    rows.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.of.cmp(&b.of)));
    Ok(rows)
}

fn key(line: &Line, by: By) -> String {
    match by {
        By::Event => line.event.clone(),
        By::Account => line.subject.clone(),
        By::Network => match line.network.parse::<IpNet>() {
            Ok(network) => {
                let widest = if matches!(network, IpNet::V4(_)) { V4_PREFIX } else { V6_PREFIX };
                let prefix = network.prefix_len().min(widest);
                IpNet::new(network.addr(), prefix).map_or(network, |wide| wide.trunc()).to_string()
            }
            Err(_) => String::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind: the loudest source stands in sums alone, and a count of lines passes over it.
    #[test]
    fn sums_count_as_what_they_stand_for_and_neighbours_as_one_network() {
        let dir = tempfile::tempdir().unwrap();
        let line = |event: &str, subject: &str, network: &str, folded, secs: u64| Line {
            time: Timestamp::from_secs(1_800_000_000 + secs),
            event: event.into(),
            subject: subject.into(),
            email: if subject.is_empty() { String::new() } else { "a***@example.org".into() },
            network: network.into(),
            folded,
            ..Line::default()
        };
        let lines = [
            line("login.failed", "00ab", "192.0.2.7/32", 0, 0),
            line("login.failed", "00ab", "192.0.2.9/32", 0, 1),
            line("login.failed", "", "192.0.2.0/24", 40, 2),
            line("login.succeeded", "00ab", "2001:db8:1:2::/64", 0, 3),
            line("login.failed", "", "", 100, 4),
        ];
        let texts = lines.map(|line| serde_json::to_string(&line).unwrap());
        std::fs::write(dir.path().join("2027-01-15.jsonl"), texts.join("\n") + "\n").unwrap();
        let rows = |by, wanted: &Wanted| {
            let rows = top(dir.path(), wanted, by).unwrap();
            rows.into_iter().map(|row| (row.of, row.count, row.mostly)).collect::<Vec<_>>()
        };
        let all = Wanted::default();
        let expected = |rows: &[(&str, u64, &str)]| {
            let own = |(of, count, mostly): &(&str, u64, &str)| ((*of).into(), *count, (*mostly).into());
            rows.iter().map(own).collect::<Vec<(String, u64, String)>>()
        };
        let networks = [
            ("", 100, "login.failed"),
            ("192.0.2.0/24", 42, "login.failed"),
            ("2001:db8:1::/48", 1, "login.succeeded"),
        ];
        assert_eq!(rows(By::Network, &all), expected(&networks));
        let events = [("login.failed", 142, "login.failed"), ("login.succeeded", 1, "login.succeeded")];
        assert_eq!(rows(By::Event, &all), expected(&events));
        let accounts = [("", 140, "login.failed"), ("00ab", 3, "login.failed")];
        assert_eq!(rows(By::Account, &all), expected(&accounts));
        let since = Some(Timestamp::from_secs(1_800_000_003));
        let lately = Wanted { since, event: Some("login.s*".into()), ..Wanted::default() };
        assert_eq!(rows(By::Account, &lately), expected(&[("00ab", 1, "login.succeeded")]));
    }
}
