//! The `http` source and responses that are incomplete, partly unreadable, slow, or requested at addresses without a path: valid
//! rows arrive once, and invalid ones hold up nothing.

use super::fetch::{JSON, compressed, greet, job, numbers, row};
use millstream_tests::{Exchange, HttpServer, StreamServer, Trial, free_port, passing, queue_source};
use std::time::{Duration, Instant};

const CURSOR: &str = "cursor = { parameter = \"since\", field = \"n\" }";

/// The cursor in a request.
fn since(exchange: &Exchange) -> usize {
    let line = &exchange.request.line;
    let since = line.split("since=").nth(1).and_then(|rest| rest.split([' ', '&']).next());
    since.map_or(0, |since| since.parse().unwrap())
}

/// The path and query of each request.
fn paths(server: &StreamServer) -> Vec<String> {
    server.requests().iter().map(|requested| requested.line.split(' ').nth(1).unwrap_or_default().to_owned()).collect()
}

#[test]
fn after_a_truncated_response_only_the_incomplete_row_is_requested_again() {
    let server = StreamServer::start(free_port(), |exchange: &mut Exchange| {
        let first = since(exchange) + 1;
        let rows: String = (first..first + 10).take_while(|n| *n <= 30).map(|n| row(n) + "\n").collect();
        // The second response ends within `{"n":20}`, as if it were 2.
        let end = if exchange.before == 1 { rows.len() - 3 } else { rows.len() };
        exchange.say(format!("HTTP/1.0 200 OK\r\n\r\n{}", &rows[..end]))
    });
    let trial = job(server.port(), "every = \"20ms\"", &format!("{JSON}\n{CURSOR}"));
    let mut running = trial.start(&[]);
    running.wait_until("all rows are there, and were asked for again", |_| {
        numbers(&trial).last() == Some(&30) && server.requests().len() > 7
    });
    running.stop();
    assert_eq!(numbers(&trial), (1..=30).collect::<Vec<_>>());
    assert_eq!(trial.rows("rejected.jsonl").len(), 1, "the broken one");
    let requested: Vec<String> =
        paths(&server).iter().take(4).map(|path| path.replace("/feed?a=b", "").replace("&since=", "")).collect();
    assert_eq!(requested, ["", "10", "19", "29"]);
}

#[test]
fn a_too_long_row_still_gives_its_cursor() {
    for lines in [false, true] {
        let server = StreamServer::start(free_port(), move |exchange: &mut Exchange| {
            let long = |n: usize| if n == 5 { 3000 } else { 3 };
            let row = |n: usize| format!("{{\"pad\":\"{}\",\"n\":{n}}}", "x".repeat(long(n)));
            // The long one is the last of a response.
            let first = since(exchange) + 1;
            let rows: Vec<String> = (first..=if first <= 5 { 5 } else { 7 }).map(row).collect();
            exchange.reply(200, "", if lines { rows.join("\n") } else { format!("[{}]", rows.join(",")) })
        });
        let more = format!("{JSON}\nrecord_bytes_max = \"1KiB\"\n{CURSOR}");
        let trial = job(server.port(), "every = \"20ms\"", &more);
        let mut running = trial.start(&[]);
        running.wait_until("rows were asked for again", |_| numbers(&trial).len() >= 6 && server.requests().len() > 5);
        running.stop();
        assert_eq!(numbers(&trial), [1, 2, 3, 4, 6, 7]);
        assert_eq!(trial.rows("rejected.jsonl").len(), 1);
    }
}

#[test]
fn a_url_and_a_page_need_no_path() {
    let port = free_port();
    let _server = StreamServer::start(port, move |exchange: &mut Exchange| {
        let (number, next) = match exchange.request.line.split(' ').nth(1).unwrap_or_default() {
            "/?a=b" => (1, format!("http://127.0.0.1:{port}?page=2")),
            "/?page=2" => (2, "?page=3".into()),
            "/?page=3" => return exchange.reply(200, "", row(3)),
            _ => return exchange.reply(404, "", ""),
        };
        exchange.reply(200, &format!("Link: <{next}>; rel=\"next\"\r\n"), row(number))
    });
    let trial = job(port, "every = \"1h\"", &format!("{JSON}\npages = \"link\""));
    trial.change("/feed?a=b", "?a=b");
    let mut running = trial.start(&[]);
    running.wait_until("all pages are there", |_| numbers(&trial).last() == Some(&3));
    running.stop();
    assert_eq!(numbers(&trial), [1, 2, 3]);

    let server = StreamServer::start(free_port(), |exchange: &mut Exchange| {
        greet(exchange)?;
        exchange.frame(1, b"{\"n\":1}")?;
        exchange.silence()
    });
    let trial = job(server.port(), "websocket", JSON);
    trial.change("/feed?a=b", "?a=b");
    let mut running = trial.start(&[]);
    running.wait_until("the message is there", |_| numbers(&trial) == [1]);
    running.stop();
    assert_eq!(paths(&server), ["/?a=b"]);

    let server = HttpServer::start(free_port(), |_, _| Some((200, String::new(), "{}".into())));
    let trial = Trial::new(&format!(
        "clock = \"manual\"\n{}[sinks.out]\nfrom = \"in\"\nkind = \"http\"\nurl = \"http://127.0.0.1:{}?k={{key}}\"\n",
        queue_source("in", "a = \"int64\""),
        server.port()
    ));
    trial.write("in.jsonl", "[[1]]\n");
    trial.run_ok(&[]);
    let requested = &server.requests()[0];
    assert_eq!(requested.line, format!("POST /?k={} HTTP/1.1", requested.header("idempotency-key").unwrap()));
}

#[test]
fn a_truncated_compressed_response_is_requested_again() {
    let server = StreamServer::start(free_port(), |exchange: &mut Exchange| {
        let rows = if exchange.before < 3 { "[{\"n\":1},{\"n\":2}]" } else { "[]" };
        let complete = compressed(rows.as_bytes());
        let end = if exchange.before < 2 { complete.len() / 2 } else { complete.len() };
        exchange.say("HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n")?;
        exchange.say(&complete[..end])
    });
    let trial = job(server.port(), "every = \"20ms\"", JSON);
    let mut running = trial.start(&["--unsupervised"]);
    running.wait_until("all rows are there", |_| numbers(&trial).len() >= 2 && server.requests().len() > 3);
    let output = running.stop();
    assert_eq!(numbers(&trial), [1, 2]);
    assert_eq!(output.matches("the response is compressed, and damaged").count(), 1, "{output}");
    assert!(output.contains("is reachable again"), "{output}");
}

/// It arrives steadily for longer than the idle timeout; then the connection is closed without a close frame.
#[test]
fn a_slow_message_is_not_an_idle_connection() {
    const STALL: Duration = Duration::from_millis(800);
    let server = StreamServer::start(free_port(), |exchange: &mut Exchange| {
        greet(exchange)?;
        let began = Instant::now();
        let message = [&b"{\"n\":7"[..], &[b' '; 60], b"}"].concat();
        exchange.say([0x81, message.len() as u8])?;
        for (place, byte) in message.iter().enumerate() {
            exchange.say([*byte])?;
            // The time of three silences.
            while began.elapsed() < STALL * 3 * place as u32 / message.len() as u32 && !exchange.is_over() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        exchange.say([0x81, 20, b'{'])?;
        exchange.silence()
    });
    let source = format!(
        "kind = \"http\"\nurl = \"ws://127.0.0.1:{}/\"\nstall = \"{}ms\"\n{JSON}",
        server.port(),
        STALL.as_millis()
    );
    let trial = passing("batch = \"0s\"", &source, "");
    let mut running = trial.start(&[]);
    running.wait_until("the message is there", |_| numbers(&trial).first() == Some(&7));
    running.wait_for_stderr("nothing came for 800ms (`stall`)");
    running.stop();
}
