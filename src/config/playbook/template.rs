//! `{{ name }}` in a playbook's values: parameters, put in when the file is read. minijinja, strict about names that
//! are not there.

use std::collections::BTreeMap;

use minijinja::{Environment, UndefinedBehavior, Value};

use crate::{
    config::{
        error::Mistake,
        suggest,
        yaml::{Kind, Node, shorten},
    },
    core::own_step::{Fact, next_fact},
};

/// The name, where a value is nothing but one parameter.
fn only_name(text: &str) -> Option<&str> {
    Some(text.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim())
}

/// Puts `values` into every value below `node`, and says what can't be done. A value that is nothing but a parameter
/// named in `typed` becomes a number or a truth value, as if it stood there without quotes.
pub(super) fn fill(
    node: &mut Node,
    values: &BTreeMap<String, String>,
    typed: &[&str],
    within: Within,
    mistakes: &mut Vec<Mistake>,
) {
    match &mut node.kind {
        Kind::List(items) => items.iter_mut().for_each(|item| fill(item, values, typed, within, mistakes)),
        Kind::Map(entries) => entries.iter_mut().for_each(|entry| {
            let own = ["run", "file", "http", "pause"].contains(&entry.key.as_str());
            fill(&mut entry.value, values, typed, if own { Within::OwnStep } else { within }, mistakes);
        }),
        Kind::Scalar { text, plain } if text.contains("{{") || text.contains("{%") => {
            match render(text, values, within) {
                Ok(rendered) => {
                    *plain = only_name(text).is_some_and(|name| typed.contains(&name));
                    *text = rendered;
                }
                Err(problem) => mistakes.push(problem.mistake(text, values).with_span(node.span)),
            }
        }
        Kind::Scalar { .. } => {}
    }
}

/// Where a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// In a step of the operator's own, where the facts of a turn will be known.
    OwnStep,
    /// Elsewhere.
    Playbook,
}

/// Why a text can't be filled in.
enum Problem {
    Unknown(Vec<String>),
    Malformed(String),
}

impl Problem {
    fn mistake(&self, text: &str, values: &BTreeMap<String, String>) -> Mistake {
        match self {
            Self::Unknown(names) => {
                let name = names.first().map_or("", String::as_str);
                let help = if Fact::ALL.iter().any(|fact| fact.name() == name) {
                    "it is known in a step of your own (`run`, `file`, `http`, `pause`), and stands there by itself"
                        .to_owned()
                } else if values.is_empty() {
                    "declare it under `parameters:` at the top of the playbook".to_owned()
                } else {
                    suggest::hint(name, values.keys().map(String::as_str))
                };
                Mistake::anywhere(format!("there is no parameter `{}`", shorten(name))).help(help)
            }
            Self::Malformed(why) => Mistake::anywhere(format!("`{}` can't be filled in: {why}", shorten(text)))
                .help("`{{ name }}` is a parameter's value; for the braces themselves write `{{ '{{' }}`"),
        }
    }
}

fn render(text: &str, values: &BTreeMap<String, String>, within: Within) -> Result<String, Problem> {
    let text = &if within == Within::OwnStep { keep_facts(text) } else { text.to_owned() };
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let malformed = |error: minijinja::Error| Problem::Malformed(error.to_string());
    let template = environment.template_from_str(text).map_err(malformed)?;
    let mut unknown: Vec<String> = template.undeclared_variables(false).into_iter().collect();
    unknown.retain(|name| !values.contains_key(name));
    unknown.sort();
    if !unknown.is_empty() {
        return Err(Problem::Unknown(unknown));
    }
    template.render(Value::from(values.clone())).map_err(malformed)
}

/// The text with each `{{ fact }}` written so that it stays as it is: its value is known when its turn has come.
fn keep_facts(text: &str) -> String {
    let mut rest = text;
    let mut out = String::new();
    while let Some((before, fact, after)) = next_fact(rest) {
        out.push_str(&format!("{before}{{{{ '{{{{ {} }}}}' }}}}", fact.name()));
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        check_within(Within::Playbook, text, expected);
    }

    fn check_within(within: Within, text: &str, expected: Result<&str, &str>) {
        let values = BTreeMap::from([("soak".to_owned(), "30s".to_owned()), ("a_b".to_owned(), "x".to_owned())]);
        let found = render(text, &values, within).map_err(|problem| problem.mistake(text, &values));
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
            (Err(found), Err(expected)) => assert!(found.message.contains(expected), "{text}: {}", found.message),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn names_become_values() {
        check("{{ soak }}", Ok("30s"));
        check("a {{soak}} b {{ a_b }}", Ok("a 30s b x"));
        check("{{ '{{' }}", Ok("{{"));
        check("{{ soka }}", Err("no parameter `soka`"));
        check("{{ soak", Err("can't be filled in"));
        check("{{ soak.x }}", Err("can't be filled in"));
        check("{% if soak == '30s' %}y{% endif %}", Ok("y"));
    }

    #[test]
    fn facts_stay_for_their_turn() {
        check("{{ host }}", Err("no parameter `host`"));
        check_within(Within::OwnStep, "{{host}} {{ soak }} {{ server }}", Ok("{{ host }} 30s {{ server }}"));
        check_within(Within::OwnStep, "{% if host == 'n1' %}x{% endif %}", Err("no parameter `host`"));
        check_within(Within::OwnStep, "{{ hots }}", Err("no parameter `hots`"));
    }
}
