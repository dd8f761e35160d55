//! The tutorials `docs/tutorials/first-job.md` and `docs/tutorials/changes-to-dashboard.md`, block by block, with a real `nc`,
//! PostgreSQL and browser.

use millstream_tests::{Block, Browser, DEADLINE, Process, Trial, blocks, free_port, holds_within, millstream, root};
use serde_json::json;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// The blocks of a page, taken in order, so that none is omitted.
struct Page(std::vec::IntoIter<Block>);

impl Page {
    fn open(file: &str) -> Page {
        Page(blocks(file).into_iter())
    }

    /// The text of the next block, which is in this language and has this in it.
    #[track_caller]
    fn next(&mut self, language: &str, text: &str) -> String {
        let block = self.0.next().unwrap_or_else(|| panic!("there is no further block, and no {text:?}"));
        let is_it = block.language == language && block.text.contains(text);
        assert!(is_it, "{}: nothing runs this; next comes {language} with {text:?}", block.place);
        block.text
    }

    #[track_caller]
    fn end(mut self) {
        assert_eq!(self.0.next(), None, "nothing runs this");
    }
}

/// The output that a page shows: its lines after `# `.
fn shown_output(block: &str) -> String {
    block.lines().map(|line| line.strip_prefix("# ").expect("an output").to_owned() + "\n").collect()
}

/// Runs these lines in a shell in the directory of a trial, as this user; returns its standard output.
#[track_caller]
fn shell(trial: &Trial, user: Option<(u32, u32)>, programs: &[PathBuf], lines: &str) -> String {
    let mut path = programs.to_vec();
    path.push(millstream().parent().expect("a folder").to_path_buf());
    path.extend(std::env::split_paths(&std::env::var_os("PATH").expect("a PATH")));
    let mut shell = Command::new("bash");
    shell.args(["-euc", lines]).current_dir(trial.dir()).env("PATH", std::env::join_paths(path).expect("a PATH"));
    if let Some((uid, gid)) = user {
        shell.uid(uid).gid(gid);
    }
    let ended = Process::start(&mut shell).wait_within(DEADLINE * 2);
    assert_eq!(ended.code, Some(0), "{lines}\n{}{}", ended.stdout, ended.stderr);
    ended.stdout
}

#[test]
fn the_first_job_counts_typed_words_and_survives_a_kill() {
    let mut page = Page::open("docs/tutorials/first-job.md");
    let trial = Trial::new("");
    std::os::unix::fs::symlink(root().join("plugins"), trial.path("plugins")).unwrap();
    let port = free_port();
    let start = || {
        let mut job = Process::start(&mut trial.command(&["run", "words.toml"]));
        job.wait_for_stderr("source `lines`: connected to");
        job
    };
    page.next("sh", "make build\n");
    page.next("sh", "export PATH=");
    let job = page.next("toml", "# words.toml\n").replace("127.0.0.1:9999", &format!("127.0.0.1:{port}"));
    trial.write("words.toml", &job);
    let message = shell(&trial, None, &[], &page.next("sh", "millstream validate words.toml\n"));
    assert!(message.contains("count"), "{message}");

    page.next("sh", "nc -lk 9999\n");
    let mut nc = Process::nc(port);
    page.next("sh", "millstream run words.toml\n");
    let mut job = start();
    nc.say("To be or not to be\n");
    let table = shown_output(&page.next("sh", "# | not  | 1     |"));
    job.wait_until("the line is counted", |job| job.stdout().contains(&table));
    job.wait_until("nothing changes", |job| job.stdout().contains("(no rows)"));
    nc.say("to see\n");
    job.wait_until("the plugin has kept its state", |job| job.stdout().contains("| to   | 3     |"));
    job.signal("INT");
    assert_eq!(job.wait().code, Some(0));

    let more = page.next("toml", "[checkpoint]\n");
    trial.write("words.toml", trial.text("words.toml") + "\n" + &more);
    page.next("sh", "millstream run words.toml &\n");
    let mut job = start();
    nc.say("To be or not to be\n");
    job.wait_until("the line is counted", |job| job.stdout().contains(&table));
    page.next("sh", "kill -9 $!\n");
    job.kill();
    page.next("sh", "millstream run words.toml\n");
    let mut job = start();
    job.wait_for_stderr("checkpoint");
    nc.say("to see\n");
    let table = shown_output(&page.next("sh", "# | see  | 1     |"));
    job.wait_until("it counts on", |job| job.stdout().contains(&table));
    job.signal("INT");
    assert_eq!(job.wait().code, Some(0));

    let message = shell(&trial, None, &[], &page.next("sh", "millstream state words.toml"));
    assert_eq!(message, shown_output(&page.next("sh", "# (5 rows)")));
    let parts = shell(&trial, None, &[], &page.next("sh", "cat words-totals/part-*"));
    assert_eq!(parts.lines().filter(|line| *line == "to,3").count(), 1, "{parts}");
    shell(&trial, None, &[], &page.next("sh", "rm -r words-totals words-checkpoint\n"));
    page.end();
}

/// Users other than root run a PostgreSQL server themselves; root gives its directory to the user of Debian's package.
fn owner() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> u32 {
        let message = Command::new("id").args(arguments).output().expect("id runs").stdout;
        String::from_utf8_lossy(&message).trim().parse().expect("Debian's package makes the user `postgres`")
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

/// The directory of the newest installed PostgreSQL.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed; `make setup` installs it");
    let dirs = versions.map(|version| version.expect("an entry").path().join("bin"));
    dirs.filter(|dir| dir.join("initdb").is_file()).max().expect("a server")
}

/// Stops the server of a tutorial, whatever happens to the test.
struct Server<'t> {
    trial: &'t Trial,
    owner: Option<(u32, u32)>,
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let mut stop = Command::new(programs().join("pg_ctl"));
        stop.args(["-D", "shop-db", "-m", "immediate", "stop"]).current_dir(self.trial.dir());
        if let Some((uid, gid)) = self.owner {
            stop.uid(uid).gid(gid);
        }
        // If the page has stopped it, there is nothing to stop.
        let _ = stop.output();
    }
}

#[test]
fn changes_of_a_database_reach_a_page_and_survive_a_kill() {
    let mut page = Page::open("docs/tutorials/changes-to-dashboard.md");
    let (owner, trial) = (owner(), Trial::new(""));
    if let Some((uid, gid)) = owner {
        chown(trial.dir(), Some(uid), Some(gid)).expect("root may give folders away");
    }
    let (database, socket, served) = (free_port().to_string(), free_port(), free_port());
    let here = |text: String| {
        let text = text.replace("5433", &database).replace("127.0.0.1:8090", &format!("127.0.0.1:{socket}"));
        text.replace("127.0.0.1 8000", &format!("127.0.0.1 {served}"))
    };
    let asks = |lines: String| shell(&trial, owner, &[programs()], &here(lines));
    let start = || Process::start(&mut trial.command(&["run", "shops.toml"]));

    let server = Server { trial: &trial, owner };
    asks(page.next("sh", "initdb -D shop-db"));
    trial.write("orders.sql", page.next("sql", "create table orders"));
    asks(page.next("sh", "-f orders.sql"));
    trial.write("shops.toml", here(page.next("toml", "# shops.toml\n")));
    trial.write("index.html", here(page.next("html", "new WebSocket")));

    page.next("sh", "millstream run shops.toml &\n");
    let mut job = start();
    let table = shown_output(&page.next("sh", "# | Bergen | 1      | 12.00 |"));
    job.wait_until("the rows that there were are counted", |job| job.stdout().contains(&table));

    let serve = here(page.next("sh", "python3 -m http.server"));
    let strings: Vec<&str> = serve.split_whitespace().collect();
    let _pages = Process::start(Command::new(strings[0]).args(&strings[1..]).current_dir(trial.dir()));
    assert!(holds_within(DEADLINE, || std::net::TcpStream::connect(("127.0.0.1", served)).is_ok()));
    let mut browser = Browser::start();
    browser.send_command("visit", json!({ "url": format!("http://127.0.0.1:{served}/") }));
    job.wait_until("the page is connected", |_| clients(socket) > 0);
    asks(page.next("sh", "insert into orders values (4"));
    browser.wait_for_text("#shops", "Bergen\\s+2 orders\\s+15.00");
    browser.wait_for_text("#shops", "Oslo\\s+1 orders\\s+10.00");

    page.next("sh", "kill -9 $!\n");
    job.kill();
    asks(page.next("sh", "insert into orders values (5"));
    page.next("sh", "millstream run shops.toml\n");
    let mut job = start();
    job.wait_until("it has what it missed", |job| job.stdout().contains("| Oslo | 2      | 11.00 |"));
    job.signal("INT");
    assert_eq!(job.wait().code, Some(0));

    let both = page.next("sh", "millstream state shops.toml");
    let (state, query) = both.split_once('\n').expect("two lines");
    let message = shell(&trial, None, &[], state);
    for row in ["| Bergen | 2      | 15.00 |", "| Oslo   | 2      | 11.00 |"] {
        assert!(message.contains(row), "no {row} in {message}");
    }
    let message = asks(query.to_owned());
    assert!(message.contains("Bergen |     2 | 15.00") && message.contains("Oslo   |     2 | 11.00"), "{message}");
    let away = page.next("sh", "pg_ctl -D shop-db -m immediate stop\n");
    let (stop, remove) = away.split_once('\n').expect("two lines");
    asks(stop.to_owned());
    // Files written by root's job belong to root.
    shell(&trial, None, &[], remove);
    page.end();
    drop(server);
}

/// The connections that this port of 127.0.0.1 has taken.
fn clients(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the connections of this machine");
    let here = format!("0100007F:{port:04X}");
    // 01 is an established connection.
    let is_it = |line: &&str| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        cells.get(1) == Some(&here.as_str()) && cells.get(3) == Some(&"01")
    };
    table.lines().filter(is_it).count()
}
