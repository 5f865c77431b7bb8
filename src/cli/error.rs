//! What ends the program early, and with which exit code.

use std::{fmt, io::Write, process::ExitCode};

use anstyle::{AnsiColor, Style};

use super::output;
use crate::{
    config::{ConfigErrors, files::FilesError, inventory::SelectError, playbook::PlaybookError},
    core::view::Failure,
    journal::{JournalError, LockError},
};

/// The exit codes. Scripts depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// All that was asked for was done.
    Done,
    /// A fault of rollgate or of this machine.
    Internal,
    /// Usage or configuration.
    Usage,
    /// Refused; nothing was touched.
    Refused,
    /// Halted; something was touched.
    Halted,
    /// Another run is under way.
    Locked,
    /// A host or the cluster can't be reached; nothing was touched.
    Unreachable,
    /// Interrupted by the operator.
    Interrupted,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(match code {
            Code::Done => 0,
            Code::Internal => 1,
            Code::Usage => 2,
            Code::Refused => 3,
            Code::Halted => 4,
            Code::Locked => 5,
            Code::Unreachable => 6,
            Code::Interrupted => 130,
        })
    }
}

/// An error with its exit code.
#[derive(Debug)]
pub struct Error {
    code: Code,
    text: Text,
}

#[derive(Debug)]
enum Text {
    Config { errors: Box<ConfigErrors>, hint: Option<String> },
    Plain { message: String, hint: Option<String> },
}

impl Error {
    /// A fault of this machine or of rollgate itself, with the whole chain of causes.
    pub fn internal(error: impl std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self::plain(Code::Internal, message)
    }

    /// A message with its exit code.
    pub fn plain(code: Code, message: impl Into<String>) -> Self {
        Self { code, text: Text::Plain { message: message.into(), hint: None } }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        let (Text::Plain { hint, .. } | Text::Config { hint, .. }) = &mut self.text;
        *hint = Some(text.into());
        self
    }

    /// The same with another exit code.
    #[must_use]
    pub fn with(self, code: Code) -> Self {
        Self { code, ..self }
    }

    /// Without what can be done about it.
    pub fn message(&self) -> String {
        match &self.text {
            Text::Config { errors, .. } => errors.to_string(),
            Text::Plain { message, .. } => message.clone(),
        }
    }

    /// The exit code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Prints it on stderr.
    pub fn print(&self) {
        let mut stderr = anstream::stderr().lock();
        let _ = match &self.text {
            Text::Config { errors, hint } => {
                let hint = hint.as_ref().map(|hint| format!("\n  {hint}")).unwrap_or_default();
                writeln!(stderr, "{}{hint}", errors.render(output::colour_stderr()))
            }
            Text::Plain { .. } => writeln!(stderr, "{self}"),
        };
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ERROR: Style = AnsiColor::Red.on_default().bold();
        match &self.text {
            Text::Config { errors, hint } => {
                write!(f, "{errors}")?;
                hint.iter().try_for_each(|hint| write!(f, "\n  {hint}"))
            }
            Text::Plain { message, hint } => {
                write!(f, "{ERROR}error{ERROR:#}: {message}")?;
                hint.iter().try_for_each(|hint| write!(f, "\n  {hint}"))
            }
        }
    }
}

impl From<ConfigErrors> for Error {
    fn from(errors: ConfigErrors) -> Self {
        Self { code: Code::Usage, text: Text::Config { errors: Box::new(errors), hint: None } }
    }
}

impl From<PlaybookError> for Error {
    fn from(error: PlaybookError) -> Self {
        match error {
            PlaybookError::Config(errors) => errors.into(),
            PlaybookError::Parameters(errors) => Self::plain(Code::Usage, errors.to_string()),
        }
    }
}

impl From<FilesError> for Error {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::Template { hosts, errors } => Self::from(*errors).hint(format!("for {}", hosts.join(", "))),
            error => Self::internal(error).with(Code::Usage),
        }
    }
}

impl From<SelectError> for Error {
    fn from(error: SelectError) -> Self {
        Self::plain(Code::Usage, error.to_string())
    }
}

impl From<LockError> for Error {
    fn from(error: LockError) -> Self {
        match &error {
            LockError::Held { .. } => Self::plain(Code::Locked, error.to_string()),
            // Nothing was touched: the lock comes first.
            LockError::Io { .. } => Self::internal(error).with(Code::Refused),
        }
    }
}

impl From<JournalError> for Error {
    /// A journal that can't be used says nothing of the cluster: nothing is touched on its word.
    fn from(error: JournalError) -> Self {
        Self::plain(Code::Refused, error.to_string())
    }
}

impl From<Failure> for Error {
    /// Failures that reach the command line are of files that the inventory names.
    fn from(failure: Failure) -> Self {
        Self::plain(Code::Usage, failure.to_string())
    }
}
