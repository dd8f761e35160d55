//! Compiling a component in a process of its own, with limits on size, functions, time and memory.
