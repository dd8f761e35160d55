//! Requests over HTTP that a plugin may make, as far as it is granted.
