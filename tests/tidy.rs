//! The house is in order: its parts name each other downward only, no files name each other in a circle, and what is banned
//! stays where it is allowed. `cargo test tidy -- --nocapture` prints the counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The parts of `src/` from the top down. A file may name its own part and those further down. Parts in one row do not name
/// each other.
const PARTS: [&[&str]; 13] = [
    &["main.rs", "cli"],
    &["server"],
    &["http"],
    // For tests alone: only unit tests name it.
    &["simulation"],
    &["flow"],
    &["engine"],
    &["audit", "config", "mail"],
    &["registry"],
    &["resource_server"],
    &["token", "journal"],
    &["storage", "password"],
    &["value"],
    &["system"],
];

const ENTRIES_MAX: usize = 22;
const LINES_MAX: usize = 600;

/// One source file of the library or the binary.
struct Source {
    /// Its path below `src/`.
    path: String,
    /// Its module path, as in `registry::account::state`.
    module: String,
    /// The text without its unit tests.
    code: String,
    /// Lines of the whole file.
    lines: usize,
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// All source files that are compiled into a release. Files that hold unit tests alone are left out.
fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    rust_files(&src(), &mut paths);
    let mut sources: Vec<Source> = paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(src()).unwrap().to_string_lossy().into_owned();
            let code =
                text.split("#[cfg(test)]\nmod tests {").next().unwrap().replace("pub(in crate::", "pub(in ");
            let stem = path.strip_suffix(".rs").unwrap();
            let module = stem.strip_suffix("/mod").unwrap_or(stem).replace('/', "::");
            Source { path, module, code, lines: text.lines().count() }
        })
        .filter(|source| !is_test_file(&source.path))
        .collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// Lines of `code` that are no comments.
fn lines(code: &str) -> impl Iterator<Item = &str> {
    code.lines().map(str::trim).filter(|line| !line.starts_with("//"))
}

fn part_of(path: &str) -> &str {
    path.split(['/', ':']).next().unwrap()
}

/// The row of a part in [`PARTS`]; `None` for `lib.rs`, which names every part.
fn row_of(part: &str) -> Option<usize> {
    PARTS.iter().position(|row| row.contains(&part))
}

/// Every path that the code of `source` names, as modules below the crate: from `use` trees and from paths in code.
fn named(source: &Source) -> BTreeSet<String> {
    let code: String = lines(&source.code).collect::<Vec<_>>().join("\n");
    let mut named = BTreeSet::new();
    let is_binary = matches!(part_of(&source.path), "main.rs" | "cli");
    let roots: &[&str] = if is_binary { &["portcullis::"] } else { &["crate::", "super::"] };
    for root in roots {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|before| before.is_alphanumeric() || matches!(before, '_' | ':' | '$')) {
                continue;
            }
            let tree: String = tree_at(&code[at..]);
            for path in flatten(&tree) {
                named.extend(absolute(&path, &source.module));
            }
        }
    }
    named
}

/// The first segments of paths in the code of `source`, which may be child modules. A `pub use` only hands names on.
fn named_children(source: &Source) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for line in lines(&source.code).filter(|line| !line.starts_with("pub use ")) {
        for (at, _) in line.match_indices("::") {
            let before = line[..at]
                .trim_end_matches(|character: char| character.is_alphanumeric() || character == '_');
            if !before.ends_with(':') {
                named.insert(format!("{}::{}", source.module, &line[before.len()..at]));
            }
        }
    }
    named
}

/// The path or `use` tree that `text` begins with.
fn tree_at(text: &str) -> String {
    let mut depth = 0;
    let mut tree = String::new();
    for character in text.chars() {
        match character {
            '{' if tree.ends_with("::") || depth > 0 => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ' ' | '\n' | ',' if depth > 0 => {}
            character if character.is_alphanumeric() || matches!(character, '_' | ':' | '*') => {}
            _ => break,
        }
        tree.push(character);
        if depth == 0 && character == '}' {
            break;
        }
    }
    tree
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn flatten(tree: &str) -> Vec<String> {
    let Some(open) = tree.find('{') else {
        return vec![tree.split(" as ").next().unwrap().trim().to_owned()];
    };
    let inner = tree[open + 1..].strip_suffix('}').unwrap_or(&tree[open + 1..]);
    let mut depth = 0;
    let mut branches = vec![String::new()];
    for character in inner.chars() {
        match character {
            ',' if depth == 0 => branches.push(String::new()),
            _ => {
                depth += i32::from(character == '{') - i32::from(character == '}');
                branches.last_mut().unwrap().push(character);
            }
        }
    }
    let branches = branches.iter().map(|branch| branch.trim()).filter(|branch| !branch.is_empty());
    branches.flat_map(|branch| flatten(&format!("{}{branch}", &tree[..open]))).collect()
}

/// A path of `module` from the root of the crate.
fn absolute(path: &str, module: &str) -> Option<String> {
    let mut base: Vec<&str> = Vec::new();
    let mut segments = path.split("::").peekable();
    match segments.peek().copied() {
        Some("crate" | "portcullis") => {
            segments.next();
        }
        Some("super") => {
            base = module.split("::").collect();
            while segments.peek() == Some(&"super") {
                segments.next();
                base.pop();
            }
        }
        _ => return None,
    }
    base.extend(segments.filter(|segment| !matches!(*segment, "" | "self" | "*")));
    Some(base.join("::"))
}

/// The files that each file names.
fn arrows(sources: &[Source]) -> BTreeMap<usize, BTreeSet<usize>> {
    let by_module: BTreeMap<&str, usize> =
        sources.iter().enumerate().map(|(number, source)| (source.module.as_str(), number)).collect();
    let file_of = |path: &str| {
        let mut path = path;
        loop {
            if let Some(number) = by_module.get(path) {
                return Some(*number);
            }
            path = path.rsplit_once("::")?.0;
        }
    };
    let mut arrows: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (number, source) in sources.iter().enumerate().filter(|(_, source)| source.path != "lib.rs") {
        let to = named(source).into_iter().filter_map(|path| file_of(&path)).filter(|to| *to != number);
        let children = named_children(source).into_iter();
        let children = children.filter_map(|child| by_module.get(child.as_str()).copied());
        arrows.entry(number).or_default().extend(to.chain(children));
    }
    arrows
}

/// Sets of files of which each names, by others, itself again.
fn circles(sources: &[Source], arrows: &BTreeMap<usize, BTreeSet<usize>>) -> Vec<Vec<String>> {
    let reach = |from: usize| {
        let mut reached = BTreeSet::new();
        let mut next: Vec<usize> = arrows.get(&from).into_iter().flatten().copied().collect();
        while let Some(file) = next.pop() {
            if reached.insert(file) {
                next.extend(arrows.get(&file).into_iter().flatten());
            }
        }
        reached
    };
    let reached: BTreeMap<usize, BTreeSet<usize>> = arrows.keys().map(|file| (*file, reach(*file))).collect();
    let in_circles = reached.iter().filter(|(file, reached)| reached.contains(file));
    let circles: BTreeSet<Vec<String>> = in_circles
        .map(|(file, of_file)| {
            let both =
                of_file.iter().filter(|other| reached.get(other).is_some_and(|back| back.contains(file)));
            both.map(|number| sources[*number].path.clone()).collect()
        })
        .collect();
    circles.into_iter().collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "the counts are for people: `cargo test tidy -- --nocapture`")]
fn the_counts_of_the_house_are_within_their_bounds() {
    let sources = sources();
    let arrows = arrows(&sources);
    let circles = circles(&sources, &arrows);
    let mut upward = Vec::new();
    for (from, to) in &arrows {
        let from = &sources[*from];
        let own = part_of(&from.path);
        for to in to.iter().map(|to| &sources[*to]).filter(|to| part_of(&to.path) != own) {
            let rows = (row_of(own), row_of(part_of(&to.path)));
            if !matches!(rows, (Some(from), Some(to)) if from < to) {
                upward.push(format!("{} names {}", from.path, to.path));
            }
        }
    }
    let mut entries: BTreeMap<PathBuf, usize> = BTreeMap::new();
    count_entries(&src(), &mut entries);
    let (widest, entries) = entries.into_iter().max_by_key(|(_, entries)| *entries).unwrap();
    let largest = sources.iter().max_by_key(|source| source.lines).unwrap();
    println!("files of src/: {}", sources.len());
    println!("arrows between files: {}", arrows.values().map(BTreeSet::len).sum::<usize>());
    println!("circles: {}", circles.len());
    println!("upward arrows: {}", upward.len());
    println!("most entries at one level: {entries} ({})", widest.strip_prefix(src()).unwrap().display());
    println!("largest file: {} lines ({})", largest.lines, largest.path);
    assert_eq!(circles, Vec::<Vec<String>>::new());
    assert_eq!(upward, Vec::<String>::new());
    assert!(entries <= ENTRIES_MAX, "{} has {entries} entries", widest.display());
    assert!(largest.lines <= LINES_MAX, "{} has {} lines", largest.path, largest.lines);
}

fn count_entries(dir: &Path, entries: &mut BTreeMap<PathBuf, usize>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        *entries.entry(dir.to_owned()).or_default() += 1;
        let path = entry.unwrap().path();
        if path.is_dir() {
            count_entries(&path, entries);
        }
    }
}

#[test]
fn every_part_has_its_row() {
    for entry in std::fs::read_dir(src()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let is_part = row_of(&name).is_some();
        assert!(
            is_part || matches!(name.as_str(), "lib.rs" | "API.md" | "DEFENCES.md" | "DEPENDENCIES.md"),
            "{name} has no row in PARTS"
        );
    }
}

#[test]
fn the_reader_of_paths_finds_them_in_trees_and_in_code() {
    let code = "use crate::a::{self, b::C, d::{E, F}};\nuse super::g::H;\nlet x = crate::i::j();\nfn f(_: super::K) {}\n";
    let source = Source { path: "m/n.rs".into(), module: "m::n".into(), code: code.into(), lines: 4 };
    let expected = ["a", "a::b::C", "a::d::E", "a::d::F", "i::j", "m::K", "m::g::H"];
    assert_eq!(named(&source).into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_circle_is_found() {
    let file = |name: &str, names: &str| Source {
        path: format!("{name}.rs"),
        module: name.into(),
        code: format!("use crate::{names}::X;\n"),
        lines: 1,
    };
    let sources = [file("a", "b"), file("b", "c"), file("c", "b")];
    let found = circles(&sources, &arrows(&sources));
    assert_eq!(found, [vec![String::from("b.rs"), String::from("c.rs")]]);
}

/// The registries: folders of `registry/` that hold a state.
fn registries() -> Vec<String> {
    let folders = std::fs::read_dir(src().join("registry")).unwrap().map(|entry| entry.unwrap().path());
    let with_state = folders.filter(|path| path.join("actor.rs").exists());
    with_state.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn no_registry_names_another() {
    let registries = registries();
    assert!(registries.len() >= 8, "{registries:?}");
    for source in sources() {
        let Some(own) = source.path.strip_prefix("registry/").map(part_of) else { continue };
        if !registries.iter().any(|registry| registry == own) {
            continue;
        }
        for path in named(&source) {
            let other = path.strip_prefix("registry::").map(part_of);
            let other = other.filter(|other| *other != own && registries.iter().any(|name| name == other));
            assert_eq!(other, None, "{} names another registry", source.path);
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
        "Random",
        "rand::",
        "tracing",
        "parking_lot",
        "lock::Mutex",
    ];
    for source in sources().into_iter().filter(|source| source.path.ends_with("/state.rs")) {
        for line in lines(&source.code) {
            for word in banned {
                assert!(!line.contains(word), "{} must not know of {word}: {line}", source.path);
            }
        }
    }
}

#[test]
fn no_handler_of_a_registry_awaits() {
    let actors = sources().into_iter().filter(|source| {
        source.path.ends_with("/actor.rs")
            || source.path == "registry/mod.rs"
            || source.path == "registry/owner.rs"
    });
    for source in actors {
        assert!(!lines(&source.code).any(|line| line.contains(".await")), "{} awaits", source.path);
    }
}

/// Where a word may stand, by the beginnings of paths.
fn check_only_in(word: &str, allowed: &[&str]) {
    for source in sources() {
        if allowed.iter().any(|allowed| source.path.starts_with(allowed)) {
            continue;
        }
        for line in lines(&source.code) {
            assert!(!line.contains(word), "{} has {word}: {line}", source.path);
        }
    }
}

#[test]
fn the_journal_opens_files_by_its_storage_alone() {
    for source in sources().into_iter().filter(|source| source.path.starts_with("journal/")) {
        for line in lines(&source.code) {
            assert!(!line.contains("fs::"), "{}: {line}", source.path);
        }
    }
}

#[test]
fn the_codec_is_named_once_and_clocks_are_read_once() {
    check_only_in("bincode::", &["journal/format/codec.rs"]);
    check_only_in("SystemTime::now", &["system/clock.rs"]);
    check_only_in("Instant::now", &["system/clock.rs"]);
}

#[test]
fn the_engine_starts_no_threads_but_its_owners() {
    check_only_in("Arbiter::new", &["engine/", "cli/"]);
    for source in sources().into_iter().filter(|source| source.path.starts_with("engine/")) {
        for line in lines(&source.code) {
            let starts = line.contains("thread::Builder") || line.contains("thread::spawn");
            assert!(!starts, "{} starts a thread: {line}", source.path);
        }
    }
}

#[test]
fn cookies_of_requests_are_read_by_one_reader() {
    for source in sources().into_iter().filter(|source| source.path.starts_with("http/")) {
        for line in lines(&source.code) {
            let reads =
                ["request.cookie(", "request.cookies(", "req.cookie(", "Cookie::parse", "Cookie::split"];
            assert!(!reads.iter().any(|read| line.contains(read)), "{} reads cookies: {line}", source.path);
        }
    }
}

#[test]
fn passwords_and_tokens_of_requests_are_wiped_when_they_are_dropped() {
    let mut fields = 0;
    for source in sources() {
        let is_of_request = ["http/api/", "server/operator/"].iter().any(|dir| source.path.starts_with(dir));
        for line in lines(&source.code).filter(|_| is_of_request) {
            let is_secret = |name: &str| name.ends_with("password") || name.ends_with("token");
            let Some((name, of)) = line.trim().split_once(": ").filter(|(name, _)| is_secret(name)) else {
                continue;
            };
            assert!(
                !of.starts_with("String") && !of.starts_with("Option<String>"),
                "{}: {line}",
                source.path
            );
            fields += usize::from(of.contains("SecretText") && !name.contains('('));
        }
    }
    assert!(fields > 10, "{fields}");
}

#[test]
fn every_handler_that_may_change_something_reads_its_body_or_refuses_one() {
    let mut handlers = 0;
    for source in sources().into_iter().filter(|source| source.path.starts_with("http/")) {
        for method in ["post", "put", "patch", "delete"] {
            for part in source.code.split(&format!("async fn {method}_")).skip(1) {
                let head = part.split('{').next().unwrap();
                let reads = head.contains("body: Body") || head.contains("incoming: Incoming");
                assert!(reads, "{}: {method}_{head} ignores its body", source.path);
                handlers += 1;
            }
        }
    }
    assert!(handlers > 15, "{handlers}");
}

#[test]
fn every_folder_has_a_page() {
    let mut folders = BTreeMap::new();
    count_entries(&src(), &mut folders);
    let is_of_tests = |folder: &Path| !folder.join("mod.rs").exists() && folder.join("tests.rs").exists();
    for folder in folders.into_keys().filter(|folder| *folder != src() && !is_of_tests(folder)) {
        let has_page = folder.join("README.md").exists();
        let head = std::fs::read_to_string(folder.join("mod.rs")).unwrap_or_default();
        assert!(has_page || head.starts_with("//!"), "{} says nowhere what it is for", folder.display());
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
        let belongs = name.starts_with('.') || allowed.contains(&name.as_str());
        assert!(belongs, "{name} does not belong at the top level");
    }
}
