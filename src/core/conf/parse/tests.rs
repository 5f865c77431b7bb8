//! Configurations of one file and of several.

use super::*;
use crate::core::conf::value::get;

fn read(files: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Map, String> {
    let text = |path: &str| {
        let found = files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned());
        found.ok_or_else(|| format!("open {path}: no such file or directory"))
    };
    let variable = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    parse(files[0].0, &Files { text: &text, variable: &variable }).map_err(|mistake| mistake.to_string())
}

fn check(text: &str, expected: Result<&str, &str>) {
    let found = read(&[("/c", text)], &[("ENV", "8M"), ("LOOP", "$LOOP")]);
    let found = found.map(|map| shown(&Data::Map(map)));
    assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
}

fn shown(data: &Data) -> String {
    match data {
        Data::Map(map) => {
            let entries: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", shown(&value.data))).collect();
            format!("{{{}}}", entries.join(" "))
        }
        Data::Array(all) => format!("[{}]", all.iter().map(|value| shown(&value.data)).collect::<Vec<_>>().join(" ")),
        Data::Text(text) => format!("{text:?}"),
        Data::Integer(number) => number.to_string(),
        Data::Float(number) => number.to_string(),
        Data::Bool(is) => is.to_string(),
        Data::Time(text) => text.clone(),
    }
}

#[test]
fn values_are_read() {
    check("port: 4222\nmax: 1kb", Ok("{max:1024 port:4222}"));
    check("X: \"a\"\nb { c: $X, d: $ENV }", Ok("{X:\"a\" b:{c:\"a\" d:8000000}}"));
    check("a: [ {b: 1}, {b: 2} ]\na: [3, 4, five]", Ok("{a:[3 4 \"five\"]}"));
    check("p: $2a$11$abc", Ok("{p:\"$2a$11$abc\"}"));
    check("a: $NOPE", Err("/c:1: variable reference for 'NOPE' on line 1 can not be found"));
    check(
        "\na: $LOOP",
        Err(
            "/c:2: variable reference for 'LOOP' on line 2 could not be parsed: variable reference for 'LOOP' on line 1 could not be parsed: variable reference cycle for 'LOOP'",
        ),
    );
    check("a: 99999999999999999999", Err("/c:1: integer '99999999999999999999' is out of the range"));
    check("a {\n", Err("/c:2: Parse error on line 2: 'Unexpected EOF processing map.'"));
    check("abc", Err("/c:1: config is invalid: a key without a value at the end"));
    let deep = "a: ".to_owned() + &"[".repeat(5000);
    check(&deep, Err("/c:1: nested more than 200 deep"));
}

#[test]
fn includes_are_joined_and_keep_their_places() {
    let files = [
        ("/etc/nats/main.conf", "server_name: a\nm { include sub/more.conf }\n"),
        ("/etc/nats/sub/more.conf", "\nport: 1\ninclude 'deep.conf'\n"),
        ("/etc/nats/sub/deep.conf", "x: 2"),
    ];
    let map = read(&files, &[]).unwrap();
    assert_eq!(shown(&Data::Map(map.clone())), "{m:{port:1 x:2} server_name:\"a\"}");
    let port = get(&map, &["M"]).and_then(|m| m.get(&["port"])).unwrap();
    assert_eq!(port.place.to_string(), "/etc/nats/sub/more.conf:2");
    let missing = read(&files[..2], &[]).unwrap_err();
    assert!(missing.starts_with("/etc/nats/main.conf:2: error parsing include file 'sub/more.conf'"), "{missing}");
    let cycle = read(&[("/a", "include a")], &[]).unwrap_err();
    assert!(cycle.contains("include each other"), "{cycle}");
}
