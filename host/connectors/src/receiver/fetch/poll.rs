//! Asks a URL, and takes in what is new of the answer. What a server says of its version (`ETag`, `Last-Modified`) and the
//! cursor are where the source goes on: they stand in the same batch as the rows.

use super::lines;
use super::packed::{too_long, unpack};
use super::place::Answered;
use super::{Ended, Fetch};
use crate::batch::chunk::Chunk;
use crate::decode::json;
use crate::job::spec::{CursorFrom, HttpCursor};
use crate::limits::HTTP_PLACE_BYTES_MAX;
use crate::receiver::http::cut;
use crate::units;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED,
};
use tokio::time::timeout;

/// Asks once.
pub async fn ask(fetch: &mut Fetch<'_>, cursor: Option<&HttpCursor>) -> Ended {
    let before = Answered::of(&fetch.rows.place);
    let told = cursor.and_then(|cursor| Some((cursor.parameter.as_str(), before.cursor.as_deref()?)));
    let target = fetch.asker.target(told);
    let mut headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]);
    for (name, value) in [(IF_NONE_MATCH, &before.etag), (IF_MODIFIED_SINCE, &before.modified)] {
        if let Some(value) = value.as_ref().and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(name, value);
        }
    }
    let asking = async {
        let mut answer = fetch.asker.get(target, &headers).await?;
        let body = content(fetch, answer.response.body_mut()).await?;
        Ok::<_, Ended>((answer.response.status(), answer.response.headers().clone(), body))
    };
    let (status, headers, body) = match timeout(fetch.client.timeout, asking).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(ended)) => return ended,
        Err(_) => {
            let time = units::show_time(fetch.client.timeout);
            return Ended::lost(format!("no whole answer within {time} (`timeout`)"));
        }
    };
    if status == StatusCode::NOT_MODIFIED || status == StatusCode::NO_CONTENT {
        fetch.connected();
        return Ended::Answered { again: false };
    }
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let body = match unpack(text(&CONTENT_ENCODING), body, fetch.client.answer_bytes_max) {
        Ok(body) => body,
        Err(why) => return fetch.failed(&why),
    };
    let chunks = match cut::cut(fetch.source, &body) {
        Ok(chunks) => chunks,
        Err(why) => return Ended::lost(why),
    };
    let rows: u64 = chunks.iter().map(|chunk| chunk.rows() as u64).sum();
    if rows > fetch.rows.rows_max() {
        let most = fetch.rows.rows_max();
        return fetch.failed(&format!(
            "an answer has {rows} rows, and a batch holds {most} of this source at most; ask for less, or raise \
             `rows_per_batch_max` or `bytes_per_batch_max`"
        ));
    }
    fetch.connected();
    let kept = |text: Option<&str>| text.filter(|text| text.len() <= HTTP_PLACE_BYTES_MAX / 3).map(str::to_owned);
    let found = cursor.and_then(|cursor| match &cursor.from {
        CursorFrom::Header(name) => HeaderName::try_from(name).ok().and_then(|name| kept(text(&name))),
        CursorFrom::Field(path) => kept(chunks.last().and_then(|chunk| field(chunk, path)).as_deref()),
    });
    if cursor.is_some() && found.is_none() && rows > 0 {
        fetch.warn("an answer tells no cursor for the next request (`cursor`), which asks for the same again");
    }
    let now = Answered {
        // With a cursor the next request is another one, of which these say nothing.
        etag: if cursor.is_some() { None } else { kept(text(&ETAG)) },
        modified: if cursor.is_some() { None } else { kept(text(&LAST_MODIFIED)) },
        cursor: found.or_else(|| before.cursor.clone()),
    };
    let moved = now.cursor != before.cursor;
    fetch.rows.place.set(&now.words());
    if !fetch.rows.put_together(chunks).await {
        return Ended::Inbox;
    }
    // There may be more already.
    Ended::Answered { again: moved && rows > 0 }
}

/// All of a body.
async fn content(fetch: &Fetch<'_>, body: &mut Incoming) -> Result<Vec<u8>, Ended> {
    let most = fetch.client.answer_bytes_max;
    let mut content = Vec::new();
    while let Some(data) = lines::next_of(body).await? {
        if content.len() as u64 + data.len() as u64 > most {
            return Err(fetch.failed(&too_long(most)));
        }
        content.extend_from_slice(&data);
    }
    Ok(content)
}

/// The value of a field of the last row, as a URL can say it: a number digit by digit, as it is compared with others there.
fn field(chunk: &Chunk, path: &[String]) -> Option<String> {
    let row = chunk.record(chunk.rows().checked_sub(1)?);
    json::text_at(std::str::from_utf8(row).ok()?, path)
}
