//! Values for templates, merged from host, cluster and defaults.

use std::collections::BTreeMap;

use super::layers::Layers;
use super::raw::RawSecret;
use super::types::Var;
use crate::config::check::Checker;
use crate::config::error::Mistake;
use crate::config::file::FACTS;
use crate::config::secrets::is_secret;
use crate::config::yaml::{ScalarOr, Spanned, shorten};

/// The values that hold for a host, by name; the nearest of each.
pub(super) fn resolve(layers: &Layers<'_>, checker: &mut Checker) -> BTreeMap<String, Var> {
    let mut found = BTreeMap::new();
    for (name, value) in layers.vars().flat_map(|vars| &vars.value.0) {
        if !is_name(&name.value) {
            let message = format!("`{}` can't be the name of a variable", shorten(&name.value));
            checker.note(Mistake::at(name.span, message).help("a letter, then letters, digits and `_`"));
        } else if FACTS.contains(&name.value.as_str()) {
            let message = format!("`{}` is known of every host already", name.value);
            checker.note(Mistake::at(name.span, message).help("give the variable another name"));
        } else if let Some(var) = var(name, value, checker) {
            found.insert(name.value.clone(), var);
        }
    }
    found
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn var(name: &Spanned<String>, value: &Spanned<ScalarOr<RawSecret>>, checker: &mut Checker) -> Option<Var> {
    const ELSEWHERE: &str = "say where it is: `{env: NAME}` or `{file: PATH}`";
    match &value.value {
        ScalarOr::Scalar(_) if is_secret(&name.value) => {
            let mistake = Mistake::at(name.span, format!("a secret in `{}`", shorten(&name.value)));
            checker.note(mistake.help(format!("secrets are not written inline: {ELSEWHERE}")));
            None
        }
        ScalarOr::Scalar(text) => Some(Var::Plain(text.clone())),
        ScalarOr::Long(RawSecret { env: Some(env), file: None }) => {
            let is_variable = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if env.value.is_empty()
                || env.value.starts_with(|c: char| c.is_ascii_digit())
                || !env.value.chars().all(is_variable)
            {
                checker.note(Mistake::at(env.span, "not the name of a variable").help("letters, digits and `_`"));
                return None;
            }
            Some(Var::Env(env.value.clone()))
        }
        ScalarOr::Long(RawSecret { env: None, file: Some(file) }) => checker.path(file).map(Var::File),
        ScalarOr::Long(_) => {
            if value.lost.is_empty() {
                checker.note(Mistake::at(value.span, "one place of a secret is wanted").help(ELSEWHERE));
            }
            None
        }
    }
}
