//! `kill -9` while everything goes on at once: an import, log-ins, sign-ups, a webhook, and readers of events. No event is lost,
//! each comes in its order, and the import that is started again makes each account once.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::crash::cycles;
use super::events::{Table, accounts, api_key, command, configure, consume, receiver};
use crate::support::process::{Process, post, sign_up};
use crate::support::{PASSWORD, wait_until};

/// Kills in one run of the test, unless `PORTCULLIS_KILL_CYCLES` says otherwise.
const CYCLES: u64 = 4;
/// Lines of the import that are sent in each cycle at most: two groups more than in the cycle before, and the beginning of a
/// third, which never ends before the kill.
const LINES_PER_CYCLE: usize = 2_100;
/// Lines that are sent at once, and the pause after them.
const PIECE: usize = 50;
const PAUSE: Duration = Duration::from_millis(5);
/// Clients that log in, each to an account of its own.
const CLIENTS: usize = 3;

/// What was acknowledged.
#[derive(Default)]
struct Acknowledged {
    addresses: BTreeSet<String>,
    sessions: BTreeSet<String>,
}

/// Signs somebody up, then logs the owner `owner` in, again and again, until the server is gone.
async fn client(
    http: reqwest::Client,
    url: String,
    (cycle, owner): (u64, usize),
    log_ins: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
) -> Acknowledged {
    let mut known = Acknowledged::default();
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let email = format!("new{cycle}.{owner}.{number}@test.org");
        let Some((status, opened)) = sign_up(&http, &url, &email).await else { break };
        assert_eq!(status, 201, "{opened}");
        known.addresses.insert(email);
        known.sessions.insert(opened["session_id"].as_str().unwrap().to_owned());
        let body = json!({"email": format!("owner{owner}@test.org"), "password": PASSWORD});
        let Some((status, opened)) = post(&http, &url, "/v1/login", body).await else { break };
        assert_eq!(status, 200, "{opened}");
        known.sessions.insert(opened["session_id"].as_str().unwrap().to_owned());
        log_ins.fetch_add(1, Ordering::Relaxed);
    }
    known
}

/// Sends the whole import. Returns how many accounts it made and how many were there.
async fn import(http: &reqwest::Client, url: &str, key: &str, lines: String) -> (u64, u64) {
    let request = http.post(format!("{url}/v1/admin/users/import")).bearer_auth(key);
    let request = request.header("content-type", "application/x-ndjson").body(lines);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let text = answer.text().await.unwrap();
    let counts: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    (counts["created"].as_u64().unwrap(), counts["same"].as_u64().unwrap())
}

/// Begins to send the import: `known` lines at once, those up to `end` little by little, and never the rest. Comes back when the
/// server is gone.
fn begin_import(url: &str, key: &str, lines: &[String], known: usize, end: usize) {
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let length: usize = lines.iter().map(String::len).sum();
    let head = format!(
        "POST /v1/admin/users/import HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n\
         content-type: application/x-ndjson\r\ncontent-length: {length}\r\n\r\n"
    );
    let mut answer = stream.try_clone().unwrap();
    let reading = std::thread::spawn(move || std::io::copy(&mut answer, &mut std::io::sink()));
    let first = head + &lines[..known].concat();
    let pieces = lines[known..end].chunks(PIECE).map(<[String]>::concat);
    for piece in std::iter::once(first).chain(pieces) {
        // The server is killed meanwhile.
        if stream.write_all(piece.as_bytes()).is_err() {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    let _ = reading.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_during_an_import_beside_everything_else_loses_and_doubles_no_event() {
    let dir = tempfile::tempdir().unwrap();
    let called = Arc::new(Mutex::new(Table::default()));
    configure(dir.path(), &receiver(Arc::clone(&called), (61, 71)));
    let http = reqwest::Client::new();
    let mut acknowledged = Acknowledged::default();
    let mut first = Process::spawn(command(dir.path()));
    for owner in 0..CLIENTS {
        let email = format!("owner{owner}@test.org");
        assert_eq!(sign_up(&http, &first.url, &email).await.unwrap().0, 201);
        acknowledged.addresses.insert(email);
    }
    assert_eq!(first.stop(), Some(0));
    let key = &api_key(&dir.path().join("data"), "events:read,admin:read,admin:write");
    let cycles = cycles(CYCLES);
    let line = |n: usize| json!({"id": n, "email": format!("import{n}@test.org"), "email_verified": n.is_multiple_of(4)});
    let all = cycles as usize * LINES_PER_CYCLE;
    let lines: Arc<Vec<String>> = Arc::new((0..all).map(|n| format!("{}\n", line(n))).collect());

    // One reads all events, the other those of accounts.
    let readers = [("", Mutex::new(Table::default())), ("account.*", Mutex::new(Table::default()))];
    for cycle in 0..cycles {
        let process = Process::spawn(command(dir.path()));
        let url = process.url.clone();
        let (over, log_ins) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut clients = tokio::task::JoinSet::new();
        for owner in 0..CLIENTS {
            let (log_ins, over) = (Arc::clone(&log_ins), Arc::clone(&over));
            clients.spawn(client(http.clone(), url.clone(), (cycle, owner), log_ins, over));
        }
        let imported =
            || readers[0].1.lock().rows.values().filter(|email| email.starts_with("import")).count();
        let before = imported();
        let importing = {
            let (url, key, lines) = (url.clone(), key.clone(), Arc::clone(&lines));
            let end = (cycle as usize + 1) * LINES_PER_CYCLE - PIECE;
            tokio::task::spawn_blocking(move || begin_import(&url, &key, &lines, before, end))
        };
        let reading =
            readers.each_ref().map(|(types, table)| consume(&http, &url, key, types, table, |_| false));
        let [reading, reading_accounts] = reading;
        let killing = async {
            let wanted = before + 100 + cycle as usize * 97 % 400;
            wait_until("the import is under way, and users log in", async || {
                imported() >= wanted && log_ins.load(Ordering::Relaxed) >= 3
            })
            .await;
            tokio::time::sleep(Duration::from_millis(cycle * 7 % 40)).await;
            process.kill();
            over.store(true, Ordering::Relaxed);
        };
        let (imported, ..) = tokio::join!(importing, reading, reading_accounts, killing);
        imported.unwrap();
        for known in clients.join_all().await {
            acknowledged.addresses.extend(known.addresses);
            acknowledged.sessions.extend(known.sessions);
        }
    }
    // The same import once more completes it.
    let process = Process::spawn(command(dir.path()));
    let (created, there) = import(&http, &process.url, key, lines.concat()).await;
    assert_eq!(created + there, all as u64);
    assert!(there > 0 && created > 0, "{created} were made, {there} were there");
    let is_empty = |page: &Value| page["events"].as_array().unwrap().is_empty();
    for (types, table) in &readers {
        consume(&http, &process.url, key, types, table, is_empty).await;
    }
    let accounts = accounts(&http, &process.url, key).await;
    let addresses: BTreeSet<String> = accounts.values().cloned().collect();
    assert_eq!(addresses.len(), accounts.len(), "an address has two accounts");
    assert!((0..all).all(|n| addresses.contains(&format!("import{n}@test.org"))));
    assert!(acknowledged.addresses.is_subset(&addresses));
    for (types, table) in &readers {
        let table = table.lock();
        assert_eq!(table.rows, accounts, "the reader of {types:?}");
        assert_eq!(table.gaps, 0);
    }
    assert!(acknowledged.sessions.is_subset(&readers[0].1.lock().sessions));
    wait_until("the webhook has taken everything", async || called.lock().rows.len() >= accounts.len()).await;
    let called = called.lock();
    assert_eq!(called.rows, accounts);
    assert_eq!(called.gaps, 0);
    eprintln!(
        "{cycles} kills, {} accounts, {created} of them by the last import, {} log-ins acknowledged, 0 events lost; {} came again \
         to the webhook",
        accounts.len(),
        acknowledged.sessions.len(),
        called.repeats
    );
    process.kill();
}
