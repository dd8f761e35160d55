//! The `http` source and answers that are not whole, not all readable, slow, or asked for at addresses without a path: what is good
//! comes once, and what is broken holds up nothing.

use super::fetch::{JSON, greet, job, numbers, packed, row};
use millstream_tests::{Asking, HttpServer, StreamServer, Trial, free_port, passing, queue_source};
use std::time::{Duration, Instant};

const CURSOR: &str = "cursor = { parameter = \"since\", field = \"n\" }";

/// What a request says of the cursor.
fn since(asking: &Asking) -> usize {
    let line = &asking.request.line;
    let since = line.split("since=").nth(1).and_then(|rest| rest.split([' ', '&']).next());
    since.map_or(0, |since| since.parse().unwrap())
}

/// The path and query of each request.
fn paths(server: &StreamServer) -> Vec<String> {
    server.asked().iter().map(|asked| asked.line.split(' ').nth(1).unwrap_or_default().to_owned()).collect()
}

#[test]
fn of_an_answer_that_breaks_off_the_broken_row_comes_again_and_no_other() {
    let server = StreamServer::start(free_port(), |asking: &mut Asking| {
        let first = since(asking) + 1;
        let rows: String = (first..first + 10).take_while(|n| *n <= 30).map(|n| row(n) + "\n").collect();
        // The second answer ends within `{"n":20}`, as if that were 2.
        let end = if asking.before == 1 { rows.len() - 3 } else { rows.len() };
        asking.say(format!("HTTP/1.0 200 OK\r\n\r\n{}", &rows[..end]))
    });
    let trial = job(server.port(), "every = \"20ms\"", &format!("{JSON}\n{CURSOR}"));
    let mut running = trial.start(&[]);
    running.until("all rows are there, and were asked for again", |_| {
        numbers(&trial).last() == Some(&30) && server.asked().len() > 7
    });
    running.stop();
    assert_eq!(numbers(&trial), (1..=30).collect::<Vec<_>>());
    assert_eq!(trial.rows("rejected.jsonl").len(), 1, "the broken one");
    let asked: Vec<String> =
        paths(&server).iter().take(4).map(|path| path.replace("/feed?a=b", "").replace("&since=", "")).collect();
    assert_eq!(asked, ["", "10", "19", "29"]);
}

#[test]
fn a_row_that_is_too_long_tells_its_cursor_all_the_same() {
    for lines in [false, true] {
        let server = StreamServer::start(free_port(), move |asking: &mut Asking| {
            let long = |n: usize| if n == 5 { 3000 } else { 3 };
            let row = |n: usize| format!("{{\"pad\":\"{}\",\"n\":{n}}}", "x".repeat(long(n)));
            // The long one is the last of an answer.
            let first = since(asking) + 1;
            let rows: Vec<String> = (first..=if first <= 5 { 5 } else { 7 }).map(row).collect();
            asking.reply(200, "", if lines { rows.join("\n") } else { format!("[{}]", rows.join(",")) })
        });
        let more = format!("{JSON}\nrecord_bytes_max = \"1KiB\"\n{CURSOR}");
        let trial = job(server.port(), "every = \"20ms\"", &more);
        let mut running = trial.start(&[]);
        running.until("rows were asked for again", |_| numbers(&trial).len() >= 6 && server.asked().len() > 5);
        running.stop();
        assert_eq!(numbers(&trial), [1, 2, 3, 4, 6, 7]);
        assert_eq!(trial.rows("rejected.jsonl").len(), 1);
    }
}

#[test]
fn a_url_and_a_page_need_no_path() {
    let port = free_port();
    let _server = StreamServer::start(port, move |asking: &mut Asking| {
        let (number, next) = match asking.request.line.split(' ').nth(1).unwrap_or_default() {
            "/?a=b" => (1, format!("http://127.0.0.1:{port}?page=2")),
            "/?page=2" => (2, "?page=3".into()),
            "/?page=3" => return asking.reply(200, "", row(3)),
            _ => return asking.reply(404, "", ""),
        };
        asking.reply(200, &format!("Link: <{next}>; rel=\"next\"\r\n"), row(number))
    });
    let trial = job(port, "every = \"1h\"", &format!("{JSON}\npages = \"link\""));
    trial.change("/feed?a=b", "?a=b");
    let mut running = trial.start(&[]);
    running.until("all pages are there", |_| numbers(&trial).last() == Some(&3));
    running.stop();
    assert_eq!(numbers(&trial), [1, 2, 3]);

    let server = StreamServer::start(free_port(), |asking: &mut Asking| {
        greet(asking)?;
        asking.frame(1, b"{\"n\":1}")?;
        asking.silence()
    });
    let trial = job(server.port(), "websocket", JSON);
    trial.change("/feed?a=b", "?a=b");
    let mut running = trial.start(&[]);
    running.until("the message is there", |_| numbers(&trial) == [1]);
    running.stop();
    assert_eq!(paths(&server), ["/?a=b"]);

    let server = HttpServer::start(free_port(), |_, _| Some((200, String::new(), "{}".into())));
    let trial = Trial::new(&format!(
        "clock = \"manual\"\n{}[sinks.out]\nfrom = \"in\"\nkind = \"http\"\nurl = \"http://127.0.0.1:{}?k={{key}}\"\n",
        queue_source("in", "a = \"int64\""),
        server.port()
    ));
    trial.write("in.jsonl", "[[1]]\n");
    trial.run_well(&[]);
    let asked = &server.asked()[0];
    assert_eq!(asked.line, format!("POST /?k={} HTTP/1.1", asked.header("idempotency-key").unwrap()));
}

#[test]
fn a_packed_answer_that_breaks_off_is_asked_for_again() {
    let server = StreamServer::start(free_port(), |asking: &mut Asking| {
        let rows = if asking.before < 3 { "[{\"n\":1},{\"n\":2}]" } else { "[]" };
        let whole = packed(rows.as_bytes());
        let end = if asking.before < 2 { whole.len() / 2 } else { whole.len() };
        asking.say("HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n")?;
        asking.say(&whole[..end])
    });
    let trial = job(server.port(), "every = \"20ms\"", JSON);
    let mut running = trial.start(&["--unsupervised"]);
    running.until("all rows are there", |_| numbers(&trial).len() >= 2 && server.asked().len() > 3);
    let told = running.stop();
    assert_eq!(numbers(&trial), [1, 2]);
    assert_eq!(told.matches("the response is compressed, and damaged").count(), 1, "{told}");
    assert!(told.contains("is reachable again"), "{told}");
}

/// It comes, and comes, and takes longer than silence may last; then it breaks off without a word.
#[test]
fn a_message_that_comes_slowly_is_no_silence() {
    const STALL: Duration = Duration::from_millis(800);
    let server = StreamServer::start(free_port(), |asking: &mut Asking| {
        greet(asking)?;
        let began = Instant::now();
        let message = [&b"{\"n\":7"[..], &[b' '; 60], b"}"].concat();
        asking.say([0x81, message.len() as u8])?;
        for (place, byte) in message.iter().enumerate() {
            asking.say([*byte])?;
            // The time of three silences.
            while began.elapsed() < STALL * 3 * place as u32 / message.len() as u32 && !asking.over() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        asking.say([0x81, 20, b'{'])?;
        asking.silence()
    });
    let source = format!(
        "kind = \"http\"\nurl = \"ws://127.0.0.1:{}/\"\nstall = \"{}ms\"\n{JSON}",
        server.port(),
        STALL.as_millis()
    );
    let trial = passing("batch = \"0s\"", &source, "");
    let mut running = trial.start(&[]);
    running.until("the message is there", |_| numbers(&trial).first() == Some(&7));
    running.until_stderr("nothing came for 800ms (`stall`)");
    running.stop();
}
