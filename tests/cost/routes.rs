//! The list of endpoints, from the document that is drawn from the table of routes, so that a new endpoint cannot be forgotten.

use std::collections::BTreeSet;

use crate::support::conformance::document;

/// A method and the pattern of a path, such as `DELETE /v1/sessions/{id}`.
pub type Route = (String, String);

/// Returns every method and path that the API serves.
pub fn routes() -> BTreeSet<Route> {
    let paths = document()["paths"].as_object().unwrap();
    let routes = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))
    });
    routes.collect()
}
