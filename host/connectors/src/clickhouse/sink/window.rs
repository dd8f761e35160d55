//! The deduplication window of a table: how many inserts it recognizes, from the server's description of it.

use serde::Deserialize;

const SINGLE: &str = "non_replicated_deduplication_window";
const REPLICATED: &str = "replicated_deduplication_window";
/// The first version that accepts tokens with inserts.
const TOKENS_SINCE: (u32, u32) = (22, 2);

/// Whether a server of this version supports tokens.
pub fn supports_tokens(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    matches!((numbers.next().flatten(), numbers.next().flatten()), (Some(year), Some(number)) if (year, number) >= TOKENS_SINCE)
}

/// Returns the query about a table.
pub fn query(table: &str) -> String {
    let (database, name) = match table.split_once('.') {
        Some((database, name)) => (format!("'{database}'"), name),
        None => ("currentDatabase()".to_owned(), table),
    };
    let usual = |setting| format!("(SELECT any(value) FROM system.merge_tree_settings WHERE name = '{setting}')");
    format!(
        "SELECT count() AS tables, any(engine) AS engine, any(engine_full) AS definition, {} AS single, {} AS replicated FROM system.tables \
         WHERE database = {database} AND name = '{name}' FORMAT JSONEachRow SETTINGS output_format_json_quote_64bit_integers = 1",
        usual(SINGLE),
        usual(REPLICATED),
    )
}

/// A server's description of a table.
#[derive(Debug, Deserialize)]
pub struct Table {
    tables: String,
    engine: String,
    definition: String,
    /// The server's default for settings that the table does not set.
    single: Option<String>,
    replicated: Option<String>,
}

/// How many inserts a table deduplicates.
#[derive(Debug, PartialEq, Eq)]
pub enum Window {
    /// The table does not exist.
    NoTable,
    /// None, whatever the settings, because of this engine.
    Never(String),
    /// None, until this setting is set.
    Closed(&'static str),
    /// This many.
    Open(u64),
}

impl Table {
    /// Decodes a response; `None` if it is invalid.
    pub fn parse(response: &str) -> Option<Table> {
        serde_json::from_str(response.trim()).ok()
    }

    /// Returns the window of the table.
    pub fn window(&self) -> Window {
        if self.tables == "0" {
            return Window::NoTable;
        }
        if !self.engine.ends_with("MergeTree") {
            return Window::Never(self.engine.clone());
        }
        let (setting, usual) = match self.engine.starts_with("Replicated") || self.engine.starts_with("Shared") {
            true => (REPLICATED, &self.replicated),
            false => (SINGLE, &self.single),
        };
        let own = setting_value(&self.definition, setting).or_else(|| usual.as_ref()?.parse().ok());
        match own {
            Some(insertions @ 1..) => Window::Open(insertions),
            _ => Window::Closed(setting),
        }
    }
}

/// Returns the value of a setting in a table's definition.
fn setting_value(definition: &str, setting: &str) -> Option<u64> {
    let settings = definition.rsplit_once("SETTINGS ")?.1;
    let pairs = settings.split(',').filter_map(|pair| pair.split_once('='));
    let value = pairs.filter(|(name, _)| name.trim() == setting).map(|(_, value)| value.trim()).next_back()?;
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(engine: &str, definition: &str, single: &str) -> Window {
        let table = serde_json::json!({
            "tables": "1", "engine": engine, "definition": definition, "single": single, "replicated": "100"
        });
        Table::parse(&format!("{table}\n")).unwrap().window()
    }

    #[test]
    fn how_many_insertions_are_known_again_depends_on_the_table() {
        let plain = "MergeTree ORDER BY n SETTINGS index_granularity = 8192";
        assert_eq!(table("MergeTree", plain, "0"), Window::Closed(SINGLE));
        assert_eq!(table("MergeTree", plain, "10000"), Window::Open(10_000), "of newer servers");
        let own = format!("{plain}, {SINGLE} = 7");
        assert_eq!(table("ReplacingMergeTree", &own, "0"), Window::Open(7));
        let none = format!("{plain}, {SINGLE} = 0");
        assert_eq!(table("MergeTree", &none, "10000"), Window::Closed(SINGLE));
        assert_eq!(table("ReplicatedMergeTree", &own, "0"), Window::Open(100));
        assert_eq!(
            table("ReplicatedMergeTree", &format!("x SETTINGS {REPLICATED} = 0"), "0"),
            Window::Closed(REPLICATED)
        );
        assert_eq!(table("Memory", "Memory", "5"), Window::Never("Memory".into()));
        let gone = r#"{"tables":"0","engine":"","definition":"","single":"0","replicated":null}"#;
        assert_eq!(Table::parse(gone).unwrap().window(), Window::NoTable);
        for other in ["", "ok", "{}", "[]"] {
            assert!(Table::parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, knows) in [
            ("18.16.1", false),
            ("22.1.9.3", false),
            ("22.2.1.1", true),
            ("22.11.2", true),
            ("9.9", false),
            ("25.8", true),
            ("", false),
            ("x.y", false),
        ] {
            assert_eq!(supports_tokens(version), knows, "{version}");
        }
    }
}
