//! Rules that the compiler does not hold: which layer may know which, and what every file owes its reader.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Each layer and the layers that it may use. What is missing here is unknown, and a mistake.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("config", &["core"]),
    ("journal", &["core"]),
    ("report", &["core"]),
    ("fleet", &["core", "config"]),
    ("run", &["core", "config", "fleet", "journal", "report"]),
    ("mirror", &["core", "config", "fleet", "journal"]),
    ("cli", &["core", "config", "fleet", "journal", "mirror", "report", "run"]),
];

/// What would make `core` anything but facts in, decisions out.
const NOT_IN_CORE: &[&str] = &[
    "tokio",
    "openssh",
    "reqwest",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
];

/// Modules in files of their own that only tests are built with are declared so.
const TEST_MODULES: [&str; 2] = ["#[cfg(test)]\npub(crate) mod ", "#[cfg(test)]\nmod "];

/// A panic in the middle of a roll leaves a server in doubt.
const NOT_WITHOUT_PROOF: &[&str] = &[".unwrap()", ".expect(", "panic!(", "todo!(", "unimplemented!(", "unreachable!("];

const LONGEST_FILE: usize = 500;

struct File {
    path: PathBuf,
    text: String,
}

impl File {
    /// The lines that end up in the program, with their numbers: without tests.
    fn product(&self) -> impl Iterator<Item = (usize, &str)> {
        // Test modules stand at the end of a file (clippy's `items_after_test_module`).
        let end = self.text.find("#[cfg(test)]\nmod ").unwrap_or(self.text.len());
        self.text[..end].lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The layer it belongs to; none for the crate's own two files.
    fn layer(&self) -> Option<&str> {
        let within = self.path.strip_prefix("src").expect("below src");
        let first = within.components().next()?.as_os_str().to_str()?;
        (within.components().count() > 1 || !["lib.rs", "main.rs"].contains(&first))
            .then(|| first.trim_end_matches(".rs"))
    }
}

fn sources() -> Vec<File> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("src")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("src").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                found.push(File { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    let test_modules: Vec<PathBuf> = found
        .iter()
        .flat_map(|file| {
            let directory = match file.path.file_name().and_then(|name| name.to_str()) {
                Some("mod.rs" | "lib.rs" | "main.rs") => file.path.parent().expect("below src").to_path_buf(),
                _ => file.path.with_extension(""),
            };
            let declared = TEST_MODULES.iter().flat_map(|start| file.text.split(start).skip(1));
            // one that stands in the same file has a brace
            let names = declared.filter_map(|rest| rest.lines().next()?.strip_suffix(';'));
            names.map(|name| directory.join(format!("{name}.rs"))).collect::<Vec<_>>()
        })
        .collect();
    // Such a module may have files of its own below it.
    let of_tests = |path: &Path| test_modules.iter().any(|one| path == one || path.starts_with(one.with_extension("")));
    found.retain(|file| !of_tests(&file.path));
    assert!(found.len() > 30, "these tests run in the crate's directory");
    found
}

#[track_caller]
fn rule(text: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "the rule: {text}\n{}", breaches.join("\n"));
}

fn at(path: &Path, line: usize, what: &str) -> String {
    format!("  {}:{line}: {what}", path.display())
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// The modules of the crate that a piece of code names: `crate::a::b`, `crate::{a::b, c}`, over lines.
fn uses(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("crate::") {
        if code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[start + "crate::".len()..];
        let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        let Some(group) = rest.strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        let (mut depth, mut item_begins) = (1, true);
        for (index, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => item_begins = true,
                c if c.is_whitespace() => {}
                _ if item_begins => {
                    found.push(word(&group[index..]));
                    item_begins = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

#[test]
fn uses_are_found() {
    for (code, expected) in [
        ("use crate::core::view;", &["core"][..]),
        ("use crate::{\n    core::{a, b::{c}},\n    fleet::Live,\n};", &["core", "fleet"]),
        ("crate::cli::main()", &["cli"]),
        ("mycrate::x", &[]),
    ] {
        assert_eq!(uses(code), expected, "{code}");
    }
}

#[test]
fn arrows_go_one_way() {
    let mut breaches = Vec::new();
    for file in sources() {
        let Some(layer) = file.layer() else { continue };
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == layer) else {
            breaches.push(at(&file.path, 1, &format!("the layer `{layer}` has no arrows in tests/tidy.rs")));
            continue;
        };
        let code: String =
            file.product().filter(|(_, line)| !is_comment(line)).map(|(_, line)| format!("{line}\n")).collect();
        for used in uses(&code) {
            if used != layer && !allowed.contains(&used.as_str()) {
                breaches.push(at(&file.path, 1, &format!("`{layer}` must not use `crate::{used}`")));
            }
        }
    }
    rule("layers use only those below them (the map in src/lib.rs)", &breaches);
}

#[test]
fn core_is_pure() {
    let mut breaches = Vec::new();
    for file in sources().iter().filter(|file| file.layer() == Some("core")) {
        for (number, line) in file.product().filter(|(_, line)| !is_comment(line)) {
            for word in NOT_IN_CORE.iter().filter(|word| line.contains(**word)) {
                breaches.push(at(&file.path, number, &format!("names `{word}`")));
            }
        }
    }
    rule("core has no file, no clock, no network, no process", &breaches);
}

#[test]
fn nothing_panics_without_proof() {
    let mut breaches = Vec::new();
    for file in sources() {
        let mut before = "";
        for (number, line) in file.product() {
            let proved = line.contains("// ") || before.trim_start().starts_with("// ");
            let code = line.split("// ").next().unwrap_or_default();
            // In a constant it is the compiler that would panic.
            let constant = line.trim_start_matches("pub ").starts_with("const ");
            if !is_comment(line)
                && !constant
                && !proved
                && let Some(word) = NOT_WITHOUT_PROOF.iter().find(|word| code.contains(**word))
            {
                breaches.push(at(&file.path, number, &format!("`{word}` and no comment that proves it can't happen")));
            }
            before = line;
        }
    }
    rule("a panic needs a comment, on its line or the one above, that proves it can't happen", &breaches);
}

#[test]
fn files_are_small() {
    let long = |file: &File| file.text.lines().count() > LONGEST_FILE;
    let breaches: Vec<_> = sources()
        .iter()
        .filter(|file| long(file))
        .map(|file| at(&file.path, LONGEST_FILE, &format!("{} lines", file.text.lines().count())))
        .collect();
    rule(&format!("no source file has more than {LONGEST_FILE} lines"), &breaches);
}

#[test]
fn every_file_says_what_it_is_for() {
    let breaches: Vec<_> = sources()
        .iter()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| at(&file.path, 1, "does not begin with `//! `"))
        .collect();
    rule("a source file begins with what it is for", &breaches);
}

/// rustc's `missing_docs` is satisfied by an empty file comment elsewhere; and it must stay switched on.
#[test]
fn documentation_is_demanded() {
    let library = fs::read_to_string("src/lib.rs").expect("src/lib.rs");
    let missing: Vec<_> = ["#![deny(missing_docs)]", "#![forbid(unsafe_code)]"]
        .iter()
        .filter(|line| !library.contains(**line))
        .map(|line| at(Path::new("src/lib.rs"), 1, &format!("has no `{line}`")))
        .collect();
    rule("the compiler demands documentation and forbids unsafe code", &missing);
    let declared: Vec<String> = library
        .lines()
        .filter_map(|line| Some(line.strip_prefix("pub mod ")?.trim_end_matches(';').to_owned()))
        .collect();
    let unmapped: Vec<_> = declared
        .iter()
        .filter(|module| !library.contains(&format!("[`{module}`]")))
        .map(|module| at(Path::new("src/lib.rs"), 1, &format!("`{module}` is not in the map")))
        .collect();
    rule("every module of the library stands in the map at its top", &unmapped);
}

/// `docs/objections.md` has a row for each name, says rightly whether one can consent to it, and has no other.
#[test]
fn every_objection_is_documented() {
    use rollgate::core::safety::{Objection, Warning};
    let text = fs::read_to_string("docs/objections.md").expect("docs/objections.md");
    let (objections, warnings) = text.split_once("## Warnings").expect("two tables");
    let rows = |text: &str| -> BTreeMap<String, String> {
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
        rows.map(|(name, rest)| (name.to_owned(), rest.trim_end_matches(" |").to_owned())).collect()
    };
    let told: BTreeMap<String, String> = rows(objections)
        .into_iter()
        .map(|(name, rest)| (name, rest.rsplit("| ").next().unwrap_or_default().to_owned()))
        .collect();
    let may = |name: &&str| match *name {
        "preflight" => "by its code: `preflight:CODE`",
        name if Objection::OVERRIDABLE.contains(&name) => "yes",
        _ => "no",
    };
    let known: BTreeMap<String, String> =
        Objection::NAMES.iter().map(|name| ((*name).to_owned(), may(name).to_owned())).collect();
    assert_eq!(told, known);
    let told: Vec<String> = rows(warnings).into_keys().collect();
    let mut known = Warning::NAMES.map(str::to_owned).to_vec();
    known.sort();
    assert_eq!(told, known);
}
