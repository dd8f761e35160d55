//! The `otlp` source receives logs, metrics and traces from OpenTelemetry exporters and collectors, as Protobuf or JSON, compressed or not. Each
//! record, point or span becomes a line of JSON, which is decoded like any other.

pub mod declaration;
mod forms;
mod messages;
mod rows;
pub mod settings;
mod tree;

use crate::http::source::server::call::{Call, HttpResponse, Protocol};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http_body_util::Full;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use messages::{Message, MessageFault};
use millstream_base::units;
use millstream_connect::receiver::bodies::{BodyRecords, Records};
use millstream_job::spec::SourceSpec;
use millstream_rows::decode::varint;
use serde_json::{Value, json};
use settings::{OtlpReads, OtlpSignal};
use std::io::Read;
use std::sync::Arc;
use tree::Tree;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
/// A byte order mark, which some clients send before text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Maximum values of one request, which may take far more memory than bytes.
const VALUES_MAX: usize = 1 << 20;
/// gRPC status codes in the bodies of error responses.
const INVALID: u64 = 3;
const UNAVAILABLE: u64 = 14;

/// A request.
struct OtlpCall {
    signal: OtlpSignal,
    is_json: bool,
    is_compressed: bool,
}

impl Protocol for OtlpReads {
    fn call(&self, path: &str, headers: &HeaderMap) -> Result<Arc<dyn Call>, (StatusCode, String)> {
        let signal = self.signals.iter().copied().find(|signal| path == signal.path()).ok_or_else(|| {
            let paths: Vec<_> = self.signals.iter().map(|signal| signal.path()).collect();
            (StatusCode::NOT_FOUND, format!("nothing is received at this path; send to {}", paths.join(", ")))
        })?;
        let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let is_json = kind.eq_ignore_ascii_case(JSON.as_bytes());
        if !is_json && !kind.eq_ignore_ascii_case(PROTOBUF.as_bytes()) {
            let why = format!(
                "write Content-Type: {PROTOBUF} or {JSON}; gRPC is not supported: set \
                OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
            );
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
        let mut is_compressed = false;
        for encoding in headers.get_all(CONTENT_ENCODING) {
            if encoding.as_bytes().eq_ignore_ascii_case(b"gzip") && !is_compressed {
                is_compressed = true;
            } else if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
                return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "bodies may be compressed with gzip only".into()));
            }
        }
        Ok(Arc::new(OtlpCall { signal, is_json, is_compressed }))
    }
}

impl Call for OtlpCall {
    fn split_body(
        &self,
        source: &SourceSpec,
        body: &[u8],
        [bytes_max, rows_max]: [u64; 2],
    ) -> Result<BodyRecords, (StatusCode, String)> {
        let bad = |why: String| (StatusCode::BAD_REQUEST, why);
        let decompressed = match self.is_compressed {
            true => Some(decompress(body, bytes_max)?),
            false => None,
        };
        let body = decompressed.as_deref().unwrap_or(body);
        let body = if self.is_json { body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body) } else { body };
        let json: Value = match self.is_json {
            true if values_in(body) > VALUES_MAX => return Err(too_many()),
            true => serde_json::from_slice(body).map_err(|error| bad(format!("the body is not JSON: {error}")))?,
            false => Value::Null,
        };
        let request = match self.is_json {
            true if !json.is_object() => return Err(bad("the body is not a JSON object".into())),
            true => {
                forms::check(&json).map_err(bad)?;
                Tree::from_json(&json)
            }
            false => message(self.signal).read(body, VALUES_MAX).map_err(|fault| match fault {
                MessageFault::Wrong(why) => bad(why),
                MessageFault::TooMany => too_many(),
            })?,
        };
        // Each row repeats the attributes of its service, so a small request may expand to much data.
        let mut left = source.bytes_per_batch_max;
        let mut records = Records::new(source, b"\n", rows_max);
        rows::each(self.signal, request.root(), |line| {
            left = left.checked_sub(line.len() as u64).ok_or_else(|| {
                let max = units::show_size(source.bytes_per_batch_max);
                let why = format!(
                    "the rows of the request take more than {max} (`bytes_per_batch_max`); split it into \
                        several requests"
                );
                (StatusCode::PAYLOAD_TOO_LARGE, why)
            })?;
            records.add(line);
            Ok(())
        })?;
        Ok(records.end())
    }

    /// All rows are durable, as those that cannot be decoded are kept as well.
    fn accepted(&self) -> HttpResponse {
        self.respond(StatusCode::OK, if self.is_json { "{}".into() } else { Vec::new() })
    }

    /// Exporters retry only after status 429 and 503.
    fn rejected(&self, status: StatusCode, why: &str) -> HttpResponse {
        let status = if status == StatusCode::REQUEST_TIMEOUT { StatusCode::SERVICE_UNAVAILABLE } else { status };
        let is_transient = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
        let code = if is_transient { UNAVAILABLE } else { INVALID };
        let body = match self.is_json {
            true => json!({ "code": code, "message": why }).to_string().into_bytes(),
            false => status_message(code, why),
        };
        self.respond(status, body)
    }
}

impl OtlpCall {
    fn respond(&self, status: StatusCode, body: Vec<u8>) -> HttpResponse {
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let kind = HeaderValue::from_static(if self.is_json { JSON } else { PROTOBUF });
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

fn message(signal: OtlpSignal) -> &'static Message {
    match signal {
        OtlpSignal::Logs => &messages::LOGS,
        OtlpSignal::Metrics => &messages::METRICS,
        OtlpSignal::Traces => &messages::TRACES,
    }
}

fn too_many() -> (StatusCode, String) {
    let why = format!("the request holds more than {VALUES_MAX} values; split it into several requests");
    (StatusCode::PAYLOAD_TOO_LARGE, why)
}

/// Returns about how many values JSON has, at least.
fn values_in(json: &[u8]) -> usize {
    let (mut values, mut in_text, mut escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => values += 1,
            _ => {}
        }
    }
    values
}

fn decompress(body: &[u8], bytes_max: u64) -> Result<Vec<u8>, (StatusCode, String)> {
    let mut decompressed = Vec::new();
    let read = MultiGzDecoder::new(body).take(bytes_max.saturating_add(1)).read_to_end(&mut decompressed);
    read.map_err(|error| (StatusCode::BAD_REQUEST, format!("the body cannot be decompressed: {error}")))?;
    if decompressed.len() as u64 > bytes_max {
        let max = units::show_size(bytes_max);
        let why = format!(
            "decompressed, the request has more than {max} (`request_bytes_max`); split it into \
            several requests"
        );
        return Err((StatusCode::PAYLOAD_TOO_LARGE, why));
    }
    Ok(decompressed)
}

/// Encodes a `google.rpc.Status` in Protobuf: `code` is field 1, `message` field 2.
fn status_message(code: u64, why: &str) -> Vec<u8> {
    let mut bytes = vec![1 << 3, code as u8, 2 << 3 | 2];
    varint::write(why.len() as u64, &mut bytes);
    bytes.extend_from_slice(why.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(signal: OtlpSignal, body: &[u8]) -> Result<Tree<'_>, String> {
        message(signal).read(body, 100).map_err(|fault| format!("{fault:?}"))
    }

    #[test]
    fn few_bytes_that_are_many_values_are_refused() {
        let many = [1 << 3 | 2, 0].repeat(101);
        assert_eq!(request(OtlpSignal::Logs, &many).err().as_deref(), Some("TooMany"));
        assert!(request(OtlpSignal::Logs, &many[..200]).is_ok());
        assert_eq!(values_in(br#"{"a,[{\"":[1,{},"x"]}"#), 5);
    }

    /// Encodes a field with bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    #[test]
    fn whatever_bytes_come_nothing_panics() {
        let body = field(5, &field(1, b"text"));
        let time = [&[1 << 3 | 1][..], &1_000_000_000_u64.to_le_bytes()].concat();
        let record = [time, body, vec![2 << 3, 9]].concat();
        let good = field(1, &field(2, &field(2, &record)));
        let rows = |body: &[u8]| {
            let mut found = Vec::new();
            let request = request(OtlpSignal::Logs, body)?;
            rows::each(OtlpSignal::Logs, request.root(), |row| {
                found.push(serde_json::from_slice::<Value>(row).map_err(|error| error.to_string())?);
                Ok::<_, String>(())
            })?;
            Ok::<_, String>(found)
        };
        let expected = json!([{ "signal": "logs", "time": "1970-01-01T00:00:01.000000Z", "body": "text", "severity": "INFO", "severity_number": 9 }]);
        assert_eq!(Value::from(rows(&good).unwrap()), expected);
        for length in 0..good.len() {
            let _ = rows(&good[..length]);
        }
        for bit in 0..good.len() * 8 {
            let mut other = good.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            for signal in OtlpSignal::ALL {
                if let Ok(request) = request(signal, &other) {
                    let _ = rows::each(signal, request.root(), |row| {
                        assert!(serde_json::from_slice::<Value>(row).is_ok(), "{}", String::from_utf8_lossy(row));
                        Ok::<_, ()>(())
                    });
                }
            }
        }
        // Endlessly nested lists.
        let mut deep = field(1, b"x");
        for _ in 0..40 {
            deep = field(5, &field(1, &deep));
        }
        let deep = field(1, &field(2, &field(2, &field(5, &deep[..deep.len().min(120)]))));
        let _ = rows(&deep);
    }

    #[test]
    fn a_refusal_is_a_status() {
        assert_eq!(status_message(3, "no"), [8, 3, 18, 2, b'n', b'o']);
        assert_eq!(status_message(14, &"x".repeat(200))[..5], [8, 14, 18, 0xc8, 1]);
    }
}
