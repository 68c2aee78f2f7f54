//! A resource server as the documentation shows it, for tests of tokens that are checked elsewhere.

use std::net::SocketAddr;

use actix_web::{App, HttpServer, web};
use portcullis::resource_server::{AnswerBody, Verified, Verifier};
use portcullis::system::clock::Clock;
use reqwest::StatusCode;

use super::{ORIGIN, TestServer, wait_until};

/// Starts a resource server on a thread of its own, which follows the feed with the bearer token `credential`, and returns
/// its address.
pub fn resource_server(url: String, credential: String, clock: Clock) -> SocketAddr {
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let verifier = web::Data::new(Verifier::new(ORIGIN, ORIGIN, clock));
            let following = verifier.clone();
            let http = reqwest::Client::builder().user_agent("test").build().unwrap();
            let fetch = move |path: String| {
                let request = http.get(format!("{url}{path}")).bearer_auth(&credential);
                async move {
                    let mut answer = request.send().await?;
                    let mut body = AnswerBody::default();
                    while let Some(part) = answer.chunk().await? {
                        body.push(&part)?;
                    }
                    Ok::<_, Box<dyn std::error::Error>>((answer.status().as_u16(), body))
                }
            };
            actix_web::rt::spawn(async move { following.follow(fetch).await });
            let hello = async |who: Verified| who.sub.clone();
            let server = HttpServer::new(move || {
                App::new().app_data(verifier.clone()).route("/hello", web::get().to(hello))
            });
            let server = server.workers(1).bind("127.0.0.1:0").unwrap();
            ready.send(server.addrs()[0]).unwrap();
            let _ = server.run().await;
        });
    });
    is_ready.recv().unwrap()
}

/// Returns the status that the resource server gives for `token`.
pub async fn hello(server: &TestServer, address: SocketAddr, token: &str) -> StatusCode {
    server.http.get(format!("http://{address}/hello")).bearer_auth(token).send().await.unwrap().status()
}

/// Waits until the resource server gives `status` for `token`.
pub async fn until(server: &TestServer, address: SocketAddr, token: &str, status: StatusCode) {
    let what = format!("the resource server answers {status}");
    wait_until(&what, async || hello(server, address, token).await == status).await;
}
