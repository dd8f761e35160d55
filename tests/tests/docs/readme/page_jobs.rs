//! The jobs of the pages: each block of TOML is a job or a part of one, and runs or is valid once what it lacks is added.

use super::{OWN, blocks_in};
use millstream_tests::{Block, Certificates, Process, Trial, pages, root, shown_block};
use std::fs;
use std::path::PathBuf;

/// The streams of the pages: name, columns, and a row.
const STREAMS: [(&str, &str, &str); 12] = [
    ("lines", "value = 'text'", r#"["to be"]"#),
    ("words", "word = 'text'", r#"["be"]"#),
    (
        "clicks",
        "visitor = 'text', page = 'text', sku = 'text', at = 'timestamp'",
        r#"["ann", "/home", "A1", "2026-01-05T12:00:00Z"]"#,
    ),
    (
        "orders",
        "order_id = 'int64', sku = 'text', customer = 'text', country = 'text', price = 'float64', at = 'timestamp', \
         id = 'int64'",
        r#"[1, "A1", "ann", "no", 2.5, "2026-01-05T12:00:00Z", 1]"#,
    ),
    ("payments", "order_id = 'int64', paid = 'float64', paid_at = 'timestamp'", r#"[1, 2.5, "2026-01-05T12:10:00Z"]"#),
    ("withdrawals", "account = 'text', amount = 'float64', at = 'timestamp'", r#"["ann", 5, "2026-01-05T12:00:00Z"]"#),
    (
        "comments",
        "visitor = 'text', message = 'text', at = 'timestamp'",
        r#"["ann", "It is soggy", "2026-01-05T12:00:00Z"]"#,
    ),
    (
        "readings",
        "machine = 'text', temperature = 'float64', at = 'timestamp'",
        r#"["m1", 20.5, "2026-01-05T12:00:00Z"]"#,
    ),
    ("trades", "symbol = 'text', price = 'float64', amount = 'int64'", r#"["ACME", 10.5, 100]"#),
    ("posts", "message = 'text'", r#"["I love #tea"]"#),
    ("prices", "sku = 'text', price = 'float64'", r#"["A1", 2.5]"#),
    ("sales", "sku = 'text', amount = 'int64'", r#"["A1", 2]"#),
];

/// Passwords of servers that a start connects to: without them no server is contacted.
const PASSWORDS: [&str; 5] = ["NATS_PASSWORD", "PGPASSWORD", "RABBITMQ_PASSWORD", "REDIS_PASSWORD", "SHOP_PASSWORD"];

/// Every TOML block is a job or a part of one: missing parts are added, and then its stages run, or it is valid.
#[test]
fn the_jobs_of_the_pages_are_valid() {
    let issuer = Certificates::make();
    let own = issuer.of("own", "DNS:localhost", 1);
    let certificates =
        [("own.pem", own.0), ("own.key", own.1), ("senders.pem", issuer.ca()), ("issuer.pem", issuer.ca())];
    let mut ran = 0;
    let all = pages().into_iter().filter(|page| !OWN.contains(&page.as_str()));
    for page in all.chain(["README.md".to_owned()]) {
        for block in blocks_in(&page, "toml") {
            // The README's plugin `shout`, its demo, and the example of untrusted plugins have tests of their own. So has what needs the
            // file `payments.pb` (`connectors/formats.rs`), and what follows changes (`operators/changing.rs`).
            let others = ["plugin = \"shout\"", "plugin = \"../", "payments.pb", "[stages.order-table]"];
            if others.iter().any(|text| block.text.contains(text)) {
                continue;
            }
            ran += usize::from(is_right(&page, &block, &certificates));
        }
    }
    assert!(ran > 40, "stages of {ran} blocks ran");
}

/// Checks a block; whether its stages ran.
#[track_caller]
fn is_right(page: &str, block: &Block, certificates: &[(&str, PathBuf)]) -> bool {
    let job: toml::Table = toml::from_str(&block.text).unwrap_or_else(|e| panic!("{}: {e}", block.place));
    let text = block.text.replace("127.0.0.1:9092", "127.0.0.1:1");
    let trial = Trial::new(&complete_job(page, &text, &job));
    STREAMS.iter().for_each(|(name, _, row)| drop(trial.write(&format!("{name}.jsonl"), format!("[{row}]\n"))));
    trial.write("inventory.csv", "sku,name,stock\nA1,teapot,20\n");
    trial.write("stock.csv", "sku;count;since\n");
    trial.write("stopwords.txt", "the\n");
    trial.write("input.txt", "to be\n");
    trial.write("payments.txt", "");
    for (name, file) in certificates {
        trial.write(name, fs::read(file).unwrap());
    }
    fs::create_dir(trial.path("incoming")).unwrap();
    std::os::unix::fs::symlink(root().join("plugins"), trial.path("plugins")).unwrap();
    let has = |section: &str| job.contains_key(section);
    let runs = has("stages") && !has("sources") && !has("sinks");
    let mut command = trial.command(&[if runs { "run" } else { "validate" }, "job.toml"]);
    // A start contacts the servers of sinks and lookup tables, but not those of sources.
    let is_asked = has("sinks") || block.text.contains("enrich");
    let mut missing = Vec::new();
    for name in block.text.split("${").skip(1).filter_map(|rest| rest.split('}').next()) {
        if is_asked && PASSWORDS.contains(&name) {
            missing.push(name);
        } else {
            command.env(name, "a-secret");
        }
    }
    // Plugins that the reader has yet to write, and a cluster that does not exist: everything else must be right.
    missing.extend(block.text.contains("cogroup = ").then_some("plugins/interest"));
    missing.extend(block.text.contains("plugin = \"feed\"").then_some("plugin not found at ./feed"));
    let mut sinks = job.get("sinks").and_then(toml::Value::as_table).into_iter().flatten();
    let is_of_kafka = sinks.any(|(_, sink)| sink.get("kind").and_then(toml::Value::as_str) == Some("kafka"));
    missing.extend((missing.is_empty() && is_of_kafka).then_some("Connection refused"));
    let ended = Process::start(&mut command).wait();
    let expected = match missing[..] {
        [] => 0,
        // The job file is right, but the cluster does not exist.
        ["Connection refused"] => 1,
        _ => 2,
    };
    assert_eq!(ended.code, Some(expected), "{}\n{}", block.place, ended.stderr);
    if !missing.is_empty() {
        let wrong: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("job.toml:")).collect();
        let is_known = |line: &&str| missing.iter().any(|name| line.contains(name));
        assert!(!wrong.is_empty() && wrong.iter().all(is_known), "{}\n{}", block.place, ended.stderr);
    }
    runs
}

#[test]
fn the_job_of_the_page_about_nexmark_makes_its_events() {
    let ended = Trial::new(&shown_block("toml", "[sources.bid]").text).run_ok(&[]);
    // Of a million events, 46 of 50 are bids.
    assert!(ended.stderr.contains("rows: bid 920000, screen 920000"), "{}", ended.stderr);
}

/// Completes the block of a page to a job: adds the streams that it reads, and sinks for its output, if it has none.
fn complete_job(page: &str, block: &str, job: &toml::Table) -> String {
    let of = |section: &str| job.get(section).and_then(toml::Value::as_table).into_iter().flatten();
    let strings = |value: Option<&toml::Value>| match value {
        Some(toml::Value::String(text)) => vec![text.clone()],
        Some(toml::Value::Array(strings)) => {
            strings.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    };
    let mut read: Vec<String> = Vec::new();
    for (_, stage) in of("stages") {
        let with = stage.get("join").and_then(|join| join.get("with"));
        let table = stage.get("enrich").and_then(|enrich| enrich.get("stream"));
        read.extend([stage.get("from"), stage.get("cogroup"), with, table].into_iter().flat_map(strings));
    }
    read.extend(of("sinks").flat_map(|(_, sink)| strings(sink.get("from"))));
    let made: Vec<&String> = of("stages").map(|(name, _)| name).collect();
    let mut outputs = made.clone();
    if outputs.is_empty() {
        outputs.extend(of("sources").map(|(name, _)| name));
    }

    // Queues run to their end; all else is only validated.
    let runs = !job.contains_key("sources") && !job.contains_key("sinks") && !outputs.is_empty();
    let mut complete = if runs { format!("clock = \"manual\"\n{block}\n") } else { format!("{block}\n") };
    if !job.contains_key("sinks") {
        for name in &outputs {
            let path = format!("{name}.out.jsonl");
            complete += &format!("[sinks.{name}-out]\nfrom = \"{name}\"\nkind = \"queue\"\npath = \"{path}\"\n");
        }
    }
    if outputs.is_empty() && !job.contains_key("sinks") {
        // A part that concerns the complete job.
        read.push("lines".into());
        complete += "[sinks.out]\nfrom = \"lines\"\nkind = \"nothing\"\n";
    }
    let is_there =
        |name: &str| made.iter().any(|made| *made == name) || of("sources").any(|(source, _)| source == name);
    let mut read: Vec<&str> = read.iter().map(|name| name.split('.').next().unwrap()).collect();
    if read.contains(&"totals") && !is_there("totals") {
        let column = if is_of_connectors(page) { "value as sku" } else { "sku" };
        complete += &format!("[stages.totals]\nfrom = \"orders\"\nselect = \"{column}\"\n");
        read.push("orders");
        read.retain(|name| *name != "totals");
    }
    read.sort_unstable();
    read.dedup();
    read.into_iter().filter(|name| !is_there(name)).for_each(|name| complete += &stream(page, name, block));
    complete
}

/// The pages about connectors show them with arbitrary rows.
fn is_of_connectors(page: &str) -> bool {
    page.starts_with("docs/reference/connectors/")
}

/// A source that gives a stream of the pages.
fn stream(page: &str, name: &str, block: &str) -> String {
    match name {
        "orders" if is_of_connectors(page) => "[sources.orders]\nkind = \"rate\"\nrows_per_second = 1\n".into(),
        "payments" if is_of_connectors(page) => "[sources.payments]\nkind = \"file\"\npath = \"payments.txt\"\n".into(),
        "orders" if page == "docs/explanation/changelogs.md" => {
            let columns = "op = \"text\", order_id = \"int64\", customer = \"text\", price = \"decimal(12,2)\"";
            format!("[sources.orders]\nkind = \"queue\"\npath = \"orders.jsonl\"\nschema = {{ {columns} }}\n")
        }
        _ => {
            let stream = STREAMS.iter().find(|stream| stream.0 == name);
            let (_, columns, _) = stream.unwrap_or_else(|| panic!("no stream {name} in\n{block}"));
            format!("[sources.{name}]\nkind = \"queue\"\npath = \"{name}.jsonl\"\nschema = {{ {columns} }}\n")
        }
    }
}
