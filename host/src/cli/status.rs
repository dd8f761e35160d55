//! `millstream status`: how a running job stands.
