//! Rules of the program: who signs up and logs in, and what tokens say.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, test};
use base64ct::{Base64UrlUnpadded, Encoding};
use portcullis::{
    ClaimsAsked, ClaimsVerdict, Config, Engine, HookError, Hooks, NewAccount, SignUpAsked, SignUpVerdict,
    actix,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::read;

const PASSWORD: &str = "correct horse battery staple";

struct Rules;

impl Hooks for Rules {
    async fn sign_up(&self, asked: &SignUpAsked) -> Result<SignUpVerdict, HookError> {
        if asked.email.starts_with("broken") {
            // As an error of a database arrives.
            Err(std::io::Error::other("the database is away"))?;
        }
        if asked.email.ends_with("@example.org") {
            return Ok(SignUpVerdict::Allow);
        }
        Ok(SignUpVerdict::Refuse("colleagues only".to_owned()))
    }

    async fn claims(&self, asked: &ClaimsAsked) -> Result<ClaimsVerdict, HookError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!format!("{asked:?}").contains("ada@"), "{asked:?}");
        Ok(ClaimsVerdict::Add(json!({"tenant": asked.email.len(), "roles": ["admin"]}).to_string()))
    }
}

#[tokio::test]
async fn the_program_judges_sign_ups_and_adds_claims() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::builder().data_dir(dir.path()).set("mail.console", "false");
    let config = config.password(|password| password.memory_kib(64).passes(1).threads(1)).build().unwrap();
    let auth = Engine::builder(config).hooks(Rules).start().await.unwrap();
    let new = NewAccount::new("ada@example.org").password(PASSWORD).verified();
    auth.accounts().create(new).await.unwrap();
    let app = test::init_service(App::new().configure(actix::mount("/auth", &auth))).await;
    let post = async |path: &str, body: Value| {
        let request = test::TestRequest::post().uri(&format!("/auth/v1/{path}")).set_json(body);
        let (status, _, body) = read(test::call_service(&app, request.to_request()).await).await;
        (status, body)
    };
    let sign_up = async |email: &str| post("signup", json!({"email": email, "password": PASSWORD})).await;
    assert_eq!(sign_up("bob@example.org").await.0, 202);
    let (status, refused) = sign_up("eve@elsewhere.example").await;
    assert_eq!((status, &refused["detail"]), (403, &json!("colleagues only")));
    let (status, failed) = sign_up("broken@example.org").await;
    assert_eq!((status, &failed["code"]), (503, &json!("hook_unavailable")));
    let (status, log_in) = post("login", json!({"email": "ada@example.org", "password": PASSWORD})).await;
    assert_eq!(status, 200, "{log_in}");
    let part = log_in["access_token"].as_str().unwrap().split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&Base64UrlUnpadded::decode_vec(part).unwrap()).unwrap();
    assert_eq!(claims["tenant"], json!(15));
    assert_eq!(claims["roles"], json!([]));
    auth.stop().await;
}

/// Answers once it is told to.
#[derive(Clone, Default)]
struct Slow {
    is_asked: Arc<Notify>,
    may_answer: Arc<Notify>,
}

impl Hooks for Slow {
    async fn claims(&self, _: &ClaimsAsked) -> Result<ClaimsVerdict, HookError> {
        self.is_asked.notify_one();
        self.may_answer.notified().await;
        Ok(ClaimsVerdict::Allow)
    }
}

/// Kind of fault: a token that is made from what was true before a wait. Nothing would end it at a resource server: it is
/// younger than what ended its account's tokens.
#[tokio::test]
async fn an_account_that_changes_while_the_hook_is_asked_gets_no_token_of_before() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::builder().data_dir(dir.path()).set("mail.console", "false");
    let config = config.password(|password| password.memory_kib(64).passes(1).threads(1)).build().unwrap();
    let slow = Slow::default();
    let auth = Engine::builder(config).hooks(slow.clone()).start().await.unwrap();
    let app = test::init_service(App::new().configure(actix::mount("/auth", &auth))).await;
    let log_in = async |email: &str| {
        let body = json!({"email": email, "password": PASSWORD});
        let request = test::TestRequest::post().uri("/auth/v1/login").set_json(body);
        let (status, _, body) = read(test::call_service(&app, request.to_request()).await).await;
        (status, body)
    };
    for (number, act) in ["roles", "sessions", "disabled", "deleted"].into_iter().enumerate() {
        let email = format!("ada{number}@example.org");
        let new = NewAccount::new(&email).password(PASSWORD).verified().role("editor");
        let account = auth.accounts().create(new).await.unwrap();
        let meanwhile = async {
            slow.is_asked.notified().await;
            match act {
                "roles" => drop(auth.accounts().set_roles(account.id(), Vec::<String>::new()).await.unwrap()),
                "sessions" => auth.accounts().end_sessions(account.id()).await.unwrap(),
                "disabled" => drop(auth.accounts().set_active(account.id(), false).await.unwrap()),
                _ => auth.accounts().delete(account.id()).await.unwrap(),
            }
            slow.may_answer.notify_one();
        };
        let ((status, answer), ()) = tokio::join!(log_in(&email), meanwhile);
        assert_eq!((status, &answer["code"]), (503, &json!("hook_unavailable")), "{act}: {answer}");
    }
    auth.stop().await;
}
