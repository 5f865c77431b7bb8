//! Any bytes as what the collector printed, log lines among them: an archive comes of it, and a diagnosis of that.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use rollgate::core::diagnosis::{
    Context, diagnose,
    parse::{Asked, archive},
};

fuzz_target!(|output: &[u8]| {
    let at = Timestamp::UNIX_EPOCH;
    let asked = Asked { host: "h1".into(), server_name: None, asked_at: at, answered_at: at, since: Some(at) };
    let _ = diagnose(&archive(&asked, output), &Context::default());
});
