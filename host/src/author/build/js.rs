//! JavaScript and TypeScript: tsc checks types, esbuild makes one module of plugin, SDK and packages, componentize-qjs makes a
//! component of it and QuickJS.

mod http;
mod marked;

use super::metadata::with_section;
use crate::author::project::{Code, Project};
use crate::author::tools::{self, Tool};
use crate::author::{failed, say};
use marked::{AT, mappings_of, marked};
use millstream_base::error::{Error, Result};
use millstream_base::shown;
use millstream_plugins::plugin::World;
use millstream_plugins::sections::section;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The name that plugins import the SDK by.
const SDK: &str = "millstream-sdk";

/// What `Intl` is in plugins, where there is none: a name that nothing has, and that says so in an error.
const NO_INTL: &str = "Intl_is_missing_in_plugins";

/// What of the SDK tells where calls stand; those of before have it not.
const TRACE: &str = "src/component/trace.ts";

/// The folder of an SDK with worlds that have HTTP, and the module that uses it; those of before had none.
const WIT_WITH_HTTP: &str = "wit-http";
const HTTP: &str = "src/component/http.ts";

/// What a JavaScript engine of 2023 can do, as QuickJS.
const TARGET: &str = "es2023";

/// Compiles a project to a component; `work` is an empty folder for what is made on the way.
pub fn component(project: &Project, work: &Path) -> Result<Vec<u8>> {
    let (Code::JavaScript { main }, Some(world)) = (&project.code, project.world) else {
        return Err(Error::bug("no project of JavaScript"));
    };
    let real = |path: &Path| path.canonicalize().map_err(|error| failed("read", path, &error));
    let (folder, work) = (real(&project.folder)?, real(work)?);
    let sdk = sdk_folder(&folder)?;
    if !folder.join(main).is_file() {
        let message = format!("{main} is missing, which package.json names as `main`");
        return Err(Error::plugin(message));
    }
    check_types(&folder, main)?;
    bundle(project, world, &folder, main, &sdk, &work)?;
    let program = program(&folder, &sdk, &work)?;
    check_intl(&program, &folder, main)?;
    let path = work.join("plugin.js");
    let second = second(&program, &folder, &sdk);
    let has_second = second.is_some();
    fs::write(&path, program + second.as_deref().unwrap_or_default())
        .map_err(|error| failed("write", &path, &error))?;
    let component = work.join("plugin.wasm");
    let has_http = has_http(project, &sdk);
    let wit = sdk.join(if has_http { WIT_WITH_HTTP } else { "wit" });
    let mut command = Command::new(tools::find(Tool::ComponentizeQjs, &folder)?);
    command.current_dir(&work).arg("--wit").arg(wit).args(["--js", "plugin.js", "--sync"]);
    command.args(["--world", &project.world_in_wit()]).arg("--output").arg(&component);
    let output = run(&mut command, "")?;
    if !output.status.success() {
        return Err(Error::plugin(format!("its modules cannot be run:\n{}", words(&output))));
    }
    let mut component =
        millstream_base::regular::read(&component).map_err(|error| failed("read", &component, &error))?;
    if has_http {
        http::under_its_name(&mut component)
            .map_err(|error| Error::bug(format!("componentize-qjs's component cannot be read: {error}")))?;
    }
    if has_second {
        with_section(&mut component, section::TRACES);
    }
    Ok(component)
}

/// Whether the plugin makes requests over HTTP. Only what wants them imports them, as a job must grant that.
fn has_http(project: &Project, sdk: &Path) -> bool {
    project.grants.http.is_some() && sdk.join(WIT_WITH_HTTP).is_dir()
}

/// Whether the SDK can tell where calls stand.
fn traces(sdk: &Path) -> bool {
    sdk.join(TRACE).is_file()
}

/// What is put behind the program: a second text of the author's modules and packages, which says where it stands; the source map of
/// its lines; and what makes a function of it that sees the SDK and the imports. `None`: the SDK knows nothing of it, or the program is not understood.
fn second(program: &str, folder: &Path, sdk: &Path) -> Option<String> {
    if !traces(sdk) {
        return None;
    }
    let (map, program) = program.split_once('\n')?;
    let source = sdk.join("src");
    let text = marked(program, |module| !plain(&folder.join(module)).starts_with(&source))?;
    // Its first line is its own.
    let lines: Vec<bool> = text.lines().skip(1).map(|line| !line.is_empty()).collect();
    let is_there = |line: usize| lines.get(line).copied().unwrap_or_default();
    let mappings = mappings_of(&source_map(map)?.mappings, is_there)?;
    let [text, mappings] = [text, mappings].map(serde_json::Value::from);
    // The only name that hides one of the program's is one that the program has not.
    Some(format!("globalThis.millstreamMarked = [{text}, {mappings}, ({AT}) => eval({AT})];\n"))
}

/// The map in the first line of a program.
fn source_map(line: &str) -> Option<SourceMap> {
    serde_json::from_str(line.strip_prefix("globalThis.millstreamSourceMap = ")?.strip_suffix(';')?).ok()
}

/// The parts of `package.json` that the build needs.
#[derive(Deserialize)]
struct BuildPackageJson {
    #[serde(default)]
    dependencies: BTreeMap<String, String>,
}

/// The SDK's folder: where `package.json` says that the package is.
fn sdk_folder(folder: &Path) -> Result<PathBuf> {
    let manifest = folder.join("package.json");
    let text =
        millstream_base::regular::read_to_string(&manifest).map_err(|error| failed("read", &manifest, &error))?;
    let package: BuildPackageJson =
        serde_json::from_str(&text).map_err(|error| Error::job(format!("{}: {error}", manifest.display())))?;
    let path = package.dependencies.get(SDK).and_then(|place| place.strip_prefix("file:"));
    let path = path.ok_or_else(|| {
        let wanted = format!("\"dependencies\": {{ \"{SDK}\": \"file:sdk\" }}");
        Error::job(format!("{}: it does not say where the SDK is; write {wanted}", manifest.display()))
    })?;
    let sdk = folder.join(path).canonicalize().ok().filter(|sdk| sdk.join("src/index.ts").is_file());
    sdk.ok_or_else(|| Error::job(format!("{}: the SDK is not in {path}", manifest.display())))
}

/// Checks the types of a project in TypeScript.
fn check_types(folder: &Path, main: &str) -> Result<()> {
    if ![".ts", ".mts"].iter().any(|ending| main.ends_with(ending)) {
        return Ok(());
    }
    if !folder.join("tsconfig.json").is_file() {
        let message =
            "tsconfig.json is missing; write { \"extends\": \"./sdk/tsconfig.json\", \"include\": [\"src\"] }";
        return Err(Error::plugin(message));
    }
    let mut command = Command::new(tools::find(Tool::Tsc, folder)?);
    let output = run(command.current_dir(folder).args(["--noEmit", "--pretty", "false", "--project", "."]), "")?;
    if output.status.success() {
        return Ok(());
    }
    let lines = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<String> = lines.lines().map(with_colons).collect();
    Err(Error::plugin(format!("its types do not fit:\n{}", lines.join("\n"))))
}

/// `file(line,column): …` as `file:line:column: …`, which editors and terminals find.
fn with_colons(line: &str) -> String {
    let parts = line.split_once("): ").and_then(|(place, rest)| Some((place.rsplit_once('(')?, rest)));
    match parts {
        Some(((file, place), rest)) if place.chars().all(|c| c.is_ascii_digit() || c == ',') => {
            format!("{file}:{}: {rest}", place.replace(',', ":"))
        }
        _ => line.to_owned(),
    }
}

/// Makes one module of the plugin and all that it imports, `bundle.js`, and its source map.
fn bundle(project: &Project, world: World, folder: &Path, main: &str, sdk: &Path, work: &Path) -> Result<()> {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let path = |path: &Path| match path.to_str() {
        Some(path) => Ok(path.to_owned()),
        None => Err(Error::environment(format!("the path {} is not UTF-8, which esbuild needs", path.display()))),
    };
    let about = &project.about;
    let module = text(&path(&sdk.join(format!("src/component/{world}.ts")))?);
    let (trace, traceable) = match traces(sdk) {
        true => {
            let module = text(&path(&sdk.join(TRACE))?);
            (format!("import {{ traceable }} from {module};\n"), "traceable")
        }
        false => (String::new(), "((_, functions) => functions)"),
    };
    let mut entry = format!(
        "import {{ exports }} from {module};\n{trace}import plugin from {};\nexport const {} = {traceable}(\"{}\", \
         exports(plugin, {}, {}));\n",
        text(&format!("./{main}")),
        exported(world),
        exported(world),
        serde_json::json!({"name": about.name, "version": about.version, "doc": about.description}),
        project.migrates,
    );
    if has_http(project, sdk) {
        entry.push_str(&format!("import {};\n", text(&path(&sdk.join(HTTP))?)));
    }
    if project.migrates {
        entry.push_str(&format!(
            "import {{ migrator as own }} from {module};\nexport const migrator = {traceable}(\"migrator\", own(plugin));\n"
        ));
    }
    let mut command = Command::new(tools::find(Tool::Esbuild, folder)?);
    command.current_dir(folder);
    command.args(["--bundle", "--format=esm", "--platform=neutral", "--main-fields=module,main", "--charset=utf8"]);
    command.arg(format!("--target={TARGET}"));
    command.arg(format!("--define:Intl={NO_INTL}"));
    command.args(["--sourcemap=external", "--sources-content=false", "--sourcefile=entry.js"]);
    command.args([
        "--external:millstream:*",
        "--external:wasi:*",
        "--external:host:*",
        "--log-level=warning",
        "--color=false",
    ]);
    command.arg(format!("--alias:{SDK}={}", path(&sdk.join("src/index.ts"))?));
    command.arg(format!("--outfile={}", path(&work.join("bundle.js"))?));
    let output = run(&mut command, &entry)?;
    if output.status.success() {
        say(&shown::text(&String::from_utf8_lossy(&output.stderr)));
        return Ok(());
    }
    let words = words(&output);
    let hint = if words.contains("Could not resolve") {
        "\nA package from npm? Run `npm install` in the project.".to_owned()
    } else if words.contains("for import \"default\"") {
        format!("\nThe plugin is what its module exports: write `export default {world}(…)`.")
    } else {
        String::new()
    };
    Err(Error::plugin(format!("esbuild could not build it:\n{words}{hint}")))
}

/// Refuses a program whose own sources use `Intl`, which has types and is not there; a package that uses it is told.
fn check_intl(program: &str, folder: &Path, main: &str) -> Result<()> {
    if !program.contains(NO_INTL) {
        return Ok(());
    }
    let sources = program.lines().next().and_then(source_map);
    let own = sources.map_or_else(|| vec![main.to_owned()], |map| map.sources);
    let own = own.into_iter().filter(|source| !source.is_empty() && !source.contains("node_modules/"));
    let places: Vec<String> = own.flat_map(|source| places_of_intl(&folder.join(&source), &source)).collect();
    let instead = "plugins have no `Intl`, and `toLocaleString` and similar functions ignore the locale";
    if places.is_empty() {
        say(&format!("warning: a package uses `Intl` when it is called: {instead}\n"));
        return Ok(());
    }
    let advice = "Write dates and numbers by hand, or with a package that needs no `Intl`.";
    Err(Error::plugin(format!("{instead}:\n{}\n{advice}", places.join("\n"))))
}

/// The lines of a file that name it, but for those that are remarks.
fn places_of_intl(file: &Path, shown: &str) -> Vec<String> {
    let text = millstream_base::regular::read_to_string(file).unwrap_or_default();
    let names = |line: &str| {
        let code = line.split("//").next().unwrap_or_default().trim_start();
        let mut words = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
        !code.starts_with('*') && words.any(|word| word == "Intl")
    };
    let lines = (1..).zip(text.lines()).filter(|(_, line)| names(line));
    lines.map(|(number, line)| format!("{shown}:{number}: {}", line.trim())).collect()
}

/// The interface that a component of a world exports, as JavaScript names it.
fn exported(world: World) -> &'static str {
    match world {
        World::Transform => "transformer",
        World::Update => "updater",
        World::Aggregate => "aggregator",
        World::Cogroup => "cogrouper",
        World::Source => "reader",
        World::Sink => "writer",
    }
}

/// The parts of a source map that traces need.
#[derive(Deserialize)]
struct SourceMap {
    sources: Vec<String>,
    mappings: String,
}

/// The module with its source map in the first line, from where the SDK reads it when a call fails. Sources are named from the
/// project's folder; those of the SDK, which no trace shows, have no name.
fn program(folder: &Path, sdk: &Path, work: &Path) -> Result<String> {
    let read = |name: &str| {
        let path = work.join(name);
        millstream_base::regular::read_to_string(&path).map_err(|error| failed("read", &path, &error))
    };
    let map: SourceMap = serde_json::from_str(&read("bundle.js.map")?)
        .map_err(|error| Error::bug(format!("esbuild's source map cannot be read: {error}")))?;
    let name = |source: &String| {
        let path = plain(&work.join(source));
        if path.starts_with(sdk.join("src")) {
            return String::new();
        }
        path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned()
    };
    let sources: Vec<String> = map.sources.iter().map(name).collect();
    let map = serde_json::json!({"sources": sources, "mappings": map.mappings});
    Ok(format!("globalThis.millstreamSourceMap = {map};\n{}", read("bundle.js")?))
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// Runs a program with this input.
fn run(command: &mut Command, input: &str) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |error: std::io::Error| Error::environment(format!("cannot run {program}: {error}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading says itself why.
        drop(stdin.write_all(input.as_bytes()));
    }
    child.wait_with_output().map_err(failed)
}

/// What a program has said that went wrong.
fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_type_errors_are_written_as_editors_read_them() {
        let line = "src/a.ts(3,15): error TS2322: Type (x): y";
        assert_eq!(with_colons(line), "src/a.ts:3:15: error TS2322: Type (x): y");
        for other in ["  Type 'a' is not 'b'.", "error TS5083: Cannot read file", "f(x): y"] {
            assert_eq!(with_colons(other), other);
        }
    }

    #[test]
    fn uses_of_intl_are_named_by_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = "// Intl\n * Intl\nconst a = new Intl.NumberFormat();\nconst b = Intl$ + xIntl; // Intl\n";
        fs::write(folder.path().join("a.ts"), text).expect("a file");
        let program =
            format!("globalThis.millstreamSourceMap = {{\"mappings\":\"\",\"sources\":[\"a.ts\",\"\"]}};\n{NO_INTL}.x");
        let error = check_intl(&program, folder.path(), "a.ts").expect_err("it is used");
        assert!(error.message.contains("no `Intl`") && error.message.contains("\na.ts:3: const a"), "{error}");
        assert_eq!(error.message.matches("a.ts:").count(), 1, "{error}");
        let package = program.replace("a.ts", "node_modules/x/a.js");
        assert!(check_intl(&package, folder.path(), "a.ts").is_ok());
        assert!(check_intl("", folder.path(), "a.ts").is_ok());
    }

    #[test]
    fn the_program_bears_a_map_that_names_the_authors_sources_only() {
        let work = tempfile::tempdir().expect("a folder");
        let map = r#"{"version":3,"sources":["../p/src/a.ts","../p/sdk/src/row.ts","../lib/b.js"],"mappings":"AAAA;"}"#;
        fs::write(work.path().join("bundle.js"), "export {};\n").expect("bundle.js");
        fs::write(work.path().join("bundle.js.map"), map).expect("bundle.js.map");
        let beside = work.path().with_file_name("p");
        let program = program(&beside, &beside.join("sdk"), work.path()).expect("a program");
        let lib = work.path().with_file_name("lib").join("b.js");
        let sources = serde_json::json!(["src/a.ts", "", lib.to_str()]);
        let map = format!("globalThis.millstreamSourceMap = {{\"mappings\":\"AAAA;\",\"sources\":{sources}}};\n");
        assert_eq!(program, map + "export {};\n");
    }

    #[test]
    fn a_project_says_where_the_sdk_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |text: &str| fs::write(folder.path().join("package.json"), text).expect("package.json");
        write("{}");
        let error = sdk_folder(folder.path()).expect_err("it does not say");
        assert!(error.message.contains("\"millstream-sdk\": \"file:sdk\""), "{error}");
        write(r#"{"dependencies": {"millstream-sdk": "file:sdk"}}"#);
        let error = sdk_folder(folder.path()).expect_err("it does not exist");
        assert!(error.message.contains("the SDK is not in sdk"), "{error}");
        fs::create_dir_all(folder.path().join("sdk/src")).expect("sdk/src");
        fs::write(folder.path().join("sdk/src/index.ts"), "").expect("index.ts");
        assert!(sdk_folder(folder.path()).is_ok());
    }
}
