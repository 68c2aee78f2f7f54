//! `kill -9` in the middle of traffic, and two programs that keep a row for each account: one asks for events, the other is
//! called with them. Neither misses an account, has one that there is not, or has one twice.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use portcullis::server::outbound::signature::header;
use portcullis::system::clock::{Clock, Timestamp};
use serde_json::Value;

use crate::support::process::{BINARY, Process, sign_up};
use crate::support::wait_until;

const CYCLES: u64 = 10;
const CLIENTS: usize = 6;
pub(super) const SECRET: &str = "the secret of the receiver";

/// A program with a table of accounts.
#[derive(Default)]
pub(super) struct Table {
    /// The address of each account, by id.
    pub(super) rows: BTreeMap<String, String>,
    /// The sessions that were opened.
    pub(super) sessions: BTreeSet<String>,
    /// Where it is in the order of events, kept with the rows.
    cursor: Option<String>,
    last_seq: u64,
    /// Events that came again.
    pub(super) repeats: usize,
    pub(super) gaps: usize,
}

impl Table {
    /// Takes events as they come, in one transaction with the cursor. `may_repeat` allows those that it has.
    fn take(&mut self, page: &Value, may_repeat: bool) {
        self.gaps += usize::from(page.get("gap").is_some());
        for event in page["events"].as_array().unwrap() {
            let seq = event["seq"].as_u64().unwrap();
            if seq <= self.last_seq {
                assert!(may_repeat, "{seq} after {}", self.last_seq);
                self.repeats += 1;
                continue;
            }
            self.last_seq = seq;
            let id = event["account"].as_str().unwrap();
            if event["type"] == "account.created" {
                let email = event["data"]["email"].as_str().unwrap().to_owned();
                assert_eq!(self.rows.insert(id.to_owned(), email), None, "{event}");
            } else {
                // What happens to an account comes after the account.
                assert!(self.rows.contains_key(id), "{event}");
            }
            if event["type"] == "session.opened" {
                let session = event["data"]["session"].as_str().unwrap().to_owned();
                assert!(self.sessions.insert(session), "{event}");
            }
        }
        self.cursor = page["next"].as_str().map(ToOwned::to_owned);
    }
}

/// Which calls a receiver does not answer as it should: each of the first number is refused, and each of the second taken
/// without an answer.
pub(super) type Faults = (usize, usize);

/// Reads one call, and answers it.
fn serve_call(mut stream: TcpStream, number: usize, faults: Faults, table: &Mutex<Table>) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut len, mut signed) = (0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            len = value.parse().ok()?;
        }
        if let Some(value) = line.strip_prefix("portcullis-signature: ") {
            value.clone_into(&mut signed);
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    let secs =
        signed.strip_prefix("t=").and_then(|rest| rest.split(',').next()).and_then(|secs| secs.parse().ok());
    let at = Timestamp::from_secs(secs.unwrap_or_else(|| panic!("{signed}")));
    assert!(Clock::system().now().since(at) < Duration::from_mins(5), "{signed}");
    assert_eq!(signed, header(SECRET.as_bytes(), at, &body));
    if number % faults.0 == faults.0 - 1 {
        stream.write_all(b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n").ok()?;
        return Some(());
    }
    table.lock().take(&serde_json::from_slice(&body).unwrap(), true);
    if number % faults.1 != faults.1 - 1 {
        stream.write_all(b"HTTP/1.1 204 Taken\r\n\r\n").ok()?;
    }
    Some(())
}

/// Starts a receiver of calls and returns its URL.
pub(super) fn receiver(table: Arc<Mutex<Table>>, faults: Faults) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let _ = serve_call(stream.unwrap(), number, faults, &table);
        }
    });
    url
}

/// Writes a configuration with a webhook that is called at `hook`.
pub(super) fn configure(dir: &Path, hook: &str) {
    let secret = dir.join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let text = format!(
        "[outbound]\nallow = [\"127.0.0.1\"]\n[[webhook]]\nurl = \"{hook}\"\nsecret_file = \"{}\"\nevents = [\"account.*\"]\n",
        secret.display()
    );
    std::fs::write(dir.join("portcullis.toml"), text).unwrap();
}

/// Makes an API key with `scopes`, over the directory of a stopped server.
pub(super) fn api_key(data: &Path, scopes: &str) -> String {
    let create = ["api-key", "create", "rows", "--scopes", scopes, "--json", "--data-dir"];
    let made = Command::new(BINARY).args(create).arg(data).output().unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    made["key"].as_str().unwrap().to_owned()
}

pub(super) fn command(dir: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("serve").arg("--config").arg(dir.join("portcullis.toml"));
    command.arg("--data-dir").arg(dir.join("data"));
    // Snapshots come often, so that segments go.
    command.env("PORTCULLIS__JOURNAL__SNAPSHOT_BYTES", "1048576");
    command
}

/// Reads pages of the events of `types` until the server is gone or `until` says that it is enough.
pub(super) async fn consume(
    http: &reqwest::Client,
    url: &str,
    key: &str,
    types: &str,
    table: &Mutex<Table>,
    until: impl Fn(&Value) -> bool,
) {
    loop {
        let after = table.lock().cursor.clone().map_or_else(String::new, |cursor| format!("&after={cursor}"));
        let types = if types.is_empty() { String::new() } else { format!("&types={types}") };
        let asked = http.get(format!("{url}/v1/admin/events?wait=1{types}{after}")).bearer_auth(key).send();
        let Ok(answer) = asked.await else { return };
        assert_eq!(answer.status().as_u16(), 200);
        let Ok(page) = answer.json::<Value>().await else { return };
        table.lock().take(&page, false);
        if until(&page) {
            return;
        }
    }
}

/// Every account of the server, by id.
pub(super) async fn accounts(http: &reqwest::Client, url: &str, key: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let asked = http.get(format!("{url}/v1/admin/users?limit=200{cursor}")).bearer_auth(key).send();
        let page: Value = asked.await.unwrap().json().await.unwrap();
        for account in page["items"].as_array().unwrap() {
            let text = |name: &str| account[name].as_str().unwrap().to_owned();
            all.insert(text("id"), text("email"));
        }
        let Some(next) = page["next_cursor"].as_str() else { return all };
        cursor = format!("&cursor={next}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_in_the_middle_of_traffic_loses_and_doubles_no_event() {
    let dir = tempfile::tempdir().unwrap();
    let called = Arc::new(Mutex::new(Table::default()));
    configure(dir.path(), &receiver(Arc::clone(&called), (5, 7)));
    let data = dir.path().join("data");
    // The first start makes the directory, the key of the consumer comes after it.
    Process::spawn(command(dir.path())).kill();
    let key = &api_key(&data, "events:read,admin:read");
    let http = reqwest::Client::new();
    let asking = Mutex::new(Table::default());
    let mut acknowledged = BTreeSet::new();
    for cycle in 0..CYCLES {
        let process = Process::spawn(command(dir.path()));
        let over = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let mut clients = tokio::task::JoinSet::new();
        for number in 0..CLIENTS {
            let (http, url, over) = (http.clone(), process.url.clone(), Arc::clone(&over));
            let count = Arc::clone(&count);
            clients.spawn(async move {
                let mut made = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let email = format!("user{cycle}.{number}.{}@test.org", made.len());
                    let Some((status, body)) = sign_up(&http, &url, &email).await else { break };
                    assert_eq!(status, 201, "{body}");
                    made.push(email);
                    count.fetch_add(1, Ordering::Relaxed);
                }
                made
            });
        }
        let url = process.url.clone();
        let consuming = consume(&http, &url, key, "", &asking, |_| false);
        let killing = async {
            let wanted = 6 + cycle as usize * 5 % 17;
            wait_until("there is some traffic", async || count.load(Ordering::Relaxed) >= wanted).await;
            tokio::time::sleep(Duration::from_millis(cycle * 7 % 40)).await;
            process.kill();
            over.store(true, Ordering::Relaxed);
        };
        tokio::join!(consuming, killing);
        acknowledged.extend(clients.join_all().await.into_iter().flatten());
    }
    assert!(acknowledged.len() > 100, "too little traffic: {}", acknowledged.len());

    let process = Process::spawn(command(dir.path()));
    let there = accounts(&http, &process.url, key).await;
    consume(&http, &process.url, key, "", &asking, |page| page["events"].as_array().unwrap().is_empty())
        .await;
    let asking = asking.into_inner();
    assert_eq!(asking.rows, there);
    assert_eq!(asking.gaps, 0);
    let rows: BTreeSet<String> = there.values().cloned().collect();
    assert!(acknowledged.is_subset(&rows));
    wait_until("the webhook has taken everything", async || called.lock().rows.len() >= there.len()).await;
    let called = called.lock();
    assert_eq!(called.rows, there);
    assert_eq!(called.gaps, 0);
    eprintln!(
        "{CYCLES} kills, {} accounts acknowledged, {} there, 0 lost; {} events came again to the webhook",
        acknowledged.len(),
        there.len(),
        called.repeats
    );
    process.kill();
}

/// The directory of before the log was known has none: it begins with what the journal holds, and is whole from then on.
#[tokio::test]
async fn a_log_that_was_removed_is_told_to_whoever_has_a_cursor_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::write(dir.path().join("portcullis.toml"), "").unwrap();
    let mut process = Process::spawn(command(dir.path()));
    let http = reqwest::Client::new();
    assert_eq!(sign_up(&http, &process.url, "ada@test.org").await.unwrap().0, 201);
    process.stop();
    let key = &api_key(&data, "events:read");
    let mut process = Process::spawn(command(dir.path()));
    let table = Mutex::new(Table::default());
    consume(&http, &process.url, key, "", &table, |page| page["events"].as_array().unwrap().is_empty()).await;
    assert_eq!(table.lock().rows.len(), 1);
    process.stop();
    std::fs::remove_dir_all(data.join("events")).unwrap();
    let process = Process::spawn(command(dir.path()));
    let after = table.lock().cursor.clone().unwrap();
    let mut page = Value::Null;
    wait_until("the log is open", async || {
        let asked =
            http.get(format!("{}/v1/admin/events?after={after}&wait=1", process.url)).bearer_auth(key);
        page = asked.send().await.unwrap().json().await.unwrap();
        page.get("gap").is_some()
    })
    .await;
    assert_eq!(page["gap"]["reason"], "other_history");
    assert_ne!(page["next"].as_str().unwrap(), after);
    process.kill();
}
