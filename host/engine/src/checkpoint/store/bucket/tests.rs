//! How responses of servers are interpreted: the client crate reports the kind of these errors only as text.

use super::*;
use millstream_base::retry::StoreErrorKind;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

/// A bucket on a server with these responses, by the first line of the request; nothing is retried.
fn bucket(response: impl Fn(&str) -> String + Send + 'static) -> BucketStore {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", server.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in server.incoming() {
            // Disconnected clients are ignored.
            let _ = serve(&stream.unwrap(), &response);
        }
    });
    let settings = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    BucketStore::open_with("s3://bucket", &settings, RetryConfig { max_retries: 0, ..RETRY }).unwrap()
}

/// One request, one response.
fn serve(mut stream: &TcpStream, response: impl Fn(&str) -> String) -> std::io::Result<()> {
    let (mut lines, mut request, mut body_bytes) = (BufReader::new(stream), String::new(), 0);
    lines.read_line(&mut request)?;
    loop {
        let mut line = String::new();
        lines.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            body_bytes = value.trim().parse().unwrap();
        }
    }
    std::io::copy(&mut lines.take(body_bytes), &mut std::io::sink())?;
    stream.write_all(response(&request).as_bytes())
}

/// A response with this status, further headers and body.
fn http(status: &str, headers: &str, text: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: {}\r\n\r\n{text}", text.len())
}

fn error_text(code: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m</Message></Error>")
}

#[test]
fn a_status_tells_whether_it_helps_to_try_again() {
    for (status, is_transient) in [
        ("500 Internal Server Error", true),
        ("503 Slow Down", true),
        ("429 Too Many Requests", true),
        ("408 Request Timeout", true),
        ("400 Bad Request", false),
        ("403 Forbidden", false),
    ] {
        let error = bucket(move |_| http(status, "", &error_text("Code"))).read("a").unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::of_transient(is_transient), "{status}: {error}");
    }
    // A name chosen by a user is not a response of a server.
    let named = bucket(|_| http("400 Bad Request", "", "")).read("status code: 503").unwrap_err();
    assert_eq!(named.kind, StoreErrorKind::Permanent, "{named}");
}

#[test]
fn a_server_that_says_well_and_then_means_trouble_is_asked_again() {
    let store = bucket(|request| match request {
        request if request.starts_with("POST") && request.contains("uploads") => {
            http("200 OK", "", "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
        }
        request if request.starts_with("PUT") => http("200 OK", "ETag: \"1\"\r\n", ""),
        request if request.starts_with("POST") => http("200 OK", "", &error_text("InternalError")),
        _ => http("204 No Content", "", ""),
    });
    let error = store.write("a", vec![0; PART_BYTES + 1].into()).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Transient, "{error}");
}

#[test]
fn a_bucket_that_is_missing_is_told_from_an_object_that_is() {
    let missing = bucket(|_| http("404 Not Found", "", &error_text("NoSuchBucket"))).read("a").unwrap_err();
    assert!(missing.reason.ends_with("; create the bucket first"), "{missing}");
    assert_eq!(missing.kind, StoreErrorKind::Permanent);
    let store = bucket(|_| http("404 Not Found", "", &error_text("NoSuchKey")));
    assert_eq!(store.read("NoSuchBucket").unwrap(), None, "an object of that name");
}

/// A log whose deletion was interrupted while many objects were deleted concurrently.
#[test]
fn a_log_that_lost_an_append_is_damaged_and_does_not_keep_others_from_being_read() {
    let path = "plans/000001-000-000000000000.log";
    let listed = format!("<Contents><Key>{path}/000000001</Key><Size>3</Size><ETag>e</ETag>");
    let listed = format!(
        "<ListBucketResult><IsTruncated>false</IsTruncated>{listed}\
         <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>"
    );
    let store = bucket(move |_| http("200 OK", "", &listed));
    let error = store.read_log(path).unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Incomplete);
    assert!(error.reason.starts_with("append 0 of this log is missing"), "{error}");
    let logs = crate::checkpoint::plan::read_heads(&store).unwrap();
    assert_eq!(logs.len(), 1);
    assert!(logs[0].heads.is_empty() && logs[0].damage.as_ref().is_some_and(|damage| damage.contains("append 0")));
}
