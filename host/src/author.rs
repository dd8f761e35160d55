//! What plugin authors use: `new`, `build`, `test`, `inspect`.

pub mod inspect;
