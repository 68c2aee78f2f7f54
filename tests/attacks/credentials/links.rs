//! Every change against the links of an account that nobody has used yet: I find the invitation, or the link that proves
//! the address, in a mailbox, and follow it after the account was changed.
//!
//! The links of a sign-up, which is no account yet, are in `pre_hijack.rs`.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{NAME, NEXT, ROOT};
use crate::support::backup::restored;
use crate::support::{PASSWORD, TestServer, send};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Change {
    Nothing,
    InvitationUsed,
    AddressProved,
    FewerRoles,
    Disabled,
    DisabledAndEnabled,
    Deleted,
    SessionsRevoked,
    Restored,
}

/// Which of both links works after each change: the invitation, which sets the first password, and the one that proves the
/// address. The latter gets the same answer again for an hour, until a password is set.
const TABLE: [(Change, &str); 9] = [
    (Change::Nothing, "invitation verify"),
    (Change::InvitationUsed, "- -"),
    (Change::AddressProved, "invitation verify"),
    (Change::FewerRoles, "invitation verify"),
    (Change::Disabled, "- -"),
    (Change::DisabledAndEnabled, "- -"),
    (Change::Deleted, "- -"),
    (Change::SessionsRevoked, "- -"),
    (Change::Restored, "- -"),
];

/// Makes a change at the account under the path `user`, as the administrator `root` or by one of its links.
async fn make(
    server: TestServer,
    change: Change,
    user: &str,
    root: &str,
    [invitation, verify]: [&str; 2],
) -> TestServer {
    let status = async |to: &str| server.patch_as(user, root, json!({"status": to})).await.status;
    let done = match change {
        Change::Nothing => StatusCode::OK,
        Change::InvitationUsed => server.reset(invitation, PASSWORD).await.status,
        Change::AddressProved => server.verify(verify).await.status,
        Change::FewerRoles => server.patch_as(user, root, json!({"roles": []})).await.status,
        Change::Disabled => status("disabled").await,
        Change::DisabledAndEnabled => {
            assert_eq!(status("disabled").await, StatusCode::OK);
            status("active").await
        }
        Change::Deleted => send(server.request(Method::DELETE, user).bearer_auth(root)).await.status,
        Change::SessionsRevoked => {
            server.post_as(&format!("{user}/revoke_sessions"), root, json!({})).await.status
        }
        Change::Restored => return restored(server),
    };
    assert!(done.is_success(), "{change:?}: {done}");
    server
}

#[tokio::test]
async fn the_first_links_of_an_account_live_or_die_as_the_table_says() {
    for (change, expected) in TABLE {
        let server = TestServer::start();
        let root = server.operator_account(ROOT, &["admin"]).await;
        let new = json!({"email": NAME, "roles": ["staff"]});
        let made = server.post_as("/v1/admin/users", &root, new).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        let invitation = server.mailed(NAME, "Your account at").await;
        server.post("/v1/email/verify/resend", json!({"email": NAME})).await;
        let verify = server.mailed(NAME, "Confirm your address").await;
        let user = format!("/v1/admin/users/{}", made.text("id"));
        let server = make(server, change, &user, &root, [&invitation, &verify]).await;

        // A password that is too weak does not cost the invitation.
        let weak = server.reset(&invitation, "short").await.status;
        let proved = server.verify(&verify).await;
        let found = [
            if weak == StatusCode::UNPROCESSABLE_ENTITY { "invitation" } else { "-" },
            if proved.status.is_success() { "verify" } else { "-" },
        ];
        assert_eq!(found.join(" "), expected, "after {change:?}");
        if proved.status.is_success() {
            // It leads to the first password and logs nobody in.
            assert_eq!(proved.body["next"], json!("set_password"), "{change:?}: {}", proved.body);
            let set = server.reset(&proved.text("token"), NEXT).await;
            assert_eq!(set.status, StatusCode::NO_CONTENT, "{change:?}");
            let late = server.reset(&invitation, PASSWORD).await;
            assert_eq!(late.problem(), (400, "invalid_or_expired_token"), "{change:?}");
        }
    }
}
