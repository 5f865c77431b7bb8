//! The rollgate program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    rollgate::cli::main()
}
