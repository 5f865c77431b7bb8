//! The `install` step as written, made into the resolved one.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    config::{
        check::Checker,
        error::Mistake,
        yaml::{DurationText, ScalarText, Span, Spanned},
    },
    core::{
        install::{self, Install, Source},
        own_step::Place,
    },
};

/// A copy of 20 MB beside the old program is a matter of a second, also on a slow disk.
const PLACED_WITHIN: Duration = Duration::from_secs(60);
/// A package manager fetches and unpacks.
const INSTALLED_WITHIN: Duration = Duration::from_secs(300);

/// Settings of `install`: one of `binary` and `command`. What is empty counts as left out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "install")]
pub(crate) struct RawInstall {
    /// The program: a file.
    pub binary: Option<Spanned<String>>,
    /// Where that file is: on the `controller`, which is the default, or on each `host`.
    #[schemars(transform = crate::config::schema::or_parameter)]
    pub on: Option<Place>,
    /// Instead of a file: what installs it, run by `sh -c` on the host, with the privileges that changes have, while the server is
    /// down. Nothing can be tried before; the version is checked after.
    pub command: Option<Spanned<String>>,
    /// The version that it has: it must say so itself, before the first server is touched and after each turn.
    #[schemars(required)]
    pub version: Option<Spanned<ScalarText>>,
    /// The sha256 of the file, in hex; by default that of the file as it is when the plan is made.
    pub sha256: Option<Spanned<ScalarText>>,
    /// Where it goes; by default where the service's own program is. A link there is replaced, not followed.
    pub to: Option<Spanned<String>>,
    /// How long it may take; 1m by default, 5m for a command.
    pub deadline: Option<Spanned<DurationText>>,
}

/// An `install` step.
pub(super) fn install(raw: Option<&Spanned<RawInstall>>, span: Span, checker: &mut Checker) -> Install {
    let none = RawInstall::default();
    let raw = raw.map_or(&none, |raw| &raw.value);
    let given = |text: &Option<Spanned<String>>| {
        text.as_ref().map(|text| text.value.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let from = match (given(&raw.binary), given(&raw.command)) {
        (Some(binary), None) if raw.on.unwrap_or(Place::Controller) == Place::Controller => Source::Controller(binary),
        (Some(binary), None) => Source::Host(binary),
        (None, Some(command)) => Source::Command(command),
        (binary, _) => {
            let both =
                if binary.is_some() { "both a `binary` and a `command`" } else { "no `binary` and no `command`" };
            checker.note(Mistake::at(span, format!("`install` has {both}")).help("write one of the two"));
            Source::Command(String::new())
        }
    };
    let default = if matches!(from, Source::Command(_)) { INSTALLED_WITHIN } else { PLACED_WITHIN };
    let version = match &raw.version {
        None => {
            checker.note(
                Mistake::at(span, "`install` has no `version`").help("write the one that it brings: `version: 2.15.1`"),
            );
            String::new()
        }
        Some(text) => install::version(&text.value.0).unwrap_or_else(|wanted| {
            checker.note(Mistake::at(text.span, format!("`{}` is not {wanted}", text.value.0)));
            String::new()
        }),
    };
    let sha256 = raw.sha256.as_ref().filter(|text| !text.value.0.trim().is_empty()).map(|text| {
        let sum = text.value.0.trim().to_ascii_lowercase();
        if sum.len() != 64 || !sum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            checker.note(Mistake::at(text.span, "this is no sha256").help("64 hex digits, as `sha256sum` prints them"));
        }
        sum
    });
    for path in
        [&raw.to, &raw.binary.as_ref().filter(|_| matches!(from, Source::Host(_))).cloned()].into_iter().flatten()
    {
        let text = path.value.trim();
        if !text.is_empty() && (!text.starts_with('/') || text.ends_with('/')) {
            checker.note(Mistake::at(path.span, format!("`{text}` is no absolute path of a file on a host")));
        }
    }
    Install {
        from,
        to: given(&raw.to),
        version,
        sha256,
        deadline: raw
            .deadline
            .as_ref()
            .and_then(|text| checker.positive(text, "leave it out for the default"))
            .unwrap_or(default),
    }
}
