//! Polls a URL and reads the new rows of the response. The position of the source consists of the response's version (`ETag`, `Last-Modified`), the
//! cursor and the next page. It is in the same batch as the rows.

use super::compressed::{DecompressError, decompress, too_long};
use super::cursor::last_of;
use super::lines;
use super::link;
use super::position::PreviousResponse;
use super::{Fetch, RoundEnd};
use crate::http::source::settings::{CursorFrom, HttpCursor};
use crate::limits::{HTTP_PAGES_MAX, HTTP_POSITION_BYTES_MAX};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED,
};
use millstream_base::shown;
use millstream_base::units;
use millstream_connect::receiver::bodies::{self, BodyRecords};
use millstream_rows::decode::json::value_at;
use millstream_rows::decode::mark;
use tokio::time::timeout;

/// Maximum bytes of an address in a message.
const SHOWN_BYTES_MAX: usize = 200;

/// The request, and the location of the rows in the response.
pub struct PollRequest<'a> {
    /// The cursor that the request sends.
    pub cursor: Option<&'a HttpCursor>,
    /// Path of the rows; empty if the response is the rows.
    pub rows: &'a [String],
    /// Whether a response may have further pages.
    pub pages: bool,
}

/// Sends one request.
pub async fn poll(fetch: &mut Fetch<'_>, request: &PollRequest<'_>) -> RoundEnd {
    let cursor = request.cursor;
    let previous = PreviousResponse::from_position(&fetch.rows.position);
    let parameter = cursor.and_then(|cursor| Some((cursor.parameter.as_str(), previous.cursor.as_deref()?)));
    let page = previous.next.as_deref().filter(|path| request.pages && path.starts_with('/'));
    let target = page.map_or_else(|| fetch.fetcher.target(parameter), |path| fetch.fetcher.target_of(path));
    let mut headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]);
    for (name, value) in [(IF_NONE_MATCH, &previous.etag), (IF_MODIFIED_SINCE, &previous.modified)] {
        if page.is_none()
            && let Some(value) = value.as_ref().and_then(|value| HeaderValue::from_str(value).ok())
        {
            headers.insert(name, value);
        }
    }
    let mut missing = None;
    let fetching = async {
        let mut response = fetch.fetcher.get(target, &headers).await.map_err(|ended| match ended {
            RoundEnd::Failed(error) if page.is_some() => {
                RoundEnd::unexpected_loss(missing.insert(error.message).clone())
            }
            ended => ended,
        })?;
        let body = content(fetch, response.response.body_mut()).await?;
        Ok::<_, RoundEnd>((response.response.status(), response.response.headers().clone(), response.from, body))
    };
    let (status, headers, from, body) = match timeout(fetch.client.timeout, fetching).await {
        Ok(Ok(fetched)) => fetched,
        Ok(Err(ended)) => {
            let Some(why) = missing else { return ended };
            // Servers do not keep pages indefinitely. The first page has the rows after the cursor, or all rows as any poll.
            fetch.rows.position.set(&PreviousResponse { next: None, ..previous }.to_position());
            fetch.pages = 0;
            return RoundEnd::unexpected_loss(format!("the next page is missing ({why}); restarting at the first one"));
        }
        Err(_) => {
            let time = units::show_time(fetch.client.timeout);
            return RoundEnd::unexpected_loss(format!("no complete response within {time} (`timeout`)"));
        }
    };
    if status == StatusCode::NOT_MODIFIED || status == StatusCode::NO_CONTENT {
        fetch.report_connected();
        if page.is_some() {
            fetch.rows.position.set(&PreviousResponse { next: None, ..previous }.to_position());
        }
        fetch.pages = 0;
        return RoundEnd::Responded { again: false };
    }
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let body = match decompress(text(&CONTENT_ENCODING), body, fetch.client.response_bytes_max(fetch.source)) {
        Ok(body) => body,
        Err(DecompressError::Damaged(why)) => return RoundEnd::unexpected_loss(why),
        Err(DecompressError::Rejected(why)) => return fetch.failed(&why),
    };
    let cut = rows_of(&body, request.rows)
        .and_then(|content| Ok((content, bodies::cut(fetch.source, content, fetch.rows.rows_max())?)));
    let (content, BodyRecords { chunks, rows }) = match cut {
        Ok(cut) => cut,
        Err(why) => return RoundEnd::unexpected_loss(why),
    };
    let next = link::next(&headers).filter(|_| request.pages);
    let next = match next.as_ref().map(|to| fetch.fetcher.page(&from, to)).transpose() {
        Ok(next) => next.filter(|next| next != from.path()),
        Err(why) => {
            let to = shown::harmless(next.as_deref().unwrap_or_default(), SHOWN_BYTES_MAX);
            return fetch.failed(&format!("its next page is {to}, {why}; write the correct address into `url`"));
        }
    };
    if rows > fetch.rows.rows_max() {
        let max = fetch.rows.rows_max();
        return fetch.failed(&format!(
            "a response has {rows} rows, but a batch holds at most {max} of this source; request less, or raise \
             `rows_per_batch_max` or `bytes_per_batch_max`"
        ));
    }
    fetch.report_connected();
    let found = cursor.and_then(|cursor| match &cursor.from {
        CursorFrom::Header(name) => HeaderName::try_from(name).ok().and_then(|name| text(&name).map(str::to_owned)),
        CursorFrom::Field(path) => last_of(content, path),
    });
    if let Some(found) = found.as_ref().filter(|found| found.len() > HTTP_POSITION_BYTES_MAX) {
        return fetch.failed(&format!(
            "a response has a cursor of {} bytes (`cursor`), more than the {HTTP_POSITION_BYTES_MAX} that are kept; choose another \
             header or field",
            found.len()
        ));
    }
    if cursor.is_some() && found.is_none() && rows > 0 {
        fetch.warn("a response has no cursor for the next request (`cursor`), so the same request is repeated");
    }
    // With a cursor the next request is a different one, to which these headers do not apply. The same is true for one of several pages.
    let is_all = cursor.is_none() && page.is_none() && next.is_none();
    // Longer versions are not kept: the server then sends everything again.
    let kept = |text: &&str| text.len() <= HTTP_POSITION_BYTES_MAX;
    let version = |name: &HeaderName| text(name).filter(kept).filter(|_| is_all).map(str::to_owned);
    let (cursor, further) = (found.or_else(|| previous.cursor.clone()), next.is_some());
    let now = PreviousResponse { etag: version(&ETAG), modified: version(&LAST_MODIFIED), cursor, next };
    let moved = now.cursor != previous.cursor;
    let encoded = now.to_position();
    if !fetch.rows.position.set(&encoded) {
        return fetch.failed(&format!(
            "the address of the next page has {} bytes, which is too long for a position; request another page \
            size, or use fewer parameters",
            encoded.len()
        ));
    }
    if !fetch.rows.put_together(chunks).await {
        return RoundEnd::Closed;
    }
    fetch.pages = if further && fetch.pages < HTTP_PAGES_MAX { fetch.pages + 1 } else { 0 };
    // There may already be more.
    RoundEnd::Responded { again: if further { fetch.pages > 0 } else { moved && rows > 0 } }
}

/// Returns the rows within a response.
fn rows_of<'a>(body: &'a [u8], path: &[String]) -> Result<&'a [u8], String> {
    if path.is_empty() {
        return Ok(body);
    }
    if mark::is_other(body) {
        return Err(mark::OTHER_ENCODING.into());
    }
    let body = body.strip_prefix(mark::UTF_8).unwrap_or(body);
    let text = std::str::from_utf8(body)
        .map_err(|error| format!("the response is not UTF-8 at byte {}", error.valid_up_to()))?;
    let found = value_at(text, path).map_err(|why| format!("the response is {why}"))?;
    match found {
        Some("null") => Ok(b""),
        Some(array) if array.starts_with('[') => Ok(array.as_bytes()),
        Some(_) => Err(format!("the response's value at `{}` (`rows`) is not an array", path.join("."))),
        None => Err(format!("the response has nothing at `{}` (`rows`)", path.join("."))),
    }
}

/// Reads a complete body.
async fn content(fetch: &Fetch<'_>, body: &mut Incoming) -> Result<Vec<u8>, RoundEnd> {
    let max = fetch.client.response_bytes_max(fetch.source);
    let mut content = Vec::new();
    while let Some(data) = lines::next_of(body).await? {
        if content.len() as u64 + data.len() as u64 > max {
            return Err(fetch.failed(&too_long(max)));
        }
        content.extend_from_slice(&data);
    }
    Ok(content)
}
