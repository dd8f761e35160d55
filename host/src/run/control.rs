//! A socket on which a running job tells how it stands, for its owner only.
