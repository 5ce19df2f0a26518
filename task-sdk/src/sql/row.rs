//! Rows, read in portions, and the typed ways into one. How a whole row becomes a type is in `decode`.

use std::{rc::Rc, vec};

use serde::de::DeserializeOwned;

use super::{Column, FromValue, Value, decode};
use crate::{Error, Result, host};

/// Rows asked for at a time: calls stay rare, and a portion of ordinary rows fits any memory limit.
const PORTION: u32 = 256;

/// The rows of a query, in order; an iterator.
#[derive(Debug)]
pub struct Rows {
    source: host::sql::Rows,
    columns: Rc<[Column]>,
    portion: vec::IntoIter<Vec<Value>>,
    ended: bool,
}

impl Rows {
    pub(super) fn of(source: host::sql::Rows) -> Self {
        let columns = source.columns().into();
        Rows {
            source,
            columns,
            portion: Vec::new().into_iter(),
            ended: false,
        }
    }

    /// The columns, in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Reads all rows that are left.
    ///
    /// # Errors
    /// What the host answers: `sql.timeout`, `limit.sql-rows`, `limit.sql-bytes` and so on.
    pub fn all(self) -> Result<Vec<Row>> {
        self.collect()
    }
}

impl Iterator for Rows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.portion.len() == 0 && !self.ended {
            match self.source.next(PORTION) {
                Ok(rows) => {
                    self.ended = rows.is_empty();
                    self.portion = rows.into_iter();
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        let values = self.portion.next()?;
        Some(Ok(Row {
            columns: Rc::clone(&self.columns),
            values,
        }))
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    columns: Rc<[Column]>,
    values: Vec<Value>,
}

impl Row {
    /// The value of a column, by its name or alias; of the first, if several have it.
    pub fn value(&self, column: &str) -> Option<&Value> {
        let at = self.columns.iter().position(|each| each.name == column)?;
        self.values.get(at)
    }

    /// The value of a column as `T`.
    ///
    /// # Errors
    /// `sql.value`, permanent: there is no such column, or its value is not a `T`.
    pub fn get<T: FromValue>(&self, column: &str) -> Result<T> {
        let Some(value) = self.value(column) else {
            let names: Vec<&str> = self.columns.iter().map(|each| each.name.as_str()).collect();
            return Err(Error::permanent(
                "sql.value",
                format!(
                    "there is no column `{column}`; there are {}",
                    names.join(", ")
                ),
            ));
        };
        T::from_value(value).ok_or_else(|| {
            Error::permanent(
                "sql.value",
                format!(
                    "column `{column}` holds {}, not {}",
                    value.kind(),
                    T::WANTED
                ),
            )
        })
    }

    /// The values with their column names, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.columns
            .iter()
            .map(|column| column.name.as_str())
            .zip(&self.values)
    }

    /// The whole row as `T`, by column names.
    ///
    /// # Errors
    /// `sql.value`, permanent, naming the column.
    pub fn decode<T: DeserializeOwned>(self) -> Result<T> {
        serde_path_to_error::deserialize(decode::RowReader::of(&self))
            .map_err(|error| Error::permanent("sql.value", format!("a row does not fit: {error}")))
    }
}
