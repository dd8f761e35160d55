//! Declaration of the `postgres-changes` source: its keys in job files.

use super::settings::ChangesReads;
use super::source::ChangesFollower;
use millstream_base::error::Result;
use millstream_connect::receiver::{polled, wrong};
use millstream_job::PartErrors;
use millstream_job::connector::{ROWS, START, SourceDeclaration};
use millstream_job::database;
use millstream_job::keys::{JSON_FORMAT, KeyShape, key};
use millstream_job::spec::{ChangesKey, Origin, SourceSpec};
use millstream_job::spec::{SourceConfig, SourceStart};
use millstream_job::table::Reader;
use millstream_rows::batch::column::ColumnSource;
use millstream_rows::decode::spec::RecordBounds;
use millstream_rows::formats::Format;
use std::sync::Arc;

const KIND: &str = "postgres-changes";

/// Sources of kind `postgres-changes`.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "changes to PostgreSQL tables",
    keys: &[
        key("url", KeyShape::Text, "Database, for example \"postgres://user:${PGPASSWORD}@host/database\".").required(),
        key(
            "table",
            KeyShape::TextList,
            "Table whose changes are read, for example \"orders\" or \"shop.orders\", or a list of tables.",
        )
        .required(),
        key(
            "publication",
            KeyShape::Text,
            "Existing publication that contains the tables; by default the job creates its own.",
        ),
        key(
            "start",
            START,
            "Where to begin without a saved position: with the rows in the tables (`earliest`), or only with later changes \
             (`latest`). `earliest` by default.",
        ),
        key("format", JSON_FORMAT, "Not needed, because tables have columns. Only `json` is allowed."),
        key(
            "schema",
            KeyShape::Columns(&["op", "table", "timestamp", "offset", "id"]),
            "Columns of the tables to read: name = \"type\".",
        )
        .required(),
    ],
    shared: &[ROWS],
    read: |r| ChangesReads::read(r).into(),
};

impl ChangesReads {
    fn read(r: &Reader<'_>) -> ChangesReads {
        let example = "table = \"orders\", or table = [\"orders\", \"shop.items\"]";
        r.need("table", example);
        r.need("schema", "schema = { id = \"int64\", name = \"text\" }, columns of the table");
        ChangesReads {
            tables: r.list("table", example),
            publication: r.text("publication", "publication = \"orders\"").map(str::to_owned),
            start: r.start(),
            keys: Vec::new(),
            url: r.url("url = \"postgres://user:${PGPASSWORD}@127.0.0.1/database\""),
        }
    }
}

impl SourceConfig for ChangesReads {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, source: &SourceSpec, part: &PartErrors<'_>) {
        if let Err(message) = database::check_url(&self.url) {
            part.wrong("url", message);
        }
        part.names("table", &self.tables);
        for table in &self.tables {
            if let Err(message) = database::table(table) {
                part.wrong("table", message);
            }
        }
        let max = database::NAME_BYTES_MAX;
        if self.publication.as_ref().is_some_and(|name| name.len() > max || name.contains('\0')) {
            let message = format!("`publication` is not a PostgreSQL name, which has at most {max} bytes");
            part.wrong("publication", message);
        }
        if source.format != Format::Json {
            let word = source.format.keyword();
            part.wrong("format", format!("rows of tables have no format, and `format` is `{word}`; remove `format`"));
        }
    }

    fn promise(&self) -> Option<&'static str> {
        Some("exactly once, with [checkpoint]: the existing rows, then each change in the order of the commits")
    }

    fn bounds(&self) -> RecordBounds {
        RecordBounds::Envelope
    }

    fn are_fields(&self) -> bool {
        true
    }

    fn provides(&self, part: &ColumnSource) -> bool {
        use ColumnSource::*;
        matches!(part, Op | Table | Timestamp | Offset | Id)
    }

    fn writes_hex(&self) -> bool {
        true
    }

    fn are_changes(&self) -> bool {
        true
    }

    fn keeping(&self, key: &ChangesKey) -> Option<Arc<dyn SourceConfig>> {
        let keys = || self.keys.iter().chain([key]).cloned().collect();
        (!self.keys.contains(key)).then(|| Arc::new(ChangesReads { keys: keys(), ..self.clone() }) as _)
    }

    /// Checks the URL together with the environment.
    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        database::config(&self.url).map(drop).map_err(|message| wrong(source, origin, "url", message))
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        let (source, reads, owner) = (start.source.clone(), self.clone(), start.job.owner.cloned());
        polled::start(start, Arc::new(move || Ok(Box::new(ChangesFollower::new(&source, &reads, owner.as_ref())))));
        Ok(())
    }
}
