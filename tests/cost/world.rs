//! A server under the meter, and the senders of requests.

use reqwest::Method;
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};

use crate::inputs::{Input, Sender};
use crate::meter::{Meter, Spent};
use crate::support::TestServer;

/// One server at a time: the meter counts all threads of this process.
static ONE: Mutex<()> = Mutex::const_new(());

pub struct World {
    server: TestServer,
    meter: Meter,
    user: String,
    admin: String,
    /// Makes the values of each request other ones.
    unique: u64,
    _one: MutexGuard<'static, ()>,
}

impl World {
    pub async fn start() -> Self {
        let one = ONE.lock().await;
        let meter = Meter::new();
        let server = TestServer::behind_proxy();
        let admin = server.operator_account("admin@test.org", &["admin"]).await;
        let user = server.operator_account("ada@test.org", &[]).await;
        let world = Self { server, meter, user, admin, unique: 0, _one: one };
        // What is made at the first use is no cost of a request.
        for _ in 0..3 {
            world.server.get("/healthz").await;
            let body = json!({"password": "first use"});
            world.server.post("/v1/password/check", body).await;
        }
        world
    }

    /// Sends the input that `make` returns `times` times, and returns it with the lowest cost and the last status. No user
    /// is refused for what earlier inputs did.
    pub async fn cheapest_of(&mut self, times: usize, make: impl Fn(u64) -> Input) -> (Input, Spent, u16) {
        let mut best: Option<(Input, Spent, u16)> = None;
        for _ in 0..times {
            self.unique += 1;
            let input = make(self.unique);
            let (mut spent, mut status) = self.measure(&input).await;
            if status == 429 && input.sender == Sender::User {
                // A user who is refused for earlier inputs hides what this one costs.
                self.renew_user().await;
                (spent, status) = self.measure(&input).await;
                assert_ne!(status, 429, "{} {} is refused to a new user", input.method, input.path);
            }
            let spent = best.as_ref().map_or(spent, |(_, before, _)| before.min(spent));
            let within = crate::over_bounds(&spent, status).is_none();
            best = Some((input, spent, status));
            // Only a cost that looks too high is measured again.
            if within {
                break;
            }
        }
        best.unwrap()
    }

    /// Sends `input` once and returns what it cost, and the status of the answer.
    async fn measure(&mut self, input: &Input) -> (Spent, u16) {
        let request = self.request(input);
        let (status, spent) = self
            .meter
            .measure(&self.server, async {
                // A server that answers nothing has failed at the request.
                let Ok(answer) = request.send().await else { return 0 };
                let status = answer.status().as_u16();
                // Some answers are streams that do not end.
                let _ = tokio::time::timeout(std::time::Duration::from_millis(500), answer.bytes()).await;
                status
            })
            .await;
        if input.path.contains("/password/change") && matches!(status, 200 | 204) {
            self.renew_user().await;
        }
        (spent, status)
    }

    fn request(&self, input: &Input) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(input.method.as_bytes()).unwrap();
        let mut request = self.server.request(method, &input.path);
        let has_credential =
            input.headers.iter().any(|(name, _)| matches!(*name, "authorization" | "cookie"));
        request = match input.sender {
            Sender::User if !has_credential => request.bearer_auth(&self.user),
            Sender::Admin if !has_credential => request.bearer_auth(&self.admin),
            _ => request,
        };
        // A network of its own for each request, so that no defence by network cuts the cost of a later one.
        if input.headers.iter().all(|(name, _)| *name != "x-forwarded-for") {
            let n = self.unique;
            request = request.header("x-forwarded-for", format!("11.{}.{}.7", n / 256 % 256, n % 256));
        }
        for (name, value) in &input.headers {
            request = request.header(*name, value);
        }
        match &input.body {
            Some(body) => request.header("content-type", "application/json").body(body.clone()),
            None => request,
        }
    }

    /// Makes the user anew: with its first password, and without failures.
    pub async fn renew_user(&mut self) {
        self.unique += 1;
        self.user = self.server.operator_account(&format!("ada{}@test.org", self.unique), &[]).await;
    }
}
