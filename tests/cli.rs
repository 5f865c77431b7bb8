//! The command line without a lab: what it says, in which colours, with which exit code.

use std::{
    io::Read,
    process::{Command, Output, Stdio},
};

/// rollgate with nothing of the caller's environment that would change what it says.
fn rollgate(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rollgate"));
    command.args(args).stdin(Stdio::null());
    for name in ["ROLLGATE_INVENTORY", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS"] {
        command.env_remove(name);
    }
    command
}

fn output(args: &[&str]) -> Output {
    rollgate(args).output().expect("rollgate runs")
}

#[track_caller]
fn prints(args: &[&str]) -> String {
    let output = output(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Help and errors, word by word, in `tests/cli`.
#[test]
fn words() {
    let state = tempfile::tempdir().expect("a directory");
    trycmd::TestCases::new()
        .case("tests/cli/*.md")
        .env("COLUMNS", "100")
        .env("XDG_STATE_HOME", state.path().display().to_string());
}

#[test]
fn schemas_are_json_schemas() {
    for (kind, key) in [("inventory", "clusters"), ("playbook", "turn")] {
        let schema: serde_json::Value = serde_json::from_str(&prints(&["schema", kind])).expect("JSON");
        assert!(schema["$schema"].as_str().is_some_and(|uri| uri.contains("json-schema.org")), "{schema}");
        assert!(schema["properties"][key].is_object(), "{schema}");
    }
}

#[test]
fn completions_know_the_verbs() {
    for shell in ["bash", "zsh", "fish"] {
        let script = prints(&["completions", shell]);
        for word in ["restart", "completions", "stop-after"] {
            assert!(script.contains(word), "{shell} does not complete {word}");
        }
    }
}

/// bash can read its script, where there is a bash.
#[test]
fn the_bash_completion_is_bash() {
    let script = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&script, prints(&["completions", "bash"])).expect("written");
    if let Ok(output) = Command::new("bash").arg("-n").arg(script.path()).output() {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_manual_page_is_one() {
    let page = prints(&["man"]);
    for part in [".TH rollgate 1", ".SH NAME", ".SH SYNOPSIS", "EXIT CODES", "130"] {
        assert!(page.to_uppercase().contains(&part.to_uppercase()), "no `{part}` in:\n{page}");
    }
}

#[test]
fn colours_are_for_those_who_want_them() {
    let escapes = |name: Option<(&str, &str)>, args: &[&str]| {
        let mut command = rollgate(args);
        command.current_dir("tests/cli/errors.in").envs(name);
        let output = command.output().expect("rollgate runs");
        [output.stdout, output.stderr].concat().contains(&0x1b)
    };
    // A config error on stderr, a table on stdout, a plain error, clap's own.
    for args in [
        &["check", "-i", "broken.yaml"][..],
        &["check", "-i", "nobody.yaml"],
        &["plan", "-i", "good.yaml", "--host", "nobody"],
        &["redo"],
    ] {
        assert!(!escapes(None, args), "{args:?}: escape codes in a pipe");
        assert!(!escapes(Some(("NO_COLOR", "1")), args), "{args:?}: escape codes in spite of NO_COLOR");
        assert!(escapes(Some(("CLICOLOR_FORCE", "1")), args), "{args:?}: no escape codes in spite of CLICOLOR_FORCE");
    }
}

/// `rollgate schema inventory | head -c 1`, and a reader that is gone before the first byte.
#[test]
fn a_closed_stdout_is_no_failure() {
    for args in [&["schema", "inventory"][..], &["completions", "zsh"], &["man"], &["--help"], &["help", "run"]] {
        for read in [0, 1] {
            let mut child =
                rollgate(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("rollgate runs");
            let mut stdout = child.stdout.take().expect("stdout");
            stdout.read_exact(&mut vec![0; read]).expect("so many bytes");
            drop(stdout);
            let output = child.wait_with_output().expect("its end");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!said.contains("panicked"), "{args:?}: {said}");
            assert!(output.status.code() == Some(0), "{args:?}: {}: {said}", output.status);
        }
    }
}
