//! Registries with invalid responses, whatever the package.

use super::case::{Attack, Way, Workspace, check_all_rejected};
use super::goods::{Goods, NAME, VERSION, digest};
use millstream_tests::{LyingRegistry, LyingResponse, Then};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";
const MIB: usize = 1 << 20;

/// A response without an end and without a known length.
fn endless(kind: &str, piece: &[u8]) -> LyingResponse {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n");
    LyingResponse::raw(head).then(Then::Endless(piece.repeat(MIB / piece.len())))
}

fn chunked_endless(kind: &str) -> LyingResponse {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let piece = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    LyingResponse::raw(head).then(Then::Endless(piece))
}

/// A gigabyte of zeros as gzip has it, in some megabytes.
fn bomb(kind: &str) -> LyingResponse {
    // A block of deflate with fixed codes: one zero, and then matches of 258 bytes (code 11000101) at distance 1 (00000).
    let mut bits = vec![1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0];
    for _ in 0..32 {
        bits.extend([1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
    }
    let byte = |bits: &[u8]| bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | bit << at);
    let bytes: Vec<u8> = bits.chunks(8).map(byte).collect();
    // Eight matches take thirteen bytes.
    let matches = bytes[2..15].repeat((1 << 30) / 258 / 8);
    let body = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff], &bytes[..2], matches.as_slice()].concat();
    LyingResponse::new(200, kind, &body).with("Content-Encoding", "gzip")
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes
}

const LIST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

#[test]
fn manifests_differ_from_the_requested_ones() {
    check_all_rejected(vec![
        Attack::new("another manifest than that of its digest", "other data than requested").lie(|requested, goods| {
            let other = goods.clone().with("/annotations/a", json!("b")).manifest;
            let output = Goods::as_manifest(&other).bytes;
            let text = String::from_utf8_lossy(&output).replace(&digest(&other), &digest(&goods.manifest));
            requested.path.contains("/manifests/").then(|| LyingResponse::raw(text.as_bytes()))
        }),
        Attack::new("a tag that leads to nothing", "other data than requested")
            .lie(|requested, _| {
                let output = LyingResponse::new(200, "application/vnd.oci.image.manifest.v1+json", b"{}");
                let nothing = output.with("Docker-Content-Digest", &digest(b"nothing"));
                requested.path.ends_with(VERSION).then_some(nothing)
            })
            .ways(&[Way::Pull, Way::Add]),
        Attack::new("a digest that is a path", "other data than requested")
            .lie(|requested, goods| {
                let output = LyingResponse::new(200, "application/vnd.oci.image.manifest.v1+json", &goods.manifest);
                requested
                    .path
                    .ends_with(VERSION)
                    .then(|| output.with("Docker-Content-Digest", "sha256:../../../../etc/passwd"))
            })
            .ways(&[Way::Pull, Way::Add]),
        Attack::new("a digest of another kind", "other data than requested")
            .lie(|requested, goods| {
                let output = LyingResponse::new(200, "application/vnd.oci.image.manifest.v1+json", &goods.manifest);
                let digest = format!("sha512:{}", "0".repeat(128));
                requested.path.ends_with(VERSION).then(|| output.with("Docker-Content-Digest", &digest))
            })
            .ways(&[Way::Pull, Way::Add]),
        Attack::new("a list of manifests in its place", "it is a list of manifests|was moved").at(
            "/manifests/",
            |_| {
                let output = LyingResponse::new(200, "application/vnd.oci.image.index.v1+json", LIST.as_bytes());
                output.with("Docker-Content-Digest", &digest(LIST.as_bytes()))
            },
        ),
        Attack::new("a page for people", "its manifest cannot be read|was moved")
            .at("/manifests/", |_| LyingResponse::new(200, "text/html", b"<h1>Log in</h1>")),
        Attack::new("nothing at all", "204 No Content").at("/manifests/", |_| LyingResponse::new(204, JSON, b"")),
        Attack::new("a manifest that breaks off", "end of file before message length").at("/manifests/", |goods| {
            let complete = Goods::as_manifest(&goods.manifest);
            let bytes = complete.bytes.len() - 10;
            complete.cut(bytes)
        }),
    ]);
}

#[test]
fn components_differ_from_the_requested_ones() {
    check_all_rejected(vec![
        Attack::new("one bit of the component is another", "other data than requested")
            .at_component(|goods| LyingResponse::new(200, BYTES, &flipped(&goods.component))),
        Attack::new("the component is short", "other data than requested")
            .at_component(|goods| LyingResponse::new(200, BYTES, &goods.component[..goods.component.len() - 1])),
        Attack::new("there is more behind the component", "sent more than")
            .at_component(|goods| LyingResponse::new(200, BYTES, &[goods.component.as_slice(), b"more"].concat())),
        Attack::new("the component breaks off", "end of file before message length").at_component(|goods| {
            let complete = LyingResponse::new(200, BYTES, &goods.component);
            let bytes = complete.bytes.len() / 2;
            complete.cut(bytes)
        }),
        Attack::new("the component is not there", "404").at_component(|_| LyingResponse::missing()),
        Attack::new("the component is another one", "other data than requested")
            .at_component(|_| LyingResponse::new(200, BYTES, b"\0asm\x0d\0\x01\0")),
    ]);
}

#[test]
fn endless_responses_are_cut_off() {
    check_all_rejected(vec![
        Attack::new("an endless manifest", "sent too much|3 seconds").at("/manifests/", |_| endless(JSON, b" ")),
        Attack::new("an endless manifest in chunks", "sent too much|3 seconds")
            .at("/manifests/", |_| chunked_endless(JSON)),
        Attack::new("a manifest of a terabyte", "sent too much|3 seconds").at("/manifests/", |_| {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1099511627776\r\n\r\n";
            LyingResponse::raw(head).then(Then::Endless(vec![b' '; MIB]))
        }),
        Attack::new("an endless component", "bytes that its manifest says").at_component(|_| endless(BYTES, b"\0")),
        Attack::new("an endless component in chunks", "bytes that its manifest says")
            .at_component(|_| chunked_endless(BYTES)),
        Attack::new("endless headers", "3 seconds")
            .at("/v2/", |_| LyingResponse::raw("HTTP/1.1 200 OK\r\n").then(Then::Endless(b"A: b\r\n".repeat(10_000)))),
        Attack::new("an endless line", "3 seconds")
            .at("/v2/", |_| LyingResponse::raw("HTTP/1.1 200 ").then(Then::Endless(vec![b'x'; MIB]))),
        Attack::new("an endless error", "sent too much|3 seconds").at("/manifests/", |_| {
            let mut output = endless(JSON, b"[");
            output.bytes = String::from_utf8_lossy(&output.bytes).replace("200 OK", "500 No").into_bytes();
            output
        }),
        Attack::new("a small manifest that unpacks to a gigabyte", "a manifest of more than")
            .at("/manifests/", |_| bomb(JSON)),
        Attack::new("a small component that unpacks to a gigabyte", "bytes that its manifest says")
            .at_component(|_| bomb(BYTES)),
    ]);
}

#[test]
fn stalling_registries_are_abandoned() {
    check_all_rejected(vec![
        Attack::new("no answer", "3 seconds").at("/v2/", |_| LyingResponse::raw("").then(Then::Stall)),
        Attack::new("half a manifest", "3 seconds").at("/manifests/", |goods| {
            let complete = Goods::as_manifest(&goods.manifest);
            let bytes = complete.bytes.len() - 10;
            complete.cut(bytes).then(Then::Stall)
        }),
        Attack::new("half a component", "3 seconds").at_component(|goods| {
            let complete = LyingResponse::new(200, BYTES, &goods.component);
            let bytes = complete.bytes.len() / 2;
            complete.cut(bytes).then(Then::Stall)
        }),
        Attack::new("a component drop by drop", "3 seconds").at_component(|goods| {
            let complete = LyingResponse::new(200, BYTES, &goods.component);
            let (start, rest) = complete.bytes.split_at(200);
            LyingResponse::raw(start).then(Then::Drip(rest.to_vec()))
        }),
        Attack::new("headers drop by drop", "3 seconds")
            .at("/v2/", |_| LyingResponse::raw("HTTP/1.1 200 OK\r\n").then(Then::Drip(b"A: b\r\n".to_vec()))),
        Attack::new("come back in thirty years", "HTTP status 429")
            .at("/v2/", |_| LyingResponse::new(429, JSON, b"{}").with("Retry-After", "1000000000")),
        Attack::new("always broken", "HTTP status 503").at("/v2/", |_| LyingResponse::new(503, JSON, b"{}")),
    ]);
}

#[test]
fn redirects_are_not_followed() {
    check_all_rejected(vec![
        Attack::new("a manifest that is a file", "HTTP status 307")
            .at("/manifests/", |_| LyingResponse::redirect("file:///etc/passwd")),
        Attack::new("a component that is a file", "other data than requested")
            .at_component(|_| LyingResponse::redirect("file:///etc/passwd")),
        Attack::new("a component of another kind of address", "URL scheme is not allowed")
            .at_component(|_| LyingResponse::redirect("ftp://127.0.0.1/x")),
        Attack::new("a component that is data", "other data than requested")
            .at_component(|_| LyingResponse::redirect("data:application/wasm,x")),
        Attack::new("a redirect to nowhere", "other data than requested")
            .at_component(|_| LyingResponse::redirect("http://")),
        Attack::new("a redirect in a circle", "too many redirects").lie(|requested, goods| {
            requested.path.contains(&digest(&goods.component)).then(|| LyingResponse::redirect(&requested.path))
        }),
        Attack::new("a login that is a file", "needs a login").at("/v2/", |_| {
            LyingResponse::new(401, JSON, b"{}")
                .with("WWW-Authenticate", "Bearer realm=\"file:///etc/passwd\",service=\"x\"")
        }),
        Attack::new("a login in a circle", "needs a login").lie(|requested, _| {
            let realm = format!("Bearer realm=\"http://{}/token\",service=\"x\"", host(&requested.head));
            Some(match requested.path.starts_with("/token") {
                true => LyingResponse::new(200, JSON, br#"{"token":"x"}"#),
                false => LyingResponse::new(401, JSON, b"{}").with("WWW-Authenticate", &realm),
            })
        }),
        Attack::new("an endless token", "sent too much|3 seconds").lie(|requested, _| {
            let realm = format!("Bearer realm=\"http://{}/token\",service=\"x\"", host(&requested.head));
            Some(match requested.path.starts_with("/token") {
                true => endless(JSON, b"["),
                false => LyingResponse::new(401, JSON, b"{}").with("WWW-Authenticate", &realm),
            })
        }),
        Attack::new("no HTTP", "3 seconds").at("/v2/", |_| LyingResponse::raw("SSH-2.0-OpenSSH_9.6\r\n")),
        Attack::new("nothing but the end", "3 seconds").at("/v2/", |_| LyingResponse::raw("")),
        Attack::new("words that steer a terminal", "needs a login").at("/manifests/", |_| {
            LyingResponse::new(
                403,
                JSON,
                b"{\"errors\":[{\"code\":\"DENIED\",\"message\":\"\\u001b[2J\\u0007\\u202e\"}]}",
            )
        }),
    ]);
}

fn host(head: &str) -> String {
    let line = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("host:").map(str::to_owned));
    line.unwrap_or_default().trim().to_owned()
}

/// Lists of versions, which are read only without an explicit version.
#[test]
fn lists_of_versions_lie() {
    let tags: Vec<String> = (0..200_000).map(|at| format!("0.0.{at}")).collect();
    let many = json!({ "name": "team/split-words", "tags": tags }).to_string();
    for (name, says, answer) in [
        ("many tags", "lists more than 10000 entries", LyingResponse::new(200, JSON, many.as_bytes())),
        ("an endless list", "sent too much|3 seconds", endless(JSON, b"[")),
        (
            "a list of itself",
            "has no package",
            LyingResponse::new(200, JSON, br#"{"name":"x","tags":["a"]}"#)
                .with("Link", "</v2/team/split-words/tags/list?last=a&n=1>; rel=\"next\""),
        ),
        (
            "a list that goes on in a file",
            "has no package",
            LyingResponse::new(200, JSON, br#"{"name":"x","tags":["a"]}"#)
                .with("Link", "<file:///etc/passwd>; rel=\"next\""),
        ),
        (
            "tags that are paths",
            "has no package",
            LyingResponse::new(200, JSON, br#"{"name":"x","tags":["../../x","/etc/passwd","1.0.0/../x"]}"#),
        ),
        ("no list", "sent an invalid reply", LyingResponse::new(200, JSON, br#"{"tags":{"a":1}}"#)),
        ("deep", "sent an invalid reply", LyingResponse::new(200, JSON, "[".repeat(100_000).as_bytes())),
    ] {
        let goods = Goods::honest();
        let registry = LyingRegistry::start(move |requested| match requested.path.contains("/tags/list") {
            true => answer.clone(),
            false => goods.answer(requested),
        });
        let workspace = Workspace::new("");
        let address = format!("oci://{}/team", registry.host());
        let went = workspace.run(&["pull", NAME, "--registry", &address]);
        if let Err(output) = went.check_rejected(says) {
            panic!("{name}: {output}\nasked: {:?}", registry.requests().iter().take(20).collect::<Vec<_>>());
        }
        assert!(registry.requests().len() < 1_000, "{name}: asked {} times", registry.requests().len());
    }
}

/// A tag that leads elsewhere by now, between two commands and within one.
#[test]
fn tags_that_move_are_noticed() {
    let (first, second) = (Goods::honest(), Goods::honest().with("/annotations/a", json!("b")));
    let (a, b) = (first.clone(), second.clone());
    let has_moved = Arc::new(AtomicBool::new(false));
    let moved = has_moved.clone();
    let registry =
        LyingRegistry::start(
            move |requested| if moved.load(Ordering::Relaxed) { b.answer(requested) } else { a.answer(requested) },
        );
    let address = format!("oci://{}/team", registry.host());
    let workspace = Workspace::new("");
    workspace.attempt(Way::Add, &address, &first).check_ok();
    has_moved.store(true, Ordering::Relaxed);
    // The store is deleted, so that the registry is queried again.
    for store in [true, false] {
        if !store {
            std::fs::remove_dir_all(workspace.trial.path("store")).expect("there was one");
        }
        let lock = workspace.trial.text("millstream.lock");
        let went = workspace.run(&[
            "add",
            &format!("{NAME}@{VERSION}"),
            "--registry",
            &address,
            "--job",
            "job.toml",
            "--stage",
            "words",
        ]);
        if store && went.code == Some(0) {
            // A pinned package in the store needs no registry.
            assert_eq!(workspace.trial.text("millstream.lock"), lock);
        } else {
            went.check_rejected("ersion must never change").unwrap();
        }
        assert_eq!(workspace.trial.text("millstream.lock"), lock);
    }
    let went = workspace.run(&["run", "job.toml"]);
    went.check_rejected("ersion must never change").unwrap();
    let other = Workspace::new("");
    other.attempt(Way::Pull, &address, &second).check_ok();

    // Each time another one.
    let registry = LyingRegistry::start(move |requested| {
        if requested.path.ends_with(VERSION) && requested.method == "HEAD" {
            first.answer(requested)
        } else {
            second.answer(requested)
        }
    });
    let address = format!("oci://{}/team", registry.host());
    for way in [Way::Pull, Way::Add] {
        let went = Workspace::new("").attempt(way, &address, &Goods::honest());
        // A command that never uses HEAD sees only one package, which is fine.
        if went.code != Some(0)
            || registry.requests().iter().any(|line| line.starts_with("HEAD") && line.ends_with(VERSION))
        {
            went.check_rejected("other data than requested").unwrap();
        }
    }
}
