//! The README lists every code of the catalogue, in its words.

use std::fmt::Write;

use rollgate::core::diagnosis::catalogue;

const BEGIN: &str = "<!-- codes: written by `ROLLGATE_UPDATE=1 cargo test --test codes` -->\n";
const END: &str = "<!-- codes end -->\n";

fn section() -> String {
    let mut out = String::from("\n| code | what it means |\n|---|---|\n");
    for (subject, pages) in catalogue::subjects() {
        writeln!(out, "| **{subject}** | |").expect("a String");
        for page in pages {
            writeln!(out, "| `{}` | {} |", page.code, page.title).expect("a String");
        }
    }
    out.push('\n');
    out
}

#[test]
fn the_readme_lists_every_code() {
    let readme = std::fs::read_to_string("README.md").expect("README.md");
    let (before, rest) = readme.split_once(BEGIN).expect("the section's begin in README.md");
    let (found, after) = rest.split_once(END).expect("the section's end in README.md");
    if std::env::var_os("ROLLGATE_UPDATE").is_some() {
        std::fs::write("README.md", format!("{before}{BEGIN}{}{END}{after}", section()))
            .expect("README.md can be written");
        return;
    }
    assert_eq!(found, section(), "README.md is out of date: ROLLGATE_UPDATE=1 cargo test --test codes");
}
