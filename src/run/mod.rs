//! The loop: turn after turn, step after step; decide, record, act, observe, judge.
//!
//! Decisions are those of [`core`](crate::core); this module gives them fresh facts and carries them out.

pub mod approval;
mod certificates;
pub mod configure;
mod contact;
pub mod diagnosis;
mod doom;
mod drain;
mod gate;
mod hooks;
mod install;
mod lock;
mod own_step;
mod reboot;
mod recorder;
pub mod rehearse;
mod reload;
mod resume;
mod roll;
mod safe;
mod safe_point;
pub mod shutdown;
mod stage;
mod told;
mod turn;

pub use hooks::Unrecorded;
pub use recorder::{RecordError, Recorder};
pub use resume::Resume;
pub use roll::{Outcome, Run, RunError, roll};

use std::time::Duration;

/// One observation of the whole cluster: healthz can take 1.9 s where an account can't be resolved (measured), and a
/// first ssh connection some seconds.
pub const OBSERVE_TIMEOUT: Duration = Duration::from_secs(5);
