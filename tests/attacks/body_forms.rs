//! Another form of the same request: I send an array where the API says an object, or an object where it says a name. A
//! proxy or a log in front looks for the members of an object, and sees none.
//!
//! Bounds: every endpoint that takes a body reads an object of the types that the contract says, and nothing else.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, TestServer, send};

const NAME: &str = "ada@test.org";
const ROOT: &str = "root@test.org";

async fn ask(server: &TestServer, method: &Method, path: &str, access: Option<&str>, body: &Value) -> Answer {
    let request = server.request(method.clone(), path).json(body);
    send(match access {
        Some(access) => request.bearer_auth(access),
        None => request,
    })
    .await
}

/// Asserts that `answer` refuses the field at `pointer`, and returns what it says about it.
fn refused(answer: &Answer, pointer: &str, what: &str) -> String {
    assert_eq!(answer.problem(), (422, "unprocessable"), "{what}: {}", answer.body);
    assert_eq!(answer.body["errors"][0]["pointer"], json!(pointer), "{what}: {}", answer.body);
    answer.body["errors"][0]["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_body_is_read_in_no_form_but_that_of_the_contract() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    server.account(NAME).await;
    let (access, refresh) = server.tokens(NAME).await;
    let (post, patch, delete) = (Method::POST, Method::PATCH, Method::DELETE);
    let nobody = None;
    let (ada, admin) = (Some(access.as_str()), Some(root.as_str()));
    // The values of each type in the order of its fields.
    for (method, path, who, values) in [
        (&post, "/v1/signup", nobody, json!(["eve@test.org", PASSWORD, null, "token"])),
        (&post, "/v1/login", nobody, json!([NAME, PASSWORD, "token", false, "app"])),
        (&post, "/v1/login", nobody, json!([NAME, PASSWORD])),
        (&post, "/v1/refresh", nobody, json!([refresh])),
        (&post, "/v1/reauthenticate", ada, json!([PASSWORD])),
        (&post, "/v1/logout", nobody, json!(["local", refresh])),
        (&post, "/v1/logout", ada, json!(["all", null])),
        (&delete, "/v1/sessions/00", ada, json!([])),
        (&patch, "/v1/me", ada, json!([false])),
        (&delete, "/v1/me", ada, json!([PASSWORD])),
        (&post, "/v1/password/forgot", nobody, json!([NAME])),
        (&post, "/v1/password/reset", nobody, json!(["token", PASSWORD])),
        (&post, "/v1/password/change", ada, json!([PASSWORD, PASSWORD])),
        (&post, "/v1/password/check", nobody, json!([PASSWORD, NAME])),
        (&post, "/v1/email/verify", nobody, json!(["token", null])),
        (&post, "/v1/email/verify/resend", nobody, json!([NAME, null])),
        (&post, "/v1/email/change", ada, json!(["eve@test.org", PASSWORD])),
        (&post, "/v1/email/change/confirm", nobody, json!(["token", NAME, null])),
        (&post, "/v1/email/change/undo", nobody, json!(["token", NAME, null])),
        (&post, "/v1/unlock", nobody, json!(["token"])),
        (&post, "/v1/introspect", admin, json!([access])),
        (&post, "/v1/admin/users", admin, json!(["eve@test.org", PASSWORD, ["admin"], true])),
        (&patch, "/v1/admin/users/00", admin, json!([["admin"], null, null])),
        (&delete, "/v1/admin/users/00", admin, json!([])),
        (&post, "/v1/admin/users/00/unlock", admin, json!([])),
        (&post, "/v1/admin/keys/rotate", admin, json!([null])),
        (&post, "/v1/admin/keys/00/retire", admin, json!([])),
        (&post, "/v1/admin/api_keys", admin, json!(["service", ["metrics"], null])),
        (&delete, "/v1/admin/api_keys/00", admin, json!([])),
    ] {
        for form in [values, json!(null), json!("x"), json!(7)] {
            let what = format!("{method} {path} {form}");
            let said = refused(&ask(&server, method, path, who, &form).await, "", &what);
            assert_eq!(said, "the body takes an object", "{what}");
        }
    }
    // None of them was done.
    assert_eq!(server.get_as("/v1/me", &access).await.status.as_u16(), 200);
    assert_eq!(server.refresh(&refresh).await.status.as_u16(), 200);
    let users = server.get_as("/v1/admin/users", &root).await;
    assert_eq!(users.body["items"].as_array().unwrap().len(), 2, "{}", users.body);
}

#[tokio::test]
async fn a_name_is_a_text_and_the_answer_says_which_there_are() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    let users = server.get_as("/v1/admin/users", &root).await;
    let user = format!("/v1/admin/users/{}", users.body["items"][0]["id"].as_str().unwrap());
    let log_in = json!({"email": ROOT, "password": PASSWORD});
    for (method, path, body, field, first, names) in [
        (Method::POST, "/v1/login", &log_in, "mode", "token", "`token` or `cookie`"),
        (Method::POST, "/v1/login", &log_in, "audience", "app", "`app` or `admin`"),
        (Method::POST, "/v1/signup", &log_in, "mode", "token", "`token` or `cookie`"),
        (Method::POST, "/v1/logout", &json!({}), "scope", "local", "one of `local`, `others`, `global`"),
        (Method::PATCH, user.as_str(), &json!({}), "status", "active", "`active` or `disabled`"),
    ] {
        let access = (method == Method::PATCH).then_some(root.as_str());
        let pointer = format!("/{field}");
        let of_first = json!({first: null});
        for form in
            [of_first, json!([first]), json!(["x"]), json!(0), json!(true), json!("other"), json!(null)]
        {
            // A field that may be missing may be null.
            if form.is_null() && field == "status" {
                continue;
            }
            let mut sent = body.clone();
            sent[field] = form;
            let what = format!("{path} {sent}");
            let said = refused(&ask(&server, &method, path, access, &sent).await, &pointer, &what);
            assert_eq!(said, format!("this field takes {names}"), "{what}");
        }
        if path == "/v1/login" {
            let mut sent = body.clone();
            sent[field] = json!(first);
            assert_eq!(ask(&server, &method, path, access, &sent).await.status.as_u16(), 200, "{field}");
        }
    }
    // A query has no other forms: its values are texts.
    for query in ["status[disabled]=", "status=%7B%22disabled%22%3Anull%7D", "status=disabled&status=active"]
    {
        let answer = server.get_as(&format!("/v1/admin/users?{query}"), &root).await;
        assert_eq!(answer.problem(), (422, "unprocessable"), "{query}");
    }
}
