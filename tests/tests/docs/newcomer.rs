//! The pages about packages, upgrades and changing state are true from start to end: one user writes a plugin and shares it,
//! another one runs, upgrades and reverts it; with a directory as the registry, and with a real one.

mod pages;
mod shared;
mod states;

use millstream_tests::RegistryServer;

#[test]
fn the_pages_are_true_with_a_directory_registry() {
    pages::go("folder", "registry");
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn the_pages_are_true_with_a_real_registry() {
        let server = RegistryServer::start();
        pages::go("server", &server.url());
    }
}
