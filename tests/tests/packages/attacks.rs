//! Hostile packages and lying registries, in the program itself: pulling, adding or running such a package fails with the reason,
//! in bounded time and memory. Nothing is compiled, and nothing is written except to the store.

mod answers;
mod case;
mod contents;
mod dirs;
mod goods;
mod kept;
mod signatures;

use case::{WAYS, Way, Workspace};
use goods::Goods;
use millstream_tests::LyingRegistry;

/// The following could fail for another reason than its lie: without a lie, everything succeeds.
#[test]
fn without_a_lie_everything_succeeds() {
    let goods = Goods::honest();
    let served = goods.clone();
    let registry = LyingRegistry::start(move |requests| served.answer(requests));
    let address = format!("oci://{}/team", registry.host());
    for way in WAYS {
        Workspace::new("").attempt(way, &address, &goods).check_ok();
    }
    let workspace = Workspace::new("");
    workspace.attempt(Way::Add, &address, &goods).check_ok();
    drop(registry);
    workspace.run(&["run", "job.toml"]).check_ok();
    assert_eq!(workspace.trial.rows("out.jsonl").len(), 3);

    let dir = Workspace::new("");
    goods.write(&dir.trial.path("registry"));
    for way in WAYS {
        dir.attempt(way, &dir.trial.path("registry").display().to_string(), &goods).check_ok();
    }
}
