//! Hostile packages and lying registries, through the program itself: whoever pulls, adds or runs such a package is told what
//! is wrong with it, in bounded time and memory, and nothing is compiled, and nothing written but to the store.

mod answers;
mod case;
mod contents;
mod dirs;
mod goods;
mod kept;
mod signatures;

use case::{Place, WAYS, Way};
use goods::Goods;
use millstream_tests::LyingRegistry;

/// All that follows could be refused for another reason than its lie: without one, all goes well.
#[test]
fn without_a_lie_all_goes_well() {
    let goods = Goods::honest();
    let served = goods.clone();
    let registry = LyingRegistry::start(move |asked| served.answer(asked));
    let address = format!("oci://{}/team", registry.host());
    for way in WAYS {
        Place::new("").goes(way, &address, &goods).is_well();
    }
    let place = Place::new("");
    place.goes(Way::Add, &address, &goods).is_well();
    drop(registry);
    place.run(&["run", "job.toml"]).is_well();
    assert_eq!(place.trial.rows("out.jsonl").len(), 3);

    let dir = Place::new("");
    goods.write(&dir.trial.path("registry"));
    for way in WAYS {
        dir.goes(way, &dir.trial.path("registry").display().to_string(), &goods).is_well();
    }
}
