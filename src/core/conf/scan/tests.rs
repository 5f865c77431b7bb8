//! Texts and their items.

use super::*;

fn check(text: &str, expected: &str) {
    let found: Vec<String> = scan(text)
        .into_iter()
        .map(|item| match item.kind {
            Kind::End => "end".into(),
            kind => format!("{kind:?}({}):{}", item.text, item.line),
        })
        .collect();
    assert_eq!(found.join(" "), expected, "{text:?}");
}

#[test]
fn keys_and_values_in_every_form() {
    check("a: 1", "Key(a):1 Integer(1):1 end");
    check(
        "a = 1\nb 2k\nc:3MiB;d '4'",
        "Key(a):1 Integer(1):1 Key(b):2 Integer(2k):2 Key(c):3 Integer(3MiB):3 Key(d):3 Text(4):3 end",
    );
    check(
        "a: \"x\\ty\\x41\" # c\nb // d",
        "Key(a):1 Text(x\tyA):1 Key(b):2 Text(//):2 Error(Expected a top-level value to end with a new line, comment or EOF, but got 'd' instead.):2",
    );
    check(
        "a: yes, b: $V, c: 1.5, d: 10.0.0.1:4222, e: 2020-01-02T03:04:05Z, f: -3",
        "Key(a):1 Bool(yes):1 Key(b):1 Variable(V):1 Key(c):1 Float(1.5):1 Key(d):1 Text(10.0.0.1:4222):1 Key(e):1 Time(2020-01-02T03:04:05Z):1 Key(f):1 Integer(-3):1 end",
    );
    check(
        "a {b: [x, 'y' \"z\"]}",
        "Key(a):1 MapStart():1 Key(b):1 ArrayStart():1 Text(x):1 Text(y):1 Error(Expected an array value terminator ',' or an array terminator ']', but got '\"' instead.):1",
    );
    check("a (\n b\n)\nc: d", "Key(a):1 Text(\n b\n):3 Key(c):4 Text(d):4 end");
    check(
        "include './x.conf'\nm { include y }",
        "Include(./x.conf):1 Key(m):2 MapStart():2 Include(y):2 MapEnd():2 end",
    );
    check("{ a: 1, b { c: 2 } }", "Key(a):1 Integer(1):1 Key(b):1 MapStart():1 Key(c):1 Integer(2):1 MapEnd():1 end");
    check("p: ab#c", "Key(p):1 Text(ab#c):1 end");
    check("p: $2a$11$x", "Key(p):1 Variable(2a$11$x):1 end");
}

#[test]
fn mistakes_have_their_line() {
    for (text, line, part) in [
        ("a {\n b: 1\n", 3, "Unexpected EOF processing map"),
        ("a: [1,\n", 2, ""),
        ("a:\n", 2, "found new line"),
        ("\na: \"x\\q\"", 2, "Invalid escape"),
        ("= 1", 1, "Unexpected key separator"),
        ("a: .5", 1, "Floats must start"),
        ("a: 12-3", 1, "ISO8601"),
        ("a: 'x", 1, "Unexpected EOF"),
    ] {
        let last = scan(text).pop().expect("an item");
        assert_eq!((last.kind, last.line), (Kind::Error, line), "{text:?}: {last:?}");
        assert!(last.text.contains(part), "{text:?}: {last:?}");
    }
}

#[test]
fn nothing_at_all_is_fine() {
    for text in ["", " \n# x\n// y", "\n\n;"] {
        let last = scan(text).pop().expect("an item");
        assert!(matches!(last.kind, Kind::End | Kind::Error), "{text:?}");
    }
}
