//! `docs/steps.md` is made from the types that read a playbook: their comments are its text.
//!
//! `UPDATE_DOCS=1 cargo test --test steps` writes it anew.

use std::fmt::Write;

use rollgate::config::{SchemaKind, schema};
use serde_json::Value;

const HEAD: &str = "# Steps

What can stand in a playbook, made from the types that read it (`tests/steps.rs` holds that the two agree). A step is its name, or
its name with settings below it; every setting that is left out has its default. `rollgate playbook show NAME` prints the
playbooks that are built in, and `rollgate schema playbook` what an editor needs.
";

fn text(value: &Value) -> String {
    value["description"].as_str().unwrap_or_default().replace('\n', " ")
}

fn step(out: &mut String, root: &Value, variant: &Value) {
    let properties = variant["properties"].as_object().expect("a step with its name");
    let (name, settings) = properties.iter().next().expect("one name");
    let path = settings["$ref"].as_str().expect("settings").trim_start_matches('#');
    let settings = root.pointer(path).expect("a known definition");
    // Writing to a String can't fail.
    let _ = writeln!(out, "\n## `{name}`\n\n{}\n", text(variant));
    let _ = writeln!(out, "| setting | |\n|---|---|");
    for (key, value) in settings["properties"].as_object().into_iter().flatten() {
        let needed = settings["required"].as_array().is_some_and(|all| all.iter().any(|one| one == key));
        let _ = writeln!(
            out,
            "| `{key}` | {}{} |",
            text(value).replace('|', "\\|"),
            if needed { " Required." } else { "" }
        );
    }
}

#[test]
fn the_page_of_steps_is_that_of_the_types() {
    let root = schema(SchemaKind::Playbook);
    let mut page = HEAD.to_owned();
    let variants = root["$defs"]["step"]["oneOf"].as_array().expect("kinds of steps");
    for variant in variants.iter().filter(|variant| variant.get("properties").is_some()) {
        step(&mut page, &root, variant);
    }
    let _ = writeln!(page, "\n# Outside a turn\n\n| key | |\n|---|---|");
    for key in ["before", "after", "on_halt"] {
        let _ = writeln!(page, "| `{key}` | {} |", text(&root["properties"][key]));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/steps.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).expect("the page");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(found == page, "docs/steps.md is not what the types say: UPDATE_DOCS=1 cargo test --test steps");
}
