//! The JSON Schemas and the loader agree: what the loader takes, the schema takes, and no
//! property of the schema is one that no good file shows.
//!
//! The validator here knows just the words that our schemas use, and fails on any other, which
//! costs less than a crate for all of JSON Schema.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rollgate::config::{Playbook, SchemaKind, schema};
use serde_json::Value;

struct Validator {
    root: Value,
    /// Each property met, as `description of its object/name`.
    seen: BTreeSet<String>,
}

impl Validator {
    fn new(kind: SchemaKind) -> Self {
        Self { root: schema(kind), seen: BTreeSet::new() }
    }

    fn follow<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(path) => root.pointer(path.trim_start_matches('#')).expect("a known definition"),
            None => schema,
        }
    }

    /// The first thing wrong with `value`.
    fn check(&mut self, schema: &Value, value: &Value) -> Result<(), String> {
        let root = self.root.clone();
        let schema = Self::follow(&root, schema);
        let object = schema.as_object().ok_or("a schema that is no object")?;
        for (word, operand) in object {
            let is_right = match word.as_str() {
                // These say nothing about the value, or (`pattern`) need a crate.
                "$schema" | "$defs" | "title" | "description" | "examples" | "pattern" | "format" | "propertyNames"
                | "default" | "maxLength" => true,
                "type" => match operand.as_str().ok_or("several types")? {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    other => return Err(format!("type {other}")),
                },
                "const" => value == operand,
                "enum" => operand.as_array().ok_or("enum")?.contains(value),
                "minimum" => value.as_i64() >= operand.as_i64(),
                "maximum" => value.as_i64() <= operand.as_i64(),
                "minLength" => value.as_str().is_none_or(|s| s.len() as u64 >= operand.as_u64().unwrap()),
                "minItems" => value.as_array().is_none_or(|a| a.len() as u64 >= operand.as_u64().unwrap()),
                "minProperties" => value.as_object().is_none_or(|o| o.len() as u64 >= operand.as_u64().unwrap()),
                "maxProperties" => value.as_object().is_none_or(|o| o.len() as u64 <= operand.as_u64().unwrap()),
                "required" => {
                    let names = operand.as_array().ok_or("required")?;
                    names.iter().all(|name| value.get(name.as_str().unwrap()).is_some())
                }
                "items" => {
                    for item in value.as_array().into_iter().flatten() {
                        self.check(operand, item)?;
                    }
                    true
                }
                "properties" | "additionalProperties" => {
                    self.check_properties(object, value)?;
                    true
                }
                "anyOf" | "oneOf" => {
                    let options = operand.as_array().ok_or(word.as_str())?;
                    options.iter().any(|option| self.check(option, value).is_ok())
                }
                other => {
                    return Err(format!("the schema says `{other}`, which this test does not know"));
                }
            };
            if !is_right {
                return Err(format!("{value} is not `{word}: {operand}`"));
            }
        }
        Ok(())
    }

    fn check_properties(&mut self, schema: &serde_json::Map<String, Value>, value: &Value) -> Result<(), String> {
        let known = schema.get("properties").and_then(Value::as_object);
        for (name, value) in value.as_object().into_iter().flatten() {
            match (known.and_then(|known| known.get(name)), schema.get("additionalProperties")) {
                (Some(property), _) => {
                    self.check(property, value)?;
                    self.seen.insert(label(schema, name));
                }
                (None, Some(Value::Bool(false)) | None) => return Err(format!("unknown `{name}`")),
                (None, Some(other)) => self.check(other, value)?,
            }
        }
        Ok(())
    }
}

fn label(schema: &serde_json::Map<String, Value>, name: &str) -> String {
    format!("{}/{name}", schema.get("description").and_then(Value::as_str).unwrap_or_default())
}

/// All properties that the schema knows; each must have a description.
fn properties(schema: &Value, out: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Object(known)) = object.get("properties") {
                assert_eq!(object.get("additionalProperties"), Some(&Value::Bool(false)), "{object:?}");
                for (name, property) in known {
                    out.insert(label(object, name));
                    let is_step =
                        object.get("required").is_some_and(|r| r.as_array().unwrap().len() == 1) && known.len() == 1;
                    assert!(is_step || property.get("description").is_some(), "{name} has no description");
                }
            }
            object.values().for_each(|value| properties(value, out));
        }
        Value::Array(values) => values.iter().for_each(|value| properties(value, out)),
        _ => {}
    }
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn good_and_bad(kind: SchemaKind, prefix: &str, embedded: &[&str], bad: &[&str]) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut validator = Validator::new(kind);
    let root = validator.root.clone();
    let mut count = 0;
    let mut texts: Vec<(String, String)> =
        embedded.iter().map(|text| ("embedded".to_owned(), (*text).to_owned())).collect();
    for entry in fs::read_dir(dir.join("good")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with(prefix) {
            texts.push((name, fs::read_to_string(path).unwrap()));
        }
    }
    for (name, text) in &texts {
        if let Err(problem) = validator.check(&root, &without_nulls(yaml(text))) {
            panic!("{name}: {problem}");
        }
        count += 1;
    }
    assert!(count > 1);
    let mut known = BTreeSet::new();
    properties(&root, &mut known);
    let unseen: Vec<_> = known.difference(&validator.seen).collect();
    assert!(unseen.is_empty(), "no good file shows {unseen:?}");
    for name in bad {
        let text = fs::read_to_string(dir.join("bad").join(name)).unwrap();
        assert!(validator.check(&root, &yaml(&text)).is_err(), "{name} is accepted");
    }
}

/// The schema is stricter about absent values than the loader; `settle:` is written in one file.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(
            items
                .into_iter()
                .map(|item| match &item {
                    Value::Object(step) if step.len() == 1 && step.values().all(Value::is_null) => {
                        Value::String(step.keys().next().unwrap().clone())
                    }
                    _ => without_nulls(item),
                })
                .collect(),
        ),
        Value::Object(object) => object.into_iter().map(|(key, value)| (key, without_nulls(value))).collect(),
        other => other,
    }
}

#[test]
fn inventories() {
    good_and_bad(
        SchemaKind::Inventory,
        "inventory",
        &[],
        &[
            "inventory-unknown-keys.yaml",
            "inventory-wrong-types.yaml",
            "inventory-no-clusters.yaml",
            "inventory-clusters-is-empty.yaml",
            "inventory-no-hosts.yaml",
            "inventory-services.yaml",
            "inventory-list.yaml",
        ],
    );
}

#[test]
fn playbooks() {
    let embedded: Vec<&str> = Playbook::embedded_names().filter_map(Playbook::embedded_text).collect();
    assert!(!embedded.is_empty());
    good_and_bad(
        SchemaKind::Playbook,
        "playbook",
        &embedded,
        &[
            "playbook-unknown.yaml",
            "playbook-wrong-types.yaml",
            "playbook-nothing.yaml",
            "playbook-is-an-inventory.yaml",
        ],
    );
}

#[test]
fn schemas_say_what_they_are() {
    for (kind, title) in [(SchemaKind::Inventory, "rollgate inventory"), (SchemaKind::Playbook, "rollgate playbook")] {
        let schema = schema(kind);
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(schema["title"], title);
        assert!(schema["description"].is_string());
    }
}
