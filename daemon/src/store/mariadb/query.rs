//! Statements as the shared calls write them, over MariaDB, which knows parameters by their order only.
//!
//! `$2` becomes `?`, and its value is given as often as it is named. `on conflict (…) do nothing` at the
//! end becomes a plain insert whose "duplicate key" counts as no row: `insert ignore` would also cut
//! what is too long, and `on duplicate key update` does not tell whether a row was there.

use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlQueryResult, MySqlRow};
use sqlx::{Arguments as _, AssertSqlSafe, MySql};

use super::dialect::number;

/// ER_DUP_ENTRY.
pub(super) const DUPLICATE_KEY: u16 = 1062;

/// A parameter's value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    /// What it takes in a packet, in bytes: at most nine say how long it is.
    pub(super) fn size(&self) -> usize {
        9 + match self {
            Self::Null | Self::Int(_) => 0,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A statement and its values so far.
#[derive(Debug)]
pub(super) struct Query {
    statement: &'static str,
    values: Vec<Value>,
}

/// A statement with numbered parameters; the values follow in the order of their numbers.
pub(super) fn query(statement: &'static str) -> Query {
    Query {
        statement,
        values: Vec::new(),
    }
}

type Ready = sqlx::query::Query<'static, MySql, MySqlArguments>;

impl Query {
    /// The value of the next number.
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs it; answers how many rows it found or made.
    pub(super) async fn execute(
        self,
        db: &mut MySqlConnection,
    ) -> Result<MySqlQueryResult, sqlx::Error> {
        let spoken = Spoken::of(self.statement);
        let unless_there = spoken.unless_there;
        match spoken.with(&self.values)?.execute(db).await {
            Err(error) if unless_there && number(&error) == Some(DUPLICATE_KEY) => {
                Ok(MySqlQueryResult::default())
            }
            other => other,
        }
    }

    /// Its only row.
    pub(super) async fn fetch_one(self, db: &mut MySqlConnection) -> Result<MySqlRow, sqlx::Error> {
        self.ready()?.fetch_one(db).await
    }

    /// Its row, if it has one.
    pub(super) async fn fetch_optional(
        self,
        db: &mut MySqlConnection,
    ) -> Result<Option<MySqlRow>, sqlx::Error> {
        self.ready()?.fetch_optional(db).await
    }

    /// Its rows.
    pub(super) async fn fetch_all(
        self,
        db: &mut MySqlConnection,
    ) -> Result<Vec<MySqlRow>, sqlx::Error> {
        self.ready()?.fetch_all(db).await
    }

    fn ready(self) -> Result<Ready, sqlx::Error> {
        Spoken::of(self.statement).with(&self.values)
    }
}

/// Runs a statement that has its parameters by order already.
pub(super) async fn execute_in_order<'v>(
    db: &mut MySqlConnection,
    statement: String,
    values: impl Iterator<Item = &'v Value>,
) -> Result<MySqlQueryResult, sqlx::Error> {
    let arguments = arguments(values)?;
    sqlx::query_with(AssertSqlSafe(statement), arguments)
        .execute(db)
        .await
}

fn arguments<'v>(values: impl Iterator<Item = &'v Value>) -> Result<MySqlArguments, sqlx::Error> {
    let mut arguments = MySqlArguments::default();
    for value in values {
        match value {
            Value::Null => arguments.add(None::<&str>),
            Value::Int(number) => arguments.add(*number),
            Value::Text(text) => arguments.add(text.as_str()),
            Value::Bytes(bytes) => arguments.add(bytes.as_slice()),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// A statement in MariaDB's words.
#[derive(Debug, PartialEq)]
struct Spoken {
    text: String,
    /// Which value stands at each `?`, counted from 1.
    order: Vec<usize>,
    /// A taken key is no error.
    unless_there: bool,
}

impl Spoken {
    fn of(statement: &str) -> Self {
        let conflict = statement
            .strip_suffix(" do nothing")
            .and_then(|statement| statement.rsplit_once(" on conflict ("));
        let plain = conflict.map_or(statement, |(insert, _)| insert);
        let mut parts = plain.split('$');
        let mut text = parts.next().unwrap_or_default().to_owned();
        let mut order = Vec::new();
        for part in parts {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
            match part.strip_suffix(rest).map(str::parse) {
                Some(Ok(number)) => {
                    order.push(number);
                    text.push('?');
                }
                // A path in JSON.
                _ => text.push('$'),
            }
            text.push_str(rest);
        }
        Self {
            text,
            order,
            unless_there: conflict.is_some(),
        }
    }

    fn with(self, values: &[Value]) -> Result<Ready, sqlx::Error> {
        let missing = || sqlx::Error::Encode("a statement names a value that is not there".into());
        let in_order = self
            .order
            .iter()
            .map(|number| number.checked_sub(1).and_then(|at| values.get(at)))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(missing)?;
        let arguments = arguments(in_order.into_iter())?;
        Ok(sqlx::query_with(AssertSqlSafe(self.text), arguments))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_places_and_json_paths_stay() {
        let spoken = Spoken::of("select $2, '$[0]', $1 || $12, '$.a' from t where $2 is null");
        assert_eq!(
            spoken.text,
            "select ?, '$[0]', ? || ?, '$.a' from t where ? is null"
        );
        assert_eq!(spoken.order, [2, 1, 12, 2]);
        assert!(!spoken.unless_there);
        assert!(spoken.with(&[Value::Null, Value::Int(1)]).is_err());
    }

    #[test]
    fn a_conflict_that_does_nothing_is_a_plain_insert() {
        let spoken = Spoken::of("insert into a (b) values ($1) on conflict (\"b\", c) do nothing");
        assert_eq!(spoken.text, "insert into a (b) values (?)");
        assert!(spoken.unless_there);
    }
}
