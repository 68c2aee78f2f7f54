//! The forms of what administrators are shown of accounts, for the OpenAPI document. `flow::admin` writes them, for the
//! command line too; the tests compare every answer with them.

use utoipa::ToSchema;

use crate::http::api::devices::DeviceFamily;

/// The name of a role.
#[derive(ToSchema)]
#[schema(pattern = "^[a-z0-9_]{1,64}$", example = "editor")]
#[expect(dead_code, reason = "describes a text of a request")]
pub(super) struct RoleName(String);

/// What an API key may do.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a text of a request")]
pub(super) enum ScopeName {
    #[schema(rename = "introspect")]
    Introspect,
    #[schema(rename = "revocations")]
    Revocations,
    #[schema(rename = "metrics")]
    Metrics,
    #[schema(rename = "admin:read")]
    AdminRead,
    #[schema(rename = "admin:write")]
    AdminWrite,
    #[schema(rename = "events:read")]
    EventsRead,
}

/// A kind of key that can be rotated.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes a text of a request")]
pub(super) enum KindOfKey {
    Signing,
    Edge,
    Device,
    Csrf,
    Outbox,
}

/// An account, as administrators see it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `account_json` writes")]
pub(super) struct Account {
    id: String,
    #[schema(format = Email)]
    email: String,
    /// Whether the address was proved.
    email_verified: bool,
    #[schema(required)]
    name: Option<String>,
    roles: Vec<String>,
    /// `active` or `disabled`.
    #[schema(example = "active")]
    status: String,
    #[schema(format = DateTime)]
    created_at: String,
    /// Until when the owner can undo the last change of the address.
    #[schema(required, format = DateTime)]
    address_change_undoable_until: Option<String>,
    /// The language of the owner. This and the members below are there only where the account has them.
    #[schema(nullable = false, example = "en-GB")]
    locale: Option<String>,
    #[schema(value_type = Option<Object>, nullable = false)]
    user_metadata: Option<()>,
    #[schema(value_type = Option<Object>, nullable = false)]
    app_metadata: Option<()>,
    /// The id that another program knows the account by.
    #[schema(nullable = false)]
    external_id: Option<String>,
}

/// A sign-up that waits for the proof of its address: no account yet.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `Found::json` writes")]
pub(super) struct WaitingSignUp {
    /// The id that the account will have.
    id: String,
    #[schema(format = Email)]
    email: String,
    /// False.
    email_verified: bool,
    #[schema(required)]
    name: Option<String>,
    roles: Vec<String>,
    /// `pending`.
    #[schema(example = "pending")]
    status: String,
    #[schema(format = DateTime)]
    created_at: String,
    /// When it is gone if nobody proves the address.
    #[schema(format = DateTime)]
    expires_at: String,
    /// The language of the owner, if the sign-up has said it.
    #[schema(nullable = false, example = "en-GB")]
    locale: Option<String>,
}

/// An account of a list.
#[derive(ToSchema)]
#[schema(as = UserOfList)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what `Found::json` writes")]
pub(super) enum Listed {
    Account(Account),
    SignUp(WaitingSignUp),
}

#[derive(ToSchema)]
#[schema(as = Users)]
#[expect(dead_code, reason = "describes what `get_users` writes")]
pub(super) struct Accounts {
    items: Vec<Listed>,
    /// For the parameter `cursor`; null on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// An account, and how it stands.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `Details::json` writes")]
pub(super) struct AccountDetails {
    #[serde(flatten)]
    account: Account,
    has_password: bool,
    /// When it was imported from another system.
    #[schema(required, format = DateTime)]
    imported_at: Option<String>,
    /// The scheme and the cost of its password, if another system has hashed it and no log-in has replaced that yet.
    #[schema(required)]
    foreign_hash: Option<String>,
    /// From when on that is no password any more (`password.drop_foreign_after_days`).
    #[schema(required, format = DateTime)]
    foreign_hash_ends_at: Option<String>,
    lock: Lock,
    sessions: SessionCounts,
    /// The known devices, by kind of browser.
    #[schema(value_type = Vec<DeviceFamily>)]
    devices: (),
    /// As far as an open session or a known device shows it.
    #[schema(required, format = DateTime)]
    last_log_in_at: Option<String>,
    /// The mailed links that are good.
    links: Vec<MailedLink>,
    #[schema(required)]
    last_mail: Option<LastMail>,
}

/// How far the name of an account is locked.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `Details::json` writes")]
pub(super) struct Lock {
    /// Wrong passwords that count.
    failures: u32,
    #[schema(required, format = DateTime)]
    locked_until: Option<String>,
    /// How many more strangers may try.
    guesses_left: u32,
    /// How many more known devices and sessions may try.
    device_guesses_left: u32,
}

/// How many sessions are open.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `Details::json` writes")]
pub(super) struct SessionCounts {
    cookie: u32,
    token: u32,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `Details::json` writes")]
pub(super) struct MailedLink {
    /// What it is for.
    #[schema(example = "reset")]
    purpose: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

/// The last mail to the address of an account.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `Details::json` writes")]
pub(super) struct LastMail {
    kind: String,
    /// `waits`, `sent`, `refused` or `dropped`.
    #[schema(example = "sent")]
    state: String,
    /// How often it was tried, while it waits.
    #[schema(required)]
    failed_tries: Option<u32>,
    /// When it was written, if it waits; otherwise when it was sent, refused or dropped.
    #[schema(format = DateTime)]
    at: String,
    /// When it is tried again, if it waits.
    #[schema(required, format = DateTime)]
    next_try_at: Option<String>,
    /// What the mail server said of it last, as far as that is known.
    #[schema(required)]
    reason: Option<String>,
}
