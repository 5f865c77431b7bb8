//! What the operator writes, right and wrong, as files: `tests/config/good` is read into values,
//! `tests/config/bad` into errors. The expected output is beside them; `INSTA_UPDATE=always`
//! renews it.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use rollgate::config::{ConfigErrors, Inventory, Playbook};

/// The YAML files of a folder below `tests/config`, and their names.
fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(folder);
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (path, name)
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Reads `text` by the kind that `name` begins with; the value is given as text.
fn parse(name: &str, text: &str) -> Result<String, ConfigErrors> {
    let path = PathBuf::from(format!("conf/{name}.yaml"));
    if name.starts_with("inventory") {
        Inventory::parse(&path, text).map(|inventory| format!("{inventory:#?}"))
    } else {
        Playbook::parse(&path, text).map(|playbook| format!("{playbook:#?}"))
    }
}

fn compare(folder: &str, name: &str, found: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(format!("config/{folder}/expected"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    // The home directory of whoever runs the tests.
    let home = std::env::var("HOME").unwrap_or_default();
    let found = if home.len() > 1 { found.replace(&format!("\"{home}/"), "\"HOME/") } else { found.to_owned() };
    settings.bind(|| insta::assert_snapshot!(name, found));
}

#[test]
fn good_files_are_read() {
    for (path, name) in files("good") {
        let text = fs::read_to_string(path).unwrap();
        let value = parse(&name, &text).unwrap_or_else(|errors| panic!("{errors}"));
        compare("good", &name, &value);
    }
}

#[test]
fn bad_files_are_explained() {
    for (path, name) in files("bad") {
        let text = fs::read_to_string(path).unwrap();
        let Err(errors) = parse(&name, &text) else { panic!("{name} is accepted") };
        let rendered = errors.render(false);
        for secret in ["hunter2", "s3cr3t", "SUAMLK", "MIIE"] {
            assert!(!rendered.contains(secret), "{rendered}");
        }
        assert!(!rendered.contains('\u{1b}'), "{rendered}");
        assert!(errors.render(true).contains('\u{1b}'));
        compare("bad", &name, &rendered);
    }
}

/// Whatever the text: no panic, and each mistake stands within it.
fn survive(name: &str, text: &str) {
    let Err(errors) = parse(name, text) else {
        return;
    };
    assert!(!errors.mistakes().is_empty());
    let lines = text.lines().count().max(1);
    for mistake in errors.mistakes() {
        assert!(!mistake.message().is_empty());
        if let Some((line, column)) = errors.position(mistake) {
            assert!((1..=lines).contains(&line) && column >= 1, "{line}:{column} of {text:?}");
        }
    }
    let plain = errors.render(false);
    assert!(plain.starts_with("error: "), "{plain}");
    assert!(errors.render(true).contains("error"));
}

/// All texts that the tests have, as a start for what is worse.
fn corpus() -> Vec<(String, String)> {
    let all = files("good").into_iter().chain(files("bad"));
    all.map(|(path, name)| (name, fs::read_to_string(path).unwrap())).collect()
}

/// Pieces that YAML gives a meaning to.
const PIECES: [&str; 28] = [
    "- ",
    ": ",
    "\n",
    "  ",
    "{",
    "}",
    "[",
    "]",
    "'",
    "\"",
    "#",
    "&a ",
    "*a",
    "!",
    "|\n",
    ">\n",
    "\t",
    "---\n",
    "~",
    "<<: ",
    "? ",
    ",",
    "\\",
    "\r\n",
    "\u{feff}",
    "ü",
    "@",
    "password: x",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_survived(text in any::<String>()) {
        survive("inventory", &text);
        survive("playbook", &text);
    }

    #[test]
    fn yaml_like_text_is_survived(picks in vec((0..PIECES.len(), "[a-z0-9]{0,3}"), 0..40)) {
        let text: String = picks.iter().flat_map(|(n, word)| [PIECES[*n], word.as_str()]).collect();
        survive("inventory", &text);
        survive("playbook", &text);
    }

    #[test]
    fn mutated_files_are_survived(
        file in any::<Index>(),
        edits in vec((any::<Index>(), 0..6_usize, 0..PIECES.len()), 1..6),
    ) {
        let corpus = corpus();
        let (name, text) = file.get(&corpus);
        let mut chars: Vec<char> = text.chars().collect();
        for (at, cut, piece) in edits {
            let at = at.index(chars.len() + 1);
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, PIECES[piece].chars());
        }
        survive(name, &chars.into_iter().collect::<String>());
    }
}

#[test]
fn resolved_values_survive_json() {
    for (path, name) in files("good") {
        let text = fs::read_to_string(&path).unwrap();
        if name.starts_with("inventory") {
            let value = Inventory::parse(&path, &text).unwrap();
            let json = serde_json::to_string(&value).unwrap();
            assert_eq!(serde_json::from_str::<Inventory>(&json).unwrap(), value);
        } else {
            let value = Playbook::parse(&path, &text).unwrap();
            let json = serde_json::to_string(&value).unwrap();
            assert_eq!(serde_json::from_str::<Playbook>(&json).unwrap(), value);
        }
    }
}

#[test]
fn large_files_are_read_in_time() {
    let hosts = |name: &str| {
        let hosts: Vec<String> =
            (0..5_000).map(|n| format!("      - {{name: h{n}, ssh: {{destination: {name}{n}, user: u}}}}\n")).collect();
        format!("clusters:\n  c:\n    hosts:\n{}", hosts.concat())
    };
    let start = std::time::Instant::now();
    let inventory = Inventory::parse(Path::new("i.yaml"), &hosts("h")).unwrap();
    assert_eq!(inventory.clusters[0].hosts.len(), 5_000);
    // As many mistakes, then as many keys.
    let errors = Inventory::parse(Path::new("i.yaml"), &hosts("-h")).unwrap_err();
    assert_eq!(errors.mistakes().len(), 50);
    assert!(errors.render(false).ends_with("50 errors in i.yaml, and 950 more"));
    let keys: Vec<String> = (0..80_000).map(|n| format!("k{n}: 1\n")).collect();
    assert!(Inventory::parse(Path::new("i.yaml"), &keys.concat()).is_err());
    // A debug build on a busy machine takes a few seconds; quadratic steps take minutes.
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
