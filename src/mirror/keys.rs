//! The names of what is in the bucket.

/// The names of what is one cluster's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    cluster: String,
}

impl Keys {
    /// A dot would begin another part of a key; the names of clusters have no `=`.
    pub(super) fn of(cluster_key: &str) -> Self {
        Self { cluster: cluster_key.replace('.', "=") }
    }

    /// Who has the cluster.
    pub(super) fn lease(&self) -> String {
        format!("lease.{}", self.cluster)
    }

    /// One event of a run.
    pub(super) fn line(&self, run: &str, seq: u64) -> String {
        format!("run.{}.{run}.{seq}", self.cluster)
    }

    /// All events of a run, or of all runs (`*`), as a filter.
    pub(super) fn lines(&self, run: &str) -> String {
        format!("run.{}.{run}.*", self.cluster)
    }

    /// A piece of an event that is too long for one value.
    pub(super) fn piece(&self, run: &str, seq: u64, writer: &str, piece: usize) -> String {
        format!("piece.{}.{run}.{seq}.{writer}.{piece}", self.cluster)
    }

    /// A run that was closed although its journal can't be read.
    pub(super) fn closed(&self, run: &str) -> String {
        format!("closed.{}.{run}", self.cluster)
    }

    /// The run and the number of an event by its key; none where the key is of something else.
    pub(super) fn run_and_seq<'k>(&self, key: &'k str) -> Option<(&'k str, u64)> {
        let rest = key.strip_prefix("run.")?.strip_prefix(&self.cluster)?.strip_prefix('.')?;
        let (run, seq) = rest.split_once('.')?;
        Some((run, seq.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        let keys = Keys::of("prod.eu-0a1b");
        assert_eq!(keys.line("20261123t040000z-00ff", 12), "run.prod=eu-0a1b.20261123t040000z-00ff.12");
        let check = |key: &str, expected| assert_eq!(keys.run_and_seq(key), expected, "{key}");
        check(&keys.line("r1", 12), Some(("r1", 12)));
        check(&keys.lease(), None);
        check(&keys.closed("r1"), None);
        check(&keys.piece("r1", 3, "w", 0), None);
        check(&Keys::of("prod.eu-0a1b2").line("r1", 0), None);
        check(&Keys::of("prod").line("eu-0a1b", 0), None);
        check("run.prod=eu-0a1b.r1.x", None);
    }
}
