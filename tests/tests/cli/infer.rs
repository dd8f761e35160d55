//! `millstream infer`: what it prints is a source of a job that decodes the sample.

use millstream_tests::{Expected, Trial, millstream};
use serde_json::json;
use std::process::Command;

/// Runs `millstream infer` on a file in the trial's directory; returns its lines, and what it is not certain of.
fn infer(trial: &Trial, arguments: &[&str]) -> (String, String) {
    let ended = Command::new(millstream()).arg("infer").args(arguments).current_dir(trial.dir()).output().unwrap();
    let (out, printed) = (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
    assert!(ended.status.success(), "{printed}");
    (out, printed)
}

#[test]
fn the_lines_that_it_prints_run_as_a_job() {
    let trial = Trial::new("");
    trial.write(
        "clicks.jsonl",
        "{\"user\":{\"id\":7,\"na.me\":\"a\"},\"at\":\"2024-05-01T12:00:00Z\",\"price\":1,\"${x}\":true,\"k\\u202e\":\"\\u001b[2J\"}\n\
         {\"user\":null,\"price\":2.5,\"tags\":[1,2]}\n",
    );
    let (lines, printed) = infer(&trial, &["clicks.jsonl"]);
    assert!(
        printed.contains(
            "column `price`: an integer in 1 record (the first `1` in record 1), a number with a fraction in 1 record (the \
             first `2.5` in record 2): float64"
        ),
        "{printed}"
    );
    assert!(printed.contains("looked at all 2 records: all of them decode"), "{printed}");
    assert_eq!(
        lines,
        "[sources.clicks]\nkind = \"file\"\npath = \"clicks.jsonl\"\nformat = \"json\"\n\n[sources.clicks.schema]\n\
         user_id = { type = \"int64\", path = \"user.id\" }\n\
         \"user_na.me\" = { type = \"text\", path = [\"user\", \"na.me\"] }\n\
         at = \"timestamp\"\nprice = \"float64\"\n\"${x}\" = \"bool\"\n\"k\\U0000202e\" = \"text\"\ntags = \"text\"\n"
    );
    let sinks = "[sinks.out]\nfrom = \"clicks\"\nkind = \"queue\"\npath = \"out.jsonl\"\n\
                 [sinks.refused]\nfrom = \"clicks.rejected\"\nkind = \"queue\"\npath = \"refused.jsonl\"\n";
    trial.write("job.toml", format!("{lines}\n{sinks}"));
    trial.run(&[]);
    assert_eq!(
        trial.rows("out.jsonl"),
        [
            json!({ "user_id": 7, "user_na.me": "a", "at": "2024-05-01T12:00:00.000000Z", "price": 1.0, "${x}": true, "k\u{202e}": "\u{1b}[2J", "tags": null }),
            json!({ "user_id": null, "user_na.me": null, "at": null, "price": 2.5, "${x}": null, "k\u{202e}": null, "tags": "[1,2]" }),
        ]
    );
    assert!(trial.rows("refused.jsonl").is_empty());
}

#[test]
fn csv_and_bounds_and_mistakes() {
    let trial = Trial::new("");
    trial.write("2026 stock.csv", "sku;count\n007;1\n008;2\n009;x\n");
    let (lines, printed) = infer(&trial, &["2026 stock.csv", "--rows", "2", "--name", "stock"]);
    assert_eq!(
        lines,
        "[sources.stock]\nkind = \"file\"\npath = \"2026 stock.csv\"\nformat = \"csv\"\nseparator = \";\"\n\n\
         [sources.stock.schema]\nsku = \"text\"\ncount = \"int64\"\n"
    );
    assert!(printed.contains("looked at the first 2 records"), "{printed}");
    let mut expected = Expected::of(file!(), "csv_and_bounds_and_mistakes");
    for arguments in [
        &["no.csv"][..],
        &["2026 stock.csv", "--name", "1x"],
        &["2026 stock.csv", "--bytes", "0"],
        &["2026 stock.csv", "--format", "xml"],
    ] {
        let ended = Command::new(millstream()).arg("infer").args(arguments).current_dir(trial.dir()).output().unwrap();
        let printed = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {printed}");
        expected.add(&arguments.join(" "), &printed);
    }
    expected.check_parts();
}
