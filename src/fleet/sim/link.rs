//! The way from the controllers to one host: ssh, monitoring and client port share it.

use fastrand::Rng;

use super::times::{Ms, ONE_WAY};

/// How the way to a host is.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// Nothing gets through until then.
    pub(super) cut_until: Ms,
    /// Every request takes this much longer.
    pub(super) slow: Ms,
    /// So many replies to changes are lost, though the change takes effect.
    pub(super) lose_replies: u32,
    /// The next request for a change arrives this much later; who sent it hears nothing.
    pub(super) late: Option<Ms>,
    /// So many requests for changes arrive twice.
    pub(super) repeats: u32,
}

impl Link {
    /// Whether anything gets through.
    pub(super) fn up(&self, now: Ms) -> bool {
        self.cut_until <= now
    }

    /// How long one way takes.
    pub(super) fn one_way(&self, rng: &mut Rng) -> Ms {
        rng.u64(ONE_WAY) + self.slow
    }
}
