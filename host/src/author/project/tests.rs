use super::*;

/// Reads a project of one file.
fn read(manifest: &str, text: &str) -> Result<Project, String> {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join(manifest), text).expect("a file");
    Project::read(dir.path()).map_err(|error| error.message.replace(&dir.path().display().to_string(), "DIR"))
}

fn about(license: &str, authors: &[&str]) -> ProjectFacts {
    ProjectFacts {
        name: "shout".into(),
        version: "1.2.3".into(),
        description: "Loud".into(),
        license: license.into(),
        authors: authors.iter().map(|author| (*author).into()).collect(),
    }
}

#[test]
fn each_language_has_its_manifest() {
    let python = read(
        "pyproject.toml",
        "[project]\nname = \"shout\"\nversion = \"1.2.3\"\ndescription = \"Loud\"\nlicense = \"MIT\"\n\
         authors = [{ name = \"Ann\", email = \"ann@example.org\" }]\ndependencies = [\"regex==1\"]\n\
         [tool.other]\nx = 1\n[tool.millstream]\nworld = \"update-migrating\"\npaths = [\"sdk\"]\n",
    )
    .expect("a project");
    assert_eq!(python.about, about("MIT", &["Ann <ann@example.org>"]));
    assert_eq!((python.world, python.language()), (Some(World::Update), Language::Python));
    assert_eq!((python.migrates, python.world_in_wit().as_str()), (true, "update-migrating"));
    let Code::Python { module, paths, dependencies } = python.code else { panic!("{:?}", python.code) };
    assert_eq!((module.as_str(), paths, dependencies), ("shout", vec!["sdk".into()], vec!["regex==1".into()]));

    let js = read(
        "package.json",
        r#"{"name": "shout", "version": "1.2.3", "description": "Loud", "license": "MIT", "author": {"name": "Ann"},
            "contributors": ["Bob"], "main": "a.js", "millstream": {"world": "cogroup"}}"#,
    )
    .expect("a project");
    assert_eq!(js.about, about("MIT", &["Ann", "Bob"]));
    assert_eq!((js.world, js.language()), (Some(World::Cogroup), Language::JavaScript));
    assert_eq!((js.migrates, js.world_in_wit().as_str()), (false, "cogroup"));

    for (word, language) in [("go", Language::Go), ("c", Language::C)] {
        let text = format!(
            "language = \"{word}\"\nworld = \"transform\"\nname = \"shout\"\nversion = \"1.2.3\"\ndescription = \"Loud\"\n"
        );
        let project = read("plugin.toml", &text).expect("a project");
        assert_eq!(project.about, about("", &[]));
        assert_eq!((project.world, project.language()), (Some(World::Transform), language));
    }
}

#[test]
fn each_language_says_what_it_wants_to_be_granted() {
    let http = Http { hosts: vec!["a.example.com".into()], methods: vec!["POST".into()] };
    let wanted = Grants {
        files: [("lexicon".to_owned(), "words".to_owned())].into(),
        env: [("REGION".to_owned(), "where".to_owned())].into(),
        http: Some(http),
    };
    let toml = |table: &str| {
        format!(
            "[{table}]\nfiles = {{ lexicon = \"words\" }}\nenv = {{ REGION = \"where\" }}\n\
             http = {{ hosts = [\"a.example.com\"], methods = [\"POST\"] }}\n"
        )
    };
    let python = "[project]\nname = \"shout\"\nversion = \"1.2.3\"\n[tool.millstream]\nworld = \"update\"\n";
    let js = r#"{"name": "shout", "version": "1.2.3", "millstream": {"world": "update", "grants": {
        "files": {"lexicon": "words"}, "env": {"REGION": "where"},
        "http": {"hosts": ["a.example.com"], "methods": ["POST"]}}}}"#;
    let plain = "language = \"c\"\nworld = \"update\"\nname = \"shout\"\nversion = \"1.2.3\"\n";
    for (manifest, text) in [
        ("pyproject.toml", python.to_owned() + &toml("tool.millstream.grants")),
        ("package.json", js.to_owned()),
        ("plugin.toml", plain.to_owned() + &toml("grants")),
    ] {
        assert_eq!(read(manifest, &text).expect(manifest).grants, wanted, "{manifest}");
    }
    assert_eq!(read("plugin.toml", plain).expect("a project").grants, Grants::default());
    let wrong = read("plugin.toml", &(plain.to_owned() + "[grants]\nhttp = { hosts = [\"https://a\"] }\n"));
    let wrong = wrong.expect_err("a URL is no host");
    assert!(wrong.starts_with("DIR/plugin.toml: `grants`: `grant.http.hosts`: \"https://a\""), "{wrong}");
}

#[test]
fn mistakes_name_the_manifest_and_what_to_write() {
    let plain = |changed: &str| {
        let lines = ["language = \"c\"", "world = \"transform\"", "name = \"shout\"", "version = \"1.2.3\""];
        let key = changed.split(' ').next().unwrap_or_default();
        let others = lines.into_iter().filter(|line| !line.starts_with(key)).chain([changed]);
        read("plugin.toml", &others.collect::<Vec<_>>().join("\n")).expect_err("must be refused")
    };
    for (changed, expected) in [
        ("language = \"rust\"", "DIR/plugin.toml: `language` must be \"go\" or \"c\"; Rust has its own manifest"),
        (
            "world = \"reduce\"",
            "unknown world `reduce`; worlds are transform, update, update-migrating, aggregate, cogroup, source, sink",
        ),
        ("name = \"../shout\"", "`../shout` is not a valid plugin name"),
        ("version = \"1.0\"", "`1.0` is not a semantic version; write three numbers"),
        ("license = \"my own\"", "the licence `my own` is not an SPDX expression"),
        ("colour = \"red\"", "unknown field `colour`"),
    ] {
        let message = plain(changed);
        assert!(message.starts_with("DIR/plugin.toml") && message.contains(expected), "{changed}: {message}");
    }
    let nothing = read("notes.txt", "").expect_err("no manifest");
    assert!(nothing.contains("DIR is not a plugin project: it has no Cargo.toml, pyproject.toml"), "{nothing}");
}

#[test]
fn versions_are_semantic() {
    for version in ["0.1.0", "1.2.3-beta.1", "1.0.0-rc-1.0+build.007", "10.20.30+x"] {
        assert!(is_semver(version), "{version}");
    }
    for version in ["", "1", "1.2", "1.2.3.4", "1.02.3", "1.2.x", "1.2.3-", "1.2.3-01", "1.2.3+", "1.0.0a1", "1.2.3-ä"]
    {
        assert!(!is_semver(version), "{version}");
    }
}

#[test]
fn licences_are_spdx_expressions() {
    for license in ["MIT", "MIT OR Apache-2.0", "(GPL-2.0+ WITH x) AND MIT", "LicenseRef-ours", "((MIT))"] {
        assert!(is_license(license), "{license}");
    }
    for license in ["MIT/Apache-2.0", "All rights reserved", "MIT OR", "(MIT", "MIT)", "()", "AND", "Ö"] {
        assert!(!is_license(license), "{license}");
    }
}
