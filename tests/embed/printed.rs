//! What a program may print or must name: nothing secret in `Debug`, no type of a crate that it does not have.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use portcullis::testing::TestEngine;
use portcullis::{Client, Config, MailKind, Mode, NewAccount, Server, flow};

use crate::support::PASSWORD;

#[tokio::test]
async fn nothing_public_prints_a_hash_a_token_or_an_address() {
    let auth = TestEngine::start().await.unwrap();
    let new = || NewAccount::new("ada@example.org").password(PASSWORD).role("editor").verified();
    let ada = auth.accounts().create(new()).await.unwrap();
    let client = Client::new(IpAddr::V4(Ipv4Addr::LOCALHOST), "test");
    let tokens = flow::issue(&auth, ada.id(), &client, Mode::tokens(), "test").await.unwrap();
    let cookie = flow::issue(&auth, ada.id(), &client, Mode::cookie(), "test").await.unwrap();
    auth.accounts().send_reset(ada.id()).await.unwrap();
    let mail = auth.mail("ada@example.org", MailKind::Reset).await.unwrap();
    let taken = auth.accounts().create(new()).await.unwrap_err();
    let no_address = auth.accounts().find("ada@example.org@").await.unwrap_err();
    let credentials = auth.log_in_with_cookie(ada.id()).await.unwrap();
    let identity = identity_of(&auth, &credentials).await;
    let printed = [
        format!("{new:?}", new = new()),
        format!("{ada:?}"),
        format!("{tokens:?}"),
        format!("{cookie:?}"),
        format!("{mail:?}"),
        format!("{taken:?} {taken}"),
        format!("{no_address:?} {no_address}"),
        format!("{credentials:?}"),
        identity,
        format!("{auth:?}"),
        format!("{:?}", Mode::Cookie { remember: true, replaces: Some("pcs_x") }),
        format!("{:?}", auth.accounts()),
        format!("{:?}", Server::builder(Config::builder().build().unwrap())),
    ];
    let secrets = ["ada@", "example.org", "$argon2", "pcm_", "pcr_", "pcs_", "eyJ", PASSWORD];
    for text in printed {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        // A digest: many bytes as numbers.
        assert!(text.matches(", ").count() < 12, "{text}");
    }
}

async fn identity_of(auth: &TestEngine, credentials: &portcullis::testing::Credentials) -> String {
    use actix_web::test::{TestRequest, call_and_read_body, init_service};
    use actix_web::{App, web};
    let print =
        async |who: portcullis::SignedIn,
               maybe: portcullis::MaybeSignedIn,
               recent: portcullis::Recent<60>| { format!("{who:?} {maybe:?} {recent:?} {:?}", *who) };
    let app = App::new().configure(portcullis::actix::mount("/auth", auth)).route("/", web::get().to(print));
    let app = init_service(app).await;
    let request = credentials.on(TestRequest::get().uri("/")).to_request();
    String::from_utf8(call_and_read_body(&app, request).await.to_vec()).unwrap()
}

/// The files whose public functions a program calls.
const PUBLIC: [&str; 12] = [
    "src/config/builder.rs",
    "src/flow/admin/facade.rs",
    "src/flow/grant/issue.rs",
    "src/http/connection/limit.rs",
    "src/http/embed/extract.rs",
    "src/http/embed/mount.rs",
    "src/mail/deliver.rs",
    "src/resource_server/mod.rs",
    "src/server/embed/embedded.rs",
    "src/server/embed/server_builder.rs",
    "src/server/embed/testing.rs",
    "src/system/fail_stop.rs",
];

/// Parts of names that are no names of ours, of the standard library or of actix-web.
const FOREIGN: [&str; 15] = [
    "serde_json",
    "serde::",
    "tokio::",
    "oneshot",
    "Zeroizing",
    "SecretString",
    "parking_lot",
    "IpNet",
    "lettre",
    "reqwest",
    "jsonwebtoken",
    "OffsetDateTime",
    "Addr<",
    "Sealed",
    "AccountV",
];

/// A program has actix-web, and perhaps none of the other crates, or another version of one.
#[test]
fn no_public_signature_names_a_type_of_another_crate_than_actix_web() {
    let mut signatures = 0;
    for file in PUBLIC {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for (at, _) in code.match_indices("    pub ").chain(code.match_indices("\npub ")) {
            let signature = code[at..].split(" {\n").next().unwrap();
            let hidden = code[..at].trim_end().ends_with("#[doc(hidden)]");
            if hidden || !signature.contains("fn ") || signature.contains("struct ") {
                continue;
            }
            signatures += 1;
            let names = |foreign: &&&str| signature.contains(**foreign);
            assert_eq!(FOREIGN.iter().find(names), None, "{file}: {signature}");
        }
    }
    assert!(signatures > 60, "{signatures}");
}
