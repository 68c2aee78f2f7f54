//! The API as a part of the embedding program's application.

use std::sync::Arc;

use actix_web::guard::fn_guard;
use actix_web::middleware::from_fn;
use actix_web::web;

use crate::engine::Engine;
use crate::http::configure;
use crate::http::endpoint::unknown_path;
use crate::http::middleware::wrap_request;
use crate::mail::template::PAGES;

/// Mounts the whole API below `prefix`, such as `/auth`, for `App::configure`. With an empty prefix it is at the root, and
/// answers every path that no service before it has.
///
/// Everything that protects the endpoints comes with it: the middleware, the limits of bodies, CORS for `http.allowed_origins`,
/// 404 and 405 as problems, the headers of every answer. The engine becomes application data, so that the extractors
/// ([`SignedIn`], [`HasRole`], [`Recent`]) work in every handler of the application. With two engines in one application, they
/// use the one that was mounted last, except in a scope that has [`data`] of the other one.
///
/// What it cannot do, since the listener is the program's: bound the connections of one network ([`connection_limit`] does),
/// the time that the head of a request may take (`HttpServer::client_request_timeout`), and what is read ahead; and refuse a
/// large body before a client that asks first (`Expect`) sends it. [`Server`] does all of that.
///
/// The pages that mailed links lead to below the public origin (`/verify`, `/reset`, `/unlock`, `/email-change`, `/email-undo`,
/// `/invitation`) are the program's, also below `prefix`: a route for `/auth/verify` is found wherever it stands.
///
/// It also has no socket of the operator: `portcullis user list`, `data backup` and the like do not reach the engine of a program.
/// [`Engine::accounts`] does what they do with accounts. Of the configuration it uses neither `http.listen` nor `[admin]` nor `[log]`:
/// what is worth a line goes to the subscriber of `tracing` that the program sets.
///
/// Say in `http.public_origin` which URL browsers reach it by, with the prefix, if a proxy does not take it away. Two engines need
/// two hosts for log-ins by cookie: a browser keeps one cookie of a name for a host.
///
/// [`SignedIn`]: crate::SignedIn
/// [`HasRole`]: crate::HasRole
/// [`Recent`]: crate::Recent
/// [`connection_limit`]: crate::actix::connection_limit
/// [`Server`]: crate::Server
pub fn mount(prefix: &str, engine: &Arc<Engine>) -> impl FnOnce(&mut web::ServiceConfig) + use<> {
    let data = data(engine);
    let prefix = normalised(prefix);
    move |config| {
        let scope = web::scope(&prefix).app_data(data.clone());
        // Its 404 would hide the pages of the program.
        let scope = scope.guard(fn_guard(move |asked| !is_page(&prefix, asked.head().uri.path())));
        config.app_data(data).service(scope.wrap(from_fn(wrap_request)).configure(configure));
    }
}

/// Answers the pages that mailed links lead to below `prefix`, where the program has none.
pub(super) fn mount_pages(prefix: &str, engine: &Arc<Engine>, config: &mut web::ServiceConfig) {
    for page in PAGES {
        let resource = web::resource(format!("{prefix}/{page}"));
        let resource = resource.app_data(data(engine)).wrap(from_fn(wrap_request));
        config.service(resource.default_service(web::to(unknown_path)));
    }
}

/// Says whether `path` is that of a page that mailed links lead to.
pub(super) fn is_page(prefix: &str, path: &str) -> bool {
    let below = path.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/'));
    below.is_some_and(|page| PAGES.contains(&page))
}

/// Returns the application data by which the extractors find `engine`, for `App::app_data` or the `app_data` of a scope.
pub fn data(engine: &Arc<Engine>) -> web::Data<Engine> {
    web::Data::from(Arc::clone(engine))
}

/// Returns `prefix` with a slash in front and none at the end; nothing for the root.
pub(super) fn normalised(prefix: &str) -> String {
    let path = prefix.trim_matches('/');
    if path.is_empty() { String::new() } else { format!("/{path}") }
}

#[cfg(test)]
mod tests {
    use super::normalised;

    #[test]
    fn a_prefix_has_one_slash_in_front() {
        for (prefix, expected) in
            [("", ""), ("/", ""), ("auth", "/auth"), ("/auth/", "/auth"), ("/a/b", "/a/b"), ("//", "")]
        {
            assert_eq!(normalised(prefix), expected, "{prefix}");
        }
    }
}
