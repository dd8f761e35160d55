//! What may go wrong: kills, stalls, faults, hostile plugins, random jobs and random input. `make torture` runs more of it.

mod cluster {
    mod network;
}

mod operators {
    mod memory;
}

mod packages {
    mod attacks;
}

mod plugins {
    mod calls;
    mod fault;
    mod fuzz;
    mod survival;
}

mod recovery {
    mod disk;
    mod kill;
    mod soak;
    mod threads;
}

mod time {
    mod chains;
    mod stalls;
}
