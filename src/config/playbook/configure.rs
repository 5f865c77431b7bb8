//! The `configure` step as written, made into the resolved one.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::{
        check::Checker,
        error::Mistake,
        yaml::{DurationText, ScalarText, Span, Spanned},
    },
    core::configure::{Configure, How, Source},
};

/// A copy of some kilobytes on one disk; half a minute is for a host under load.
const PLACED_WITHIN: Duration = Duration::from_secs(30);

/// Settings of `configure`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "configure")]
pub(crate) struct RawConfigure {
    /// What goes where: `from` (a file or a directory of the controller), `to` (a path of the host; by default where the server's own
    /// configuration is), `template` (true or false; by default names that end in `.j2` are templates), `mode` and `owner` (by
    /// default those of what stands there).
    #[schemars(required, length(min = 1))]
    pub files: Option<Spanned<Vec<Spanned<RawSource>>>>,
    /// How servers take it: `auto`, which is the default, by a reload where that takes all that changed on the host and by a restart
    /// elsewhere; or always by a `reload`, or by a `restart`.
    #[schemars(transform = crate::config::schema::or_parameter)]
    pub how: Option<How>,
    /// How long putting one file in place may take; 30s by default.
    pub deadline: Option<Spanned<DurationText>>,
}

/// A file, or a directory of files.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "file to put in place")]
#[schemars(rename = "configure-file")]
pub(crate) struct RawSource {
    /// A file of the controller, or a directory: then all files in it. In a template `{{ name }}` is a variable of the host (`vars:`
    /// in the inventory), or its `host`, `server`, `cluster` or `zone`.
    #[schemars(required, length(min = 1))]
    pub from: Option<Spanned<String>>,
    /// Where it goes on each host; absolute. By default where the server's own configuration is. A directory goes to a directory that
    /// is there. A link at its place is replaced.
    pub to: Option<Spanned<String>>,
    /// Whether variables are put in; by default where the name of the file ends in `.j2`.
    pub template: Option<bool>,
    /// Its permission bits in octal; by default those of what stands there, or 0644.
    #[schemars(regex(pattern = "^0?[0-7]{3}$"))]
    pub mode: Option<Spanned<ScalarText>>,
    /// `user` or `user:group`; by default that of what stands there.
    pub owner: Option<Spanned<String>>,
}

/// A `configure` step.
pub(super) fn configure(raw: Option<&Spanned<RawConfigure>>, span: Span, checker: &mut Checker) -> Configure {
    let none = RawConfigure::default();
    let (value, lost) = raw.map_or((&none, false), |raw| (&raw.value, raw.lost("files")));
    let written = value.files.iter().flat_map(|files| &files.value);
    let files: Vec<Source> = written.filter_map(|file| source(file, checker)).collect();
    if value.files.as_ref().is_none_or(|files| files.value.is_empty() && files.lost.is_empty()) && !lost {
        checker.note(Mistake::at(span, "`configure` without files").help("write `files: [{from: nats.conf.j2}]`"));
    }
    let deadline = value.deadline.as_ref().and_then(|text| checker.positive(text, "30s is the default"));
    Configure { files, how: value.how.unwrap_or_default(), deadline: deadline.unwrap_or(PLACED_WITHIN) }
}

fn source(raw: &Spanned<RawSource>, checker: &mut Checker) -> Option<Source> {
    let value = &raw.value;
    let given = |text: &Option<Spanned<String>>| {
        text.as_ref().map(|text| text.value.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let from = given(&value.from);
    if from.is_none() && !raw.lost("from") {
        let at = value.from.as_ref().map_or(raw.span, |from| from.span);
        checker.note(Mistake::at(at, "a file without `from`").help("write `from: nats.conf.j2`"));
    }
    let to = given(&value.to);
    if let (Some(to), Some(written)) = (&to, &value.to)
        && (!to.starts_with('/') || to.split('/').any(|part| part == "..") || to.chars().any(char::is_control))
    {
        let mistake = Mistake::at(written.span, format!("`{to}` is no absolute path of a file on a host"));
        checker.note(mistake.help("begin it with `/`, and leave out `..`"));
    }
    let mode = value.mode.as_ref().map(|mode| {
        let digits = mode.value.0.trim().trim_start_matches('0');
        if digits.len() > 3 || digits.is_empty() || !digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit)) {
            checker.note(Mistake::at(mode.span, "this is no mode").help("octal digits: \"0640\""));
        }
        format!("0{digits:0>3}")
    });
    let owner = given(&value.owner);
    if let (Some(owner), Some(written)) = (&owner, &value.owner)
        && (owner.starts_with('-') || owner.chars().any(char::is_whitespace))
    {
        checker.note(Mistake::at(written.span, "this is no owner").help("`user` or `user:group`"));
    }
    Some(Source { from: from?, to, template: value.template, mode, owner })
}
