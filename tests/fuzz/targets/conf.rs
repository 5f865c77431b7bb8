//! Any text as a server's configuration: it is read to its end, in bounded memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rollgate::core::conf::{Files, parse};

fuzz_target!(|text: &str| {
    let file = |path: &str| if path == "/c" { Ok(text.to_owned()) } else { Err("nothing there".to_owned()) };
    let variable = |name: &str| (name == "A").then(|| "[1, $B, $A]".to_owned());
    let _ = parse("/c", &Files { text: &file, variable: &variable });
});
