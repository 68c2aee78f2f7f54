//! The least that a refresh needs, in as little code as possible: plain actix-web that reads a JSON body, signs an
//! access token, and waits until a record is durable. Nothing is checked, looked up or kept.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, mpsc};

use actix_web::{App, HttpServer, web};
use portcullis::system::clock::Timestamp;
use portcullis::token::{Claims, OwnClient, Signer};
use tokio::sync::oneshot;

/// Bytes written for each request: about as many as the rotation of a family takes.
const RECORD: usize = 300;
const BLOCK: usize = 4096;
const BATCH: usize = 1 << 20;
const FILE: usize = 64 << 20;

type Waiting = oneshot::Sender<()>;

/// Writes a record for each request that has come since the last sync, and lets the requests go on.
fn write_durably(path: &Path, waiting: &mpsc::Receiver<Waiting>) {
    let flags = rustix::fs::OFlags::DSYNC.union(rustix::fs::OFlags::DIRECT).bits().cast_signed();
    // Some file systems in memory refuse these flags. There is nothing to compare with on them.
    let file = std::fs::OpenOptions::new().write(true).custom_flags(flags).open(path).unwrap();
    let memory = vec![1_u8; BATCH + BLOCK];
    let aligned = &memory[memory.as_ptr().align_offset(BLOCK)..];
    let mut at = 0;
    while let Ok(first) = waiting.recv() {
        let batch: Vec<_> = std::iter::once(first).chain(waiting.try_iter()).collect();
        let len = (batch.len() * RECORD).next_multiple_of(BLOCK);
        file.write_all_at(&aligned[..len], at as u64).unwrap();
        at = (at + len) % (FILE - BATCH);
        for waiting in batch {
            let _ = waiting.send(());
        }
    }
}

/// Serves answers of `bytes` bytes on a thread of its own until the process ends, and returns the address. An answer
/// holds a signed token if `signs`, and waits for a record in a file in `dir` if `is_durable`.
pub fn serve(bytes: usize, signs: bool, is_durable: bool, dir: &Path) -> SocketAddr {
    let (ready, is_ready) = mpsc::channel();
    let (to_writer, waiting) = mpsc::channel();
    if is_durable {
        let path = dir.join("log");
        std::fs::write(&path, vec![0; FILE]).unwrap();
        // Otherwise the first direct writes would wait until the page cache is written back.
        std::fs::File::open(&path).unwrap().sync_all().unwrap();
        std::thread::spawn(move || write_durably(&path, &waiting));
    }
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let signing = Arc::new(signing());
            let app = move || {
                let signing = Arc::clone(&signing);
                let to_writer = to_writer.clone();
                let answer = move |body: web::Json<HashMap<String, String>>| {
                    let signing = Arc::clone(&signing);
                    let to_writer = to_writer.clone();
                    async move {
                        assert!(body.contains_key("refresh_token"));
                        let (waiting, is_durable_now) = oneshot::channel();
                        if is_durable {
                            to_writer.send(waiting).unwrap();
                        }
                        let (signer, claims, now) = &*signing;
                        let token = if signs { signer.sign(claims, *now).unwrap() } else { String::new() };
                        if is_durable {
                            is_durable_now.await.unwrap();
                        }
                        format!("{token:<bytes$}")
                    }
                };
                App::new().route("/", web::post().to(answer))
            };
            let server = HttpServer::new(app).bind("127.0.0.1:0").unwrap();
            ready.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    is_ready.recv().unwrap()
}

/// Returns a signer with a new key, the claims of a typical access token, and the time at which to sign them.
pub fn signing() -> (Signer, Claims, Timestamp) {
    let now = Timestamp::from_secs(1_800_000_000);
    let pkcs8 = portcullis::token::signing_key::generate(portcullis::token::Scheme::Es256).unwrap();
    let key = portcullis::token::signing_key::Signing { pkcs8, from: now };
    let signer = Signer::new(&[key], "http://127.0.0.1:8080", "http://127.0.0.1:8080").unwrap();
    let claims = Claims {
        iss: "http://127.0.0.1:8080".into(),
        sub: "0".repeat(32),
        aud: "http://127.0.0.1:8080".into(),
        exp: 1_800_000_900,
        iat: 1_800_000_000,
        client_id: OwnClient,
        jti: "1".repeat(32),
        sid: "2".repeat(32),
        roles: Vec::new(),
        auth_time: 1_800_000_000,
        amr: vec!["pwd".into()],
    };
    (signer, claims, now)
}
