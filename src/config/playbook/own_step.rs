//! The operator's own steps as written, made into resolved ones.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::raw::RawStep;
use crate::{
    config::{
        check::Checker,
        error::Mistake,
        yaml::{DurationText, Ordered, ScalarText, Span, Spanned},
    },
    core::own_step::{CONTENT_MAX, File, Http, OnFailure, Pause, Place, Run, Template, Until},
};

/// A command of a second or two is the rule; half a minute is for one that waits for another system.
const TIMEOUT: Duration = Duration::from_secs(30);
/// As a look at the gate.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// Settings of `run`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "run")]
pub(crate) struct RawRun {
    /// The step's name in messages and in the journal; `run` by default. No two steps have the same.
    pub name: Option<Spanned<String>>,
    /// Where this is empty or `false`, the step is left out: `"{{ parameter }}"`.
    pub when: Option<ScalarText>,
    /// The program and its arguments. For a shell's features name a shell: `[sh, -c, "…"]`.
    #[schemars(required, length(min = 1))]
    pub command: Option<Spanned<Vec<Spanned<ScalarText>>>>,
    /// Where: on the server's `host`, which is the default, or on the `controller`.
    pub on: Option<Place>,
    /// On the host: with the privileges that the inventory's `become` gives. false by default.
    #[serde(rename = "become")]
    pub privileged: Option<Spanned<bool>>,
    /// More variables for its environment.
    pub environment: Option<Ordered<ScalarText>>,
    /// How long it may take; 30s by default.
    pub timeout: Option<Spanned<DurationText>>,
    /// What follows when it fails: `halt`, which is the default, or `warn`.
    pub on_failure: Option<OnFailure>,
}

/// Settings of `file`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "file")]
pub(crate) struct RawFile {
    /// The step's name in messages and in the journal; `file` by default. No two steps have the same.
    pub name: Option<Spanned<String>>,
    /// Where this is empty or `false`, the step is left out: `"{{ parameter }}"`.
    pub when: Option<ScalarText>,
    /// Where; absolute. Its directory must be there. A link at its place is replaced.
    #[schemars(required, length(min = 1))]
    pub path: Option<Spanned<String>>,
    /// `present`, which is the default, or `absent`.
    pub state: Option<FileState>,
    /// What is in it, at most 16 KiB; no secret, since it stands in the journal with the plan. Empty by default.
    pub content: Option<Spanned<ScalarText>>,
    /// Its permission bits in octal; "0644" by default.
    #[schemars(regex(pattern = "^0?[0-7]{3}$"))]
    pub mode: Option<Spanned<ScalarText>>,
    /// `user` or `user:group`, on the host with `become`; by default whoever writes it.
    #[schemars(length(min = 1))]
    pub owner: Option<Spanned<String>>,
    /// Where: on the server's `host`, which is the default, or on the `controller`.
    pub on: Option<Place>,
    /// On the host: with the privileges that the inventory's `become` gives. false by default.
    #[serde(rename = "become")]
    pub privileged: Option<Spanned<bool>>,
    /// What follows when it fails: `halt`, which is the default, or `warn`.
    pub on_failure: Option<OnFailure>,
}

/// Whether a file is to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename = "state of a file")]
#[schemars(rename = "file-state")]
pub(crate) enum FileState {
    /// It is, with this content.
    #[default]
    Present,
    /// It is not.
    Absent,
}

/// Settings of `http`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "http")]
pub(crate) struct RawHttp {
    /// The step's name in messages and in the journal; `http` by default. No two steps have the same.
    pub name: Option<Spanned<String>>,
    /// Where this is empty or `false`, the step is left out: `"{{ parameter }}"`.
    pub when: Option<ScalarText>,
    /// What to ask for.
    #[schemars(required, length(min = 1))]
    pub url: Option<Spanned<String>>,
    /// From where: the `controller`, which is the default, or the server's `host`, by its curl.
    pub on: Option<Place>,
    /// The status wanted; 200 by default.
    #[schemars(range(min = 100, max = 599))]
    pub status: Option<Spanned<i64>>,
    /// What the answer must contain.
    pub contains: Option<String>,
    /// How long one request may take; 3s by default.
    pub timeout: Option<Spanned<DurationText>>,
    /// How long to ask again until the answer is right; by default it is asked once.
    pub within: Option<Spanned<DurationText>>,
    /// What follows when it fails: `halt`, which is the default, or `warn`.
    pub on_failure: Option<OnFailure>,
}

/// Settings of `pause`: one of the two.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "pause")]
pub(crate) struct RawPause {
    /// The step's name in messages and in the journal; `pause` by default. No two steps have the same.
    pub name: Option<Spanned<String>>,
    /// Where this is empty or `false`, the step is left out: `"{{ parameter }}"`.
    pub when: Option<ScalarText>,
    /// For this long.
    #[serde(rename = "for")]
    pub over: Option<Spanned<DurationText>>,
    /// Until the operator has said yes to this question, on the terminal. Without a terminal the roll halts there.
    #[schemars(length(min = 1))]
    pub approval: Option<Spanned<String>>,
}

/// What each step is called that has no name.
const KINDS: [&str; 15] = [
    "reload",
    "drain",
    "stop",
    "install",
    "configure",
    "put-back",
    "start",
    "reboot",
    "gate",
    "settle",
    "canary",
    "run",
    "file",
    "http",
    "pause",
];

/// Whether a step is left out, by its `when`.
pub(super) fn left_out(raw: &RawStep) -> bool {
    let when = match raw {
        RawStep::Run(Some(raw)) => raw.value.when.as_ref(),
        RawStep::File(Some(raw)) => raw.value.when.as_ref(),
        RawStep::Http(Some(raw)) => raw.value.when.as_ref(),
        RawStep::Pause(Some(raw)) => raw.value.when.as_ref(),
        _ => None,
    };
    when.is_some_and(|when| matches!(when.0.trim(), "" | "false"))
}

fn named(name: Option<&Spanned<String>>, kind: &str, checker: &mut Checker) -> String {
    match name {
        Some(name) => {
            checker.name("step", &name.value, name.span);
            if name.value != kind && KINDS.contains(&name.value.as_str()) {
                checker.note(
                    Mistake::at(name.span, format!("`{}` is a kind of step, and this one is a `{kind}`", name.value))
                        .help("give it a name of its own"),
                );
            }
            name.value.clone()
        }
        None => kind.to_owned(),
    }
}

fn duration(text: Option<&Spanned<DurationText>>, default: Duration, checker: &mut Checker) -> Duration {
    text.and_then(|text| checker.positive(text, "leave it out for the default")).unwrap_or(default)
}

/// A `run` step.
pub(super) fn run(raw: Option<&Spanned<RawRun>>, span: Span, checker: &mut Checker) -> Run {
    let none = RawRun::default();
    let (value, lost) = raw.map_or((&none, false), |raw| (&raw.value, raw.lost("command")));
    let command: Vec<Template> = match &value.command {
        Some(words) => words.value.iter().map(|word| Template::new(&word.value.0)).collect(),
        None => Vec::new(),
    };
    if command.first().is_none_or(|program| program.source().is_empty()) && !lost {
        let at = value.command.as_ref().map_or(span, |words| words.span);
        checker.note(Mistake::at(at, "`run` without a command").help("write `command: [program, argument]`"));
    }
    let on = value.on.unwrap_or_default();
    if on == Place::Controller
        && let Some(privileged) = &value.privileged
        && privileged.value
    {
        checker.note(
            Mistake::at(privileged.span, "`become` is for commands on the host")
                .help("on the controller, name `sudo` in the command"),
        );
    }
    let pairs = value.environment.iter().flat_map(|pairs| &pairs.0);
    let mut environment = BTreeMap::new();
    for (name, text) in pairs {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.value.starts_with(|c: char| c.is_ascii_digit()) || !name.value.chars().all(is_name) {
            checker.note(Mistake::at(name.span, "not the name of a variable").help("letters, digits and `_`"));
        }
        environment.insert(name.value.clone(), Template::new(&text.0));
    }
    Run {
        name: named(value.name.as_ref(), "run", checker),
        command,
        on,
        privileged: value.privileged.as_ref().is_some_and(|privileged| privileged.value),
        environment,
        timeout: duration(value.timeout.as_ref(), TIMEOUT, checker),
        on_failure: value.on_failure.unwrap_or_default(),
    }
}

/// A `file` step.
pub(super) fn file(raw: Option<&Spanned<RawFile>>, span: Span, checker: &mut Checker) -> File {
    let none = RawFile::default();
    let (value, lost) = raw.map_or((&none, false), |raw| (&raw.value, raw.lost("path")));
    let path = value.path.as_ref().map(|path| path.value.as_str()).unwrap_or_default();
    let is_path = (path.starts_with('/') && !path.ends_with('/')) || path.starts_with("{{");
    if !is_path && !lost {
        let at = value.path.as_ref().map_or(span, |path| path.span);
        checker.note(Mistake::at(at, "`file` without an absolute path").help("write `path: /run/maintenance`, say"));
    }
    let absent = value.state.unwrap_or_default() == FileState::Absent;
    if let (Some(content), true) = (&value.content, absent) {
        checker.note(
            Mistake::at(content.span, "a file that must not be there has no content").help("remove one of the two"),
        );
    }
    let text = value.content.as_ref().map(|content| content.value.0.as_str()).unwrap_or_default();
    if let Some(content) = value.content.as_ref().filter(|_| text.len() > CONTENT_MAX) {
        let mistake = Mistake::at(content.span, format!("{} bytes are too many: at most {CONTENT_MAX}", text.len()));
        checker.note(mistake.help("a file of that size is for the step `run`, and a tool that copies"));
    }
    let mode = value.mode.as_ref().map_or("0644", |mode| mode.value.0.as_str());
    let bits = mode.strip_prefix('0').filter(|bits| bits.len() == 3).unwrap_or(mode);
    if let Some(written) = &value.mode
        && (bits.len() != 3 || !bits.chars().all(|c| ('0'..='7').contains(&c)))
    {
        checker.note(
            Mistake::at(written.span, format!("`{mode}` are no permission bits")).help("write `mode: \"0644\"`, say"),
        );
    }
    let on = value.on.unwrap_or_default();
    let privileged = value.privileged.as_ref().is_some_and(|privileged| privileged.value);
    if let Some(owner) = value.owner.as_ref().filter(|_| on == Place::Controller || !privileged) {
        checker.note(
            Mistake::at(owner.span, "only root may give a file away")
                .help("with `become: true`, on the host; or leave `owner` out"),
        );
    }
    if let Some(become_) = value.privileged.as_ref().filter(|_| privileged && on == Place::Controller) {
        checker.note(Mistake::at(become_.span, "`become` is for files on the host").help("leave it out"));
    }
    File {
        name: named(value.name.as_ref(), "file", checker),
        path: Template::new(path),
        content: (!absent).then(|| Template::new(text)),
        mode: mode.to_owned(),
        owner: value.owner.as_ref().map(|owner| owner.value.clone()),
        on,
        privileged,
        on_failure: value.on_failure.unwrap_or_default(),
    }
}

/// An `http` step.
pub(super) fn http(raw: Option<&Spanned<RawHttp>>, span: Span, checker: &mut Checker) -> Http {
    let none = RawHttp::default();
    let (value, lost) = raw.map_or((&none, false), |raw| (&raw.value, raw.lost("url")));
    let url = value.url.as_ref().map(|url| url.value.as_str()).unwrap_or_default();
    let is_url = ["http://", "https://", "{{"].iter().any(|start| url.starts_with(start));
    if !is_url && !lost {
        let at = value.url.as_ref().map_or(span, |url| url.span);
        checker.note(Mistake::at(at, "`http` without a URL").help("write `url: \"{{ monitoring }}/varz\"`, say"));
    }
    let status = value.status.as_ref().and_then(|status| {
        let fits = u16::try_from(status.value).ok().filter(|code| (100..=599).contains(code));
        if fits.is_none() {
            checker.note(Mistake::at(status.span, format!("there is no HTTP status {}", status.value)));
        }
        fits
    });
    Http {
        name: named(value.name.as_ref(), "http", checker),
        url: Template::new(url),
        on: value.on.unwrap_or(Place::Controller),
        status: status.unwrap_or(200),
        contains: value.contains.as_ref().map(Template::new),
        timeout: duration(value.timeout.as_ref(), REQUEST_TIMEOUT, checker),
        within: duration(value.within.as_ref(), Duration::ZERO, checker),
        on_failure: value.on_failure.unwrap_or_default(),
    }
}

/// A `pause` step.
pub(super) fn pause(raw: Option<&Spanned<RawPause>>, span: Span, checker: &mut Checker) -> Pause {
    const HELP: &str = "write `for: 30s`, or `approval: Are the dashboards green?`";
    let none = RawPause::default();
    let (value, lost) = raw.map_or((&none, false), |raw| (&raw.value, raw.lost("for") || raw.lost("approval")));
    let until = match (&value.over, &value.approval) {
        (Some(over), None) => Until::Over(duration(Some(over), TIMEOUT, checker)),
        (None, Some(question)) => {
            if question.value.trim().is_empty() {
                checker.note(Mistake::at(question.span, "an approval without a question").help(HELP));
            }
            Until::Approved(Template::new(&question.value))
        }
        (Some(_), Some(question)) => {
            checker.note(Mistake::at(question.span, "a pause is for a time or for an approval, not both").help(HELP));
            Until::Over(TIMEOUT)
        }
        (None, None) => {
            if !lost {
                checker.note(Mistake::at(span, "a pause that says not for what").help(HELP));
            }
            Until::Over(TIMEOUT)
        }
    };
    Pause { name: named(value.name.as_ref(), "pause", checker), until }
}
