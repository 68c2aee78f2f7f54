//! Clients that send a log-in and go away: the server computes hashes whose result nobody reads.
//!
//! Bound: whether I close the connection in order or reset it, a log-in that waits for its hash is dropped.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use crate::support::raw::connect;
use crate::support::{TestServer, wait_until};

const CLIENTS: usize = 12;

async fn hashed(server: &TestServer, access: &str) -> u64 {
    let done = async |lane: &str| {
        let name = format!("hash_lane_jobs_total{{lane=\"{lane}\",outcome=\"done\"}}");
        server.figure(access, &name).await.unwrap()
    };
    done("quiet").await + done("failing").await
}

#[tokio::test]
async fn no_hash_is_computed_for_a_client_that_has_gone() {
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
                // Closing a connection that does not linger resets it.
                stream.set_nonblocking(true).unwrap();
                tokio::net::TcpStream::from_std(stream).unwrap().set_zero_linger().unwrap();
            }
        }
        let jobs = async |state: &str| server.figure(&access, &format!("hash_{state}_jobs")).await.unwrap();
        wait_until("no hash is left", async || jobs("queue").await + jobs("running").await == 0).await;
        let made = hashed(&server, &access).await - before;
        assert!(made <= 3, "{made} of {CLIENTS} were hashed, reset: {is_reset}");
    }
}
