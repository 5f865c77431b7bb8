//! Values with their places.

use std::{collections::BTreeMap, sync::Arc};

/// A place in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's path as it was opened.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A value and where its key stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// The place of its key; of itself where it is an element of an array.
    pub place: Place,
    /// What it is.
    pub data: Data,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Text, quoted or not.
    Text(String),
    /// A whole number, its suffix (`k`, `MB` …) multiplied in.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// `true`, `yes`, `on` and their opposites.
    Bool(bool),
    /// A date and time, as written.
    Time(String),
    /// `[ … ]`.
    Array(Vec<Value>),
    /// `{ … }`. A key given twice counts the last time, as in nats-server.
    Map(Map),
}

/// Keys as written: nats-server looks at most of them without regard to case.
pub type Map = BTreeMap<String, Value>;

impl Value {
    /// A map's entry by any of its names, without regard to case.
    pub fn get(&self, names: &[&str]) -> Option<&Value> {
        match &self.data {
            Data::Map(map) => get(map, names),
            _ => None,
        }
    }

    /// Text; a number or a boolean as it would be written.
    pub fn text(&self) -> Option<String> {
        match &self.data {
            Data::Text(text) | Data::Time(text) => Some(text.clone()),
            Data::Integer(number) => Some(number.to_string()),
            Data::Float(number) => Some(number.to_string()),
            Data::Bool(is) => Some(is.to_string()),
            Data::Array(_) | Data::Map(_) => None,
        }
    }

    /// A whole number.
    pub fn integer(&self) -> Option<i64> {
        match self.data {
            Data::Integer(number) => Some(number),
            _ => None,
        }
    }

    /// A boolean.
    pub fn truth(&self) -> Option<bool> {
        match self.data {
            Data::Bool(is) => Some(is),
            _ => None,
        }
    }

    /// The elements of an array; a single value counts as an array of itself.
    pub fn elements(&self) -> &[Value] {
        match &self.data {
            Data::Array(all) => all,
            _ => std::slice::from_ref(self),
        }
    }

    /// The entries of a map.
    pub fn entries(&self) -> impl Iterator<Item = (&String, &Value)> {
        match &self.data {
            Data::Map(map) => Some(map.iter()),
            _ => None,
        }
        .into_iter()
        .flatten()
    }
}

/// A map's entry by any of its names, without regard to case.
pub fn get<'a>(map: &'a Map, names: &[&str]) -> Option<&'a Value> {
    map.iter().find(|(key, _)| names.iter().any(|name| key.eq_ignore_ascii_case(name))).map(|(_, value)| value)
}
