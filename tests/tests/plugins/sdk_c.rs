//! The SDK for C does what its own tests and its README say.

use millstream_tests::{Block, Ended, Process, Trial, blocks, millstream, root};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const README: &str = "sdk/c/README.md";

/// Every test program is compiled with the sanitizers.
const BUILDS_WITHIN: Duration = Duration::from_secs(600);

fn runs(command: &mut Command) -> Ended {
    let ended = Process::start(command).wait_within(BUILDS_WITHIN);
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    ended
}

#[test]
fn bindings_are_generated_from_the_wit_files() {
    let entries = fs::read_dir(root().join("wit")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|ending| ending == "wit")).collect();
    paths.sort();
    let now: String = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let then = fs::read_to_string(root().join("sdk/c/generated/made-of.wit")).unwrap();
    assert_eq!(now, then, "wit/ has changed: run sdk/c/generate.sh");
}

/// The blocks in C: plugins, and the test of the first.
fn plugins() -> Vec<Block> {
    blocks(README).into_iter().filter(|block| block.language == "c").collect()
}

fn world_of(plugin: &Block) -> &'static str {
    if plugin.text.contains("MS_MIGRATIONS(") {
        return "update-migrating";
    }
    let worlds = [("MS_TRANSFORM(", "transform"), ("MS_UPDATE(", "update"), ("MS_AGGREGATE(", "aggregate")];
    let others = [("MS_COGROUP(", "cogroup"), (".world = MS_WORLD_TRANSFORM", "transform")];
    let connectors = [("MS_SOURCE(", "source"), ("MS_SINK(", "sink")];
    let found = worlds.into_iter().chain(others).chain(connectors).find(|(word, _)| plugin.text.contains(word));
    found.unwrap_or_else(|| panic!("{}: a plugin of no world", plugin.place)).1
}

/// A project with a plugin, next to the project's own SDK.
fn project(plugin: &Block) -> Trial {
    let trial = Trial::new("");
    let (world, sdk) = (world_of(plugin), root().join("sdk/c"));
    trial.write(
        "plugin.toml",
        format!(
            "language = \"c\"\nworld = \"{world}\"\nname = \"shown\"\nversion = \"1.2.3\"\n\
             description = \"As \\\"the\\\" README\\nshows: ä\"\nsdk = \"{}\"\n",
            sdk.display()
        ),
    );
    let template = sdk.join("template").join(world.trim_end_matches("-migrating"));
    let makefile = fs::read_to_string(template.join("Makefile")).unwrap();
    trial.write("Makefile", makefile.replace("../..", &sdk.display().to_string()));
    trial.write("shown.c", &plugin.text);
    trial
}

fn build(dir: &Path) -> Ended {
    Process::start(Command::new(millstream()).arg("build").arg(dir)).wait_within(BUILDS_WITHIN)
}

#[test]
fn the_first_plugin_passes_its_test_and_its_test_can_fail() {
    let [plugin, test, ..] = &plugins()[..] else { panic!("{README} shows no plugin") };
    let trial = project(plugin);
    trial.write("test_shown.c", &test.text);
    // Not as a part of the make that may have started these tests: it would print the directories it enters and leaves.
    let make = || {
        let mut make = Command::new("make");
        make.arg("test").current_dir(trial.dir()).env_remove("MAKELEVEL").env_remove("MAKEFLAGS");
        Process::start(&mut make).wait_within(BUILDS_WITHIN)
    };
    let passed = make();
    assert_eq!((passed.code, passed.stdout.ends_with("ok\n")), (Some(0), true), "{}", passed.stderr);
    trial.write("test_shown.c", test.text.replace("TO BE", "to be"));
    let failed = make();
    assert_eq!(failed.code, Some(2), "{}", failed.stdout);
    assert!(failed.stderr.contains("test_shown.c:7: not as expected"), "{}", failed.stderr);
    assert!(failed.stderr.contains("[{\"value\": \"TO BE\", \"length\": 5}]"), "{}", failed.stderr);
}

/// Tests are not part of a component, and the same sources make the same bytes, wherever they are.
#[test]
fn builds_can_be_repeated() {
    let plugin = &plugins()[0];
    let built = [false, true].map(|has_test| {
        let trial = project(plugin);
        if has_test {
            trial.write("test_shown.c", "this is not C");
        }
        let built = build(trial.dir());
        assert_eq!(built.code, Some(0), "{}", built.stderr);
        fs::read(trial.path("shown.wasm")).unwrap()
    });
    assert!(built[0] == built[1], "two builds of the same sources differ");
}

#[test]
fn errors_are_shown_as_the_compiler_reports_them() {
    let mut plugin = plugins().remove(0);
    plugin.text = plugin.text.replace("return MS_OK;\n}", "return MS_FINE;\n}");
    let trial = project(&plugin);
    let built = build(trial.dir());
    assert_eq!(built.code, Some(1), "{}", built.stderr);
    assert!(built.stderr.contains("shown.c:25:12: error: use of undeclared identifier 'MS_FINE'"), "{}", built.stderr);
    assert!(built.stderr.contains("clang failed; see its messages above"), "{}", built.stderr);
    assert!(!trial.path("shown.wasm").exists());
}

/// A kept instance needs no more memory after many batches than after a few.
#[test]
fn memory_is_freed_after_each_call() {
    let plugin = plugins().into_iter().find(|block| block.text.contains("ms_format(")).unwrap();
    let trial = project(&plugin);
    assert_eq!(build(trial.dir()).code, Some(0));
    let memory = |batches: usize| {
        let rows: Vec<String> =
            (0..2000).map(|i| format!("{{\"sensors\":\"{}\",\"value\":{i}}}", "abcdefgh,".repeat(8))).collect();
        trial.write("input.jsonl", format!("[{}]\n", rows.join(",")).repeat(batches));
        trial.write(
            "job.toml",
            "clock = \"manual\"\n[sources.input]\nkind = \"queue\"\npath = \"input.jsonl\"\n\
             schema = { sensors = \"text\", value = \"float64\" }\n\
             [stages.samples]\nfrom = \"input\"\nplugin = \"shown.wasm\"\ninstance = \"worker\"\n\
             config = { value_max = 1e9, prefix = \"x\" }\n\
             [sinks.out]\nfrom = \"samples\"\nkind = \"queue\"\npath = \"out.jsonl\"\n",
        );
        let mut command = trial.command(&["run", "job.toml", "--workers", "1"]);
        let output = runs(command.env("MILLSTREAM_LOG", "info")).stderr;
        let max = output.split("at most ").nth(1).unwrap_or_else(|| panic!("no memory is told of:\n{output}"));
        max.split(" of memory").next().unwrap().to_owned()
    };
    assert_eq!(memory(3), memory(40));
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn its_own_tests_pass() {
        let sdk = root().join("sdk/c");
        let output = runs(Command::new("sh").arg(sdk.join("tests/run.sh"))).stdout;
        let within = |dir: &str| fs::read_dir(sdk.join(dir)).unwrap().flatten().map(|entry| entry.path());
        let programs = within("tests").filter(|path| path.extension().is_some_and(|ending| ending == "c")).count();
        let templates = within("template").count();
        assert!(programs >= 9 && templates >= 6, "{programs} programs and {templates} templates");
        assert_eq!(output.matches("\nok\n").count(), programs + templates, "{output}");
    }

    #[test]
    fn every_plugin_of_the_readme_can_be_built() {
        let plugins: Vec<Block> = plugins().into_iter().filter(|block| !block.text.contains("int main(")).collect();
        let worlds: Vec<_> = plugins.iter().map(world_of).collect();
        assert_eq!(
            worlds,
            [
                "transform",
                "transform",
                "transform",
                "update",
                "update",
                "update-migrating",
                "aggregate",
                "cogroup",
                "source",
                "sink",
                "transform"
            ]
        );
        for plugin in &plugins {
            let trial = project(plugin);
            let built = build(trial.dir());
            assert_eq!(built.code, Some(0), "{}\n{}", plugin.place, built.stderr);
            // It compiles without warnings.
            assert!(!built.stderr.contains("warning"), "{}\n{}", plugin.place, built.stderr);
            let output = runs(Command::new(millstream()).arg("inspect").arg(trial.path("shown.wasm"))).stdout;
            let world = world_of(plugin).trim_end_matches("-migrating");
            assert!(output.contains(&format!("world:         {world} of")), "{}\n{output}", plugin.place);
            // The plugin that requires a config has no description without it.
            if !plugin.text.contains("MS_CONFIG(") {
                assert!(
                    output.contains("shown 1.2.3\ndoc:           As \"the\" README\n"),
                    "{}\n{output}",
                    plugin.place
                );
                assert!(output.contains("shows: ä\n"), "{}\n{output}", plugin.place);
            }
        }
    }
}
