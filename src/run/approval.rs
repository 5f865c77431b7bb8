//! Asking the operator in the middle of a roll.

use std::{future::Future, pin::Pin};

/// What the operator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Yes,
    /// Stop here.
    No,
    /// There is nobody to ask.
    Nobody,
}

/// Asks a question, and waits for its answer. Dropping the future takes the question back.
pub type Ask = Box<dyn Fn(String) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// For runs that nobody watches.
pub fn nobody() -> Ask {
    Box::new(|_| Box::pin(async { Answer::Nobody }))
}
