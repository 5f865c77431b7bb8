//! What changes in a file, told without its secrets.
//!
//! Lines are told apart by digests, which a host makes with a key of the run's; what is shown of them has been redacted. So a
//! secret that changes is seen to change, and neither of the two is seen.

use serde::{Deserialize, Serialize};
use similar::{Algorithm, DiffOp, capture_diff_slices, group_diff_ops};

use crate::core::diagnosis::evidence::REDACTED;

/// Lines around a change, as `diff -u` has them.
const CONTEXT: usize = 3;
/// What is longer than this is read in the file itself; the plan is kept in the journal.
const MOST_LINES: usize = 200;
/// After a line that changed in what is not shown of it.
const HIDDEN: &str = "   (changed, redacted)";

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its digest, as it is.
    pub digest: String,
    /// The line without its secrets.
    pub text: String,
}

/// What is known of a file's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// There is no such file.
    Absent,
    /// Its lines.
    Lines(Vec<Line>),
    /// It is not shown, and why.
    Hidden(String),
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The file is there, and will have other content.
    Changed,
    /// There will be a file where none is.
    Created,
}

/// What changes in one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDiff {
    /// Its place.
    pub to: String,
    /// Whether it is there already.
    pub side: Side,
    /// Its change in the form of `diff -u`, without the names of files; what is secret in it reads `[redacted]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diff: Vec<String>,
    /// Lines of it that are left out.
    #[serde(default, skip_serializing_if = "is_none")]
    pub more: usize,
    /// Why its text is not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<String>,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// What changes where `now` becomes `then`.
pub fn compare(to: &str, now: &Text, then: &Text) -> FileDiff {
    let side = if *now == Text::Absent { Side::Created } else { Side::Changed };
    let whole = FileDiff { to: to.to_owned(), side, diff: Vec::new(), more: 0, hidden: None };
    let (now, then) = match (now, then) {
        (Text::Hidden(why), _) | (_, Text::Hidden(why)) => return FileDiff { hidden: Some(why.clone()), ..whole },
        (_, Text::Absent) => return whole,
        (Text::Absent, Text::Lines(then)) => (&[][..], then.as_slice()),
        (Text::Lines(now), Text::Lines(then)) => (now.as_slice(), then.as_slice()),
    };
    let mut diff = unified(now, then);
    let more = diff.len().saturating_sub(MOST_LINES);
    diff.truncate(MOST_LINES);
    FileDiff { diff, more, ..whole }
}

fn unified(now: &[Line], then: &[Line]) -> Vec<String> {
    let digests = |lines: &[Line]| lines.iter().map(|line| line.digest.clone()).collect::<Vec<_>>();
    let ops = capture_diff_slices(Algorithm::Myers, &digests(now), &digests(then));
    let mut out = Vec::new();
    for group in group_diff_ops(ops, CONTEXT) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let (from, to) = (first.old_range().start..last.old_range().end, first.new_range().start..last.new_range().end);
        out.push(format!("@@ -{} +{} @@", span(&from), span(&to)));
        for op in &group {
            let (old, new) = (&now[op.old_range()], &then[op.new_range()]);
            if let DiffOp::Equal { .. } = op {
                out.extend(old.iter().map(|line| format!(" {}", line.text)));
                continue;
            }
            out.extend(old.iter().map(|line| format!("-{}", line.text)));
            let looks_the_same = |line: &&Line| old.iter().any(|other| other.text == line.text);
            out.extend(new.iter().map(|line| {
                let mark = if looks_the_same(&line) { HIDDEN } else { "" };
                format!("+{}{mark}", line.text)
            }));
        }
    }
    out
}

/// As in `@@ -3,7 +3,8 @@`.
fn span(range: &std::ops::Range<usize>) -> String {
    match range.len() {
        0 => format!("{},0", range.start),
        1 => (range.start + 1).to_string(),
        count => format!("{},{count}", range.start + 1),
    }
}

/// The text of a configuration as it will be, for a comparison of settings: lines that stay are as they were shown before, and a
/// secret in a line that changes is another one.
pub fn told_apart(now: &[Line], then: &[Line]) -> String {
    let mut text = String::new();
    for line in then {
        match now.iter().find(|other| other.digest == line.digest) {
            Some(same) => text.push_str(&same.text),
            None => text.push_str(&line.text.replace(REDACTED, &REDACTED.replace(']', ", another]"))),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line for each; what stands in `<…>` is secret.
    fn lines(text: &str) -> Text {
        let shown = |line: &str| match line.split_once('<') {
            Some((before, after)) => {
                format!("{before}\"{REDACTED}\"{}", after.split_once('>').map_or("", |(_, after)| after))
            }
            None => line.to_owned(),
        };
        Text::Lines(text.lines().map(|line| Line { digest: line.to_owned(), text: shown(line) }).collect())
    }

    fn check(now: &str, then: &str, expected: &[&str]) {
        assert_eq!(compare("/f", &lines(now), &lines(then)).diff, expected);
    }

    #[test]
    fn differences_are_told_as_diff_tells_them() {
        check(
            "a\nb\nc\nd\ne\nf\ng\nh\ni",
            "a\nb\nc\nd\nE\nf\ng\nh\ni",
            &["@@ -2,7 +2,7 @@", " b", " c", " d", "-e", "+E", " f", " g", " h"],
        );
        check("a", "a\nb", &["@@ -1 +1,2 @@", " a", "+b"]);
        check("a", "a", &[]);
        let made = compare("/f", &Text::Absent, &lines("a\nb"));
        assert_eq!((made.side, made.diff), (Side::Created, vec!["@@ -0,0 +1,2 @@".into(), "+a".into(), "+b".into()]));
        let hidden = compare("/f", &Text::Hidden("it is no text".into()), &lines("a"));
        assert_eq!((hidden.hidden.as_deref(), hidden.diff.len()), (Some("it is no text"), 0));
    }

    #[test]
    fn a_secret_that_changes_is_told_and_not_shown() {
        check(
            "user: a\npassword: <old>",
            "user: a\npassword: <new>",
            &[
                "@@ -1,2 +1,2 @@",
                " user: a",
                "-password: \"[redacted]\"",
                "+password: \"[redacted]\"   (changed, redacted)",
            ],
        );
        check("password: <old>", "password: <old>", &[]);
    }

    #[test]
    fn what_is_long_is_cut() {
        let all: String = (0..500).map(|n| format!("{n}\n")).collect();
        let found = compare("/f", &Text::Absent, &lines(&all));
        assert_eq!((found.diff.len(), found.more), (MOST_LINES, 301));
    }

    #[test]
    fn settings_are_compared_with_secrets_told_apart() {
        let of = |now: &str, then: &str| match (lines(now), lines(then)) {
            (Text::Lines(now), Text::Lines(then)) => told_apart(&now, &then),
            _ => unreachable!(),
        };
        assert_eq!(of("p: <a>", "p: <a>"), "p: \"[redacted]\"\n");
        assert_eq!(of("p: <a>", "p: <b>"), "p: \"[redacted, another]\"\n");
    }
}
