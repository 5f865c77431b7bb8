//! stub
use std::fmt;

/// All mistakes of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {}

impl ConfigErrors {
    pub(crate) fn stub() -> Self {
        Self {}
    }

    /// All mistakes in the style of rustc, with colour or without.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let _ = color;
        "not yet".to_owned()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigErrors {}
