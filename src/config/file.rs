//! A file from the operator's side that goes to hosts: a template, with the variables of each host in it.

use std::{collections::BTreeMap, path::Path};

use minijinja::{Environment, UndefinedBehavior, Value, value::ValueKind};

use super::{
    error::{ConfigErrors, Mistake},
    suggest,
    yaml::{Span, shorten},
};

/// What is known of every host, beside its own variables.
pub const FACTS: [&str; 4] = ["host", "server", "cluster", "zone"];

/// Puts a host's variables into the text of a template, which stands at `path`. Names that are nobody's are mistakes, also where
/// the host would not come by them.
///
/// # Errors
/// All of them, each with its place.
pub fn render(path: &Path, text: &str, variables: &BTreeMap<String, String>) -> Result<String, ConfigErrors> {
    let mistaken = |mistakes: Vec<Mistake>| ConfigErrors::new(path, text, mistakes);
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_debug(true);
    // Truth values as nats-server and YAML write them.
    environment.set_formatter(|out, state, value| match value.kind() {
        ValueKind::Bool if value.is_true() => out.write_str("true").map_err(minijinja::Error::from),
        ValueKind::Bool => out.write_str("false").map_err(minijinja::Error::from),
        _ => minijinja::escape_formatter(out, state, value),
    });
    let template = environment.template_from_str(text).map_err(|error| mistaken(vec![malformed(text, &error)]))?;
    let mut unknown: Vec<String> = template.undeclared_variables(false).into_iter().collect();
    unknown.retain(|name| !variables.contains_key(name));
    if !unknown.is_empty() {
        return Err(mistaken(unknown.iter().map(|name| undefined(text, name, variables)).collect()));
    }
    let values: BTreeMap<String, Value> = variables.iter().map(|(name, text)| (name.clone(), value(text))).collect();
    let rendered = template.render(Value::from(values));
    let mut rendered = rendered.map_err(|error| mistaken(vec![malformed(text, &error)]))?;
    // The last newline of a template is left out, as in Jinja; in a file it is meant.
    if text.ends_with('\n') && !rendered.ends_with('\n') {
        rendered.push('\n');
    }
    Ok(rendered)
}

/// A number or a truth value where the text is one, so that `{% if tls %}` means what it says.
fn value(text: &str) -> Value {
    match (text, text.parse::<i64>()) {
        ("true", _) => Value::from(true),
        ("false", _) => Value::from(false),
        (_, Ok(number)) if number.to_string() == text => Value::from(number),
        _ => Value::from(text),
    }
}

fn undefined(text: &str, name: &str, variables: &BTreeMap<String, String>) -> Mistake {
    let message = format!("there is no variable `{}`", shorten(name));
    let help = if variables.is_empty() {
        "give it under `vars:` of the host, of its cluster or of the defaults".to_owned()
    } else {
        suggest::hint(name, variables.keys().map(String::as_str))
    };
    let mistake = Mistake::anywhere(message).help(help);
    match used(text, name) {
        Some(span) => mistake.with_span(span),
        None => mistake,
    }
}

/// Where a name is used first: a word of its own between braces.
fn used(text: &str, name: &str) -> Option<Span> {
    let mut from = 0;
    while let Some(open) = text[from..].find('{').map(|at| from + at) {
        let close = match text.as_bytes().get(open + 1) {
            Some(b'{') => "}}",
            Some(b'%') => "%}",
            _ => {
                from = open + 1;
                continue;
            }
        };
        let end = text[open..].find(close).map_or(text.len(), |at| open + at);
        let word = |at: &usize| {
            let part = |c: char| c.is_alphanumeric() || "_.".contains(c);
            !text[..*at].ends_with(part)
                && !text[at + name.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
        };
        let found = text[open..end].match_indices(name).map(|(at, _)| open + at).find(word);
        if let Some(start) = found {
            return Some(Span { start, end: start + name.len() });
        }
        from = end;
    }
    None
}

/// The library's words, without values: they may be secrets.
fn malformed(text: &str, error: &minijinja::Error) -> Mistake {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let mistake = Mistake::anywhere(format!("the template can't be filled in: {what}"))
        .help("`{{ name }}` is a variable's value; for the braces themselves write `{{ '{{' }}`");
    match error.range().filter(|range| text.is_char_boundary(range.start) && text.is_char_boundary(range.end)) {
        Some(range) => mistake.with_span(Span { start: range.start, end: range.end }),
        None => mistake,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &[(usize, usize, &str)]>) {
        let variables = [("port", "4222"), ("zone", "a"), ("tls", "false"), ("code", "007")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        match (render("nats.conf.j2".as_ref(), text, &variables), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(errors), Err(expected)) => {
                let found: Vec<_> = errors.mistakes().iter().map(|one| (errors.position(one), one.message())).collect();
                assert_eq!(found.len(), expected.len(), "{found:?}");
                for ((place, message), (line, column, text)) in found.iter().zip(expected) {
                    assert_eq!(*place, Some((*line, *column)), "{message}");
                    assert!(message.contains(text), "{message}");
                }
            }
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn variables_take_their_places() {
        check("port: {{ port }}\n", Ok("port: 4222\n"));
        check("{% if zone == 'a' %}tags: [{{ zone }}]{% endif %}\n", Ok("tags: [a]\n"));
        check("cluster { name: c }\n", Ok("cluster { name: c }\n"));
        check(
            "{% if tls %}tls{% endif %}{% if port > 4000 %}high{% endif %} {{ code }} {{ tls }}",
            Ok("high 007 false"),
        );
    }

    #[test]
    fn names_that_are_nobody_s_have_their_place() {
        check("a: 1\nport: {{ prot }}\n", Err(&[(2, 10, "no variable `prot`")]));
        check(
            "{% if zone == 'b' %}{{ nope }}{% endif %} {{ x }}",
            Err(&[(1, 24, "no variable `nope`"), (1, 46, "no variable `x`")]),
        );
        check("ä {{ port.prot }}", Err(&[(1, 6, "can't be filled in")]));
    }
}
