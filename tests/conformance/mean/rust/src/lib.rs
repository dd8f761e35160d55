//! An aggregate with an inverse, which receives its key.

// Only builds as a component: a build of the workspace skips it.
#![cfg(target_arch = "wasm32")]

use millstream_sdk::{Row, aggregate};

#[derive(Row)]
struct Shop<'a> {
    shop: &'a str,
}

#[derive(Row)]
struct Sale {
    amount: i64,
}

#[derive(Row)]
struct Sum {
    sum: i64,
    count: i64,
}

#[derive(Row)]
struct Mean {
    title: String,
    mean: Option<f64>,
    count: i64,
}

struct MeanAmount;

/// The mean amount of each shop.
#[aggregate]
impl MeanAmount {
    fn lift(sale: Sale) -> Sum {
        Sum { sum: sale.amount, count: 1 }
    }

    fn combine(left: Sum, right: Sum) -> Sum {
        Sum { sum: left.sum + right.sum, count: left.count + right.count }
    }

    fn lower(key: Shop, sum: Sum) -> Mean {
        let mean = (sum.count != 0).then(|| sum.sum as f64 / sum.count as f64);
        Mean { title: format!("mean of {}", key.shop), mean, count: sum.count }
    }

    fn inverse(whole: Sum, part: Sum) -> Sum {
        Sum { sum: whole.sum - part.sum, count: whole.count - part.count }
    }
}
