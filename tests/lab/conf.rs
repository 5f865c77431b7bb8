//! Our reading of configurations against `nats-server -t`: on a corpus, and on texts made from it by chance. Every version.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rollgate::core::conf::{Files, parse};

use crate::harness::binaries;

/// What nats-server says of a file: whether it is valid, and its words.
fn served(binary: &Path, file: &Path) -> (bool, String) {
    let output = Command::new(binary).arg("-t").arg("-c").arg(file).output().expect("nats-server -t");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn ours(file: &Path) -> Result<(), String> {
    let text = |path: &str| {
        fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(|error| error.to_string())
    };
    let variable = |name: &str| std::env::var(name).ok();
    let read = parse(file.to_str().expect("a path"), &Files { text: &text, variable: &variable });
    read.map(drop).map_err(|mistake| mistake.text)
}

/// The line of a parse error.
fn line(text: &str) -> Option<&str> {
    text.split_once("Parse error on line ")?.1.split_once(':').map(|(line, _)| line)
}

fn corpus(class: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conf").join(class);
    let files = fs::read_dir(directory).expect("the corpus").flatten().map(|entry| entry.path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "conf")).collect();
    files.sort();
    assert!(files.len() > 4, "the corpus of {class} files");
    files
}

#[test]
fn the_corpus_is_read_as_nats_server_reads_it() {
    let Some(binaries) = binaries() else { return };
    for binary in &binaries {
        for class in ["valid", "invalid", "beyond"] {
            for file in corpus(class) {
                let (valid, said) = served(binary, &file);
                let ours = ours(&file);
                let at = format!("{} of {}: {said}ours: {ours:?}", file.display(), binary.display());
                // What is beyond the language, such as a field that there is not, is for the rules.
                assert_eq!((valid, ours.is_ok()), (class == "valid", class != "invalid"), "{at}");
                let theirs = line(&said);
                assert_eq!(theirs, ours.as_ref().err().and_then(|text| line(text)), "{at}");
            }
        }
    }
}

/// Texts with a few characters taken out, doubled or exchanged: the same parse errors on the same lines, or none.
#[test]
fn damaged_texts_are_read_as_nats_server_reads_them() {
    let Some(binaries) = binaries() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    for name in ["included.inc", "included-cluster.inc"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conf/valid").join(name);
        fs::copy(from, directory.path().join(name)).expect("an include");
    }
    let texts: Vec<Vec<u8>> = ["valid", "beyond"]
        .iter()
        .flat_map(|class| corpus(class))
        .map(|file| fs::read(file).expect("a file"))
        .collect();
    let cases: usize = std::env::var("ROLLGATE_CONF_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(150);
    let odd = b"{}[]()\"'\\#/:=,; \n\r$.-0a";
    let mut seed: u64 = 7;
    let mut chance = |below: usize| {
        // Knuth's MMIX constants: the same texts in every run.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("31 bits") % below.max(1)
    };
    let (oldest, newest) = (&binaries[0], &binaries[binaries.len() - 1]);
    for case in 0..cases {
        let mut text = texts[chance(texts.len())].clone();
        for _ in 0..=chance(3) {
            let at = chance(text.len());
            match chance(3) {
                0 if !text.is_empty() => drop(text.remove(at)),
                1 => text.insert(at, odd[chance(odd.len())]),
                _ if !text.is_empty() => text[at] = odd[chance(odd.len())],
                _ => {}
            }
        }
        let file = directory.path().join("nats.conf");
        fs::write(&file, &text).expect("a file");
        let binary = if case % 2 == 0 { newest } else { oldest };
        let (valid, said) = served(binary, &file);
        let ours = ours(&file);
        let at =
            format!("case {case}: {:?} by {}: {said}ours: {ours:?}", String::from_utf8_lossy(&text), binary.display());
        assert_eq!(line(&said), ours.as_ref().err().and_then(|text| line(text)), "{at}");
        assert!(!valid || ours.is_ok(), "{at}");
    }
}
