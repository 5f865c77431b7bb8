//! What a playbook asks of whoever runs it: declared in the file, given by `--set name=value`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    raw::{RawParameter, RawPlaybook},
    template::{self, Within},
};
use crate::config::{
    check::Checker,
    duration,
    error::Mistake,
    suggest,
    yaml::{self, Kind, Node, ScalarText, Spanned},
};

/// A parameter of a playbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name, as in `--set name=value` and in `{{ name }}`.
    pub name: String,
    /// What it takes.
    pub kind: ParameterKind,
    /// Its value where none is given; none where one must be.
    pub default: Option<String>,
    /// What it is for; may be empty.
    pub help: String,
}

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename = "type")]
pub enum ParameterKind {
    /// Any text.
    #[default]
    Text,
    /// A whole number.
    Number,
    /// A number with its unit: `30s`.
    Duration,
    /// `true` or `false`.
    Boolean,
    /// A version: `2.15.1`.
    Version,
}

impl ParameterKind {
    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Duration => "duration",
            Self::Boolean => "boolean",
            Self::Version => "version",
        }
    }

    /// Why `value` is none of this kind.
    fn refuses(self, value: &str) -> Option<&'static str> {
        let fits = match self {
            Self::Text => true,
            Self::Number => value.parse::<i64>().is_ok(),
            Self::Duration => duration::parse(value).is_ok(),
            Self::Boolean => matches!(value, "true" | "false"),
            Self::Version => crate::core::install::version(value).is_ok(),
        };
        let expected = match self {
            Self::Text => "a text",
            Self::Number => "a whole number",
            Self::Duration => "a duration like `30s`",
            Self::Boolean => "`true` or `false`",
            Self::Version => "a version like `2.15.1`",
        };
        (!fits).then_some(expected)
    }

    /// A value that stands for any, where a file is only checked.
    fn sample(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "1",
            Self::Duration => "1s",
            Self::Boolean => "true",
            Self::Version => "2.15.1",
        }
    }
}

/// What was given for a playbook's parameters.
#[derive(Debug, Clone, Copy)]
pub enum Given<'a> {
    /// Names and values, in the order given; the last of one name counts.
    Values(&'a [(String, String)]),
    /// Nothing, and nothing is missed: the file is only checked, and required parameters get some value of their type.
    OnlyChecked,
}

/// Why the given parameters don't fit the playbook: one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n  "))]
pub struct ParameterErrors(pub Vec<String>);

/// The parameters that a file declares, and their values.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    pub declared: Vec<Parameter>,
    pub values: BTreeMap<String, String>,
    /// What is wrong with what was given.
    pub errors: Vec<String>,
}

/// Puts the parameters' values into the tree of a playbook, before it is read.
pub(super) fn apply(root: &mut Node, given: Given<'_>, mistakes: &mut Vec<Mistake>) -> Parameters {
    // What is wrong with the declarations themselves is said when the whole is read.
    let declared = yaml::try_read::<RawPlaybook>(root).and_then(|raw| raw.parameters).map_or_else(Vec::new, |raw| {
        let read = |(name, raw): &(Spanned<String>, Spanned<RawParameter>)| parameter(&name.value, &raw.value);
        raw.value.0.iter().map(read).collect()
    });
    let mut parameters = Parameters { declared, ..Parameters::default() };
    parameters.set(given);
    let is_typed = |parameter: &&Parameter| matches!(parameter.kind, ParameterKind::Number | ParameterKind::Boolean);
    let typed: Vec<&str> =
        parameters.declared.iter().filter(is_typed).map(|parameter| parameter.name.as_str()).collect();
    if let Kind::Map(entries) = &mut root.kind {
        for entry in entries.iter_mut().filter(|entry| entry.key != "parameters") {
            template::fill(&mut entry.value, &parameters.values, &typed, Within::Playbook, mistakes);
        }
    }
    parameters
}

fn parameter(name: &str, raw: &RawParameter) -> Parameter {
    Parameter {
        name: name.to_owned(),
        kind: raw.kind.as_ref().map(|kind| kind.value).unwrap_or_default(),
        default: raw.default.as_ref().map(|default| default.value.0.clone()),
        help: raw.help.as_deref().unwrap_or_default().trim().to_owned(),
    }
}

impl Parameters {
    fn set(&mut self, given: Given<'_>) {
        let pairs = match given {
            Given::Values(pairs) => pairs,
            Given::OnlyChecked => &[],
        };
        for (name, value) in pairs {
            match self.declared.iter().find(|parameter| parameter.name == *name) {
                None if self.declared.is_empty() => {
                    self.errors.push(format!("--set {name}: the playbook has no parameters"));
                }
                None => {
                    let names = self.declared.iter().map(|parameter| parameter.name.as_str());
                    self.errors
                        .push(format!("--set {name}: there is no such parameter; {}", suggest::hint(name, names)));
                }
                Some(parameter) => match parameter.kind.refuses(value) {
                    Some(expected) => self.errors.push(format!("--set {name}: expected {expected}, found `{value}`")),
                    None => {
                        self.values.insert(name.clone(), value.clone());
                    }
                },
            }
        }
        for parameter in &self.declared {
            if self.values.contains_key(&parameter.name) {
                continue;
            }
            let missing = matches!(given, Given::Values(_)) && parameter.default.is_none();
            if missing && !pairs.iter().any(|(name, _)| *name == parameter.name) {
                let help = if parameter.help.is_empty() { String::new() } else { format!(" ({})", parameter.help) };
                self.errors.push(format!("`{0}` is required: --set {0}=…{help}", parameter.name));
            }
            let value = parameter.default.clone().unwrap_or_else(|| parameter.kind.sample().to_owned());
            self.values.insert(parameter.name.clone(), value);
        }
    }
}

/// Notes what is wrong with the declarations.
pub(super) fn check(raw: &RawPlaybook, checker: &mut Checker) {
    for (name, raw) in raw.parameters.iter().flat_map(|parameters| &parameters.value.0) {
        if !name.value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            || !name.value.starts_with(|c: char| c.is_ascii_alphabetic())
        {
            checker.note(
                Mistake::at(name.span, format!("`{}` can't be the name of a parameter", yaml::shorten(&name.value)))
                    .help("a letter, then letters, digits and `_`: it stands in `{{ name }}`"),
            );
        }
        let raw_parameter = &raw.value;
        let kind = raw_parameter.kind.as_ref().map(|kind| kind.value).unwrap_or_default();
        match (&raw_parameter.default, raw_parameter.required) {
            (Some(default), Some(true)) => checker.note(
                Mistake::at(default.span, format!("parameter `{}` is required, and has a default", name.value))
                    .help("leave out one of the two"),
            ),
            (None, None | Some(false)) if !raw.lost("default") && !raw.lost("required") => checker.note(
                Mistake::at(name.span, format!("parameter `{}` has no default", name.value))
                    .help("give it one, or say `required: true`"),
            ),
            (Some(Spanned { value: ScalarText(text), span, .. }), _) => {
                if let Some(expected) = kind.refuses(text) {
                    checker.note(Mistake::at(*span, format!("the default should be {expected}")));
                }
            }
            _ => {}
        }
    }
}
