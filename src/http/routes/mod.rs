//! The table of routes: what an endpoint is called, what it takes, and how it answers.
//!
//! Each file of `api/` has a part of the table beside its handlers. The endpoints that are served, the `Allow` header, the
//! figures of requests and the OpenAPI document are all drawn from it. An operation has its handler in the table, so neither
//! exists without the other.

pub(super) mod count;
pub(super) mod schema;

use std::sync::Arc;

use actix_web::http::Method as HttpMethod;
use actix_web::{HttpResponse, Route, web};

use self::schema::Schema;
use super::problem::Problem;
use super::rejection::Rejection;
use crate::registry::api_key::Scope;
use crate::registry::throttle::class::Class;

/// A path, and what can be done there.
pub(super) struct Endpoint {
    /// The pattern of the path.
    pub(super) path: &'static str,
    /// One for each method. HEAD is answered like GET.
    pub(super) operations: &'static [Operation],
}

impl Endpoint {
    pub(super) const fn at(path: &'static str, operations: &'static [Operation]) -> Self {
        Self { path, operations }
    }

    /// Says whether the endpoint has GET.
    pub(super) fn has_get(&self) -> bool {
        self.operations.iter().any(|operation| operation.method == Method::Get)
    }

    /// Returns the value of the `Allow` header.
    pub(super) fn allow(&self) -> String {
        let methods: Vec<_> = self.operations.iter().map(|operation| operation.method.name()).collect();
        methods.join(", ").replace("GET", "GET, HEAD")
    }
}

/// The method of an operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Method {
    Get,
    Post,
    Patch,
    Delete,
}

impl Method {
    /// Returns the name of the method, as in a request.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    const fn http(self) -> HttpMethod {
        match self {
            Self::Get => HttpMethod::GET,
            Self::Post => HttpMethod::POST,
            Self::Patch => HttpMethod::PATCH,
            Self::Delete => HttpMethod::DELETE,
        }
    }
}

/// What an operation is about: the chapters of the reference, in their order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Tag {
    SignUp,
    LogIn,
    Sessions,
    Account,
    Password,
    Email,
    ResourceServers,
    Administration,
    Operation,
    Reference,
}

impl Tag {
    /// Every tag, with its name and what is in it.
    pub(super) const ALL: [(Self, &'static str, &'static str); 10] = [
        (Self::SignUp, "Sign-up", "A new account, and the proof of its e-mail address."),
        (Self::LogIn, "Log-in", "From a password to tokens or a session cookie, and back."),
        (Self::Sessions, "Sessions", "This session, the others of the account, and its known devices."),
        (Self::Account, "Account", "The account that is signed in."),
        (Self::Password, "Password", "A forgotten password, a new one, a changed one, advice on one."),
        (Self::Email, "E-mail address", "A new e-mail address of an account."),
        (Self::ResourceServers, "Resource servers", "For programs that are given access tokens."),
        (Self::Administration, "Administration", "Accounts, keys, API keys and security events."),
        (Self::Operation, "Operation", "Health and figures, for machines."),
        (Self::Reference, "Reference", "This interface, explained."),
    ];

    /// Returns the name of the tag.
    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(tag, ..)| *tag == self).map_or("", |(_, name, _)| name)
    }
}

/// The credentials with which an operation is asked for.
#[derive(Clone, Copy)]
pub(super) enum Credential {
    /// None.
    Nobody,
    /// An access token, or a session cookie.
    Account,
    /// A session cookie.
    Cookie,
    /// Those of [`Credential::Account`], or none.
    AccountOrNobody,
    /// Those of an administrator, and no API key.
    AdminPerson,
    /// Those of an administrator, or an API key with this scope.
    Admin(Scope),
    /// Those of an account with one of these roles, or an API key with this scope.
    Service(&'static [&'static str], Scope),
}

/// The body that an operation takes.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    /// None, or an empty object.
    Nothing,
    /// A JSON object.
    Json(Schema),
    /// A JSON object that may be left out.
    OptionalJson(Schema),
    /// A JSON object, or a form.
    JsonOrForm(Schema, Schema),
    /// Lines, each a JSON object, of which there may be more than elsewhere.
    Lines(Schema),
}

/// A parameter of the path.
#[derive(Clone, Copy)]
pub(super) struct PathPart {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    pub(super) example: &'static str,
}

/// A successful answer.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// When it is given.
    pub(super) meaning: &'static str,
    /// The type of its body; `None` without a body.
    pub(super) media_type: Option<&'static str>,
    /// What the body may be; empty for a text that is no JSON.
    pub(super) schemas: &'static [Schema],
    /// Another type of the same body, that is given to who asks for it.
    pub(super) also: Option<&'static str>,
    /// Headers that it may have, beside those of every answer.
    pub(super) headers: &'static [&'static str],
}

impl Answer {
    /// An answer without a body.
    pub(super) const fn empty(meaning: &'static str) -> Self {
        Self { status: 204, meaning, media_type: None, schemas: &[], also: None, headers: &[] }
    }

    /// An answer with a JSON body that is one of `schemas`.
    pub(super) const fn json(status: u16, meaning: &'static str, schemas: &'static [Schema]) -> Self {
        Self { status, meaning, media_type: Some("application/json"), schemas, also: None, headers: &[] }
    }

    /// An answer with another body.
    pub(super) const fn text(meaning: &'static str, media_type: &'static str) -> Self {
        Self { status: 200, meaning, media_type: Some(media_type), schemas: &[], also: None, headers: &[] }
    }

    /// Adds a type of body that is given to who asks for it.
    pub(super) const fn or_as(mut self, media_type: &'static str) -> Self {
        self.also = Some(media_type);
        self
    }

    /// Adds headers that the answer may have.
    pub(super) const fn with(mut self, headers: &'static [&'static str]) -> Self {
        self.headers = headers;
        self
    }
}

/// What can be done at an endpoint by one method.
#[derive(Clone, Copy)]
pub(super) struct Operation {
    pub(super) method: Method,
    /// A verb and a noun; never changed, since generated clients name a function so.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    /// What a caller must know beside the summary, in Markdown.
    pub(super) description: &'static str,
    pub(super) tag: Tag,
    pub(super) credential: Credential,
    /// Whether an API key is taken as the password of HTTP Basic too.
    pub(super) basic: bool,
    /// Whether the user must have proved who they are within the last 15 minutes.
    pub(super) fresh: bool,
    pub(super) path_parts: &'static [PathPart],
    /// An object whose members are the parameters of the query.
    pub(super) query: Option<Schema>,
    /// Headers of the request that mean something here alone.
    pub(super) request_headers: &'static [&'static str],
    pub(super) body: Takes,
    /// The limit that a request is charged to.
    pub(super) charged: Option<Class>,
    pub(super) answers: &'static [Answer],
    /// The codes of its own problems.
    pub(super) refusals: &'static [&'static str],
    /// Whether it asks nobody, so that it is answered whatever state the server is in.
    pub(super) is_constant: bool,
    handler: fn(Route) -> Route,
}

impl Operation {
    const fn new(
        method: Method,
        id: &'static str,
        summary: &'static str,
        handler: fn(Route) -> Route,
    ) -> Self {
        Self {
            method,
            id,
            summary,
            description: "",
            tag: Tag::Operation,
            credential: Credential::Nobody,
            basic: false,
            fresh: false,
            path_parts: &[],
            query: None,
            request_headers: &[],
            body: Takes::Nothing,
            charged: None,
            answers: &[],
            refusals: &[],
            is_constant: false,
            handler,
        }
    }

    pub(super) const fn get(id: &'static str, summary: &'static str, handler: fn(Route) -> Route) -> Self {
        Self::new(Method::Get, id, summary, handler)
    }

    pub(super) const fn post(id: &'static str, summary: &'static str, handler: fn(Route) -> Route) -> Self {
        Self::new(Method::Post, id, summary, handler)
    }

    pub(super) const fn patch(id: &'static str, summary: &'static str, handler: fn(Route) -> Route) -> Self {
        Self::new(Method::Patch, id, summary, handler)
    }

    pub(super) const fn delete(id: &'static str, summary: &'static str, handler: fn(Route) -> Route) -> Self {
        Self::new(Method::Delete, id, summary, handler)
    }

    /// Says what a caller must know beside the summary.
    pub(super) const fn explained(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// Puts the operation into a chapter.
    pub(super) const fn about(mut self, tag: Tag) -> Self {
        self.tag = tag;
        self
    }

    /// Names the credentials with which the operation is asked for.
    pub(super) const fn by(mut self, credential: Credential) -> Self {
        self.fresh = matches!(credential, Credential::Admin(Scope::AdminWrite));
        self.credential = credential;
        self
    }

    /// Takes an API key as the password of HTTP Basic too.
    pub(super) const fn or_basic(mut self) -> Self {
        self.basic = true;
        self
    }

    /// Asks for a proof of the last 15 minutes.
    pub(super) const fn fresh(mut self) -> Self {
        self.fresh = true;
        self
    }

    /// Names the parameters of the path.
    pub(super) const fn path(mut self, parts: &'static [PathPart]) -> Self {
        self.path_parts = parts;
        self
    }

    /// Names the parameters of the query: the members of an object.
    pub(super) const fn query(mut self, members: Schema) -> Self {
        self.query = Some(members);
        self
    }

    /// Names the headers of the request that mean something here alone.
    pub(super) const fn reads(mut self, headers: &'static [&'static str]) -> Self {
        self.request_headers = headers;
        self
    }

    /// Takes a body.
    pub(super) const fn takes(mut self, body: Takes) -> Self {
        self.body = body;
        self
    }

    /// Charges a request to the limit of its network.
    pub(super) const fn charged(mut self, class: Class) -> Self {
        self.charged = Some(class);
        self
    }

    /// Answers so.
    pub(super) const fn answers(mut self, answers: &'static [Answer]) -> Self {
        self.answers = answers;
        self
    }

    /// Refuses with these codes, beside those that follow from its credentials and its body.
    pub(super) const fn refuses(mut self, codes: &'static [&'static str]) -> Self {
        self.refusals = codes;
        self
    }

    /// Asks nobody: the operation is answered whatever state the server is in.
    pub(super) const fn constant(mut self) -> Self {
        self.is_constant = true;
        self
    }

    /// Returns the same operation by POST.
    pub(super) const fn by_post(mut self, id: &'static str) -> Self {
        self.method = Method::Post;
        self.id = id;
        self
    }

    /// Returns the same operation with another handler.
    pub(super) const fn served_by(mut self, handler: fn(Route) -> Route) -> Self {
        self.handler = handler;
        self
    }

    /// Says whether the method may change something.
    pub(super) const fn is_unsafe(&self) -> bool {
        !matches!(self.method, Method::Get)
    }

    /// Returns the codes of all problems that answer the operation, each once.
    pub(super) fn problems(&self) -> Vec<&'static str> {
        let mut codes = vec![
            "malformed_request",
            "request_timeout",
            "payload_too_large",
            "request_header_fields_too_large",
            "internal_error",
        ];
        if self.is_unsafe() {
            codes.extend(["malformed_json", "unsupported_media_type", "unprocessable", "server_busy"]);
        } else {
            codes.push("unexpected_body");
        }
        if self.query.is_some() {
            codes.push("unprocessable");
        }
        if !self.is_constant {
            codes.extend(["server_busy", "storage_full"]);
        }
        let is_person = !matches!(self.credential, Credential::Nobody);
        if is_person {
            codes.extend([
                "ambiguous_credentials",
                "unauthenticated",
                "too_many_requests",
                "insufficient_scope",
            ]);
            if self.is_unsafe() {
                codes.extend(["csrf_rejected", "cookie_needs_same_site"]);
            }
        }
        match self.credential {
            Credential::Admin(_) | Credential::AdminPerson => {
                codes.extend(["insufficient_role", "wrong_audience"]);
                if self.is_unsafe() {
                    codes.extend(["audit_unavailable", "not_recorded"]);
                }
            }
            Credential::Service(..) => codes.push("insufficient_role"),
            _ => {}
        }
        if self.fresh {
            codes.push("step_up_required");
        }
        // What cannot be read is charged to the network, so that garbage is no way around its limits.
        if self.charged.is_some() {
            codes.push("too_many_requests");
        }
        codes.extend(self.refusals);
        codes.sort_unstable();
        codes.dedup();
        codes
    }
}

/// The paths that are asked for most, the most frequent first.
const FREQUENT: [&str; 6] =
    ["/v1/session", "/v1/refresh", "/v1/me", "/v1/login", "/v1/introspect", "/healthz"];

/// Returns where the router looks for an endpoint. It compares a request with one path after the other, and a path with a
/// parameter takes it many times as long as one without.
fn place(endpoint: &Endpoint) -> (bool, usize) {
    let frequent = FREQUENT.iter().position(|path| *path == endpoint.path);
    (endpoint.path.contains('{'), frequent.unwrap_or(FREQUENT.len()))
}

/// Serves `endpoints`. Other methods than theirs are answered with 405. The middleware turns HEAD into GET.
pub(super) fn serve<'a>(config: &mut web::ServiceConfig, endpoints: impl IntoIterator<Item = &'a Endpoint>) {
    let mut endpoints: Vec<&Endpoint> = endpoints.into_iter().collect();
    endpoints.sort_by_key(|endpoint| place(endpoint));
    for endpoint in endpoints {
        let allow: Arc<str> = endpoint.allow().into();
        let mut resource = web::resource(endpoint.path).name(endpoint.path);
        for operation in endpoint.operations {
            resource = resource.route((operation.handler)(web::method(operation.method.http())));
        }
        config.service(resource.default_service(web::to(move || {
            let allow = Arc::clone(&allow);
            async move {
                let detail = format!("This endpoint accepts {allow} only.");
                let problem = Problem::new(405, "method_not_allowed", detail).with_allow(allow);
                Err::<HttpResponse, _>(Rejection::from(problem))
            }
        })));
    }
}

/// Endpoints that machines ask again and again, whoever else is there.
pub(super) const PROBES: [&str; 3] = ["/healthz", "/metrics", "/readyz"];

/// Says whether a request to `path` is a probe of a machine, which says nothing about clients.
pub(super) fn is_probe(path: &str) -> bool {
    PROBES.contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::reference::endpoints;

    #[test]
    fn the_router_looks_for_frequent_paths_first_and_for_those_with_parameters_last() {
        let mut all: Vec<&Endpoint> = endpoints().collect();
        all.sort_by_key(|endpoint| place(endpoint));
        let paths: Vec<&str> = all.iter().map(|endpoint| endpoint.path).collect();
        assert_eq!(paths[..FREQUENT.len()], FREQUENT);
        assert!(paths.iter().map(|path| path.contains('{')).is_sorted());
    }
}
