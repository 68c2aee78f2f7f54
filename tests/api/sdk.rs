//! The printed client of `portcullis sdk ts`. `tests/neighbours/client` runs it.

use std::process::Command;

use portcullis::http::sdk::{module, types};

use crate::support::conformance::document;
use crate::support::process::{BINARY, Ran};

/// The parts of the module that are written by hand, and are in it as they stand.
const BY_HAND: [(&str, &str); 2] = [
    ("tabs.js", include_str!("../../src/http/reference/sdk/tabs.js")),
    ("client.js", include_str!("../../src/http/reference/sdk/client.js")),
];

#[test]
fn the_module_is_the_reviewed_one() {
    let mut module = module().replace(env!("CARGO_PKG_VERSION"), "[version]");
    for (name, text) in BY_HAND {
        assert!(module.contains(text), "{name}");
        module = module.replace(text, &format!("[{name}]\n"));
    }
    insta::assert_snapshot!("sdk_module", module);
    insta::assert_snapshot!("sdk_types", types());
}

#[test]
fn every_operation_of_the_document_is_a_method_of_the_module_and_of_its_types() {
    let (module, types) = (module(), types());
    let mut operations = 0;
    for (path, item) in document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            let (method, types_row) = (method.to_uppercase(), format!("\n  {id}("));
            let row = format!("  {id}: {{ id: \"{id}\", method: \"{method}\", path: \"{path}\",");
            assert!(module.contains(&row), "{row}");
            assert!(types.contains(&types_row), "{id} has no type");
            for (status, answer) in operation["responses"].as_object().unwrap() {
                let problems = answer["content"]["application/problem+json"].is_object();
                let row = module.lines().find(|line| line.contains(&row)).unwrap();
                assert!(
                    answer.get("$ref").is_some() || problems || row.contains(status.as_str()),
                    "{row}: {status}"
                );
            }
            operations += 1;
        }
    }
    assert!(operations > 40, "{operations}");
    let forms = document()["components"]["schemas"].as_object().unwrap();
    for name in forms.keys().filter(|name| !["Refresh", "IntrospectForm"].contains(&name.as_str())) {
        let is_there = [format!("export interface {name} "), format!("export type {name} =")];
        assert!(is_there.iter().any(|text| types.contains(text)), "{name} is no type");
    }
}

#[test]
fn the_command_prints_the_module_or_writes_it_with_its_types() {
    let printed = Command::new(BINARY).args(["sdk", "ts"]).output().unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), module());
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("src/auth");
    let written = Ran::of(Command::new(BINARY).args(["sdk", "ts", "--out"]).arg(&out)).exits(0);
    written.says("portcullis.js and ");
    assert_eq!(std::fs::read_to_string(out.join("portcullis.js")).unwrap(), module());
    assert_eq!(std::fs::read_to_string(out.join("portcullis.d.ts")).unwrap(), types());
    let file = out.join("portcullis.js");
    Ran::of(Command::new(BINARY).args(["sdk", "ts", "--out"]).arg(file)).exits(1).says("portcullis.js");
}
