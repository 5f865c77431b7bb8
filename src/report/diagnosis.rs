//! A diagnosis, as the operator reads it: the root cause, why we think so, what to do, what follows from it, what else.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::wrap::wrapped;
use crate::core::diagnosis::{Confidence, Diagnosis, Finding, Severity};

const BAD: Style = AnsiColor::Red.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default().bold();
const LABEL: Style = Style::new().bold();
/// Of the proof, so much is read at night; the rest is in the JSON.
const QUOTES: usize = 4;

/// The whole diagnosis. With escape codes; the stream that prints it strips them where they don't belong.
pub fn diagnosis(diagnosis: &Diagnosis) -> String {
    let mut out = String::new();
    match diagnosis.root() {
        Some(root) => whole(&mut out, "root cause", root),
        None if !diagnosis.unidentified.is_empty() => unidentified(&mut out, diagnosis),
        None if diagnosis.findings.is_empty() => out.push_str("nothing found\n"),
        None => {}
    }
    let others = diagnosis.findings.iter().skip(usize::from(diagnosis.root().is_some()));
    for (number, finding) in others.enumerate() {
        if number > 0 || !out.is_empty() {
            out.push('\n');
        }
        match finding.severity {
            Severity::Blocking => whole(&mut out, "also blocking", finding),
            Severity::Warning | Severity::Notice => brief(&mut out, finding),
        }
    }
    if !diagnosis.gaps.is_empty() {
        let _ = writeln!(out, "\n{LABEL}not gathered{LABEL:#}");
        for gap in &diagnosis.gaps {
            let _ = writeln!(out, "{}", wrapped("  ", gap));
        }
    }
    out
}

/// A finding in one line: severity, code, title.
pub fn finding_line(finding: &Finding) -> String {
    format!("{}: {} [{}]", finding.severity.word(), finding.title, finding.code)
}

fn whole(out: &mut String, label: &str, finding: &Finding) {
    let sure = match finding.confidence {
        Confidence::Certain => String::new(),
        other => format!(", {}", other.word()),
    };
    // Writing to a String can't fail.
    let _ = writeln!(out, "{BAD}{label}{BAD:#} [{}{sure}]", finding.code);
    let _ = writeln!(out, "{}", wrapped("  ", &finding.title));
    let _ = writeln!(out, "{LABEL}why{LABEL:#}");
    for quote in finding.quotes.iter().take(QUOTES) {
        let _ = writeln!(out, "{}", wrapped("  ", &format!("{}:", quote.source)));
        let _ = writeln!(out, "{}", wrapped("    ", &quote.text));
    }
    if let Some(more) = finding.quotes.len().checked_sub(QUOTES).filter(|more| *more > 0) {
        let _ = writeln!(out, "  and {more} more");
    }
    let _ = writeln!(out, "{}", wrapped("  ", &finding.explanation));
    remedy(out, finding);
    if !finding.consequences.is_empty() {
        let _ = writeln!(out, "{LABEL}follows from it{LABEL:#}");
        for consequence in &finding.consequences {
            let _ = writeln!(out, "{}", wrapped("  ", &format!("{} [{}]", consequence.title, consequence.code)));
        }
    }
}

fn remedy(out: &mut String, finding: &Finding) {
    let _ = writeln!(out, "{LABEL}remedy{LABEL:#}");
    let _ = writeln!(out, "{}", wrapped("  ", &finding.remedy.text));
    for command in &finding.remedy.commands {
        // Not broken: it is to be copied.
        let _ = writeln!(out, "    {command}");
    }
}

fn brief(out: &mut String, finding: &Finding) {
    let style = if finding.severity == Severity::Warning { WARN } else { LABEL };
    let _ = writeln!(out, "{style}{}{style:#} [{}]", finding.severity.word(), finding.code);
    let _ = writeln!(out, "{}", wrapped("  ", &finding.title));
    for command in &finding.remedy.commands {
        let _ = writeln!(out, "    {command}");
    }
}

fn unidentified(out: &mut String, diagnosis: &Diagnosis) {
    let _ = writeln!(out, "{BAD}root cause{BAD:#} not identified");
    let _ = writeln!(out, "{LABEL}what was seen{LABEL:#}");
    for quote in &diagnosis.unidentified {
        let _ = writeln!(out, "{}", wrapped("  ", &format!("{}: {}", quote.source, quote.text)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::diagnosis::{Context, Purpose, diagnose, testing::*};

    fn plain(archive: &crate::core::diagnosis::evidence::Archive) -> String {
        let context = Context { purpose: Purpose::Halt, ..Context::default() };
        anstream::adapter::strip_str(&diagnosis(&diagnose(archive, &context))).to_string()
    }

    #[test]
    fn a_root_cause_with_what_follows_and_what_else() {
        let fatal = r#"Error listening on port: 0.0.0.0:4222, "listen tcp 0.0.0.0:4222: bind: address already in use""#;
        let mut archive = died(Some("FTL"), fatal);
        archive.listeners = Ok(vec![listener(4222, 812, "nc", "port-squatter.service")]);
        archive.unit.as_mut().unwrap().enabled = Some("disabled".into());
        insta::assert_snapshot!(plain(&archive));
    }

    #[test]
    fn what_is_not_identified_shows_what_was_seen() {
        let mut archive = says(&["a line of a new kind"], &[]);
        archive.view = None;
        insta::assert_snapshot!(plain(&archive));
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(plain(&healthy()), "nothing found\n");
    }
}
