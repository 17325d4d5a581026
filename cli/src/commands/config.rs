//! `sluice config`: what is in force, and why.

use serde_json::{Map, Value, json};

use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Format};

pub(super) fn run(global: &Global) -> Result<(), CliError> {
    let config = super::load(global, [])?;
    if global.format(Format::Text) == Format::Json {
        let all: Map<String, Value> = config
            .entries()
            .map(|entry| {
                let shown = json!({"value": entry.shown(), "from": entry.origin.to_string()});
                (entry.setting.key.to_owned(), shown)
            })
            .collect();
        output::json(&all);
        return Ok(());
    }
    let row = |entry: &crate::config::Entry| {
        let (value, origin) = match entry.shown() {
            Some(value) => (value, entry.origin.to_string()),
            None => ("-".to_owned(), format!("not set ({})", entry.setting.variables[0])),
        };
        [entry.setting.key.to_owned(), value, origin]
    };
    let rows: Vec<_> = config.entries().map(row).collect();
    output::table(["SETTING", "VALUE", "FROM"], &rows);
    Ok(())
}
