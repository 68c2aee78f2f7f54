//! The list of endpoints, read from the route table in `src/http/api`, so that a new endpoint cannot be forgotten.

use std::collections::BTreeSet;
use std::path::Path;

/// A method and the pattern of a path, such as `DELETE /v1/sessions/{id}`.
pub type Route = (String, String);

/// Returns every method and path that the API serves.
pub fn routes() -> BTreeSet<Route> {
    let mut routes = BTreeSet::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/api"), &mut routes);
    assert!(routes.len() > 30, "only {} endpoints were found", routes.len());
    routes
}

fn read(path: &Path, routes: &mut BTreeSet<Route>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            read(&entry.unwrap().path(), routes);
        }
        return;
    }
    let text = std::fs::read_to_string(path).unwrap();
    for call in text.split("resource(").skip(1) {
        // `resource("/v1/me", "GET, DELETE")`, perhaps over several lines.
        let mut quoted = call.split('"').skip(1).step_by(2);
        let (Some(path), Some(methods)) = (quoted.next(), quoted.next()) else { continue };
        if path.starts_with('/') {
            routes.extend(methods.split(", ").map(|method| (method.to_owned(), path.to_owned())));
        }
    }
}
