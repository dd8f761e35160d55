//! Maps paths to responses. Everything except the page's own files is JSON below `/api/v1`, described in
//! `docs/reference/http-api.md`.

use super::access::Entry;
use super::body::{self, PageResponse};
use super::parameters::{number, text};
use super::record::{BATCHES_MAX, LOG_MAX, REFUSED_MAX, Record};
use super::site::Site;
use super::view::JobState;
use super::{act, assets, events, prometheus, query};
use hyper::body::Incoming;
use hyper::header::{HeaderValue, LOCATION, SET_COOKIE};
use hyper::{Method, Request, StatusCode};
use millstream_connect::http1::heads::repeated;
use serde_json::{Value, json};
use std::sync::Arc;

/// Returns the response to a request.
pub async fn response(site: &Arc<Site>, request: Request<Incoming>) -> PageResponse {
    let (request, _) = request.into_parts();
    let path = request.uri.path().to_owned();
    if let Some(text) = repeated(&request.headers) {
        return body::error(StatusCode::BAD_REQUEST, &text);
    }
    let open = matches!(path.as_str(), "/healthz" | "/readyz");
    match site.access.entry(&request, open) {
        Entry::Granted => {}
        Entry::Cookie(cookie) => {
            site.jobs.expect_look();
            return redirect(&cookie);
        }
        Entry::Denied(status, text) => return body::plain_text(status, text),
    }
    let query = request.uri.query().unwrap_or_default();
    match (&request.method, path.as_str()) {
        (&Method::GET, "/healthz") => body::plain_text(StatusCode::OK, "ok"),
        (&Method::GET, "/readyz") => ready(site).await,
        (&Method::GET, "/metrics") => {
            let views = site.jobs.each(|record| record.view.clone()).await;
            body::response(StatusCode::OK, prometheus::KIND, prometheus::text(&views))
        }
        (&Method::GET, path) if path.starts_with("/api/v1/") => {
            let parts: Vec<&str> = path.trim_start_matches("/api/v1/").split('/').collect();
            api(site, &parts, query).await
        }
        (&Method::POST, path) if path.starts_with("/api/v1/jobs/") => {
            let parts: Vec<&str> = path.trim_start_matches("/api/v1/jobs/").split('/').collect();
            act::act(site, &parts, query).await
        }
        (&Method::GET, path) => match assets::find(path) {
            Some((kind, text)) => body::response(StatusCode::OK, kind, text),
            None => body::plain_text(StatusCode::NOT_FOUND, "not found"),
        },
        _ => body::plain_text(StatusCode::METHOD_NOT_ALLOWED, "this address is read-only"),
    }
}

/// Redirects to the page itself, with a cookie that replaces the token.
fn redirect(cookie: &str) -> PageResponse {
    let mut response = body::plain_text(StatusCode::SEE_OTHER, "");
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_static("/"));
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        headers.insert(SET_COOKIE, cookie);
    }
    response
}

/// Responds whether all processes of the jobs respond.
async fn ready(site: &Site) -> PageResponse {
    let states = site.jobs.each(|record| record.view.state).await;
    match !states.is_empty() && states.iter().all(|state| *state == JobState::Running) {
        true => body::plain_text(StatusCode::OK, "ready"),
        false => body::plain_text(StatusCode::SERVICE_UNAVAILABLE, "the job does not respond"),
    }
}

async fn api(site: &Arc<Site>, path: &[&str], query: &str) -> PageResponse {
    let after = number(query, "after").unwrap_or(0);
    let limit =
        |most: usize| number(query, "limit").map_or(most, |wanted| usize::try_from(wanted).unwrap_or(most).min(most));
    let jobs = &site.jobs;
    let found = match path {
        ["jobs"] => {
            let list = jobs.each(listed).await;
            Some(json!({ "jobs": list, "all": jobs.shows_all() }))
        }
        ["jobs", id] => jobs.with(id, |record| json!(record.view)).await,
        ["jobs", id, "batches"] => jobs.with(id, |record| json!(record.batches.after(after, limit(BATCHES_MAX)))).await,
        ["jobs", id, "log"] => jobs.with(id, |record| json!(record.log.after(after, limit(LOG_MAX)))).await,
        ["jobs", id, "refused"] => jobs.with(id, |record| json!(record.refused.after(after, limit(REFUSED_MAX)))).await,
        ["jobs", id, "checkpoints"] => jobs.with(id, |record| json!(record.view.checkpoints)).await,
        ["jobs", id, "diagnosis"] => jobs.with(id, |record| json!(record.view.diagnosis)).await,
        ["jobs", id, "events"] => return events::stream(site, id),
        ["jobs", id, "state"] => return state(site, id, query).await,
        _ => None,
    };
    match found {
        Some(value) => body::json(&value),
        None => body::error(StatusCode::NOT_FOUND, "job not found, or no such resource of it"),
    }
}

/// Describes a job for the list of all.
fn listed(record: &Record) -> Value {
    let view = &record.view;
    json!({
        "id": view.id, "job": view.status.job, "file": view.file, "state": view.state,
        "since_us": view.status.since_us, "keeps_up": view.diagnosis.keeps_up, "summary": view.diagnosis.summary,
        "rows_per_second": view.status.sources.iter().map(|source| source.counts.rows_per_second).sum::<u64>(),
        "batches_committed": view.status.batches_committed,
        "rejected": view.status.stages.iter().chain(&view.status.sources).map(|part| part.counts.rejected).sum::<u64>(),
    })
}

/// Returns the state in the job's checkpoint: of all stages, or the result of a query.
async fn state(site: &Site, id: &str, query: &str) -> PageResponse {
    let Some(file) = site.jobs.file(id) else { return body::error(StatusCode::NOT_FOUND, "job not found") };
    let sql = text(query, "sql").unwrap_or_default();
    if sql.trim().is_empty() || sql.len() > query::SQL_BYTES_MAX {
        return body::error(
            StatusCode::BAD_REQUEST,
            "add a query of at most 8 KiB, for example `select * from totals limit 10`",
        );
    }
    match query::state(file, site.jobs.sets(), sql).await {
        Ok(rows) => body::response(StatusCode::OK, "application/json", query::to_json(&rows)),
        Err(error) => body::error(StatusCode::BAD_REQUEST, &error.message),
    }
}
