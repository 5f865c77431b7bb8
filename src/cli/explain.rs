//! `explain`: a rule's page, or the list of all codes.

use std::fmt::Write;

use anstyle::Style;
use clap::Args;
use serde::Serialize;

use super::{Code, Error, args::Format, output};
use crate::{
    config,
    core::diagnosis::catalogue::{self, Page},
    report::wrapped,
};

const CODE: Style = Style::new().bold();

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// A code that a diagnosis showed; without one, all codes are listed.
    code: Option<String>,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    codes: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    code: &'static str,
    subject: &'static str,
    title: &'static str,
    severity: &'static str,
    why: &'static str,
    proof: &'static str,
    remedy: &'static str,
}

/// Prints a page, or the list.
///
/// # Errors
/// There is no such code.
pub fn run(args: &Explain) -> Result<Code, Error> {
    let all = || {
        catalogue::subjects().into_iter().flat_map(|(subject, pages)| pages.iter().map(move |page| (subject, *page)))
    };
    let chosen: Vec<(&'static str, &'static Page)> = match &args.code {
        None => all().collect(),
        Some(code) => {
            let found: Vec<_> = all().filter(|(_, page)| page.code == code).collect();
            if found.is_empty() {
                let near = config::nearest(code, all().map(|(_, page)| page.code));
                let hint = near.map(|near| format!("did you mean `{near}`?"));
                let error = Error::plain(Code::Usage, format!("there is no code `{code}`"));
                return Err(error.hint(hint.unwrap_or_else(|| "`rollgate explain` lists all codes".into())));
            }
            found
        }
    };
    match args.output {
        Format::Json => {
            let entry = |(subject, page): (&'static str, &'static Page)| Entry {
                code: page.code,
                subject,
                title: page.title,
                severity: page.severity.word(),
                why: page.why,
                proof: page.proof,
                remedy: page.remedy,
            };
            output::print_json(&Answer {
                schema: "rollgate/explain/1",
                codes: chosen.into_iter().map(entry).collect(),
            })?;
        }
        Format::Text if args.code.is_some() => {
            chosen.iter().for_each(|(subject, page)| output::print(&text(subject, page)))
        }
        Format::Text => output::print(&list()),
    }
    Ok(Code::Done)
}

fn text(subject: &str, page: &Page) -> String {
    let mut out = format!("{CODE}{}{CODE:#}: {}\n{}, {subject}\n", page.code, page.title, page.severity.word());
    for (label, words) in [("why", page.why), ("proof", page.proof), ("remedy", page.remedy)] {
        // Writing to a String can't fail.
        let _ = writeln!(out, "\n{}", wrapped(&format!("{label:<8}"), words));
    }
    let causes: Vec<&str> =
        page.follows.iter().map(|code| if *code == "*" { "every cause that blocks" } else { code }).collect();
    if !causes.is_empty() {
        let _ = writeln!(out, "\n{}", wrapped("follows from  ", &causes.join(", ")));
    }
    out
}

fn list() -> String {
    let mut out = String::new();
    for (subject, pages) in catalogue::subjects() {
        let _ = writeln!(out, "{CODE}{subject}{CODE:#}");
        for page in pages {
            let _ = writeln!(out, "  {:<26} {:<8} {}", page.code, page.severity.word(), page.title);
        }
    }
    out
}
