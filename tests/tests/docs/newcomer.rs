//! The pages about packages, upgrades and states that change are true from top to bottom: somebody makes a plugin and shares it,
//! somebody else runs, upgrades and takes back what was shared; with a folder as the registry, and with a real one.

mod pages;
mod shared;
mod states;

use millstream_tests::RegistryServer;

#[test]
fn the_pages_are_true_with_a_dir() {
    pages::go("folder", "registry");
}

/// What takes long: `make torture` runs it, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn the_pages_are_true_with_a_real_registry() {
        let server = RegistryServer::start();
        pages::go("server", &server.url());
    }
}
