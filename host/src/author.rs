//! author
pub mod cases;
