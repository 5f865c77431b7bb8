//! JSON Schema of our files, for editors that complete and check them while they are written.
//!
//! Made from the raw types that also read the files, so that the two can't drift apart; their
//! comments become the descriptions.

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::inventory::raw::RawInventory;
use super::playbook::raw::RawPlaybook;

/// Of what a schema is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaKind {
    /// The inventory.
    Inventory,
    /// A playbook.
    Playbook,
}

/// The JSON Schema (draft 2020-12) of one of our files.
///
/// It is somewhat stricter than the program: where that takes an empty value (`zone:` and nothing
/// after it) for an absent one, an editor should complain. What needs more than one place to be
/// judged, such as names that must be unique, is left to the program.
#[must_use]
pub fn schema(kind: SchemaKind) -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(NoNulls);
    let generator: SchemaGenerator = settings.into_generator();
    match kind {
        SchemaKind::Inventory => generator.into_root_schema_for::<RawInventory>(),
        SchemaKind::Playbook => {
            let mut schema = generator.into_root_schema_for::<RawPlaybook>();
            OrParameter.transform(&mut schema);
            schema
        }
    }
    .into()
}

/// Removes `null` as an alternative: the raw types are optional so that they can be read in part.
#[derive(Debug, Clone)]
struct NoNulls;

impl Transform for NoNulls {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else {
            return;
        };
        if let Some(Value::Array(types)) = object.get_mut("type") {
            types.retain(|name| name != "null");
            if let [one] = types.as_slice() {
                let one = one.clone();
                object.insert("type".to_owned(), one);
            }
        }
        for word in ["anyOf", "oneOf"] {
            let Some(Value::Array(options)) = object.get_mut(word) else {
                continue;
            };
            // A bare step is one whose settings are null: marked so as to stay.
            options.retain(|option| *option != json!({ "type": "null" }));
            if options.len() == 1
                && let Some(Value::Object(only)) = options.pop()
            {
                object.remove(word);
                for (key, value) in only {
                    object.entry(key).or_insert(value);
                }
            }
        }
    }
}

/// Allows `{{ name }}` wherever a playbook wants a number, a truth value, or a text of a certain form.
#[derive(Debug, Clone)]
struct OrParameter;

impl Transform for OrParameter {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
        for property in properties.values_mut() {
            let of_a_form = match property.get("type").and_then(Value::as_str) {
                Some("integer" | "boolean") => true,
                Some("string") => property.get("pattern").is_some() && property.get("description").is_some(),
                _ => false,
            };
            if of_a_form && let Value::Object(plain) = property.take() {
                let description = plain.get("description").cloned().unwrap_or_default();
                let parameter = json!({ "type": "string", "pattern": PARAMETER });
                *property = json!({ "description": description, "anyOf": [plain, parameter] });
            }
        }
    }
}

/// Allows `{{ name }}` for one of a few words.
pub(super) fn or_parameter(schema: &mut Schema) {
    let plain = schema.as_value().clone();
    let description = plain.get("description").cloned().unwrap_or_default();
    let parameter = json!({ "type": "string", "pattern": PARAMETER });
    *schema = json_schema!({ "description": description, "anyOf": [plain, parameter] });
}

/// A text with a parameter in it.
const PARAMETER: &str = r"\{\{.*\}\}";

/// Adds the bare names of the steps to those with settings.
pub(super) fn allow_bare_steps(schema: &mut Schema) {
    let Some(Value::Array(options)) = schema.get_mut("oneOf") else {
        return;
    };
    let bare: Vec<Value> = options
        .iter()
        .filter_map(|option| {
            let name = option.get("properties")?.as_object()?.keys().next()?.clone();
            let description = option.get("description").cloned().unwrap_or_default();
            let bare = json_schema!({ "const": name, "description": description });
            Some(bare.into())
        })
        .collect();
    options.extend(bare);
}
