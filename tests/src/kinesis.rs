//! A server that speaks Kinesis, in memory, and what tests do with its streams.

use crate::{DEADLINE, HttpClient, HttpRequest, HttpServer, Process, free_port, holds_within, root, wait_until};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use ring::hmac::{self, HMAC_SHA256, Key};
use serde_json::{Value, json};
use sha2::Sha256;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Includes the time to download it, if needed.
const FETCHED_WITHIN: Duration = Duration::from_secs(600);
/// Clients need credentials; the server accepts any.
const HEADERS: [&str; 3] = [
    "Content-Type: application/x-amz-json-1.1",
    "X-Amz-Date: 20260101T000000Z",
    "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=0",
];

/// A Kinesis server on a port of 127.0.0.1. It exits when this is dropped.
pub struct Kinesis {
    ports: [u16; 2],
    process: Option<Process>,
}

/// A reader of a stream: where it is in each shard.
pub struct StreamFollower(Vec<Value>);

impl Kinesis {
    /// Starts a server and waits until it responds.
    pub fn start() -> Kinesis {
        let fetched = Process::start(&mut Command::new(root().join("scripts/kinesis.sh"))).wait_within(FETCHED_WITHIN);
        assert_eq!(fetched.code, Some(0), "{}", fetched.stderr);
        let mut server = Kinesis { ports: [free_port(), free_port()], process: None };
        server.start_again();
        server
    }

    /// Kills it immediately. It loses all of its streams.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same ports, without any stream.
    pub fn start_again(&mut self) {
        let mut command = Command::new(root().join("scripts/kinesis.sh"));
        command.args(self.ports.map(|port| port.to_string()));
        let mut process = Process::start(&mut command);
        process.wait_until("it lists its streams", |_| {
            Kinesis::request_at(self.port(), "ListStreams", &json!({})).is_some()
        });
        self.process = Some(process);
    }

    /// Suspends it: it does nothing, but its connections stay open, until [`resume`](Self::resume).
    pub fn suspend(&self) {
        self.process.as_ref().expect("it runs").signal("STOP");
    }

    /// Resumes it.
    pub fn resume(&self) {
        self.process.as_ref().expect("it runs").signal("CONT");
    }

    /// The port that speaks plain HTTP.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// Environment variables for clients of the server at this port.
    pub fn settings(port: u16) -> Vec<(String, String)> {
        let endpoint = format!("http://127.0.0.1:{port}");
        let settings = [
            ("AWS_ENDPOINT_URL_KINESIS", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ];
        settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    fn request_at(port: u16, action: &str, body: &Value) -> Option<(u16, Value)> {
        let target = format!("X-Amz-Target: Kinesis_20131202.{action}");
        let headers = [&HEADERS[..], &[target.as_str()]].concat();
        let reply = HttpClient::connect(port).ok()?.post(&headers, body.to_string()).ok()?;
        Some((reply.status, serde_json::from_str(&reply.body).unwrap_or_default()))
    }

    /// Returns the response to a request that succeeds, immediately or a little later.
    #[track_caller]
    pub fn send_request(&self, action: &str, body: Value) -> Value {
        let mut last = None;
        let done = holds_within(DEADLINE, || {
            last = Kinesis::request_at(self.port(), action, &body);
            matches!(last, Some((200, _)))
        });
        assert!(done, "{action} {body}: {last:?}");
        last.map(|(_, answer)| answer).unwrap_or_default()
    }

    /// Makes a stream, and waits until it is there.
    #[track_caller]
    pub fn create(&self, stream: &str, shards: usize) {
        self.send_request("CreateStream", json!({ "StreamName": stream, "ShardCount": shards }));
        self.wait_until_active(stream);
    }

    /// Deletes a stream and waits until it no longer exists.
    #[track_caller]
    pub fn delete(&self, stream: &str) {
        self.send_request("DeleteStream", json!({ "StreamName": stream }));
        let there = json!({ "StreamName": stream });
        wait_until("the stream is gone", || {
            matches!(Kinesis::request_at(self.port(), "DescribeStreamSummary", &there), Some((400, _)))
        });
    }

    fn wait_until_active(&self, stream: &str) {
        wait_until("the stream is there", || {
            let summary = self.send_request("DescribeStreamSummary", json!({ "StreamName": stream }));
            summary["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE"
        });
    }

    /// Puts records into a stream, one after the other: partition key and data.
    #[track_caller]
    pub fn put<D: AsRef<[u8]>>(&self, stream: &str, records: &[(&str, D)]) {
        for some in records.chunks(500) {
            let record = |(key, data): &(&str, D)| json!({ "PartitionKey": key, "Data": STANDARD.encode(data) });
            let records: Vec<Value> = some.iter().map(record).collect();
            let answer = self.send_request("PutRecords", json!({ "StreamName": stream, "Records": records }));
            assert_eq!(answer["FailedRecordCount"], 0, "{answer}");
        }
    }

    /// The shards of a stream that take records, each with the first and last of its hash keys.
    pub fn open_shards(&self, stream: &str) -> Vec<(String, u128, u128)> {
        let answer = self.send_request("ListShards", json!({ "StreamName": stream }));
        let shards = answer["Shards"].as_array().expect("shards").clone();
        let parents: Vec<&Value> =
            shards.iter().flat_map(|shard| [&shard["ParentShardId"], &shard["AdjacentParentShardId"]]).collect();
        let key =
            |shard: &Value, name: &str| shard["HashKeyRange"][name].as_str().expect("a key").parse().expect("a number");
        let open = shards.iter().filter(|shard| !parents.contains(&&shard["ShardId"]));
        let id = |shard: &Value| shard["ShardId"].as_str().expect("an id").to_owned();
        open.map(|shard| (id(shard), key(shard, "StartingHashKey"), key(shard, "EndingHashKey"))).collect()
    }

    /// Splits a shard in its middle.
    #[track_caller]
    pub fn split(&self, stream: &str, shard: &(String, u128, u128)) {
        let (name, first, last) = shard;
        let middle = (first + (last - first) / 2 + 1).to_string();
        self.send_request(
            "SplitShard",
            json!({ "StreamName": stream, "ShardToSplit": name, "NewStartingHashKey": middle }),
        );
        self.wait_until_active(stream);
    }

    /// Merges two adjacent shards.
    #[track_caller]
    pub fn merge(&self, stream: &str, one: &str, other: &str) {
        self.send_request(
            "MergeShards",
            json!({ "StreamName": stream, "ShardToMerge": one, "AdjacentShardToMerge": other }),
        );
        self.wait_until_active(stream);
    }

    /// Returns all records of a stream, shard by shard: partition key and data.
    pub fn records(&self, stream: &str) -> Vec<(String, String)> {
        self.more(&mut self.follow(stream))
    }

    /// Returns a reader that follows the records of a stream, from its first one. It sees each once.
    pub fn follow(&self, stream: &str) -> StreamFollower {
        let shards = self.send_request("ListShards", json!({ "StreamName": stream }))["Shards"].clone();
        let iterator = |shard: &Value| {
            let requests =
                json!({ "StreamName": stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON" });
            self.send_request("GetShardIterator", requests)["ShardIterator"].clone()
        };
        StreamFollower(shards.as_array().expect("shards").iter().map(iterator).collect())
    }

    /// Returns the records since the last call, shard by shard. Of those that are added meanwhile some may be missing: a job that writes
    /// all the time would never be at the end.
    pub fn more(&self, follower: &mut StreamFollower) -> Vec<(String, String)> {
        let (mut found, start) = (Vec::new(), seconds_now());
        for iterator in &mut follower.0 {
            while !iterator.is_null() {
                let answer = self.send_request("GetRecords", json!({ "ShardIterator": iterator }));
                let records = answer["Records"].as_array().expect("records");
                for record in records {
                    let data = STANDARD.decode(record["Data"].as_str().expect("data")).expect("base64");
                    let key = record["PartitionKey"].as_str().expect("a key");
                    found.push((key.to_owned(), String::from_utf8_lossy(&data).into_owned()));
                }
                *iterator = answer["NextShardIterator"].clone();
                let last = records.last().map(|record| record["ApproximateArrivalTimestamp"].as_f64().expect("a time"));
                if last.is_none_or(|arrived| arrived > start) {
                    break;
                }
            }
        }
        found
    }

    /// Starts a proxy before the server, which passes only requests that are signed with this secret key.
    pub fn guarded(&self, secret: &'static str) -> HttpServer {
        let port = self.port();
        HttpServer::start(free_port(), move |request: &HttpRequest, _| {
            let action = request.header("x-amz-target")?.rsplit('.').next()?;
            let (status, output) = match is_signed(request, secret) {
                true => Kinesis::request_at(port, action, &serde_json::from_str(&request.body).ok()?)?,
                false => (400, json!({ "__type": "InvalidSignatureException", "message": "another key" })),
            };
            Some((status, "Content-Type: application/x-amz-json-1.1\r\n".into(), output.to_string()))
        })
    }

    /// Starts a proxy before the server. `answer` gets the action, its body and the server's response, and returns a response
    /// that replaces it.
    pub fn proxy(
        &self,
        answer: impl Fn(&str, &Value, &dyn Fn() -> (u16, Value)) -> (u16, Value) + Send + Sync + 'static,
    ) -> HttpServer {
        let port = self.port();
        HttpServer::start(free_port(), move |request: &HttpRequest, _| {
            let action = request.header("x-amz-target")?.rsplit('.').next()?.to_owned();
            let body: Value = serde_json::from_str(&request.body).ok()?;
            let served = || Kinesis::request_at(port, &action, &body).unwrap_or((500, Value::Null));
            let (status, output) = answer(&action, &body, &served);
            Some((status, "Content-Type: application/x-amz-json-1.1\r\n".into(), output.to_string()))
        })
    }
}

/// The time of a record that arrives now.
fn seconds_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

/// Whether a request is signed with this secret key, as AWS signs (version 4).
fn is_signed(request: &HttpRequest, secret: &str) -> bool {
    let part = |name: &str| {
        let parts = request.header("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ")?.split(", ");
        parts.filter_map(|part| part.split_once('=')).find(|(part, _)| *part == name).map(|(_, value)| value)
    };
    let (Some(credential), Some(signed), Some(signature)) =
        (part("Credential"), part("SignedHeaders"), part("Signature"))
    else {
        return false;
    };
    let header = |name: &str| format!("{name}:{}\n", request.header(name).unwrap_or_default());
    let headers: String = signed.split(';').map(header).collect();
    let canonical = format!("POST\n/\n\n{headers}\n{signed}\n{}", HEXLOWER.encode(&Sha256::digest(&request.body)));
    let (_, scope) = credential.split_once('/').unwrap_or_default();
    let time = request.header("x-amz-date").unwrap_or_default();
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", HEXLOWER.encode(&Sha256::digest(canonical)));
    let sign = |key: &[u8], text: &str| hmac::sign(&Key::new(HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec();
    let key = scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, part| sign(&key, part));
    HEXLOWER.encode(&sign(&key, &text)) == signature
}

/// Aggregates several records (keys and data) into one, as the Kinesis Producer Library does.
pub fn aggregated(records: &[(&str, &str)]) -> Vec<u8> {
    let mut message = Vec::new();
    let field = |to: &mut Vec<u8>, number: u8, bytes: &[u8]| {
        to.extend([number << 3 | 2, u8::try_from(bytes.len()).expect("it is short")]);
        to.extend(bytes);
    };
    for (key, _) in records {
        field(&mut message, 1, key.as_bytes());
    }
    for (at, (_, data)) in records.iter().enumerate() {
        let mut record = vec![0x08, u8::try_from(at).expect("they are few")];
        field(&mut record, 3, data.as_bytes());
        field(&mut message, 3, &record);
    }
    [&[0xf3, 0x89, 0x9a, 0xc2][..], &message, Md5::digest(&message).as_slice()].concat()
}
