//! `portcullis audit tail`.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;
use portcullis::audit::Line;
use portcullis::audit::names;
use portcullis::audit::read::Wanted;
use portcullis::audit::tail::{Follower, Stored, Tail, tail};
use portcullis::config::Config;
use portcullis::server::operator::operation::Operation;
use portcullis::server::operator::socket;
use portcullis::system::clock::{Clock, Timestamp};
use serde_json::Value;

use crate::cli::operate::{ask, carry_out};
use crate::cli::printable::value;
use crate::cli::{Cli, Failure, note, note_json, say};

/// How many events are shown.
const LIMIT: usize = 20;
/// How many of a time are shown.
const LIMIT_SINCE: usize = 1000;
/// The length of an id.
const ID_DIGITS: usize = 32;
/// How often the files are looked at for new lines.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Which events to show.
#[derive(Args, Clone, Debug)]
pub struct TailArgs {
    /// How many events to show: the newest. Default: 20, or 1000 with --since.
    #[arg(long, short = 'n', value_name = "COUNT")]
    limit: Option<usize>,
    /// Only events of this one name (login.failed), or of all that begin with it (login, 'login.*'). `audit events` lists the names.
    #[arg(long = "type", value_name = "NAME", value_parser = event_name)]
    event: Option<String>,
    /// Only events of this account, by its address or id, or of this session, by id.
    #[arg(long, value_name = "ADDRESS_OR_ID")]
    account: Option<String>,
    /// Only what this administrator did, by address or id, this API key, by id, or the `operator` of this machine.
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
    /// Only events of this address or network: 192.0.2.7, 2001:db8::/48.
    #[arg(long, value_name = "NETWORK", value_parser = network)]
    network: Option<IpNet>,
    /// Only events from this time on: 2027-01-15T08:00:00Z, or an age such as 90s, 30m, 2h or 3d.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Go on, and show each new event. Ends with Ctrl-C.
    #[arg(long, short)]
    follow: bool,
}

impl TailArgs {
    pub(super) fn run(&self, cli: &Cli) -> Result<(), Failure> {
        let config = cli.load()?;
        let dir = config.audit.dir.clone();
        let failed = |error: io::Error| Failure::refused(format!("{}: {error}", dir.display()));
        let since = self.since.as_deref().map(|text| since(text, Clock::system().now())).transpose()?;
        let limit = self.limit.unwrap_or(if since.is_some() { LIMIT_SINCE } else { LIMIT });
        let mut wanted =
            Wanted { event: self.event.clone(), network: self.network, since, limit, ..Wanted::default() };
        write_out_queue(&config);
        let id = |who: &String| account_id(config.clone(), who);
        let who = |who: &String| if is_operator(who) { Ok(who.clone()) } else { id(who) };
        wanted.account = self.account.as_ref().map(id).transpose()?;
        wanted.by = self.by.as_ref().map(who).transpose()?;
        // Before the files are read, so that no line falls between the two.
        let mut follower = Follower::begin(&dir).map_err(failed)?;
        let Tail { events, is_cut, unreadable } = match tail(&dir, &wanted) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.follow => Tail::default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Failure::refused(format!("{} holds no events yet", dir.display())));
            }
            found => found.map_err(failed)?,
        };
        if events.is_empty() && !self.follow && !cli.json {
            say("none found");
        } else if io::stdout().is_terminal() && !cli.json {
            say(&row(["TIME", "EVENT", "ACCOUNT", "NETWORK", "MORE"]));
        }
        for event in &events {
            show(cli, event);
        }
        let said = |text: &str| if cli.json { note_json(text) } else { note(text) };
        if let Some((file, number)) = unreadable {
            said(&format!(
                "line {number} of {} cannot be read; portcullis audit verify says more",
                file.display()
            ));
        }
        if is_cut {
            let more = format!(
                "there are older events that match; these are the newest {limit}: see --limit and --since"
            );
            said(&more);
        }
        wanted.after = events.last().map(|event| event.line.seq);
        if !self.follow {
            return Ok(());
        }
        loop {
            std::thread::sleep(LOOK_EVERY);
            for event in follower.next_events().map_err(failed)? {
                if wanted.matches(&event.line) {
                    show(cli, &event);
                }
            }
        }
    }
}

fn show(cli: &Cli, event: &Stored) {
    if cli.json { say(&event.text) } else { say(&text(&event.line)) }
}

/// Formats an event for people: when, what, whose, from where, and what else is known.
fn text(line: &Line) -> String {
    let or_dash = |text: &str| if text.is_empty() { String::from("-") } else { value(text) };
    let (account, id) = match line.email.as_str() {
        "" => (or_dash(&line.subject), ""),
        email => (value(email), line.subject.as_str()),
    };
    let mut more = Vec::new();
    if !line.reason.is_empty() {
        more.push(value(&line.reason));
    }
    for (count, what) in
        [(line.folded, "events"), (line.lost, "events lost before"), (line.missing, "lines missing before")]
    {
        if count > 0 {
            more.push(format!("{count} {what}"));
        }
    }
    for (name, text) in
        [("id", id), ("session", &line.session), ("device", &line.device), ("request", &line.request_id)]
    {
        if !text.is_empty() {
            more.push(format!("{name}={}", value(text)));
        }
    }
    row([&line.time.rfc3339(), &value(&line.event), &account, &or_dash(&line.network), &more.join("; ")])
}

/// Puts the fields of an event below those of the others.
fn row([time, event, account, network, more]: [&str; 5]) -> String {
    format!("{time:<20}  {event:<24}  {account:<32}  {network:<20}  {more}").trim_end().to_owned()
}

/// Reads the name of an event, or the beginning of some.
pub(super) fn event_name(typed: &str) -> Result<String, String> {
    names::wanted(typed).map_err(|error| format!("{error}; portcullis audit events lists all"))
}

/// Says whether `who` is the operator as lines name it, with or without a uid.
fn is_operator(who: &str) -> bool {
    who == "operator" || (who.starts_with("operator(uid ") && who.ends_with(')'))
}

/// Makes a running server write what it has queued. Without one there is nothing to wait for.
pub(super) fn write_out_queue(config: &Config) {
    if let Ok(stream) = socket::connect(&config.data_dir) {
        let _ = ask(stream, &Operation::AuditTail { limit: 1, event: None, account: None });
    }
}

/// Returns the id of the account with the address `account`. What is no address must be an id.
fn account_id(config: Config, account: &str) -> Result<String, Failure> {
    if !account.contains('@') {
        let id = account.to_ascii_lowercase();
        let is_id = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        return if is_id { Ok(id) } else { Err(Failure::usage(no_id(account))) };
    }
    let answer = carry_out(config, Operation::UserShow { user: account.to_owned() })?;
    match answer.get("id").and_then(Value::as_str) {
        Some(id) => Ok(id.to_owned()),
        None => Err(Failure::fault("the server has answered without an id")),
    }
}

fn no_id(account: &str) -> String {
    format!(
        "{account:?} is neither an address nor an id of {ID_DIGITS} hexadecimal digits, as portcullis user list and \
         session list show them"
    )
}

/// Reads a network; an address is the network of it alone.
fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<std::net::IpAddr>().map(IpNet::from);
    text.parse()
        .or_else(|_| address())
        .map_err(|_| String::from("expected an address or a network such as 192.0.2.0/24"))
}

/// Reads a time, or an age before `now`.
pub(super) fn since(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let wrong = || {
        Failure::usage(format!("{text} is no time such as 2027-01-15T08:00:00Z, nor an age such as 2h or 3d"))
    };
    if let Some(time) = Timestamp::parse_rfc3339(text) {
        return Ok(time);
    }
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let secs = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = text.strip_suffix(unit).and_then(|count| count.parse().ok()).ok_or_else(wrong)?;
    Ok(now - Duration::from_secs(count.checked_mul(secs).ok_or_else(wrong)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_or_an_age() {
        let now = Timestamp::from_secs(1_800_000_000);
        for (text, secs) in [
            ("2027-01-15T08:00:00Z", 1_800_000_000),
            ("2027-01-15T10:00:00+02:00", 1_800_000_000),
            ("90s", 1_799_999_910),
            ("30m", 1_799_998_200),
            ("2h", 1_799_992_800),
            ("3d", 1_799_740_800),
            ("0s", 1_800_000_000),
        ] {
            assert_eq!(since(text, now).ok(), Some(Timestamp::from_secs(secs)), "{text}");
        }
        for text in
            ["", "h", "2", "2 h", "-2h", "2w", "2h30m", "yesterday", "99999999999999999999d", "\u{e9}"]
        {
            assert!(since(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn an_event_is_one_line_with_its_time_first() {
        let line = Line {
            time: Timestamp::from_secs(1_800_000_000),
            event: "login.locked".into(),
            email: "a***@example.org".into(),
            subject: "00f3".into(),
            network: "192.0.2.7/32".into(),
            reason: "by a\nb".into(),
            folded: 4711,
            ..Line::default()
        };
        let text = text(&line);
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words[..4], ["2027-01-15T08:00:00Z", "login.locked", "a***@example.org", "192.0.2.7/32"]);
        assert!(text.ends_with("by a\\u000ab; 4711 events; id=00f3"), "{text}");
        let bare = super::text(&Line { event: "server.started".into(), ..Line::default() });
        assert_eq!(bare.split_whitespace().skip(1).collect::<Vec<_>>(), ["server.started", "-", "-"]);
    }
}
