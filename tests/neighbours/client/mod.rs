//! The client that `portcullis sdk ts` prints: in Node, in eight tabs of Chromium, and under the compiler of TypeScript. So is the
//! code of its pages: they are run or compiled as they stand.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::json;
use tempfile::TempDir;

use super::install::{
    CHROMIUM, NODE, Need, PLAYWRIGHT, PLUGIN_REACT, REACT, REACT_DOM, TYPES_OF_REACT, TYPESCRIPT, VITE,
    installed, node_folder, script,
};
use super::program::{Program, free_port, output, wait_until};
use super::server::Server;
use super::support::PASSWORD;
use super::support::process::BINARY;

const NAME: &str = "ada@near.test";

/// Returns a folder with the printed client beside `file` of the folder of these tests.
fn folder(file: &str) -> TempDir {
    let folder = node_folder(&script("client").join(file));
    std::fs::write(folder.path().join("package.json"), r#"{"type": "module"}"#).unwrap();
    print_client(folder.path());
    folder
}

fn print_client(dir: &Path) {
    output(Command::new(BINARY).args(["sdk", "ts", "--out"]).arg(dir));
}

/// A server that answers pages of `pages`, and where its figures are.
fn server(pages: &str, ttl: &str) -> (Server, String) {
    let figures = format!("127.0.0.1:{}", free_port());
    let server = Server::with(&[
        ("admin.listen", &figures),
        ("http.allowed_origins", pages),
        ("token.access_ttl_secs", ttl),
        ("refresh.grace_secs", "10"),
    ]);
    (server, format!("http://{figures}"))
}

/// Runs `file` with `options` to its end.
fn runs(folder: &TempDir, file: &str, options: &serde_json::Value) {
    let mut node = Command::new("node");
    node.current_dir(folder).arg(file).arg(options.to_string()).env("HOME", folder.path());
    let mut node = Program::start(node, &folder.path().join("said"));
    assert!(node.ends().success(), "{options}: {}", node.said());
}

/// Runs one fact of `node.mjs`, with access tokens that live for `ttl` seconds.
fn holds_in_node(fact: &str, ttl: &str) {
    if !installed(&[NODE]) {
        return;
    }
    let (server, figures) = server("", ttl);
    server.sign_up(NAME).is(201);
    let options = json!({
        "fact": fact, "url": server.url(), "figures": figures, "email": NAME, "password": PASSWORD,
    });
    runs(&folder("node.mjs"), "node.mjs", &options);
}

/// Runs one fact of `tabs.mjs` in a browser that lacks the parts of the platform that are named.
fn holds_in_tabs(fact: &str, ttl: &str, lacks: &str) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    if !installed(&[CHROMIUM, PLAYWRIGHT]) {
        return;
    }
    // Eight tabs are as many as a small machine shows in the life of a token. Who fails poisons nobody else.
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let pages = format!("http://127.0.0.1:{}", free_port());
    let (server, figures) = server(&pages, ttl);
    server.sign_up(NAME).is(201);
    let options = json!({
        "fact": fact, "url": server.url(), "figures": figures, "pages": pages, "lacks": lacks,
        "email": NAME, "password": PASSWORD,
    });
    runs(&folder("tabs.mjs"), "tabs.mjs", &options);
}

/// Declares a test for each fact of `node.mjs`, with the life of access tokens in seconds.
macro_rules! in_node {
    ($($fact:ident: $ttl:literal,)+) => {
        mod in_node {
            $(#[test]
            fn $fact() {
                super::holds_in_node(stringify!($fact), stringify!($ttl));
            })+
        }
    };
}

in_node! {
    one_refresh_is_shared: 60,
    a_late_refusal_of_the_token_of_before_renews_nothing: 2,
    a_lost_answer_is_asked_for_again: 60,
    without_a_network_the_session_stays: 60,
    refusals_are_problems_with_types: 60,
    a_call_that_is_given_up_leaves_the_refresh_to_the_others: 60,
    a_device_is_remembered_over_log_outs: 60,
    a_session_that_was_ended_elsewhere_is_over_here: 60,
    a_new_password_goes_on_with_the_new_pair: 60,
    somebody_else_takes_over_no_request: 60,
    a_store_that_fails_loses_no_session: 60,
    a_store_that_cannot_be_read_ends_no_session: 60,
    a_page_with_a_cookie_keeps_its_csrf_token: 60,
    the_end_of_a_cookie_is_heard_of_with_the_next_request: 60,
    nothing_is_done_for_somebody_else_until_the_program_has_asked: 60,
    a_page_that_is_not_told_of_somebody_else_shows_nothing_of_theirs: 60,
    a_cookie_that_is_late_ends_no_session: 60,
    a_save_while_another_tab_replaces_the_cookie_twice_is_done: 60,
    clients_with_stores_of_their_own_are_apart: 60,
    a_log_in_beside_is_heard_of: 60,
    a_part_of_a_path_leads_to_no_other_operation: 60,
    a_redirect_gets_no_password: 60,
}

#[test]
fn the_half_of_a_sign_up_is_sent_again_for_a_while() {
    if !installed(&[NODE]) {
        return;
    }
    let server = Server::with(&[("signup.verify_email", "required")]);
    let options = json!({
        "fact": "the_half_of_a_sign_up_is_sent_again_for_a_while", "url": server.url(),
        "outbox": server.data().join("outbox"), "password": PASSWORD,
    });
    runs(&folder("node.mjs"), "node.mjs", &options);
}

#[test]
fn eight_tabs_share_one_refresh() {
    for lacks in ["", "locks", "channel"] {
        holds_in_tabs("one_refresh_is_shared", "60", lacks);
    }
}

#[test]
fn eight_tabs_share_one_refresh_after_the_server_has_refused_their_token() {
    for lacks in ["", "locks"] {
        holds_in_tabs("one_refresh_is_shared_after_a_refusal", "15", lacks);
    }
}

#[test]
fn a_tab_that_is_killed_in_the_middle_of_a_refresh_loses_no_session() {
    for lacks in ["", "locks", "locks,channel"] {
        holds_in_tabs("a_tab_that_is_killed_loses_no_session", "60", lacks);
    }
}

#[test]
fn a_log_out_in_one_tab_is_one_in_all() {
    for lacks in ["", "locks,channel"] {
        holds_in_tabs("a_log_out_is_everywhere", "60", lacks);
    }
}

#[test]
fn a_tab_writes_nothing_for_somebody_who_logs_in_in_another_one() {
    for lacks in ["", "locks,channel"] {
        holds_in_tabs("somebody_else_is_never_written_to", "60", lacks);
    }
}

#[test]
fn a_late_cookie_of_one_tab_ends_no_session_in_the_others() {
    for lacks in ["", "locks,channel"] {
        holds_in_tabs("a_late_cookie_ends_no_session", "60", lacks);
    }
}

#[test]
fn a_page_with_a_store_is_signed_in_after_a_reload_and_stores_no_access_token() {
    holds_in_tabs("a_reload_needs_no_password", "60", "");
}

/// Returns the files in the code of a page: each begins with a comment that names it, and code without one goes on with the
/// file before.
fn files_of(page: &str) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut name = String::new();
    for block in page.split("\n```").skip(1).step_by(2) {
        let (language, code) = block.split_once('\n').unwrap();
        if !["js", "ts", "tsx"].contains(&language) {
            continue;
        }
        let code = match code.strip_prefix("// ").and_then(|rest| rest.split_once('\n')) {
            Some((named, code)) if !named.contains(' ') => {
                named.clone_into(&mut name);
                code
            }
            _ => code,
        };
        *files.entry(name.clone()).or_default() += &format!("{code}\n");
    }
    files
}

fn write_files(dir: &Path, files: &BTreeMap<String, String>) {
    for (name, code) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, code).unwrap();
    }
}

/// Compiles `files` of a folder as strictly as the compiler can.
fn compiles(folder: &Path, files: &[&str]) {
    let mut compiler = Command::new("node");
    compiler.current_dir(folder).arg("node_modules/typescript/bin/tsc").args(["--noEmit", "--strict"]);
    compiler.args(["--noUnusedLocals", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes"]);
    compiler.args(["--module", "esnext", "--moduleResolution", "bundler", "--target", "es2022"]);
    compiler.args(["--lib", "es2022,dom,dom.iterable", "--jsx", "react-jsx"]).args(files);
    output(&mut compiler);
}

#[test]
fn the_types_compile_and_refuse_mistakes() {
    if !installed(&[TYPESCRIPT]) {
        return;
    }
    compiles(folder("uses.ts").path(), &["uses.ts", "portcullis.d.ts"]);
}

/// What the page for phones uses of others.
const PHONE: &str = r#"
declare module "expo-secure-store" {
  export function getItemAsync(key: string): Promise<string | null>;
  export function setItemAsync(key: string, value: string): Promise<void>;
  export function deleteItemAsync(key: string): Promise<void>;
}
declare module "react-native" {
  export const Linking: {
    getInitialURL(): Promise<string | null>;
    addEventListener(type: "url", listener: (event: { url: string }) => void): { remove(): void };
  };
}
"#;

#[test]
fn the_code_of_the_page_for_phones_compiles() {
    if !installed(&[TYPESCRIPT]) {
        return;
    }
    let folder = folder("uses.ts");
    let files = files_of(include_str!("../../../src/http/reference/sdk/mobile.md"));
    write_files(folder.path(), &files);
    std::fs::write(folder.path().join("phone.d.ts"), PHONE).unwrap();
    assert!(files.len() > 3, "{files:?}");
    let names: Vec<_> = files.keys().map(String::as_str).chain(["phone.d.ts"]).collect();
    compiles(folder.path(), &names);
}

#[test]
fn the_code_of_the_page_in_plain_fetch_goes_through_a_whole_log_in() {
    if !installed(&[CHROMIUM, PLAYWRIGHT]) {
        return;
    }
    let folder = folder("pages.mjs");
    write_files(folder.path(), &files_of(include_str!("../../../src/http/reference/sdk/plain_fetch.md")));
    let origin = format!("http://127.0.0.1:{}", free_port());
    let server = Server::with(&[("http.public_origin", &origin), ("signup.verify_email", "required")]);
    let options = json!({
        "fact": "plain_fetch", "url": server.url(), "origin": origin, "outbox": server.data().join("outbox"),
        "email": NAME, "password": PASSWORD,
    });
    runs(&folder, "pages.mjs", &options);
}

/// Everything that the page for React needs.
const FOR_REACT: [Need; 8] =
    [CHROMIUM, PLAYWRIGHT, TYPESCRIPT, REACT, REACT_DOM, TYPES_OF_REACT, VITE, PLUGIN_REACT];

#[test]
fn the_code_of_the_page_for_react_compiles_and_runs_behind_the_proxy_of_vite() {
    if !installed(&FOR_REACT) {
        return;
    }
    let folder = folder("pages.mjs");
    let port = free_port();
    let origin = format!("http://localhost:{port}");
    let server = Server::with(&[("http.public_origin", &origin)]);
    server.sign_up(NAME).is(201);
    let mut files = files_of(include_str!("../../../src/http/reference/sdk/react.md"));
    let config = files.get_mut("vite.config.js").unwrap();
    *config = config.replace("5173", &port.to_string()).replace("http://127.0.0.1:8080", server.url());
    write_files(folder.path(), &files);
    print_client(&folder.path().join("src"));
    compiles(folder.path(), &["src/main.tsx"]);

    let root = "<!doctype html><div id=root></div><script type=module src=/src/main.tsx></script>";
    std::fs::write(folder.path().join("index.html"), root).unwrap();
    let mut vite = Command::new("node");
    vite.current_dir(&folder).arg("node_modules/vite/bin/vite.js").args(["--host", "localhost"]);
    let vite = Program::start(vite, &folder.path().join("vite"));
    wait_until("Vite is ready", || vite.said().contains("ready in"));
    let options = json!({"fact": "react", "origin": origin, "email": NAME, "password": PASSWORD});
    runs(&folder, "pages.mjs", &options);
}
