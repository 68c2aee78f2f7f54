//! Clients that send a log-in and go away. I make the server hash for nobody.
//!
//! Bound: whether I close the connection in order or reset it, what waits for a hash is dropped.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use crate::support::TestServer;
use crate::support::raw::connect;

const CLIENTS: usize = 12;

/// The number after `name` in the metrics.
async fn figure(server: &TestServer, access: &str, name: &str) -> u64 {
    let metrics = String::from_utf8(server.get_as("/metrics", access).await.bytes).unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("portcullis_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

async fn hashed(server: &TestServer, access: &str) -> u64 {
    let quiet = figure(server, access, "hash_lane_quiet_done_jobs").await;
    quiet + figure(server, access, "hash_lane_failing_done_jobs").await
}

#[tokio::test]
async fn nobody_is_hashed_for_who_has_gone() {
    // A hash takes long enough for the clients to be gone before theirs begins.
    let settings = [("password.memory_kib", "262144"), ("password.passes", "3"), ("password.threads", "1")];
    let server = TestServer::with(&settings);
    let access = server.operator_account("root@test.org", &["admin"]).await;
    for is_reset in [false, true] {
        let before = hashed(&server, &access).await;
        let streams: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let email = format!("nobody-{number}-{is_reset}@test.org");
                let body = json!({"email": email, "password": "none of these is right"}).to_string();
                let mut stream = connect(&server.url);
                write!(
                    stream,
                    "POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                )
                .unwrap();
                stream
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        for stream in streams {
            if is_reset {
                // Closing while unread bytes or a linger of zero are there sends a reset.
                let stream = tokio::net::TcpStream::from_std(nonblocking(stream)).unwrap();
                stream.set_zero_linger().unwrap();
            }
        }
        while figure(&server, &access, "hash_queue_jobs").await
            + figure(&server, &access, "hash_running_jobs").await
            > 0
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let made = hashed(&server, &access).await - before;
        assert!(made <= 3, "{made} of {CLIENTS} were hashed, reset: {is_reset}");
    }
}

fn nonblocking(stream: std::net::TcpStream) -> std::net::TcpStream {
    stream.set_nonblocking(true).unwrap();
    stream
}
