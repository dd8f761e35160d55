//! What plugin authors use: [`new`] makes a project, [`build`] turns it into a component with the [`toolchain`] that it
//! finds, [`inspect`] shows what a component is.

pub mod build;
pub mod inspect;
pub mod new;
pub mod toolchain;
