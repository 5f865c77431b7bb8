//! A simulated fleet: the same seam as [`live`](super::live), over a world that is made from one number.
//!
//! [`World`] has servers, raft groups, clients, units and hosts; it behaves as nats-server, systemd and ssh were measured to
//! ([`times`]), and it fails as they were seen to ([`What`]). [`Sim`] is one controller's way into it; several controllers may
//! share a world. Everything runs on tokio's paused clock, in one thread, so that one seed always gives the same run, and
//! an hour of waiting takes no time.
//!
//! The world judges: [`Breach`] tells each promise that a controller broke, by the truth and not by what servers say.
//! Nothing in here is known to what decides; the contract tests (`tests/lab/contract.rs`) hold it against real hosts.

mod archive;
mod change;
mod fault;
mod files;
mod fleet;
mod group;
mod life;
mod link;
mod locking;
mod oracle;
mod raft;
mod request;
mod server;
mod tell;
pub mod times;
mod topology;
mod versions;
mod world;

pub use fault::{Fault, NoFault, What};
pub use files::{CONFIG, program};
pub use fleet::Sim;
pub use oracle::{Breach, Effect, Promise};
pub use topology::{AssetSpec, ServerSpec, Topology};
pub use world::{Dark, EPOCH_SECOND, World};
