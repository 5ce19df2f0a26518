//! Rows of a knowledge database. What is read is the workflow author's choice; values go into parameters only, and
//! names of tables and columns must be plain names.

use flowweaver_task::serde_json::Value;
use flowweaver_task::sql::{self, Database};
use flowweaver_task::{Error, Result};

use crate::chunk::{Chunk, Kind, split};

/// Which rows to look up: a table, or a query of one's own.
#[derive(Debug, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Knowledge {
    /// The database's name, as granted.
    database: String,
    /// The table to read; or give `query`.
    #[serde(default)]
    table: Option<String>,
    /// The columns to read of the table; all, if empty.
    #[serde(default)]
    columns: Vec<String>,
    /// The column that names a row in `sources` and orders the rows of `table`; none: rows are numbered.
    #[serde(default)]
    id_column: Option<String>,
    /// The query to run in place of reading a table, with placeholders for `parameters`.
    #[serde(default)]
    query: Option<String>,
    /// The values for the query's placeholders: text, numbers, booleans, null.
    #[serde(default)]
    parameters: Vec<Value>,
    /// The most rows looked at.
    #[serde(default = "thousand")]
    limit: u32,
}

fn thousand() -> u32 {
    1000
}

impl Knowledge {
    /// The rows' texts in pieces, each naming its row.
    ///
    /// # Errors
    /// `input.invalid` if it is not one of table and query, or a name is none; what the database answers.
    pub(crate) fn chunks(&self, letters: usize) -> Result<Vec<Chunk>> {
        let statement = self.statement()?;
        let parameters = self
            .parameters
            .iter()
            .map(parameter)
            .collect::<Result<Vec<_>>>()?;
        let doing = || format!("reading knowledge from `{}`", self.database);
        let database = Database::open(&self.database).map_err(|error| error.context(doing()))?;
        let rows = database
            .query(&statement, &parameters)
            .map_err(|error| error.context(doing()))?;
        let place = match &self.table {
            Some(table) => format!("{}.{table}", self.database),
            None => self.database.clone(),
        };
        let mut chunks = Vec::new();
        for (number, row) in (1_u32..=self.limit).zip(rows) {
            let row = row.map_err(|error| error.context(doing()))?;
            let id_column = self.id_column.as_deref();
            let id = id_column
                .and_then(|column| text(row.value(column)?))
                .unwrap_or_else(|| number.to_string());
            let values = row.iter().filter(|(name, _)| Some(*name) != id_column);
            let values: Vec<(&str, String)> = values
                .filter_map(|(name, value)| Some((name, text(value)?)))
                .collect();
            for piece in split(&told(&values), letters) {
                chunks.push(Chunk {
                    kind: Kind::Knowledge,
                    origin: format!("{place}, row {id}"),
                    text: piece,
                });
            }
        }
        Ok(chunks)
    }

    fn statement(&self) -> Result<String> {
        let mistake = |what: String| {
            Err(Error::permanent(
                "input.invalid",
                format!("`knowledge`: {what}"),
            ))
        };
        let table = match (&self.table, &self.query) {
            (None, Some(query)) => return Ok(query.clone()),
            (Some(table), None) if self.parameters.is_empty() => table,
            (Some(_), None) => return mistake("`parameters` belong to `query`".to_owned()),
            _ => return mistake("give either `table` or `query`".to_owned()),
        };
        let names = self.columns.iter().chain(&self.id_column);
        if let Some(wrong) = std::iter::once(table)
            .chain(names)
            .find(|name| !is_name(name))
        {
            return mistake(format!("`{wrong}` is not a plain name"));
        }
        let mut columns = self.columns.clone();
        if let (false, Some(id)) = (columns.is_empty(), &self.id_column)
            && !columns.contains(id)
        {
            columns.insert(0, id.clone());
        }
        let columns = if columns.is_empty() {
            "*".to_owned()
        } else {
            columns.join(", ")
        };
        let order = self
            .id_column
            .as_ref()
            .map(|id| format!(" order by {id}"))
            .unwrap_or_default();
        Ok(format!(
            "select {columns} from {table}{order} limit {}",
            self.limit
        ))
    }
}

/// A name that needs no quotes in any database, so that no name can be more than a name. A table's may have a schema.
fn is_name(name: &str) -> bool {
    let plain = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && part
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    name.split('.').count() <= 2 && name.split('.').all(plain)
}

fn parameter(value: &Value) -> Result<sql::Value> {
    match value {
        Value::Null => Ok(sql::Value::Null),
        Value::Bool(value) => Ok(sql::Value::Boolean(*value)),
        Value::String(text) => Ok(sql::Value::Text(text.clone())),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Ok(sql::Value::Int64(whole)),
            (None, Some(float)) => Ok(sql::Value::Float64(float)),
            _ => Ok(sql::Value::Decimal(number.to_string())),
        },
        Value::Array(_) | Value::Object(_) => Err(Error::permanent(
            "input.invalid",
            "`knowledge.parameters`: a list or object is no parameter",
        )),
    }
}

/// A row's values; a single one needs no name.
fn told(values: &[(&str, String)]) -> String {
    match values {
        [(_, only)] => only.clone(),
        several => several
            .iter()
            .map(|(name, value)| format!("{name}: {value}\n"))
            .collect(),
    }
}

/// A value as text; bytes and blanks say nothing.
fn text(value: &sql::Value) -> Option<String> {
    if matches!(value, sql::Value::Null | sql::Value::Blob(_)) {
        return None;
    }
    let text = match value.to_json() {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
