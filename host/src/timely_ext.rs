//! timely_ext
