//! Files joined, variables looked up, every value with its place (`conf/parse.go`).

use std::sync::Arc;

use super::{
    clean, number,
    scan::{Item, Kind, scan},
    value::{Data, Map, Place, Value},
};

/// Includes nest no deeper than this here. nats-server has no limit: it dies of files that include each other.
const NESTED_FILES: usize = 16;
/// Maps and arrays nest no deeper than this here; nats-server has no limit.
const NESTED_VALUES: usize = 200;
/// A variable named by this in the text stands for a bcrypt hash, unquoted.
const BCRYPT: &str = "2a$";

/// Where a configuration's parts come from.
pub struct Files<'a> {
    /// The text of a file by its path; that of an include is the including file's directory and what it names, made [`clean`].
    pub text: &'a dyn Fn(&str) -> Result<String, String>,
    /// An environment variable: none where it is not set.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

/// Why a configuration can't be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{place}: {text}")]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// What.
    pub text: String,
}

/// Reads a configuration.
///
/// # Errors
/// The first mistake, in words much like nats-server's.
pub fn parse(main: &str, files: &Files<'_>) -> Result<Map, Mistake> {
    file(main, files, 0)
}

fn file(path: &str, files: &Files<'_>, nested: usize) -> Result<Map, Mistake> {
    let name: Arc<str> = path.into();
    let at = |line, text: String| Mistake { place: Place { file: Arc::clone(&name), line }, text };
    if nested > NESTED_FILES {
        return Err(at(1, "files include each other, or too deeply".into()));
    }
    let text = (files.text)(path).map_err(|error| at(1, error))?;
    Parser::new(&name, files, nested, &[]).run(&text)
}

/// A map or an array under way.
enum Open {
    Map(Map),
    Array(Vec<Value>),
}

struct Parser<'a, 'b> {
    file: Arc<str>,
    files: &'a Files<'b>,
    nested: usize,
    open: Vec<Open>,
    /// Keys that wait for their values, with their lines. A key without a value stays, as it does in nats-server.
    keys: Vec<(String, u32)>,
    /// Environment variables whose values are being read.
    looking_up: Vec<String>,
}

impl<'a, 'b> Parser<'a, 'b> {
    fn new(file: &Arc<str>, files: &'a Files<'b>, nested: usize, looking_up: &[String]) -> Self {
        Self {
            file: Arc::clone(file),
            files,
            nested,
            open: vec![Open::Map(Map::new())],
            keys: Vec::new(),
            looking_up: looking_up.to_vec(),
        }
    }

    fn wrong<T>(&self, line: u32, text: impl Into<String>) -> Result<T, Mistake> {
        Err(Mistake { place: self.place(line), text: text.into() })
    }

    fn place(&self, line: u32) -> Place {
        Place { file: Arc::clone(&self.file), line }
    }

    fn run(mut self, text: &str) -> Result<Map, Mistake> {
        let mut last_key: Option<String> = None;
        for item in scan(text) {
            if item.kind == Kind::End {
                // A last `}` may stand alone, for the sake of JSON.
                if last_key.is_some_and(|key| key != "}") {
                    return self.wrong(item.line, "config is invalid: a key without a value at the end");
                }
                break;
            }
            last_key = (item.kind == Kind::Key).then(|| item.text.clone());
            self.item(item)?;
        }
        match self.open.into_iter().next() {
            Some(Open::Map(map)) => Ok(map),
            _ => Ok(Map::new()),
        }
    }

    fn item(&mut self, item: Item) -> Result<(), Mistake> {
        let line = item.line;
        let data = match item.kind {
            Kind::Error => return self.wrong(line, format!("Parse error on line {line}: '{}'", item.text)),
            Kind::End => return Ok(()),
            Kind::Key => {
                self.keys.push((item.text, line));
                return Ok(());
            }
            Kind::MapStart | Kind::ArrayStart => {
                if self.open.len() > NESTED_VALUES {
                    return self.wrong(line, format!("nested more than {NESTED_VALUES} deep"));
                }
                let is_map = item.kind == Kind::MapStart;
                self.open.push(if is_map { Open::Map(Map::new()) } else { Open::Array(Vec::new()) });
                return Ok(());
            }
            // The scanner never ends more than it began.
            Kind::MapEnd | Kind::ArrayEnd => match self.open.pop() {
                Some(Open::Map(map)) => Data::Map(map),
                Some(Open::Array(all)) => Data::Array(all),
                None => return Ok(()),
            },
            Kind::Text => Data::Text(item.text),
            Kind::Time => Data::Time(item.text),
            Kind::Bool => Data::Bool(matches!(item.text.to_ascii_lowercase().as_str(), "true" | "yes" | "on")),
            Kind::Integer => match number::integer(&item.text) {
                Ok(Some(number)) => Data::Integer(number),
                // nats-server goes on without a value; the key waits for the next one.
                Ok(None) => return Ok(()),
                Err(text) => return self.wrong(line, text),
            },
            Kind::Float => match item.text.parse() {
                Ok(number) => Data::Float(number),
                Err(_) => return self.wrong(line, format!("expected float, but got '{}'", item.text)),
            },
            Kind::Variable => self.variable(&item.text, line)?,
            Kind::Include => return self.include(&item.text, line),
        };
        self.set(data, line)
    }

    fn set(&mut self, data: Data, line: u32) -> Result<(), Mistake> {
        match self.open.last_mut() {
            Some(Open::Array(all)) => {
                let place = Place { file: Arc::clone(&self.file), line };
                all.push(Value { place, data });
                Ok(())
            }
            Some(Open::Map(map)) => {
                let Some((key, line)) = self.keys.pop() else {
                    return self.wrong(line, "a value without a key");
                };
                map.insert(key, Value { place: Place { file: Arc::clone(&self.file), line }, data });
                Ok(())
            }
            None => self.wrong(line, "a value outside of everything"),
        }
    }

    fn include(&mut self, named: &str, line: u32) -> Result<(), Mistake> {
        let directory = self.file.rfind('/').map_or("", |end| &self.file[..=end]);
        let included = file(&clean(&format!("{directory}{named}")), self.files, self.nested + 1);
        let map = match included {
            Ok(map) => map,
            Err(mistake) => return self.wrong(line, format!("error parsing include file '{named}', {mistake}")),
        };
        match self.open.last_mut() {
            Some(Open::Map(open)) => {
                open.extend(map);
                Ok(())
            }
            _ => self.wrong(line, "an include outside of a map"),
        }
    }

    /// By the maps around it, the innermost first; then by the environment.
    fn variable(&mut self, name: &str, line: u32) -> Result<Data, Mistake> {
        if name.starts_with(BCRYPT) {
            return Ok(Data::Text(format!("${name}")));
        }
        for open in self.open.iter().rev() {
            if let Open::Map(map) = open
                && let Some(value) = map.get(name)
            {
                return Ok(value.data.clone());
            }
        }
        let what = format!("variable reference for '{name}' on line {line}");
        if self.looking_up.iter().any(|other| other == name) {
            return self.wrong(line, format!("{what} could not be parsed: variable reference cycle for '{name}'"));
        }
        let Some(text) = (self.files.variable)(name) else {
            return self.wrong(line, format!("{what} can not be found"));
        };
        self.looking_up.push(name.to_owned());
        let inner = Parser::new(&self.file, self.files, self.nested, &self.looking_up);
        let read = inner.run(&format!("pk={text}"));
        self.looking_up.pop();
        match read {
            Ok(mut map) => match map.remove("pk") {
                Some(value) => Ok(value.data),
                None => self.wrong(line, format!("{what} can not be found")),
            },
            Err(mistake) => self.wrong(line, format!("{what} could not be parsed: {}", mistake.text)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
