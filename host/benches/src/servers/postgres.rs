//! Writes rows to a PostgreSQL table.

use crate::comparison::{Comparison, rows_or, run_job, run_own};
use crate::measure::job;
use crate::rows::{self, Row};
use millstream_tests::Postgres;
use std::path::Path;
use std::pin::pin;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls};

/// Rows of one transaction.
const TRANSACTION_ROWS: usize = 20_000;

/// Runs this part.
pub fn run(dir: &Path) {
    let rows = rows_or(400_000);
    let server = Postgres::start();
    let make = |table: &str| {
        server.sql(&format!("drop table if exists {table}"));
        server.sql(&format!("create table {table} (\"user\" text, page text, n bigint, amount double precision)"));
    };
    let file = rows::file(dir, rows);
    let url = server.url().replace("${PW}", "${file:pw}");
    std::fs::write(dir.join("pw"), Postgres::PASSWORD).expect("a file");
    let text = rows::writing("postgres", &format!("url = \"{url}\"\ntable = \"job\""));
    let path = job(dir, &text);
    let baseline = "a program with the same client, tokio-postgres, and COPY in transactions of 20,000 rows";
    Comparison { connector: ("`postgres`", "sink"), rows, baseline, job: &text }.run(
        |_| {
            make("plain");
            run_own("postgres-write", &[&server.port().to_string(), &file.to_string_lossy()])
        },
        |_| {
            make("job");
            run_job(&path, rows)
        },
    );
}

/// Writes the rows of a file.
pub fn write(port: &str, file: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(port.parse().expect("a port")).user("me").password(Postgres::PASSWORD);
        let (client, connection) = config.dbname("postgres").connect(NoTls).await.expect("a connection");
        tokio::spawn(connection);
        let lines: Vec<String> = rows::lines(file).collect();
        for some in lines.chunks(TRANSACTION_ROWS) {
            client.batch_execute("begin").await.expect("a transaction");
            copy(&client, some).await.expect("the server takes the rows");
            client.batch_execute("commit").await.expect("a commit");
        }
    });
}

async fn copy(client: &Client, lines: &[String]) -> Result<(), tokio_postgres::Error> {
    let sink = client.copy_in("copy plain from stdin (format binary)").await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &[Type::TEXT, Type::TEXT, Type::INT8, Type::FLOAT8]));
    for line in lines {
        let row = Row::parse(line.as_bytes());
        writer.as_mut().write(&[&row.user, &row.page, &row.n, &row.amount]).await?;
    }
    writer.finish().await.map(drop)
}
