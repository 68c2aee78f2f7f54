//! Hooks: a program of the operator is asked before somebody signs up, logs in or refreshes, and may say no.
//!
//! **The attack:** a hook that is slow, dead or lies holds up the log-ins of everybody, the threads of actors, or turns of
//! the hash pool; whoever can answer in its place gives themselves roles; a refusal tells whether an address has an account.
//!
//! **The rule:** hooks are asked on a thread of their own, of each kind [`AT_ONCE_MAX`] at a time and [`WAITING_MAX`] that wait, and
//! each within [`ANSWER_WITHIN`]. What comes later, or finds no place, counts as failed; then `hook.on_error` decides, and an
//! alert is raised. A sign-up is judged before anything is asked about its address. Claims take [`ADDED_BYTES_MAX`] bytes,
//! and none of the server's own.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::token::further_claims::{LeftOut, is_reserved};
use crate::value::account_name::masked;
use crate::value::json_object::names_twice;
use crate::value::printed::turns_direction;

/// How long a hook may take to answer, with its time in the queue.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How many are asked at once.
pub const AT_ONCE_MAX: usize = 64;
/// How many wait for one of those to end. Beyond it a hook has failed at once.
pub const WAITING_MAX: usize = 256;
/// The most bytes of JSON that a hook adds to an access token.
pub const ADDED_BYTES_MAX: usize = 1024;
/// The most characters of a reason that a client is told.
pub const REASON_CHARS_MAX: usize = 200;

/// Judges who may sign up and log in, and adds claims to access tokens.
///
/// A method that is not written lets everybody in. Each is given two seconds, on a thread that nothing else of the server waits
/// for; one that takes longer, fails or panics has failed, and `hook.on_error` says what follows. Futures run on tokio.
///
/// ```
/// use portcullis::{ClaimsAsked, ClaimsVerdict, HookError, Hooks, SignUpAsked, SignUpVerdict};
///
/// struct Rules;
///
/// impl Hooks for Rules {
///     async fn sign_up(&self, asked: &SignUpAsked) -> Result<SignUpVerdict, HookError> {
///         if asked.email.ends_with(".example") {
///             return Ok(SignUpVerdict::Refuse("No examples, please.".to_owned()));
///         }
///         Ok(SignUpVerdict::Allow)
///     }
///
///     async fn claims(&self, asked: &ClaimsAsked) -> Result<ClaimsVerdict, HookError> {
///         # let _ = asked;
///         // Look the tenant up. An error of the database becomes a failure by `?`.
///         Ok(ClaimsVerdict::Add(r#"{"tenant": "blue"}"#.to_owned()))
///     }
/// }
/// ```
pub trait Hooks: Send + Sync + 'static {
    /// Judges a sign-up. It is asked before the server looks whether the address has an account.
    fn sign_up(&self, asked: &SignUpAsked) -> impl Future<Output = Result<SignUpVerdict, HookError>> + Send {
        let _ = asked;
        async { Ok(SignUpVerdict::Allow) }
    }

    /// Judges a log-in or a refresh, and says which claims the access token is to have beside the server's own.
    fn claims(&self, asked: &ClaimsAsked) -> impl Future<Output = Result<ClaimsVerdict, HookError>> + Send {
        let _ = asked;
        async { Ok(ClaimsVerdict::Allow) }
    }
}

/// A sign-up, as a hook sees it.
#[derive(Clone)]
#[non_exhaustive]
pub struct SignUpAsked {
    /// The address, in its canonical form.
    pub email: String,
    /// The name by which its owner wants to be called.
    pub name: Option<String>,
    /// The network of the client, such as `192.0.2.1/32`.
    pub network: String,
}

impl SignUpAsked {
    /// Describes a sign-up.
    pub(crate) const fn new(email: String, name: Option<String>, network: String) -> Self {
        Self { email, name, network }
    }
}

impl fmt::Debug for SignUpAsked {
    /// Masks the address, and leaves out the name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SignUpAsked");
        shown.field("email", &masked(&self.email)).field("network", &self.network).finish_non_exhaustive()
    }
}

/// An account that is about to get a credential, as a hook sees it.
#[derive(Clone)]
#[non_exhaustive]
pub struct ClaimsAsked {
    /// The id of the account.
    pub account: String,
    /// Its address.
    pub email: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// The JSON object that administrators alone may change, as text.
    pub app_metadata: Option<String>,
    /// Why it gets a credential.
    pub reason: ClaimsReason,
    /// Which one.
    pub kind: CredentialKind,
}

impl fmt::Debug for ClaimsAsked {
    /// Leaves out what the account carries.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ClaimsAsked");
        shown.field("account", &self.account).field("reason", &self.reason).field("kind", &self.kind);
        shown.finish_non_exhaustive()
    }
}

/// Why an account gets a credential.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ClaimsReason {
    /// By a password.
    LogIn,
    /// A refresh token is exchanged.
    Refresh,
    /// A new account is logged in at once.
    SignUp,
    /// Its owner has proved again who they are.
    Reauthentication,
    /// The credential takes the place of one that ended with a new password or address. After a refusal the change stands, and
    /// nothing takes its place.
    Replacement,
    /// The embedding program opens a session.
    Program,
}

impl ClaimsReason {
    /// Returns its name in requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LogIn => "log_in",
            Self::Refresh => "refresh",
            Self::SignUp => "sign_up",
            Self::Reauthentication => "reauthentication",
            Self::Replacement => "replacement",
            Self::Program => "program",
        }
    }
}

/// The kind of a credential.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CredentialKind {
    /// A pair of tokens, of which the access token has the claims.
    Tokens,
    /// A session cookie. It has no claims.
    Cookie,
}

impl CredentialKind {
    /// Returns its name in requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Cookie => "cookie",
        }
    }
}

/// What a hook says of a sign-up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SignUpVerdict {
    /// It goes on.
    Allow,
    /// It is refused, for a reason that the client is told: 200 characters of it.
    Refuse(String),
}

/// What a hook says of an account that gets a credential.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClaimsVerdict {
    /// It gets one.
    Allow,
    /// It gets one, with these claims in access tokens: a JSON object as text, of 1 KiB at most. Names of the server's own claims
    /// are left out.
    Add(String),
    /// It is refused, for a reason that the client is told: 200 characters of it. No session ends by that; but after a change
    /// that has ended all, none is opened.
    Refuse(String),
}

/// A hook has failed. Any other error becomes one by `?`. Its text goes to the log: it should name no address.
pub struct HookError {
    why: String,
}

impl HookError {
    /// Says why a hook has failed.
    pub fn new(why: impl fmt::Display) -> Self {
        Self { why: cut(&why.to_string()) }
    }
}

impl<E: std::error::Error> From<E> for HookError {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

impl fmt::Debug for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HookError({self})")
    }
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// Returns the start of a text of somebody else, on one line, and written in the direction of its letters.
pub(super) fn cut(text: &str) -> String {
    let ends_line = |c: char| matches!(c, '\u{2028}' | '\u{2029}');
    let is_kept = |c: &char| !c.is_control() && !turns_direction(*c) && !ends_line(*c);
    text.chars().filter(is_kept).take(REASON_CHARS_MAX).collect()
}

type Judging<'a, V> = Pin<Box<dyn Future<Output = Result<V, HookError>> + Send + 'a>>;

/// [`Hooks`] without its type.
trait AnyHooks: Send + Sync {
    fn sign_up<'a>(&'a self, asked: &'a SignUpAsked) -> Judging<'a, SignUpVerdict>;
    fn claims<'a>(&'a self, asked: &'a ClaimsAsked) -> Judging<'a, ClaimsVerdict>;
}

impl<H: Hooks> AnyHooks for H {
    fn sign_up<'a>(&'a self, asked: &'a SignUpAsked) -> Judging<'a, SignUpVerdict> {
        Box::pin(Hooks::sign_up(self, asked))
    }

    fn claims<'a>(&'a self, asked: &'a ClaimsAsked) -> Judging<'a, ClaimsVerdict> {
        Box::pin(Hooks::claims(self, asked))
    }
}

/// Hooks, with what is asked of them.
#[derive(Clone)]
pub struct SetHooks {
    hooks: Arc<dyn AnyHooks>,
    judges_sign_ups: bool,
    gives_claims: bool,
}

impl SetHooks {
    /// Asks `hooks` for everything.
    pub fn all(hooks: impl Hooks) -> Self {
        Self { hooks: Arc::new(hooks), judges_sign_ups: true, gives_claims: true }
    }

    /// Asks `hooks` about sign-ups or for claims alone, where only one of them is set.
    pub fn only(hooks: impl Hooks, judges_sign_ups: bool, gives_claims: bool) -> Self {
        Self { hooks: Arc::new(hooks), judges_sign_ups, gives_claims }
    }
}

/// A question, and where its answer goes.
enum Question {
    SignUp(SignUpAsked, oneshot::Sender<Result<SignUpVerdict, HookError>>),
    Claims(ClaimsAsked, oneshot::Sender<Result<ClaimsVerdict, HookError>>),
}

impl Question {
    /// Asks. Whoever has asked and does not wait any more is not answered, and the question ends.
    async fn put(self, hooks: Arc<dyn AnyHooks>) {
        match self {
            Self::SignUp(asked, mut answer) => {
                tokio::select! {
                    () = answer.closed() => {}
                    said = hooks.sign_up(&asked) => drop(answer.send(said)),
                }
            }
            Self::Claims(asked, mut answer) => {
                tokio::select! {
                    () = answer.closed() => {}
                    said = hooks.claims(&asked) => drop(answer.send(said)),
                }
            }
        }
    }
}

/// Where questions wait for the thread that asks them: those about sign-ups, which anybody causes, apart from those of log-ins.
pub struct Questions {
    hooks: Arc<dyn AnyHooks>,
    sign_ups: mpsc::Receiver<Question>,
    claims: mpsc::Receiver<Question>,
}

impl Questions {
    /// Asks questions as they come, [`AT_ONCE_MAX`] of each kind at once, until `ended` ends.
    pub async fn run(self, ended: impl Future<Output = ()>) {
        let work = async {
            tokio::join!(put_all(&self.hooks, self.sign_ups), put_all(&self.hooks, self.claims));
        };
        tokio::select! {
            () = work => {}
            () = ended => {}
        }
    }
}

async fn put_all(hooks: &Arc<dyn AnyHooks>, mut waiting: mpsc::Receiver<Question>) {
    let places = Arc::new(tokio::sync::Semaphore::new(AT_ONCE_MAX));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Some(question) = waiting.recv().await else { return };
        let hooks = Arc::clone(hooks);
        // One that panics drops its answer, which counts as failed.
        tokio::spawn(async move {
            question.put(hooks).await;
            drop(place);
        });
    }
}

/// The door of an engine to its hooks.
pub struct HookDoor {
    sign_ups: mpsc::Sender<Question>,
    claims: mpsc::Sender<Question>,
    judges_sign_ups: bool,
    gives_claims: bool,
}

impl HookDoor {
    /// Says whether hooks judge sign-ups.
    pub(super) const fn judges_sign_ups(&self) -> bool {
        self.judges_sign_ups
    }

    /// Says whether hooks give claims.
    pub(super) const fn gives_claims(&self) -> bool {
        self.gives_claims
    }

    /// Asks about a sign-up.
    pub(super) async fn judge_sign_up(&self, asked: SignUpAsked) -> Result<SignUpVerdict, HookError> {
        ask(&self.sign_ups, |answer| Question::SignUp(asked, answer)).await
    }

    /// Asks for the claims of an account.
    pub(super) async fn claims_of(&self, asked: ClaimsAsked) -> Result<ClaimsVerdict, HookError> {
        ask(&self.claims, |answer| Question::Claims(asked, answer)).await
    }
}

/// Opens a door to `set`. The questions are to be asked by a thread of their own.
pub fn open(set: SetHooks) -> (HookDoor, Questions) {
    let (ask_sign_ups, sign_ups) = mpsc::channel(WAITING_MAX);
    let (ask_claims, claims) = mpsc::channel(WAITING_MAX);
    let SetHooks { hooks, judges_sign_ups, gives_claims } = set;
    let door = HookDoor { sign_ups: ask_sign_ups, claims: ask_claims, judges_sign_ups, gives_claims };
    (door, Questions { hooks, sign_ups, claims })
}

/// How hooks have answered since the start.
#[derive(Debug, Default)]
pub(crate) struct HookFigures {
    pub(crate) allowed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(super) told: LeftOut,
}

/// Claims that a hook has added: members of a JSON object, without its braces.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct AddedClaims(String);

impl AddedClaims {
    /// Returns the members, with `others` before them.
    pub(crate) fn after(&self, others: String) -> String {
        match (others.is_empty(), self.0.is_empty()) {
            (_, true) => others,
            (true, false) => self.0.clone(),
            (false, false) => format!("{others},{}", self.0),
        }
    }

    /// Reads what a hook wants to add. Returns it with the names that were left out, since they mean something else.
    pub(super) fn read(text: &str) -> Result<(Self, Vec<String>), HookError> {
        if names_twice(text) {
            return Err(HookError::new("its claims have a name twice"));
        }
        let object: Map<String, Value> =
            serde_json::from_str(text).map_err(|_| HookError::new("its claims are no JSON object"))?;
        let (reserved, added): (Map<_, _>, Map<_, _>) =
            object.into_iter().partition(|(name, _)| is_reserved(name));
        let text = Value::Object(added).to_string();
        let members = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default();
        if members.len() > ADDED_BYTES_MAX {
            return Err(HookError::new(format!("its claims are longer than {ADDED_BYTES_MAX} bytes")));
        }
        Ok((Self(members.to_owned()), reserved.into_iter().map(|(name, _)| name).collect()))
    }
}

/// Asks a question, and waits for the answer for as long as a hook may take.
async fn ask<V>(
    questions: &mpsc::Sender<Question>,
    question: impl FnOnce(oneshot::Sender<Result<V, HookError>>) -> Question,
) -> Result<V, HookError> {
    let (answer, answered) = oneshot::channel();
    if questions.try_send(question(answer)).is_err() {
        return Err(HookError::new("too many wait for it already"));
    }
    match timeout(ANSWER_WITHIN, answered).await {
        Ok(Ok(said)) => said,
        Ok(Err(_)) => Err(HookError::new("it has panicked, or the server is stopping")),
        Err(_) => Err(HookError::new(format!("no answer within {} s", ANSWER_WITHIN.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_claims_are_few_and_none_of_the_servers_own() {
        let read = |text: &str| AddedClaims::read(text).map(|(added, left)| (added.0, left));
        assert_eq!(read(r#"{"tenant": {"id": 7}}"#).unwrap(), (r#""tenant":{"id":7}"#.into(), vec![]));
        assert_eq!(read("{}").unwrap(), (String::new(), vec![]));
        let (added, left) = read(r#"{"sub":"x","roles":["admin"],"a":1,"app_metadata":{},"exp":9}"#).unwrap();
        assert_eq!(added, r#""a":1"#);
        assert_eq!(left.len(), 4, "{left:?}");
        let long = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 6));
        assert_eq!(read(&long(ADDED_BYTES_MAX)).unwrap().0.len(), ADDED_BYTES_MAX);
        assert!(read(&long(ADDED_BYTES_MAX + 1)).is_err());
        for nonsense in [
            "",
            "[]",
            "null",
            "1",
            "{",
            "{\"a\":1}x",
            "{\"a\":1,\"a\":1}",
            "{\"a\":1,\"\\u0061\":2}",
            "{\"a\":[{\"b\":{\"c\":1,\"c\":2}}]}",
        ] {
            assert!(read(nonsense).is_err(), "{nonsense}");
        }
        assert_eq!(read(r#"{"a":{"a":[{"a":1},{"a":1}]}}"#).unwrap().1.len(), 0);
        let added = AddedClaims(String::from("\"a\":1"));
        assert_eq!(added.after(String::new()), "\"a\":1");
        assert_eq!(added.after(String::from("\"b\":2")), "\"b\":2,\"a\":1");
        assert_eq!(AddedClaims::default().after(String::from("\"b\":2")), "\"b\":2");
    }

    struct Slow;

    impl Hooks for Slow {
        async fn sign_up(&self, asked: &SignUpAsked) -> Result<SignUpVerdict, HookError> {
            assert_ne!(asked.email, "panic", "planned");
            std::future::pending().await
        }
    }

    fn asked(email: &str) -> SignUpAsked {
        SignUpAsked::new(email.into(), None, "192.0.2.1/32".into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_hook_without_an_end_fails_in_two_seconds_and_holds_no_place() {
        let (door, questions) = open(SetHooks::all(Slow));
        let running = tokio::spawn(questions.run(std::future::pending()));
        let ask =
            async |email: &str| ask(&door.sign_ups, |answer| Question::SignUp(asked(email), answer)).await;
        for _ in 0..2 * AT_ONCE_MAX {
            let error = ask("slow").await.unwrap_err();
            assert!(error.to_string().contains("within 2 s"), "{error}");
        }
        let error = ask("panic").await.unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
        // The others wait until there is no place to wait any more.
        let mut waiting: Vec<_> = (0..AT_ONCE_MAX + WAITING_MAX + 2).map(|_| Box::pin(ask("slow"))).collect();
        let mut full = 0;
        for one in &mut waiting {
            tokio::select! {
                biased;
                said = one => {
                    assert!(said.unwrap_err().to_string().contains("too many wait"));
                    full += 1;
                }
                () = tokio::task::yield_now() => {}
            }
        }
        assert!((1..=2).contains(&full), "{full}");
        running.abort();
    }
}
