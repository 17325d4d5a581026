//! The statements that reach a database, as the server heard them, and what it does for them. So the SQL that
//! is judged is the code's own, with values that it really had.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::servers::servers;

/// A statement with its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its text.
    pub sql: String,
    /// Its values as literals.
    pub values: Vec<String>,
}

/// Has the server write down what reaches one database.
#[derive(Debug)]
pub struct Listener {
    log: PathBuf,
    from: usize,
}

impl Listener {
    /// Hears every connection that is opened from now on.
    ///
    /// # Panics
    /// The server refuses.
    pub async fn start(database: &str) -> Self {
        set(database, "set log_statement = 'all'").await;
        let log = servers().await.data().join("logs/postgres.log");
        let from = std::fs::read(&log).unwrap().len();
        Self { log, from }
    }

    /// What was heard so far, in order.
    ///
    /// # Panics
    /// The server's log cannot be read.
    #[must_use]
    pub fn heard(&self) -> Vec<Call> {
        let text = std::fs::read(&self.log).unwrap();
        parse(&String::from_utf8_lossy(&text[self.from..]))
    }

    /// Connections that are opened from now on are not heard.
    ///
    /// # Panics
    /// The server refuses.
    pub async fn stop(database: &str) {
        set(database, "reset log_statement").await;
    }
}

async fn set(database: &str, what: &str) {
    let mut superuser = PgConnection::connect(&servers().await.superuser_url()).await.unwrap();
    let statement = format!("alter database \"{database}\" {what}");
    sqlx::query(AssertSqlSafe(statement)).execute(&mut superuser).await.unwrap();
    superuser.close().await.unwrap();
}

fn parse(log: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for entry in entries(log) {
        if let Some((_, statement)) = entry.split_once("] LOG:  execute ") {
            let sql = statement.split_once(": ").map_or(statement, |(_, sql)| sql);
            calls.push(Call { sql: sql.to_owned(), values: Vec::new() });
        } else if let Some((_, detail)) = entry.split_once("] DETAIL:  ") {
            // Releases differ in the first letter.
            let values = detail.split_once("arameters: ").filter(|(head, _)| head.len() == 1);
            if let (Some((_, values)), Some(call)) = (values, calls.last_mut()) {
                call.values = literals(values);
            }
        }
    }
    calls
}

/// Lines of the log, each with those that go on with it.
fn entries(log: &str) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    for line in log.lines() {
        match (line.strip_prefix('\t'), entries.last_mut()) {
            (Some(more), Some(entry)) => {
                let _ = write!(entry, "\n{more}");
            }
            _ => entries.push(line.to_owned()),
        }
    }
    entries
}

/// `$1 = 'it''s', $2 = NULL`.
fn literals(text: &str) -> Vec<String> {
    let mut values = Vec::new();
    let (mut value, mut quoted) = (String::new(), false);
    for c in text.chars() {
        quoted ^= c == '\'';
        if c == ',' && !quoted {
            values.push(std::mem::take(&mut value));
        } else {
            value.push(c);
        }
    }
    values.push(value);
    let literal = |value: &String| value.split_once(" = ").map(|(_, literal)| literal.to_owned());
    values.iter().filter_map(literal).collect()
}

/// What the server does for a statement.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it looks.
    pub scans: Vec<Scan>,
    /// Buffers it touched, if it was run.
    pub buffers: Option<i64>,
}

/// One look at a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// `Seq Scan`, `Index Scan` and so on.
    pub kind: String,
    /// The table.
    pub table: String,
    /// The index; none for a bitmap, whose indexes are its inputs.
    pub index: Option<String>,
    /// Whether only a part of the index is looked at.
    pub is_bounded: bool,
}

/// How the server would do a statement; what only reads is run, too. `generic` asks for the plan that is made
/// for all values.
///
/// # Errors
/// The server's refusal.
pub async fn explain(
    connection: &mut PgConnection,
    call: &Call,
    generic: bool,
) -> Result<Plan, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let mode = if generic { "force_generic_plan" } else { "force_custom_plan" };
    let run = async |transaction: &mut PgConnection, text: String| {
        sqlx::raw_sql(AssertSqlSafe(text)).execute(transaction).await
    };
    run(&mut transaction, format!("set local plan_cache_mode = {mode}")).await?;
    run(&mut transaction, format!("prepare call as {}", call.sql)).await?;
    let reads = call.sql.trim_start().starts_with("select") && !call.sql.contains("pg_advisory");
    let options = if reads { "analyze, buffers, format json" } else { "format json" };
    let values = match call.values.is_empty() {
        true => String::new(),
        false => format!("({})", call.values.join(", ")),
    };
    let text = format!("explain ({options}) execute call{values}");
    let explained: Result<Value, sqlx::Error> = sqlx::query_scalar(AssertSqlSafe(text))
        .persistent(false)
        .fetch_one(&mut *transaction)
        .await;
    transaction.rollback().await?;
    sqlx::raw_sql("deallocate all").execute(connection).await?;
    let plan = &explained?[0]["Plan"];
    let mut scans = Vec::new();
    collect(plan, &mut scans);
    let blocks = |kind: &str| plan[kind].as_i64();
    let buffers = blocks("Shared Hit Blocks").zip(blocks("Shared Read Blocks"));
    Ok(Plan { scans, buffers: buffers.map(|(hit, read)| hit + read) })
}

fn collect(node: &Value, scans: &mut Vec<Scan>) {
    let text = |name: &str| node[name].as_str().map(str::to_owned);
    let kind = text("Node Type").unwrap_or_default();
    if let Some(table) = text("Relation Name").filter(|_| kind.ends_with("Scan")) {
        let is_bounded = kind == "Bitmap Heap Scan" || node.get("Index Cond").is_some();
        scans.push(Scan { kind, table, index: text("Index Name"), is_bounded });
    }
    for inner in node["Plans"].as_array().into_iter().flatten() {
        collect(inner, scans);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_found_in_the_log() {
        let log = "2026-01-02 03:04:05.678 UTC [9] LOG:  execute sqlx_s_1: select a: 1\n\t  from b\n\
                   2026-01-02 03:04:05.678 UTC [9] DETAIL:  parameters: $1 = 'it''s,\n\t $2 = ', $2 = NULL\n\
                   2026-01-02 03:04:05.679 UTC [9] LOG:  statement: COMMIT\n\tmore\n\
                   2026-01-02 03:04:05.680 UTC [9] LOG:  execute <unnamed>: select 1\n";
        let call = |sql: &str, values: &[&str]| Call {
            sql: sql.to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        let expected =
            [call("select a: 1\n  from b", &["'it''s,\n $2 = '", "NULL"]), call("select 1", &[])];
        assert_eq!(parse(log), expected);
    }
}
