//! Any text is read to its end: no panic, no endless loop, no more than a few items a character.
//! `PROPTEST_CASES` asks for more cases.

use proptest::prelude::*;

use super::{Files, parse, scan::scan};

/// Pieces that mean something to the scanner, so that random texts get deep into it.
const PIECES: &[&str] = &[
    "a",
    "port",
    ":",
    "=",
    " ",
    "\n",
    "\r\n",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "\n)\n",
    "\"",
    "'",
    "\\",
    "\\x4",
    "\\x41",
    "$",
    "$A",
    "$2a$",
    "include ",
    "#",
    "//",
    "/",
    ",",
    ";",
    "1",
    "-",
    "1k",
    "1.5",
    "10.0.0.1",
    "2020-01-01T00:00:00Z",
    ".",
    "true",
    "é",
    "\u{0}",
    "\u{a0}",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000.max(ProptestConfig::default().cases), ..ProptestConfig::default() })]

    #[test]
    fn any_text_ends(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..60)) {
        read(&pieces.concat());
    }

    #[test]
    fn any_characters_end(text in any::<String>()) {
        read(&text);
    }
}

fn read(text: &str) {
    let items = scan(text);
    assert!(items.len() <= 2 * text.len() + 2, "{} items of {text:?}", items.len());
    let file = |path: &str| if path == "/c" { Ok(text.to_owned()) } else { Err("nothing there".to_owned()) };
    let variable = |name: &str| (name == "A").then(|| "[1, $B, $A]".to_owned());
    // The verdict is not asked for, only that there is one.
    let _ = parse("/c", &Files { text: &file, variable: &variable });
}
