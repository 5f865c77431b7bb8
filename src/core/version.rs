//! Versions of nats-server, and what changed with them as far as a restart must know.

use serde::{Deserialize, Serialize};

/// Major, minor and patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Reads `2.15.1`, `v2.15.1` or `2.15.0-RC.1` (which counts as 2.15.0); none of anything else.
    pub fn of(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('v');
        let text = text.split(['-', '+']).next()?;
        let mut parts = text.split('.').map(|part| part.parse().ok());
        let version = Self(parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(version)
    }

    /// Major and minor: what a release line is.
    pub fn line(self) -> (u32, u32) {
        (self.0, self.1)
    }

    /// The JetStream API level of a version (nats-server `jetstream_versioning.go`, `JSApiLevel`, read at the tags; 5 was
    /// seen on 2.15.1). Of a later version than those, at least this.
    pub fn api_level(self) -> u32 {
        match self {
            v if v < Self(2, 11, 0) => 0,
            v if v < Self(2, 12, 0) => 1,
            v if v < Self(2, 12, 5) => 2,
            v if v < Self(2, 14, 0) => 3,
            v if v < Self(2, 15, 0) => 4,
            _ => 5,
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<Version>) {
        assert_eq!(Version::of(text), expected, "{text}");
    }

    #[test]
    fn versions_are_read() {
        check("2.15.1", Some(Version(2, 15, 1)));
        check("v2.10.26\n", Some(Version(2, 10, 26)));
        check("2.15.0-RC.1", Some(Version(2, 15, 0)));
        for text in ["", "2.15", "2.x.1", "unknown", "2.1.2.3"] {
            check(text, None);
        }
        assert!(Version(2, 9, 25) < Version(2, 10, 0));
    }
}
