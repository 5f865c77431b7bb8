//! The runner in simulated worlds: what a roll promises holds whatever goes wrong, and each of its rules is needed for that.

mod configure;
mod contract;
mod harness;
mod mutations;
mod own_steps;
mod properties;
mod reboot;
mod scenarios;
mod stale;
mod upgrade;
mod worlds;

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
