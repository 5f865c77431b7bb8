//! Any text as an inventory and as a playbook: read, or told what is wrong with it, where, with its snippet.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use rollgate::config::{inventory::Inventory, playbook::Playbook};

fuzz_target!(|text: &str| {
    if let Err(errors) = Inventory::parse(Path::new("/i.yaml"), text) {
        let _ = errors.to_string();
    }
    if let Err(errors) = Playbook::parse(Path::new("/p.yaml"), text) {
        let _ = errors.to_string();
    }
});
