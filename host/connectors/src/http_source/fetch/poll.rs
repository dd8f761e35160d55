//! Asks a URL, and takes in what is new of the answer. What a server says of its version (`ETag`, `Last-Modified`), the
//! cursor and the next page are where the source goes on: they stand in the same batch as the rows.

use super::cursor::last_of;
use super::lines;
use super::link;
use super::packed::{Unusable, too_long, unpack};
use super::position::PreviousAnswer;
use super::{Fetch, RoundEnd};
use crate::http_source::settings::{CursorFrom, HttpCursor};
use crate::limits::{HTTP_PAGES_MAX, HTTP_PLACE_BYTES_MAX};
use crate::receiver::bodies::{self, BodyRecords};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED,
};
use millstream_base::decode::json::value_at;
use millstream_base::decode::mark;
use millstream_base::shown;
use millstream_base::units;
use tokio::time::timeout;

/// How much of an address a message shows.
const SHOWN_BYTES_MAX: usize = 200;

/// What is asked for, and where it stands in the answer.
pub struct PollRequest<'a> {
    /// What the request says of what came already.
    pub cursor: Option<&'a HttpCursor>,
    /// Where the rows stand; empty: the answer is the rows.
    pub rows: &'a [String],
    /// Whether an answer may have further pages.
    pub pages: bool,
}

/// Asks once.
pub async fn ask(fetch: &mut Fetch<'_>, asked: &PollRequest<'_>) -> RoundEnd {
    let cursor = asked.cursor;
    let before = PreviousAnswer::of(&fetch.rows.place);
    let told = cursor.and_then(|cursor| Some((cursor.parameter.as_str(), before.cursor.as_deref()?)));
    let page = before.next.as_deref().filter(|path| asked.pages && path.starts_with('/'));
    let target = page.map_or_else(|| fetch.asker.target(told), |path| fetch.asker.at(path));
    let mut headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]);
    for (name, value) in [(IF_NONE_MATCH, &before.etag), (IF_MODIFIED_SINCE, &before.modified)] {
        if page.is_none()
            && let Some(value) = value.as_ref().and_then(|value| HeaderValue::from_str(value).ok())
        {
            headers.insert(name, value);
        }
    }
    let mut gone = None;
    let asking = async {
        let mut answer = fetch.asker.get(target, &headers).await.map_err(|ended| match ended {
            RoundEnd::Failed(error) if page.is_some() => RoundEnd::lost(gone.insert(error.message).clone()),
            ended => ended,
        })?;
        let body = content(fetch, answer.response.body_mut()).await?;
        Ok::<_, RoundEnd>((answer.response.status(), answer.response.headers().clone(), answer.from, body))
    };
    let (status, headers, from, body) = match timeout(fetch.client.timeout, asking).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(ended)) => {
            let Some(why) = gone else { return ended };
            // Pages are not kept for ever. What the first one gives is behind the cursor, or all again as with the next poll.
            fetch.rows.place.set(&PreviousAnswer { next: None, ..before }.words());
            fetch.pages = 0;
            return RoundEnd::lost(format!("the next page is missing ({why}); restarting at the first one"));
        }
        Err(_) => {
            let time = units::show_time(fetch.client.timeout);
            return RoundEnd::lost(format!("no complete response within {time} (`timeout`)"));
        }
    };
    if status == StatusCode::NOT_MODIFIED || status == StatusCode::NO_CONTENT {
        fetch.connected();
        if page.is_some() {
            fetch.rows.place.set(&PreviousAnswer { next: None, ..before }.words());
        }
        fetch.pages = 0;
        return RoundEnd::Answered { again: false };
    }
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let body = match unpack(text(&CONTENT_ENCODING), body, fetch.client.answer_bytes_max(fetch.source)) {
        Ok(body) => body,
        Err(Unusable::Damaged(why)) => return RoundEnd::lost(why),
        Err(Unusable::Refused(why)) => return fetch.failed(&why),
    };
    let cut = rows_of(&body, asked.rows)
        .and_then(|content| Ok((content, bodies::cut(fetch.source, content, fetch.rows.rows_max())?)));
    let (content, BodyRecords { chunks, rows }) = match cut {
        Ok(cut) => cut,
        Err(why) => return RoundEnd::lost(why),
    };
    let next = link::next(&headers).filter(|_| asked.pages);
    let next = match next.as_ref().map(|to| fetch.asker.page(&from, to)).transpose() {
        Ok(next) => next.filter(|next| next != from.path()),
        Err(why) => {
            let to = shown::harmless(next.as_deref().unwrap_or_default(), SHOWN_BYTES_MAX);
            return fetch.failed(&format!("its next page is {to}, {why}; write the address that is meant into `url`"));
        }
    };
    if rows > fetch.rows.rows_max() {
        let most = fetch.rows.rows_max();
        return fetch.failed(&format!(
            "an answer has {rows} rows, and a batch holds {most} of this source at most; ask for less, or raise \
             `rows_per_batch_max` or `bytes_per_batch_max`"
        ));
    }
    fetch.connected();
    let found = cursor.and_then(|cursor| match &cursor.from {
        CursorFrom::Header(name) => HeaderName::try_from(name).ok().and_then(|name| text(&name).map(str::to_owned)),
        CursorFrom::Field(path) => last_of(content, path),
    });
    if let Some(found) = found.as_ref().filter(|found| found.len() > HTTP_PLACE_BYTES_MAX) {
        return fetch.failed(&format!(
            "a response has a cursor of {} bytes (`cursor`), more than the {HTTP_PLACE_BYTES_MAX} that are kept; choose another \
             header or field",
            found.len()
        ));
    }
    if cursor.is_some() && found.is_none() && rows > 0 {
        fetch.warn("a response has no cursor for the next request (`cursor`), so the same request is repeated");
    }
    // With a cursor the next request is another one, of which these say nothing, nor does one page of the others.
    let is_all = cursor.is_none() && page.is_none() && next.is_none();
    // Versions that are longer are not worth keeping: the server sends all again, that is all.
    let kept = |text: &&str| text.len() <= HTTP_PLACE_BYTES_MAX;
    let version = |name: &HeaderName| text(name).filter(kept).filter(|_| is_all).map(str::to_owned);
    let (cursor, further) = (found.or_else(|| before.cursor.clone()), next.is_some());
    let now = PreviousAnswer { etag: version(&ETAG), modified: version(&LAST_MODIFIED), cursor, next };
    let moved = now.cursor != before.cursor;
    let words = now.words();
    if !fetch.rows.place.set(&words) {
        return fetch.failed(&format!(
            "what leads to the next answer is {} bytes long, and no position is; ask for another page size, or for fewer parameters",
            words.len()
        ));
    }
    if !fetch.rows.put_together(chunks).await {
        return RoundEnd::Inbox;
    }
    fetch.pages = if further && fetch.pages < HTTP_PAGES_MAX { fetch.pages + 1 } else { 0 };
    // There may be more already.
    RoundEnd::Answered { again: if further { fetch.pages > 0 } else { moved && rows > 0 } }
}

/// The rows within an answer.
fn rows_of<'a>(body: &'a [u8], path: &[String]) -> Result<&'a [u8], String> {
    if path.is_empty() {
        return Ok(body);
    }
    if mark::is_other(body) {
        return Err(mark::OTHER_ENCODING.into());
    }
    let body = body.strip_prefix(mark::UTF_8).unwrap_or(body);
    let text = std::str::from_utf8(body)
        .map_err(|error| format!("the answer is not UTF-8 at byte {}", error.valid_up_to()))?;
    let found = value_at(text, path).map_err(|why| format!("the answer is {why}"))?;
    match found {
        Some("null") => Ok(b""),
        Some(array) if array.starts_with('[') => Ok(array.as_bytes()),
        Some(_) => Err(format!("the response's value at `{}` (`rows`) is not an array", path.join("."))),
        None => Err(format!("the answer has nothing at `{}` (`rows`)", path.join("."))),
    }
}

/// All of a body.
async fn content(fetch: &Fetch<'_>, body: &mut Incoming) -> Result<Vec<u8>, RoundEnd> {
    let most = fetch.client.answer_bytes_max(fetch.source);
    let mut content = Vec::new();
    while let Some(data) = lines::next_of(body).await? {
        if content.len() as u64 + data.len() as u64 > most {
            return Err(fetch.failed(&too_long(most)));
        }
        content.extend_from_slice(&data);
    }
    Ok(content)
}
