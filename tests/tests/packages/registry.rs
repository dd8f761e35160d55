//! Packages in registries: Debian's own, with and without a login and TLS, and directories.

use millstream::internals::digest::Digest;
use millstream::internals::package::facts::PackageFacts;
use millstream::internals::package::manifest::EncodedPackage;
use millstream::internals::registry::Registry;
use millstream_tests::{
    Ended, LyingRegistry, LyingRequest, LyingResponse, Process, RegistryOptions, RegistryServer, Then, Trial, plugin,
    root,
};
use oci_client::Reference;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// Runs a command without any user's settings and logins.
fn run(trial: &Trial, arguments: &[&str], settings: &[(&str, &Path)]) -> Ended {
    let mut command = trial.command(arguments);
    without_user_settings(trial, &mut command);
    Process::start(command.envs(settings.iter().copied())).wait()
}

fn without_user_settings(trial: &Trial, command: &mut Command) {
    let own =
        [("HOME", "home"), ("MILLSTREAM_CONFIG", "config"), ("MILLSTREAM_STORE", "store"), ("XDG_CACHE_HOME", "cache")];
    command.envs(own.map(|(name, dir)| (name, trial.path(dir))));
    for name in ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "SSL_CERT_FILE"] {
        command.env_remove(name);
    }
}

fn run_ok(trial: &Trial, arguments: &[&str]) -> String {
    let ended = run(trial, arguments, &[]);
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
    ended.stdout
}

/// The message of a command that fails.
fn run_failing(trial: &Trial, arguments: &[&str], settings: &[(&str, &Path)]) -> String {
    let ended = run(trial, arguments, settings);
    assert!(matches!(ended.code, Some(1 | 2)), "{arguments:?}: {:?}{}", ended.code, ended.stderr);
    assert_eq!(ended.stdout, "");
    ended.stderr
}

/// A built plugin of the project, as a component and as it is pushed.
fn split_words() -> (Vec<u8>, EncodedPackage) {
    let component = std::fs::read(plugin("split-words").join("split-words.wasm")).unwrap();
    let made =
        EncodedPackage::pack(component.clone(), &PackageFacts::read(&component, "split-words").unwrap()).unwrap();
    (component, made)
}

/// The same component with an additional section, which makes it a different one with the same name and version.
fn changed(component: &[u8]) -> Vec<u8> {
    [component, &[0, 5, 4, b'm', b'o', b'r', b'e']].concat()
}

/// What other tools get of a package, with the library that `wkg` uses.
fn pulled_by_others(server: &RegistryServer, version: &str) -> oci_client::client::ImageData {
    millstream::internals::registry::oci::choose_tls();
    let config = ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() };
    let client = oci_wasm::WasmClient::new(oci_client::Client::new(config));
    let reference = Reference::with_tag(server.host(), "team/split-words".into(), version.into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        client.pull_manifest_and_config(&reference, &RegistryAuth::Anonymous).await.expect("the config is one of wasm");
        client.pull(&reference, &RegistryAuth::Anonymous).await.expect("it is an artifact as others know it")
    })
}

#[test]
fn a_component_that_is_older_than_its_sources_is_not_pushed() {
    let trial = Trial::new("");
    let component = trial.write("words/split-words.wasm", split_words().0);
    let manifest =
        trial.write("words/plugin.toml", "name = \"split-words\"\nversion = \"0.2.0\"\nworld = \"transform\"\n");
    let push = ["push", "words", "--registry", "registry"];
    let built = std::fs::metadata(&component).unwrap().modified().unwrap();
    let edit = |after: bool| {
        let minute = std::time::Duration::from_secs(60);
        let time = if after { built + minute } else { built - minute };
        std::fs::File::options().append(true).open(&manifest).unwrap().set_modified(time).unwrap();
    };
    edit(true);
    let refused = run_failing(&trial, &push, &[]);
    assert!(refused.contains("words/plugin.toml was changed after words/split-words.wasm was built"), "{refused}");
    assert!(refused.contains("`millstream build words`"), "{refused}");
    assert!(!trial.path("registry").exists(), "nothing was pushed");
    edit(false);
    assert!(run_ok(&trial, &push).starts_with("pushed split-words 0.1.0"));
}

#[test]
fn a_package_goes_to_a_registry_and_comes_back() {
    let (server, trial) = (RegistryServer::start(), Trial::new(""));
    let (component, made) = split_words();
    let dir = plugin("split-words").display().to_string();
    let push = ["push", dir.as_str(), "--registry", &server.url()];
    let output = run_ok(&trial, &push);
    assert_eq!(output, format!("pushed split-words 0.1.0 to {}\n  manifest {}\n", server.url(), made.digest()));
    assert_eq!(run_ok(&trial, &push), output, "what is there already may be pushed again");

    let registry = Registry::parse(&server.url(), &root()).unwrap();
    let (version, digest) = registry.find(&"split-words".parse().unwrap()).unwrap();
    assert_eq!((version.to_string(), digest), ("0.1.0".to_owned(), made.digest()));
    let fetched = registry.fetch(&"split-words".parse().unwrap(), &digest).unwrap();
    assert!(fetched.component == component && fetched.manifest == made.manifest);
    let others = pulled_by_others(&server, "0.1.0");
    assert!(others.layers[0].data == component);
    assert_eq!(others.digest.unwrap(), made.digest().to_string());
    let title = others.layers[0].annotations.as_ref().and_then(|all| all.get("org.opencontainers.image.title"));
    assert_eq!(title.unwrap(), "split-words-0.1.0.wasm", "so that `oras pull` writes a file");

    let other = trial.write("other.wasm", changed(&component)).display().to_string();
    let refused = run_failing(&trial, &["push", &other, "--registry", &server.url()], &[]);
    assert!(refused.contains("`split-words`: already has version 0.1.0, with other bytes"), "{refused}");
    assert_eq!(registry.find(&"split-words@0.1.0".parse().unwrap()).unwrap().1, made.digest());

    let found = run_ok(&trial, &["search", "split", "--registry", &server.url()]);
    assert!(found.starts_with("split-words  0.1.0  "), "{found}");
    assert!(run_ok(&trial, &["search", "nonsense", "--registry", &server.url()]).contains("no package of"));
    let elsewhere = format!("oci://{}/other", server.host());
    assert_eq!(run_ok(&trial, &["search", "--registry", &elsewhere]), format!("{elsewhere} has no packages\n"));
    let missing = registry.find(&"split-words@7.0.0".parse().unwrap()).unwrap_err().message;
    assert!(missing.contains("has no version 7.0.0 of `split-words`; available: 0.1.0"), "{missing}");
    let missing = registry.find(&"nothing".parse().unwrap()).unwrap_err().message;
    assert!(missing.contains("has no package `nothing`"), "{missing}");
}

#[test]
fn a_login_is_that_of_docker_or_podman() {
    let server = RegistryServer::with(RegistryOptions { login: true, tls: false });
    let trial = Trial::new("");
    let dir = plugin("split-words").display().to_string();
    let push = ["push", dir.as_str(), "--registry", &server.url()];
    let text = format!("needs a login with the permission for this; log in with: docker login {}", server.host());
    assert!(run_failing(&trial, &push, &[]).contains(&text));
    let wrong = server.docker_config(RegistryServer::USER, "guessed");
    let refused = run_failing(&trial, &push, &[("DOCKER_CONFIG", wrong.path())]);
    assert!(refused.contains(&text) && !refused.contains("guessed"), "{refused}");

    let right = server.docker_config(RegistryServer::USER, RegistryServer::PASSWORD);
    let search = ["search", "--registry", &server.url()];
    let dockers = right.path().to_owned();
    let podmans = right.path().join("config.json");
    let ended = run(&trial, &push, &[("DOCKER_CONFIG", &dockers)]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for settings in [("DOCKER_CONFIG", &dockers), ("REGISTRY_AUTH_FILE", &podmans)] {
        let ended = run(&trial, &search, &[(settings.0, settings.1.as_path())]);
        assert!(ended.stdout.starts_with("split-words  0.1.0"), "{settings:?}: {}{}", ended.stdout, ended.stderr);
    }
    assert!(run_failing(&trial, &search, &[]).contains("does not list its packages (needs a login"));
}

#[test]
fn a_docker_credential_helper_is_used() {
    let server = RegistryServer::with(RegistryOptions { login: true, tls: false });
    let trial = Trial::new("");
    let response =
        format!(r#"{{"ServerURL":"x","Username":"{}","Secret":"{}"}}"#, RegistryServer::USER, RegistryServer::PASSWORD);
    let script = format!("#!/bin/sh\nread server\n[ \"$server\" = {} ] && echo '{response}'\n", server.host());
    let helper = trial.write("bin/docker-credential-tests", script);
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&helper, executable).unwrap();
    trial.write("docker/config.json", r#"{"credsStore":"tests"}"#);
    let mut command = trial.command(&["search", "--registry", &server.url()]);
    without_user_settings(&trial, &mut command);
    let path = format!("{}:{}", trial.path("bin").display(), std::env::var("PATH").unwrap());
    let ended = Process::start(command.env("DOCKER_CONFIG", trial.path("docker")).env("PATH", path)).wait();
    assert_eq!(ended.stdout, format!("{} has no packages\n", server.url()), "{}", ended.stderr);
}

#[test]
fn tls_is_used_with_registries_of_a_trusted_ca() {
    let server = RegistryServer::with(RegistryOptions { login: true, tls: true });
    let trial = Trial::new("");
    let login = server.docker_config(RegistryServer::USER, RegistryServer::PASSWORD);
    let dir = plugin("split-words").display().to_string();
    let push = ["push", dir.as_str(), "--registry", &server.url()];
    let (authority, login) = (server.authority(), ("DOCKER_CONFIG", login.path()));
    let refused = run_failing(&trial, &push, &[login]);
    assert!(refused.contains("is unreachable") && refused.contains("certificate"), "{refused}");
    let ended = run(&trial, &push, &[login, ("SSL_CERT_FILE", &authority)]);
    assert!(ended.stdout.starts_with("pushed split-words 0.1.0"), "{}", ended.stderr);
    let found = run(&trial, &["search", "--registry", &server.url()], &[login, ("SSL_CERT_FILE", &authority)]);
    assert!(found.stdout.starts_with("split-words  0.1.0"), "{}", found.stderr);
}

#[test]
fn signatures_are_stored_next_to_a_package() {
    let server = RegistryServer::start();
    let (_, made) = split_words();
    let dir = tempfile::tempdir().unwrap();
    for registry in [server.url(), dir.path().display().to_string()] {
        let registry = Registry::parse(&registry, &root()).unwrap();
        let name = "split-words".parse().unwrap();
        registry.push(&name, &"0.1.0".parse().unwrap(), &made).unwrap();
        assert_eq!(registry.signatures(&name, &made.digest()).unwrap(), Vec::<Vec<u8>>::new());
        for signature in [b"by alice", b"by carol", b"by alice"] {
            registry.attach(&name, &made, signature).unwrap();
        }
        let mut signatures = registry.signatures(&name, &made.digest()).unwrap();
        signatures.sort();
        assert_eq!(signatures, [b"by alice", b"by carol"], "{registry}");
        let (version, digest) = registry.find(&"split-words".parse().unwrap()).unwrap();
        assert_eq!((version.to_string(), digest), ("0.1.0".into(), made.digest()), "signatures are no versions");
        assert_eq!(registry.search(&[]).unwrap()[0].versions.len(), 1);
    }
}

#[test]
fn a_directory_of_built_plugins_is_a_registry() {
    let (component, made) = split_words();
    let plugins = Registry::Dir(root().join("plugins"));
    let (version, digest) = plugins.find(&"split-words".parse().unwrap()).unwrap();
    assert_eq!((version.to_string(), digest), ("0.1.0".into(), made.digest()), "the same as if it were pushed");
    assert!(plugins.fetch(&"split-words".parse().unwrap(), &digest).unwrap().component == component);
    let gone = plugins.fetch(&"split-words".parse().unwrap(), &Digest::compute(b"other")).unwrap_err().message;
    assert!(gone.contains("it was rebuilt from other code"), "{gone}");

    let trial = Trial::new("");
    let found = run_ok(&trial, &["search", "--registry", &root().join("plugins").display().to_string()]);
    let names: Vec<&str> = found.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"split-words") && names.contains(&"running-count"), "{found}");
    assert!(names.is_sorted(), "{found}");

    // With any name, and next to files that are not plugins or are broken.
    trial.write("shared/some.wasm", &component);
    trial.write("shared/broken.wasm", "not a component");
    trial.write("shared/notes.txt", "");
    let shared = Registry::parse("shared", trial.dir()).unwrap();
    assert_eq!(shared.find(&"split-words".parse().unwrap()).unwrap().1, made.digest());
    trial.write("shared/split-words.wasm", "not a component");
    let broken = shared.find(&"split-words".parse().unwrap()).unwrap_err().message;
    assert!(broken.contains("split-words.wasm"), "{broken}");
    trial.write("shared/split-words.wasm", changed(&component));
    assert!(shared.find(&"split-words".parse().unwrap()).unwrap().1 != made.digest(), "its own name comes first");
}

/// The value of a header of a request.
fn header<'a>(request: &'a LyingRequest, name: &str) -> &'a str {
    let lines = request.head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next().unwrap_or_default()
}

/// A registry whose requests need a token, which it gives to alice.
fn with_tokens(token: &'static str) -> LyingRegistry {
    LyingRegistry::start(move |request| {
        let host = header(request, "host");
        let is_alice = header(request, "authorization") == "Basic YWxpY2U6c2VjcmV0";
        let denied =
            |challenge: &str| LyingResponse::new(401, "application/json", b"{}").with("WWW-Authenticate", challenge);
        match request.path.split('?').next().unwrap_or_default() {
            "/token" if is_alice => {
                LyingResponse::new(200, "application/json", format!(r#"{{"token":"{token}"}}"#).as_bytes())
            }
            "/token" => denied("Basic"),
            "/v2/_catalog" if header(request, "authorization") == format!("Bearer {token}") => {
                LyingResponse::new(200, "application/json", br#"{"repositories":[]}"#)
            }
            _ => denied(&format!(r#"Bearer realm="http://{host}/token",service="tests""#)),
        }
    })
}

#[test]
fn tokens_are_requested_with_the_login() {
    let trial = Trial::new("");
    let docker = |server: &LyingRegistry| {
        let config = format!(r#"{{"auths":{{"{}":{{"auth":"YWxpY2U6c2VjcmV0"}}}}}}"#, server.host());
        trial.write("docker/config.json", config);
        trial.path("docker")
    };
    let search = |server: &LyingRegistry, settings: &[(&str, &Path)]| {
        run(&trial, &["search", "--registry", &format!("oci://{}/team", server.host())], settings)
    };
    let server = with_tokens("t0ken");
    let ended = search(&server, &[("DOCKER_CONFIG", &docker(&server))]);
    assert!(ended.stdout.ends_with("has no packages\n"), "{}", ended.stderr);
    assert!(search(&server, &[]).stderr.contains("needs a login"));
    // The library takes a token for a header whatever is in it, and panics: in a process of its own.
    let server = with_tokens("t0\\nken");
    let ended = search(&server, &[("DOCKER_CONFIG", &docker(&server))]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("sent an invalid reply"), "{}", ended.stderr);
}

/// A registry may redirect a push to another host; the login is not sent there.
#[test]
fn a_login_goes_to_its_registry_only() {
    for (challenge, known) in [
        ("Basic realm=\"tests\"".to_owned(), "Basic YWxpY2U6c2VjcmV0"),
        ("Bearer realm=\"http://HOST/token\",service=\"tests\"".to_owned(), "Bearer t0ken"),
    ] {
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = heads.clone();
        let elsewhere = LyingRegistry::start(move |request| {
            seen.lock().unwrap().push(request.head.clone());
            LyingResponse::new(201, "text/plain", b"").with("Location", "/done")
        });
        // The same host by another name is another origin, as in a browser.
        for other in [elsewhere.host(), elsewhere.host().replace("127.0.0.1", "localhost")] {
            let (challenge, away) = (challenge.clone(), format!("http://{other}/upload?at=1"));
            let server = LyingRegistry::start(move |request| {
                let host = header(request, "host");
                let path = request.path.split('?').next().unwrap_or_default();
                match (request.method.as_str(), path) {
                    (_, "/token") => LyingResponse::new(200, "application/json", br#"{"token":"t0ken"}"#),
                    _ if header(request, "authorization") != known => {
                        LyingResponse::new(401, "application/json", b"{}")
                            .with("WWW-Authenticate", &challenge.replace("HOST", host))
                    }
                    ("POST", _) => LyingResponse::new(202, "text/plain", b"").with("Location", &away),
                    _ => LyingResponse::missing(),
                }
            });
            let trial = Trial::new("");
            let login = format!(r#"{{"auths":{{"{}":{{"auth":"YWxpY2U6c2VjcmV0"}}}}}}"#, server.host());
            trial.write("docker/config.json", login);
            let component = plugin("split-words").join("split-words.wasm").display().to_string();
            let push = ["push", &component, "--registry", &format!("oci://{}/team", server.host())];
            let text = run_failing(&trial, &push, &[("DOCKER_CONFIG", &trial.path("docker"))]);
            assert!(
                server.requests().iter().any(|request| request.starts_with("POST /v2/team/split-words/blobs/uploads/"))
            );
            assert!(text.contains("redirects to an address without TLS"), "{text}");
        }
        let heads = heads.lock().unwrap().join("\n").to_lowercase();
        assert!(!heads.contains("authorization"), "{heads}");
    }
}

#[test]
fn registries_that_flood_stall_or_redirect_are_abandoned() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n\r\n";
    let cases: [(LyingResponse, &str); 5] = [
        (LyingResponse::raw(HEAD).then(Then::Endless(vec![b' '; 1 << 20])), "sent too much"),
        (LyingResponse::raw(HEAD).then(Then::Stall), " seconds"),
        (
            LyingResponse::redirect("http://192.0.2.1/x"),
            "redirects to an address without TLS (http://), which is not followed",
        ),
        (LyingResponse::redirect("file:///etc/passwd"), "replied with HTTP status 307\n"),
        (LyingResponse::raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), "failed: "),
    ];
    for (response, expected) in cases {
        let trial = Trial::new("");
        let server = LyingRegistry::start(move |request| match request.path.contains("/manifests/") {
            true => response.clone(),
            false => LyingResponse::new(200, "application/json", b"{}"),
        });
        let registry = format!("oci://{}/team", server.host());
        let settings = [("MILLSTREAM_REGISTRY_SECONDS", Path::new("20"))];
        // The stall is waited for.
        let settings = if expected == " seconds" { [(settings[0].0, Path::new("2"))] } else { settings };
        let text = run_failing(&trial, &["show", "split-words@0.1.0", "--registry", &registry], &settings);
        assert!(text.contains(expected) && text.contains(&registry), "{expected}: {text}");
    }
}

/// A registry that lists the referrers of a package itself: `count` signatures of that package, one of another package, and
/// something that is not a signature.
fn with_referrers(package: &EncodedPackage, count: usize) -> LyingRegistry {
    const KIND: &str = "application/vnd.millstream.signature.v1+json";
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    let descriptor = |kind: &str, content: &[u8]| json!({ "mediaType": kind, "digest": Digest::compute(content), "size": content.len() });
    let mut files: Vec<(Digest, Vec<u8>)> = Vec::new();
    let mut entries = Vec::new();
    let subjects = std::iter::repeat_n(&package.manifest, count).chain([&package.config, &package.manifest]);
    for (number, subject) in subjects.enumerate() {
        let kind = if number == count + 1 { "text/plain" } else { KIND };
        let signature = format!("signature {number}").into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": kind,
            "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
            "layers": [descriptor(kind, &signature)],
            "subject": descriptor(MANIFEST, subject),
        });
        let manifest = manifest.to_string().into_bytes();
        let mut entry = descriptor(MANIFEST, &manifest);
        entry["artifactType"] = kind.into();
        entries.push(entry);
        files.extend([signature, manifest].map(|content| (Digest::compute(&content), content)));
    }
    let index =
        json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries });
    let listed = format!("/v2/team/split-words/referrers/{}", package.digest());
    LyingRegistry::start(move |request| {
        let path = request.path.split('?').next().unwrap_or_default();
        let file = files.iter().find(|(digest, _)| path.ends_with(&digest.to_string()));
        match file {
            _ if path == "/v2/" => LyingResponse::new(200, "application/json", b"{}"),
            _ if path == listed => LyingResponse::new(200, "application/json", index.to_string().as_bytes()),
            Some((_, content)) => LyingResponse::new(200, MANIFEST, content),
            None => LyingResponse::missing(),
        }
    })
}

#[test]
fn registries_that_list_referrers_are_queried_for_them() {
    let (_, made) = split_words();
    let signatures = |count: usize| {
        let server = with_referrers(&made, count);
        let registry = Registry::parse(&format!("oci://{}/team", server.host()), &root()).unwrap();
        registry.signatures(&"split-words".parse().unwrap(), &made.digest())
    };
    assert_eq!(signatures(2).unwrap(), [b"signature 0", b"signature 1"]);
    assert_eq!(signatures(0).unwrap(), Vec::<Vec<u8>>::new());
    let many = signatures(1000).unwrap_err().message;
    assert!(many.contains("lists more than 64 signatures of one package"), "{many}");
}
