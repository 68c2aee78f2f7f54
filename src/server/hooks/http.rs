//! Hooks that are asked by HTTP.
//!
//! A question is a POST of JSON: `{"type": "sign_up", "id", "time", "email", "name", "network"}`, or `{"type": "claims", "id",
//! "time", "account", "email", "roles", "app_metadata", "reason", "kind"}`, signed by the header `Portcullis-Signature:
//! t=<seconds>,v1=<hex>`, where `v1` is the HMAC-SHA-256 of `<seconds>.<body>` under the first line of `hook.secret_file`. Fields
//! may be added later. The answer is 200 with `{"allow": true}`, `{"allow": true, "claims": {…}}` or `{"allow": false, "reason":
//! "…"}`, and the same header with the same `t`, where `v1` is that of `<seconds>.<id>.<body>`. Whatever else comes is no answer.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::config::Config;
use crate::engine::hooks::{
    ANSWER_WITHIN, ClaimsAsked, ClaimsVerdict, HookError, Hooks, SetHooks, SignUpAsked, SignUpVerdict,
};
use crate::server::outbound::{OutboundError, Receiver, ReceiverSpec};
use crate::system::clock::Clock;
use crate::system::random::Random;
use crate::value::id::hex;

/// The hooks of a configuration.
pub struct HttpHooks {
    sign_up: Option<Receiver>,
    claims: Option<Receiver>,
    clock: Clock,
    random: Random,
}

/// What a hook says.
#[derive(Deserialize)]
struct Said {
    allow: bool,
    reason: Option<String>,
    /// As the hook has written it, so that a name that comes twice is found.
    claims: Option<Box<RawValue>>,
}

impl HttpHooks {
    /// Returns the hooks that `config` names; `None` if there are none.
    ///
    /// Errors: their secret cannot be read.
    pub fn of(config: &Config, clock: &Clock) -> Result<Option<SetHooks>, OutboundError> {
        let Some(secret_file) = config.hook.secret() else { return Ok(None) };
        let receiver = |url: &Option<String>| {
            let spec = |url| ReceiverSpec {
                url,
                secret_file,
                outbound: &config.outbound,
                may_be_local: false,
                timeout: ANSWER_WITHIN,
            };
            url.as_deref().map(|url| Receiver::new(&spec(url))).transpose()
        };
        let (sign_up, claims) = (receiver(&config.hook.sign_up)?, receiver(&config.hook.claims)?);
        let (judges, gives) = (sign_up.is_some(), claims.is_some());
        let hooks = Self { sign_up, claims, clock: clock.clone(), random: Random::system() };
        Ok(Some(SetHooks::only(hooks, judges, gives)))
    }

    /// Puts `question` to `receiver`, and returns an answer that it has signed.
    async fn ask(&self, receiver: &Receiver, mut question: Value) -> Result<Said, HookError> {
        // The other side compares the time with its own.
        let now = self.clock.system_now();
        let id = hex(&self.random.bytes::<16>()?);
        if let Some(fields) = question.as_object_mut() {
            fields.insert(String::from("id"), json!(id));
            fields.insert(String::from("time"), json!(now.rfc3339()));
        }
        let host = receiver.host();
        let answer = receiver.ask(question.to_string().into_bytes(), &[], now).await?;
        if answer.status != 200 {
            return Err(HookError::new(format!("{host} answered {}", answer.status)));
        }
        if !receiver.is_answer_to(&answer, &id, now) {
            return Err(HookError::new(format!("the answer of {host} has no signature, or a wrong one")));
        }
        serde_json::from_slice(&answer.body)
            .map_err(|_| HookError::new(format!("the answer of {host} is not understood")))
    }
}

impl Hooks for HttpHooks {
    async fn sign_up(&self, asked: &SignUpAsked) -> Result<SignUpVerdict, HookError> {
        let Some(receiver) = &self.sign_up else { return Ok(SignUpVerdict::Allow) };
        let question = json!({
            "type": "sign_up",
            "email": asked.email,
            "name": asked.name,
            "network": asked.network,
        });
        Ok(match self.ask(receiver, question).await? {
            Said { allow: true, .. } => SignUpVerdict::Allow,
            Said { reason, .. } => SignUpVerdict::Refuse(reason.unwrap_or_default()),
        })
    }

    async fn claims(&self, asked: &ClaimsAsked) -> Result<ClaimsVerdict, HookError> {
        let Some(receiver) = &self.claims else { return Ok(ClaimsVerdict::Allow) };
        let app_metadata: Option<Value> =
            asked.app_metadata.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let question = json!({
            "type": "claims",
            "account": asked.account,
            "email": asked.email,
            "roles": asked.roles,
            "app_metadata": app_metadata,
            "reason": asked.reason.name(),
            "kind": asked.kind.name(),
        });
        Ok(match self.ask(receiver, question).await? {
            Said { allow: true, claims: Some(claims), .. } => ClaimsVerdict::Add(claims.get().to_owned()),
            Said { allow: true, .. } => ClaimsVerdict::Allow,
            Said { reason, .. } => ClaimsVerdict::Refuse(reason.unwrap_or_default()),
        })
    }
}
