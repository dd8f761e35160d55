//! A real Chromium that does what a test says: `tests/page/driver.js` drives it, an order and an answer at a time.

use crate::{DEADLINE, Process, root};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// It may have to be fetched first.
const FETCHED_WITHIN: Duration = Duration::from_secs(900);

/// A browser without anything that another one has seen. It ends when this is dropped.
pub struct Browser {
    process: Process,
    orders: usize,
}

impl Browser {
    /// Starts one; the first time it is fetched.
    pub fn start() -> Browser {
        static PROGRAMS: OnceLock<Vec<String>> = OnceLock::new();
        let programs = PROGRAMS.get_or_init(|| {
            let mut command = Command::new(root().join("scripts/browser.sh"));
            let ended = Process::start(&mut command).wait_within(FETCHED_WITHIN);
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            ended.stdout.lines().map(str::to_owned).collect()
        });
        let [node, browser, modules] = programs.as_slice() else { panic!("{programs:?}") };
        let mut command = Command::new(node);
        command.arg(root().join("tests/page/driver.js")).args([browser, modules]);
        Browser { process: Process::start(&mut command), orders: 0 }
    }

    /// Gives an order with what it needs, and waits for its answer; an error of the browser is one of the test.
    #[track_caller]
    pub fn tell(&mut self, what: &str, mut with: Value) -> Value {
        with["do"] = json!(what);
        self.process.say(&format!("{with}\n"));
        self.orders += 1;
        let orders = self.orders;
        // It gives up by itself before, and then says why.
        let mut answer = String::new();
        let came = crate::holds_within(DEADLINE * 2, || {
            let said = self.process.stdout();
            let whole = said.rfind('\n').map_or("", |end| &said[..end]);
            whole.lines().nth(orders - 1).map(|line| line.clone_into(&mut answer)).is_some() || self.process.ended()
        });
        assert!(came && !answer.is_empty(), "{with}: no answer\n{}", self.process.stderr());
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert!(answer["error"].is_null(), "{with}: {}", answer["error"].as_str().unwrap_or_default());
        answer["ok"].clone()
    }

    /// The text that this part of the first page shows.
    pub fn text(&mut self, selector: &str) -> String {
        self.tell("text", json!({ "selector": selector })).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until this part of the first page shows a text that the pattern finds; all of the text.
    #[track_caller]
    pub fn until(&mut self, selector: &str, pattern: &str) -> String {
        let text = self.tell("until", json!({ "selector": selector, "pattern": pattern }));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Goes to a view of the first page.
    #[track_caller]
    pub fn view(&mut self, hash: &str) {
        self.tell("view", json!({ "hash": hash }));
    }

    /// Fails where the first page has said an error, asked a foreign server, or put up a dialog.
    #[track_caller]
    pub fn nothing_wrong(&mut self) {
        let wrong = self.tell("wrong", json!({}));
        assert_eq!(wrong, json!([]));
    }
}
