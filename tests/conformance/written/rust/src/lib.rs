//! Dates, decimals, structs and lists: in a key, in rows, in a state and in the output.

// Only builds as a component: a build of the workspace skips it.
#![cfg(target_arch = "wasm32")]

use millstream_sdk::{Date, Decimal, KeyedOut, Row, Rows, update};

#[derive(Row)]
struct Day {
    day: Date,
}

#[derive(Row)]
struct Sale<'a> {
    price: Option<Decimal<12, 2>>,
    #[row(type = "list<text>")]
    tags: &'a str,
    #[row(type = "struct<id: int64, sku: text>")]
    item: Option<&'a str>,
}

#[derive(Row)]
struct Total {
    total: Decimal<12, 2>,
    #[row(type = "list<text>")]
    seen: String,
    #[row(name = "last item", type = "struct<id: int64, sku: text>")]
    last: Option<String>,
    since: Date,
}

#[derive(Row)]
struct Told {
    total: Decimal<20, 2>,
    #[row(type = "list<text>")]
    seen: String,
    #[row(type = "struct<id: int64, sku: text>")]
    last: Option<String>,
    since: Option<Date>,
}

/// Keeps a total of each day.
#[update]
fn written(key: Day, sales: Rows<Sale>, old: Option<Total>, out: &mut KeyedOut<Told>) -> Result<Option<Total>, String> {
    let (mut total, mut seen, mut last) = (Decimal(0), Vec::new(), None);
    if let Some(old) = old {
        total = old.total;
        seen = texts(&old.seen)?;
        last = old.last;
    }
    let mut is_closed = false;
    for sale in sales {
        let price = sale.price.unwrap_or_default();
        match price.0 {
            1300 => is_closed = true,
            1400 => return Err(format!("{price} on {}", key.day)),
            _ => {}
        }
        total.0 += price.0;
        seen.extend(texts(sale.tags)?);
        last = sale.item.map(str::to_owned).or(last);
    }
    let seen = serde_json::to_string(&seen).map_err(|error| error.to_string())?;
    let since = (total.0 != 0).then_some(key.day);
    out.push(Told { total: Decimal(total.0), seen: seen.clone(), last: last.clone(), since });
    Ok((!is_closed).then_some(Total { total, seen, last, since: key.day }))
}

fn texts(list: &str) -> Result<Vec<Option<String>>, String> {
    serde_json::from_str(list).map_err(|error| format!("{list}: {error}"))
}
