//! The house is in order: arrows go one way, and what is banned stays where it is allowed.

use std::path::{Path, PathBuf};

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Each source file by its path in `src`, without its unit tests.
fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    sources(&root)
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
            (path.strip_prefix(&root).unwrap().to_string_lossy().into_owned(), code)
        })
        .collect()
}

/// Lines of `code` that are no comments.
fn lines(code: &str) -> impl Iterator<Item = &str> {
    code.lines().map(str::trim).filter(|line| !line.starts_with("//"))
}

/// The parts of the library from the bottom up: nothing names what stands above it.
fn floor(path: &str) -> u8 {
    let part = path.split('/').next().unwrap();
    match part {
        "main.rs" | "cli" => 9,
        "app.rs" | "admin_socket.rs" => 8,
        "http" => 7,
        "flow" => 6,
        "engine.rs" | "workers.rs" | "audit" => 5,
        _ if path.ends_with("/actor.rs") => 4,
        "registry.rs" => 3,
        _ => 2,
    }
}

#[test]
fn arrows_go_one_way() {
    let above = [("http", 7), ("flow", 6), ("engine", 5), ("workers", 5), ("app", 8)];
    for (path, code) in files() {
        let own = floor(&path);
        if path == "lib.rs" {
            continue;
        }
        for line in lines(&code) {
            for (part, of) in above {
                let named = line.contains(&format!("crate::{part}::"))
                    || line.contains(&format!("portcullis::{part}::"));
                // What counts events is known to the engine, and figures are read from it.
                assert!(!named || own >= of, "{path} must not know of {part}: {line}");
            }
            if own < 4 && path != "registry.rs" {
                assert!(!line.contains("::actor::"), "{path} must not know of an actor: {line}");
            }
        }
    }
}

#[test]
fn states_are_pure() {
    let banned = [
        "actix",
        "tokio",
        "std::fs",
        "std::net::Tcp",
        "Clock",
        "Chance",
        "rand::",
        "tracing",
        "parking_lot",
        "lock::Mutex",
    ];
    for (path, code) in files().into_iter().filter(|(path, _)| path.ends_with("/state.rs")) {
        for line in lines(&code) {
            for word in banned {
                assert!(!line.contains(word), "{path} must not know of {word}: {line}");
            }
        }
    }
}

#[test]
fn no_handler_of_a_registry_awaits() {
    for (path, code) in
        files().into_iter().filter(|(path, _)| path.ends_with("/actor.rs") || path == "registry.rs")
    {
        assert!(!lines(&code).any(|line| line.contains(".await")), "{path} awaits");
    }
}

#[test]
fn the_journal_touches_files_by_its_storage_alone_and_the_codec_is_named_once() {
    for (path, code) in files() {
        for line in lines(&code) {
            let files = line.contains("std::fs") || line.contains("fs::");
            // The golden files are read by a test that is compiled into nothing else.
            let open_ones = ["journal/storage_local.rs", "journal/log_file.rs", "journal/golden.rs"];
            let of_journal = path.starts_with("journal/") && !open_ones.contains(&path.as_str());
            assert!(!(files && of_journal), "{path}: {line}");
            let codec = line.contains("bincode::") && path != "journal/codec.rs";
            assert!(!codec, "{path} names the codec: {line}");
            let time = ["SystemTime::now", "Instant::now"].iter().any(|word| line.contains(word));
            assert!(!time || path == "clock.rs", "{path} reads a clock: {line}");
        }
    }
}

#[test]
fn the_top_level_is_as_it_was_given() {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "README.md",
        "CHANGELOG.md",
        "NOTICE",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "src",
        "tests",
        "benches",
        "data",
        "target",
    ];
    for entry in std::fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(
            name.starts_with('.') || allowed.contains(&name.as_str()),
            "{name} does not belong at the top level"
        );
    }
}
