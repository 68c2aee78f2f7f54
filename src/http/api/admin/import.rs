//! `/v1/admin/users/import`: accounts of another system, a line each.

use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::shown::RoleName;
use crate::flow::admin::import::lines::{Groups, Line};
use crate::flow::admin::import::{How, Import};
use crate::flow::client::Client;
use crate::http::api::caller::CalledBy;
use crate::http::body::streamed::{Incoming, MEDIA_TYPE, PATH};
use crate::http::endpoint::Eng;
use crate::http::rejection::Rejection;
use crate::http::request::query;
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Credential, Endpoint, Operation, Tag, Takes};
use crate::registry::api_key::Scope;

/// Lines of the answer that say what became of a line. Further ones are counted.
const REPORTS_MAX: usize = 1_000;

pub(super) const ENDPOINTS: &[Endpoint] = &[Endpoint::at(
    PATH,
    &[Operation::post("importUsers", "Takes accounts of another system", |to| to.to(post_import))
        .explained(
            "Each line is an account; all lines are at most a GiB. A line becomes an account as a whole or is refused, and an \
             account that is there is never changed, so a stream that was cut is sent again. One import is at work at a time. \
             Each line of the answer says what became of a line that gave no account: `{line, external_id, result: \"duplicate\", \
             field, account, earlier_line, same, moved, why}` or `{line, external_id, result: \"refused\", field, code, why}`, of \
             the first 1,000; `external_id` is the one that the line gives, or its id. The last one has the counts: `{created, \
             duplicates, same, moved, refused, not_shown}`. `same` counts users who are there from before, `moved` those who \
             are there with another address. Everybody is there if `duplicates` is `same` and `refused` is 0. If the hashes make \
             every log-in take longer, there are `log_in_kib: {before, after}`, its work as KiB that argon2id fills, and how long \
             it takes on this machine, `log_in_ms` and `log_ins_per_second`.",
        )
        .about(Tag::Administration)
        .by(Credential::Admin(Scope::AdminWrite))
        .query(Schema::of::<Query>())
        .takes(Takes::Lines(Schema::of::<ImportedUser>()))
        .answers(&[Answer::text("What became of the lines.", MEDIA_TYPE)])
        .refuses(&["import_running"])],
)];

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Query {
    /// Whether to judge every line and change nothing.
    #[serde(default)]
    dry_run: bool,
    /// Whether addresses count as proved where a line does not say.
    #[serde(default)]
    verified: bool,
}

/// A line of an import.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the flow reads")]
struct ImportedUser {
    /// The id in the other system. The bits of a UUID are kept where an id here can have them. What cannot be kept becomes the
    /// external id.
    id: Option<String>,
    /// The id that another program knows the account by.
    #[schema(max_length = 128)]
    external_id: Option<String>,
    #[schema(format = Email, example = "ada@example.org")]
    email: String,
    email_verified: Option<bool>,
    /// A hash in the form of PHC or MCF, or an object `firebase` or `keycloak` with the fields that these have.
    #[schema(value_type = Option<Value>)]
    password_hash: Option<Value>,
    #[schema(max_length = 100)]
    name: Option<String>,
    #[schema(value_type = Option<Vec<RoleName>>, max_items = 32)]
    roles: Option<Vec<String>>,
    #[schema(max_length = 35, example = "en-GB")]
    locale: Option<String>,
    /// `active` or `disabled`.
    status: Option<String>,
    #[schema(format = DateTime)]
    created_at: Option<String>,
    #[schema(value_type = Option<Object>)]
    user_metadata: Option<Value>,
    #[schema(value_type = Option<Object>)]
    app_metadata: Option<Value>,
}

async fn post_import(
    request: HttpRequest,
    engine: Eng,
    client: Client,
    caller: CalledBy,
    mut incoming: Incoming,
) -> Result<HttpResponse, Rejection> {
    let admin = caller.admin(&engine, &client, Scope::AdminWrite)?;
    let query: Query = query(&request, "The query accepts dry_run and verified.")?;
    let how = How { is_dry: query.dry_run, is_verified: query.verified };
    let mut groups = Groups::default();
    // Of another type nothing is read, and no import begins.
    let mut part = incoming.next(&engine).await?;
    let mut answer = Answered::default();
    let mut import = Import::begin(&engine, &admin, how).await?;
    while let Some(bytes) = part {
        groups.feed(&bytes);
        drop(bytes);
        while let Some(group) = groups.full() {
            answer.take(&mut import, group).await?;
        }
        part = incoming.next(&engine).await?;
    }
    groups.end();
    while let Some(group) = groups.rest() {
        answer.take(&mut import, group).await?;
    }
    let mut counts = import.finish().await?.json();
    if let Some(counts) = counts.as_object_mut() {
        counts.insert(String::from("not_shown"), answer.not_shown.into());
        counts.insert(String::from("dry_run"), query.dry_run.into());
    }
    let body = format!("{}{counts}\n", answer.lines);
    Ok(HttpResponse::Ok().content_type(MEDIA_TYPE).body(body))
}

/// The lines of the answer so far.
#[derive(Default)]
struct Answered {
    lines: String,
    shown: usize,
    not_shown: u64,
}

impl Answered {
    async fn take(&mut self, import: &mut Import, group: Vec<Line>) -> Result<(), Rejection> {
        for report in import.take(group).await? {
            if self.shown >= REPORTS_MAX {
                self.not_shown += 1;
                continue;
            }
            self.shown += 1;
            self.lines.push_str(&format!("{}\n", json!(report.json())));
        }
        Ok(())
    }
}
