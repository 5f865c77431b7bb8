//! The rollgate program: everything is in the library.

use std::process::ExitCode;

/// A rehearsal of a thousand worlds is mostly small strings that come and go: a third faster than with glibc's (`simbench`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rollgate::cli::main()
}
