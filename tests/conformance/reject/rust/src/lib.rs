//! A typed config, the context of a call, and rejected rows.

// Only builds as a component: a build of the workspace skips it.
#![cfg(target_arch = "wasm32")]

use millstream_sdk::{Context, Row, Timestamp, counter, log, transform};

#[derive(Row)]
struct Payment<'a> {
    amount: i64,
    kind: Option<&'a str>,
}

#[derive(Row)]
struct Accepted {
    amount: i64,
    scaled: f64,
    label: String,
    batch: i64,
    time: Timestamp,
    watermark: Option<Timestamp>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    at_least: i64,
    #[serde(default = "one")]
    rate: f64,
    #[serde(default = "ok")]
    label: String,
    #[serde(default)]
    strict: bool,
    #[serde(default)]
    kinds: Vec<String>,
}

fn one() -> f64 {
    1.0
}

fn ok() -> String {
    "ok".into()
}

/// Rejects payments according to its config.
#[transform]
fn reject(payment: Payment, config: &Config, context: &Context) -> Result<Option<Accepted>, String> {
    counter::add("seen", 1);
    log::debug(format!("amount {}", payment.amount));
    let amount = payment.amount;
    if amount < config.at_least {
        return Err(format!("{amount} is below {}", config.at_least));
    }
    match payment.kind {
        None if config.strict => return Err("it has no kind".into()),
        Some(kind) if !config.kinds.is_empty() && config.kinds.iter().all(|known| known != kind) => {
            return Err(format!("`{kind}` is not one of {}", config.kinds.join(", ")));
        }
        _ => {}
    }
    Ok((amount != 0).then(|| Accepted {
        amount,
        scaled: amount as f64 * config.rate,
        label: config.label.clone(),
        batch: context.batch as i64,
        time: context.time,
        watermark: context.watermark,
    }))
}
