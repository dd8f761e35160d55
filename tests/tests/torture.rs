//! What may go wrong: kills, stalls, faults, hostile plugins, random jobs and random input. `make torture` runs more of it.

mod attacks;
#[path = "guest/calls.rs"]
mod calls;
mod chains;
mod disk;
mod fault;
mod fuzz;
mod kill;
mod memory;
mod network;
mod soak;
mod stalls;
mod survival;
mod threads;
