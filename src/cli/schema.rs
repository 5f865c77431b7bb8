//! What the program knows of itself: schemas, completions, manual page.

use clap::{Args, Command, ValueEnum};

use super::{Code, Error, output};
use crate::config::{SchemaKind, schema as json_schema};

/// Arguments of `schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Of which file.
    kind: Kind,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// The inventory.
    Inventory,
    /// A playbook.
    Playbook,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// For which shell.
    shell: clap_complete::Shell,
}

/// Prints a schema.
///
/// # Errors
/// Never, short of a fault in rollgate.
pub fn schema(args: &SchemaArgs) -> Result<Code, Error> {
    let kind = match args.kind {
        Kind::Inventory => SchemaKind::Inventory,
        Kind::Playbook => SchemaKind::Playbook,
    };
    output::print_json(&json_schema(kind))?;
    Ok(Code::Done)
}

/// Prints a completion script.
///
/// # Errors
/// Never.
pub fn completions(args: &Completions, command: &mut Command) -> Result<Code, Error> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "rollgate", &mut script);
    output::print(&String::from_utf8_lossy(&script));
    Ok(Code::Done)
}

/// Prints the manual page.
///
/// # Errors
/// Never, short of a fault in rollgate.
pub fn man(command: Command) -> Result<Code, Error> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(Error::internal)?;
    output::print(&String::from_utf8_lossy(&page));
    Ok(Code::Done)
}
