//! A real Chromium, controlled by a test. `tests/page/driver.js` drives it with one command and one response at a time.

use crate::{DEADLINE, Process, root};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// Includes the time to download it, if needed.
const FETCHED_WITHIN: Duration = Duration::from_secs(900);

/// A browser with an empty profile. It exits when this is dropped.
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

    /// Sends a command with its arguments and returns the response. An error of the browser fails the test.
    #[track_caller]
    pub fn send_command(&mut self, what: &str, mut with: Value) -> Value {
        with["do"] = json!(what);
        self.process.say(&format!("{with}\n"));
        self.orders += 1;
        let orders = self.orders;
        // The driver has a shorter timeout of its own and reports the reason.
        let mut response = String::new();
        let came = crate::holds_within(DEADLINE * 2, || {
            let output = self.process.stdout();
            let complete = output.rfind('\n').map_or("", |end| &output[..end]);
            complete.lines().nth(orders - 1).map(|line| line.clone_into(&mut response)).is_some()
                || self.process.has_ended()
        });
        assert!(came && !response.is_empty(), "{with}: no answer\n{}", self.process.stderr());
        let response: Value = serde_json::from_str(&response).unwrap_or_else(|error| panic!("{error}: {response}"));
        assert!(response["error"].is_null(), "{with}: {}", response["error"].as_str().unwrap_or_default());
        response["ok"].clone()
    }

    /// The text that this part of the first page shows.
    pub fn text(&mut self, selector: &str) -> String {
        self.send_command("text", json!({ "selector": selector })).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the text of this element of the first page matches the pattern. Returns the complete text.
    #[track_caller]
    pub fn wait_for_text(&mut self, selector: &str, pattern: &str) -> String {
        let text = self.send_command("until", json!({ "selector": selector, "pattern": pattern }));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Goes to a view of the first page.
    #[track_caller]
    pub fn view(&mut self, hash: &str) {
        self.send_command("view", json!({ "hash": hash }));
    }

    /// Fails if the first page has logged an error, contacted a foreign server or opened a dialog.
    #[track_caller]
    pub fn assert_no_errors(&mut self) {
        let wrong = self.send_command("wrong", json!({}));
        assert_eq!(wrong, json!([]));
    }
}
