//! JavaScript and TypeScript: tsc checks types, esbuild bundles plugin, SDK and packages into one module, and
//! componentize-qjs creates a component from it and QuickJS.

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

/// The name with which plugins import the SDK.
const SDK: &str = "millstream-sdk";

/// The replacement of `Intl`, which plugins do not have: an undefined name that explains itself in an error.
const NO_INTL: &str = "Intl_is_missing_in_plugins";

/// The part of the SDK that locates calls. Older SDKs lack it.
const TRACE: &str = "src/component/trace.ts";

/// The directory of an SDK with worlds that have HTTP, and the module that uses it. Older SDKs lack them.
const WIT_WITH_HTTP: &str = "wit-http";
const HTTP: &str = "src/component/http.ts";

/// The features of a JavaScript engine of 2023, which QuickJS has.
const TARGET: &str = "es2023";

/// Compiles a project to a component. `work` is an empty directory for intermediate files.
pub fn component(project: &Project, work: &Path) -> Result<Vec<u8>> {
    let (Code::JavaScript { main }, Some(world)) = (&project.code, project.world) else {
        return Err(Error::bug("no project of JavaScript"));
    };
    let real = |path: &Path| path.canonicalize().map_err(|error| failed("read", path, &error));
    let (dir, work) = (real(&project.dir)?, real(work)?);
    let sdk = sdk_dir(&dir)?;
    if !dir.join(main).is_file() {
        let message = format!("{main} is missing, which package.json names as `main`");
        return Err(Error::plugin(message));
    }
    check_types(&dir, main)?;
    bundle(project, world, &dir, main, &sdk, &work)?;
    let program = program(&dir, &sdk, &work)?;
    check_intl(&program, &dir, main)?;
    let path = work.join("plugin.js");
    let marked_program = marked_program(&program, &dir, &sdk);
    let has_second = marked_program.is_some();
    fs::write(&path, program + marked_program.as_deref().unwrap_or_default())
        .map_err(|error| failed("write", &path, &error))?;
    let component = work.join("plugin.wasm");
    let has_http = has_http(project, &sdk);
    let wit = sdk.join(if has_http { WIT_WITH_HTTP } else { "wit" });
    let mut command = Command::new(tools::find(Tool::ComponentizeQjs, &dir)?);
    command.current_dir(&work).arg("--wit").arg(wit).args(["--js", "plugin.js", "--sync"]);
    command.args(["--world", &project.world_in_wit()]).arg("--output").arg(&component);
    let output = run(&mut command, "")?;
    if !output.status.success() {
        return Err(Error::plugin(format!("its modules cannot be run:\n{}", error_output(&output))));
    }
    let mut component =
        millstream_base::regular::read(&component).map_err(|error| failed("read", &component, &error))?;
    if has_http {
        http::rename_imports(&mut component)
            .map_err(|error| Error::bug(format!("componentize-qjs's component cannot be read: {error}")))?;
    }
    if has_second {
        with_section(&mut component, section::TRACES);
    }
    Ok(component)
}

/// Returns whether the plugin makes HTTP requests. Only such plugins import HTTP, as a job must grant it.
fn has_http(project: &Project, sdk: &Path) -> bool {
    project.grants.http.is_some() && sdk.join(WIT_WITH_HTTP).is_dir()
}

/// Returns whether the SDK can locate calls.
fn can_trace(sdk: &Path) -> bool {
    sdk.join(TRACE).is_file()
}

/// Returns what is appended to the program, in three parts. The first is a second text of the author's modules and
/// packages, with marks for its position. The second is the source map of its lines. The third is a function that
/// evaluates it with access to the SDK and the imports. `None` if the SDK does not support it, or the program cannot be
/// parsed.
fn marked_program(program: &str, dir: &Path, sdk: &Path) -> Option<String> {
    if !can_trace(sdk) {
        return None;
    }
    let (map, program) = program.split_once('\n')?;
    let source = sdk.join("src");
    let text = marked(program, |module| !normalize(&dir.join(module)).starts_with(&source))?;
    // Its first line was added.
    let lines: Vec<bool> = text.lines().skip(1).map(|line| !line.is_empty()).collect();
    let is_there = |line: usize| lines.get(line).copied().unwrap_or_default();
    let mappings = mappings_of(&source_map(map)?.mappings, is_there)?;
    let [text, mappings] = [text, mappings].map(serde_json::Value::from);
    // `AT` is the only name that could shadow one of the program's, and the program does not contain it.
    Some(format!("globalThis.millstreamMarked = [{text}, {mappings}, ({AT}) => eval({AT})];\n"))
}

/// Returns the source map in the first line of a program.
fn source_map(line: &str) -> Option<SourceMap> {
    serde_json::from_str(line.strip_prefix("globalThis.millstreamSourceMap = ")?.strip_suffix(';')?).ok()
}

/// The parts of `package.json` that the build needs.
#[derive(Deserialize)]
struct BuildPackageJson {
    #[serde(default)]
    dependencies: BTreeMap<String, String>,
}

/// Returns the SDK's directory, as named in `package.json`.
fn sdk_dir(dir: &Path) -> Result<PathBuf> {
    let manifest = dir.join("package.json");
    let text =
        millstream_base::regular::read_to_string(&manifest).map_err(|error| failed("read", &manifest, &error))?;
    let package: BuildPackageJson =
        serde_json::from_str(&text).map_err(|error| Error::job(format!("{}: {error}", manifest.display())))?;
    let path = package.dependencies.get(SDK).and_then(|position| position.strip_prefix("file:"));
    let path = path.ok_or_else(|| {
        let wanted = format!("\"dependencies\": {{ \"{SDK}\": \"file:sdk\" }}");
        Error::job(format!("{}: it does not name the path of the SDK; write {wanted}", manifest.display()))
    })?;
    let sdk = dir.join(path).canonicalize().ok().filter(|sdk| sdk.join("src/index.ts").is_file());
    sdk.ok_or_else(|| Error::job(format!("{}: the SDK is not in {path}", manifest.display())))
}

/// Checks the types of a TypeScript project.
fn check_types(dir: &Path, main: &str) -> Result<()> {
    if ![".ts", ".mts"].iter().any(|ending| main.ends_with(ending)) {
        return Ok(());
    }
    if !dir.join("tsconfig.json").is_file() {
        let message =
            "tsconfig.json is missing; write { \"extends\": \"./sdk/tsconfig.json\", \"include\": [\"src\"] }";
        return Err(Error::plugin(message));
    }
    let mut command = Command::new(tools::find(Tool::Tsc, dir)?);
    let output = run(command.current_dir(dir).args(["--noEmit", "--pretty", "false", "--project", "."]), "")?;
    if output.status.success() {
        return Ok(());
    }
    let lines = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<String> = lines.lines().map(with_colons).collect();
    Err(Error::plugin(format!("type check failed:\n{}", lines.join("\n"))))
}

/// Converts `file(line,column): …` to `file:line:column: …`, which editors and terminals recognize.
fn with_colons(line: &str) -> String {
    let parts = line.split_once("): ").and_then(|(position, rest)| Some((position.rsplit_once('(')?, rest)));
    match parts {
        Some(((file, position), rest)) if position.chars().all(|c| c.is_ascii_digit() || c == ',') => {
            format!("{file}:{}: {rest}", position.replace(',', ":"))
        }
        _ => line.to_owned(),
    }
}

/// Bundles the plugin and all its imports into one module, `bundle.js`, with a source map.
fn bundle(project: &Project, world: World, dir: &Path, main: &str, sdk: &Path, work: &Path) -> Result<()> {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let path = |path: &Path| match path.to_str() {
        Some(path) => Ok(path.to_owned()),
        None => Err(Error::environment(format!("the path {} is not UTF-8, which esbuild needs", path.display()))),
    };
    let about = &project.about;
    let module = text(&path(&sdk.join(format!("src/component/{world}.ts")))?);
    let (trace, traceable) = match can_trace(sdk) {
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
        interface_name(world),
        interface_name(world),
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
    let mut command = Command::new(tools::find(Tool::Esbuild, dir)?);
    command.current_dir(dir);
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
    let error_output = error_output(&output);
    let hint = if error_output.contains("Could not resolve") {
        "\nA package from npm? Run `npm install` in the project.".to_owned()
    } else if error_output.contains("for import \"default\"") {
        format!("\nThe plugin is what its module exports: write `export default {world}(…)`.")
    } else {
        String::new()
    };
    Err(Error::plugin(format!("esbuild could not build it:\n{error_output}{hint}")))
}

/// Rejects a program whose own sources use `Intl`, which has types but does not exist. A package that uses it causes a
/// warning.
fn check_intl(program: &str, dir: &Path, main: &str) -> Result<()> {
    if !program.contains(NO_INTL) {
        return Ok(());
    }
    let sources = program.lines().next().and_then(source_map);
    let own = sources.map_or_else(|| vec![main.to_owned()], |map| map.sources);
    let own = own.into_iter().filter(|source| !source.is_empty() && !source.contains("node_modules/"));
    let lines: Vec<String> = own.flat_map(|source| intl_lines(&dir.join(&source), &source)).collect();
    let instead = "plugins have no `Intl`, and `toLocaleString` and similar functions ignore the locale";
    if lines.is_empty() {
        say(&format!("warning: a package uses `Intl` when it is called: {instead}\n"));
        return Ok(());
    }
    let advice = "Write dates and numbers by hand, or with a package that needs no `Intl`.";
    Err(Error::plugin(format!("{instead}:\n{}\n{advice}", lines.join("\n"))))
}

/// Returns the lines of a file that use `Intl`, except comments.
fn intl_lines(file: &Path, shown: &str) -> Vec<String> {
    let text = millstream_base::regular::read_to_string(file).unwrap_or_default();
    let names = |line: &str| {
        let code = line.split("//").next().unwrap_or_default().trim_start();
        let mut error_output = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
        !code.starts_with('*') && error_output.any(|word| word == "Intl")
    };
    let lines = (1..).zip(text.lines()).filter(|(_, line)| names(line));
    lines.map(|(number, line)| format!("{shown}:{number}: {}", line.trim())).collect()
}

/// Returns the JavaScript name of the interface that a component of a world exports.
fn interface_name(world: World) -> &'static str {
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

/// Returns the module with its source map in the first line, where the SDK reads it when a call fails. Source paths are
/// relative to the project's directory. Sources of the SDK, which no trace shows, have no name.
fn program(dir: &Path, sdk: &Path, work: &Path) -> Result<String> {
    let read = |name: &str| {
        let path = work.join(name);
        millstream_base::regular::read_to_string(&path).map_err(|error| failed("read", &path, &error))
    };
    let map: SourceMap = serde_json::from_str(&read("bundle.js.map")?)
        .map_err(|error| Error::bug(format!("esbuild's source map cannot be read: {error}")))?;
    let name = |source: &String| {
        let path = normalize(&work.join(source));
        if path.starts_with(sdk.join("src")) {
            return String::new();
        }
        path.strip_prefix(dir).unwrap_or(&path).to_string_lossy().into_owned()
    };
    let sources: Vec<String> = map.sources.iter().map(name).collect();
    let map = serde_json::json!({"sources": sources, "mappings": map.mappings});
    Ok(format!("globalThis.millstreamSourceMap = {map};\n{}", read("bundle.js")?))
}

/// Normalizes a path: removes `..`.
fn normalize(path: &Path) -> PathBuf {
    let mut normalize = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                normalize.pop();
            }
            Component::CurDir => {}
            part => normalize.push(part),
        }
    }
    normalize
}

/// Runs a program with this input.
fn run(command: &mut Command, input: &str) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |error: std::io::Error| Error::environment(format!("cannot run {program}: {error}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that exits without reading reports the reason itself.
        drop(stdin.write_all(input.as_bytes()));
    }
    child.wait_with_output().map_err(failed)
}

/// Returns the error output of a program.
fn error_output(output: &Output) -> String {
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
        let dir = tempfile::tempdir().expect("a directory");
        let text = "// Intl\n * Intl\nconst a = new Intl.NumberFormat();\nconst b = Intl$ + xIntl; // Intl\n";
        fs::write(dir.path().join("a.ts"), text).expect("a file");
        let program =
            format!("globalThis.millstreamSourceMap = {{\"mappings\":\"\",\"sources\":[\"a.ts\",\"\"]}};\n{NO_INTL}.x");
        let error = check_intl(&program, dir.path(), "a.ts").expect_err("it is used");
        assert!(error.message.contains("no `Intl`") && error.message.contains("\na.ts:3: const a"), "{error}");
        assert_eq!(error.message.matches("a.ts:").count(), 1, "{error}");
        let package = program.replace("a.ts", "node_modules/x/a.js");
        assert!(check_intl(&package, dir.path(), "a.ts").is_ok());
        assert!(check_intl("", dir.path(), "a.ts").is_ok());
    }

    #[test]
    fn the_program_bears_a_map_that_names_the_authors_sources_only() {
        let work = tempfile::tempdir().expect("a directory");
        let map = r#"{"version":3,"sources":["../p/src/a.ts","../p/sdk/src/row.ts","../lib/b.js"],"mappings":"AAAA;"}"#;
        fs::write(work.path().join("bundle.js"), "export {};\n").expect("bundle.js");
        fs::write(work.path().join("bundle.js.map"), map).expect("bundle.js.map");
        let sibling = work.path().with_file_name("p");
        let program = program(&sibling, &sibling.join("sdk"), work.path()).expect("a program");
        let lib = work.path().with_file_name("lib").join("b.js");
        let sources = serde_json::json!(["src/a.ts", "", lib.to_str()]);
        let map = format!("globalThis.millstreamSourceMap = {{\"mappings\":\"AAAA;\",\"sources\":{sources}}};\n");
        assert_eq!(program, map + "export {};\n");
    }

    #[test]
    fn a_project_says_where_the_sdk_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |text: &str| fs::write(dir.path().join("package.json"), text).expect("package.json");
        write("{}");
        let error = sdk_dir(dir.path()).expect_err("it does not say");
        assert!(error.message.contains("\"millstream-sdk\": \"file:sdk\""), "{error}");
        write(r#"{"dependencies": {"millstream-sdk": "file:sdk"}}"#);
        let error = sdk_dir(dir.path()).expect_err("it does not exist");
        assert!(error.message.contains("the SDK is not in sdk"), "{error}");
        fs::create_dir_all(dir.path().join("sdk/src")).expect("sdk/src");
        fs::write(dir.path().join("sdk/src/index.ts"), "").expect("index.ts");
        assert!(sdk_dir(dir.path()).is_ok());
    }
}
