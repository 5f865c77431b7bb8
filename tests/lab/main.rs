//! End to end: the built binary against real hosts (`tests/lab/lab`), one lab a test.
//!
//! They need root and a few seconds each. Where there is no lab a test says so and passes, unless
//! `ROLLGATE_REQUIRE_LAB=1`, which `make test` sets.
// The contract holds a whole fleet's calls in one future.
#![recursion_limit = "256"]

mod accounts;
mod assets;
mod away;
mod clean;
mod conf;
mod configure;
mod container;
mod contract;
mod controller;
mod crash;
mod disk;
mod drain;
mod estate;
mod evidence;
mod faults;
mod fence;
mod harness;
mod jetstream;
mod killed;
mod listeners;
mod logins;
mod matrix;
mod mirror;
mod network;
mod only_changed;
mod own_steps;
mod plain;
mod preflight;
mod process;
mod reboot;
mod relay;
mod reload;
mod rotation;
mod safety;
mod signals;
mod traps;
mod upgrade;
mod versions;
mod watched;
mod ways;
