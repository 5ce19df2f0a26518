//! Databases, reached through the host under the task's grants. One call is one statement; values travel
//! as parameters only.
//!
//! Errors have the codes in `wit/deps/sql`: `sql.denied`, `sql.invalid`, `sql.unknown-database`,
//! `sql.timeout`, `sql.connect`, `sql.closed`, `limit.sql-rows`, `limit.sql-bytes`,
//! `limit.sql-calls`, and `sql.<SQLSTATE or native code>`. A value of another type than asked for is `sql.value`.
//!
//! ```no_run
//! # fn main() -> flowweaver_task::Result<()> {
//! use flowweaver_task::sql::{Database, params};
//!
//! #[derive(serde::Deserialize)]
//! struct Review {
//!     id: i64,
//!     body: String,
//! }
//!
//! let blog = Database::open("blog")?;
//! let reviews: Vec<Review> = blog.query_as("select id, body from product_review where stars >= ?", params![4])?;
//! blog.transaction(|tx| {
//!     tx.execute("insert into seen (id) values (?)", params![reviews.len()])?;
//!     tx.execute("delete from queue", &[])
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! Parameters are marked as the database does it: `?` on SQLite and MariaDB, `$1` on PostgreSQL. An attempt
//! has one transaction at a time, which does one thing at a time: the rows of a query in it are read to
//! their end (`.all()`), or dropped, before its next statement. After a statement or a batch of it has
//! failed, it goes on without that on SQLite and MariaDB, and is given up as a whole on PostgreSQL
//! (`sql.25P02`). A transaction that waits long for its task is rolled back by the host (`sql.closed`): slow
//! work belongs before it or after it.
//!
//! MariaDB's `json` columns come as [`Value::Text`]: the type is text with a check there.
//!
//! A task may be tried again after its transaction was committed; [`Database::once`] keeps its effect from
//! happening twice.

mod decode;
pub mod once;
mod row;
mod value;

use serde::de::DeserializeOwned;

pub use once::Once;
pub use row::{Row, Rows};
pub use value::{FromValue, Value};

#[doc(inline)]
pub use crate::__sql_params as params;
use crate::{Result, host};

/// The parameters of a statement: `params![id, "text", Some(3)]`. For none, write `&[]`.
#[doc(hidden)]
#[macro_export]
macro_rules! __sql_params {
    () => {
        &[] as &[$crate::sql::Value]
    };
    ($($value:expr),+ $(,)?) => {
        &[$($crate::sql::Value::from($value)),+][..] as &[$crate::sql::Value]
    };
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name or alias.
    pub name: String,
    /// The type's name in the database.
    pub type_name: String,
}

/// A database that the task was granted.
#[derive(Debug)]
pub struct Database(host::sql::Database);

/// A transaction. Dropping it rolls it back.
#[derive(Debug)]
#[must_use = "dropping a transaction rolls it back"]
pub struct Transaction(host::sql::Transaction);

impl Database {
    /// Opens a database by the name that the grant uses.
    ///
    /// # Errors
    /// What the host answers; see the module's page.
    pub fn open(name: &str) -> Result<Self> {
        host::sql::Database::open(name).map(Database)
    }

    /// Begins a transaction. One may be open at a time.
    ///
    /// # Errors
    /// What the host answers; see the module's page.
    pub fn begin(&self) -> Result<Transaction> {
        self.0.begin().map(Transaction)
    }

    /// Runs `work` in a transaction: committed when it is `Ok`, rolled back when it is `Err`.
    ///
    /// # Errors
    /// What `work` returns, or what the host answers to `begin` and `commit`.
    pub fn transaction<T>(&self, work: impl FnOnce(&Transaction) -> Result<T>) -> Result<T> {
        let transaction = self.begin()?;
        let value = work(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }
}

impl Transaction {
    /// Makes the changes durable. After an error the outcome is unknown unless its code says otherwise.
    ///
    /// # Errors
    /// What the host answers; see the module's page.
    pub fn commit(self) -> Result<()> {
        self.0.commit()
    }

    /// Undoes the changes.
    ///
    /// # Errors
    /// What the host answers; see the module's page.
    pub fn rollback(self) -> Result<()> {
        self.0.rollback()
    }
}

/// The statements that a database and a transaction run alike.
macro_rules! statements {
    ($owner:ty) => {
        impl $owner {
            /// Runs a statement that returns rows.
            ///
            /// # Errors
            /// What the host answers; see the module's page.
            pub fn query(&self, statement: &str, parameters: &[Value]) -> Result<Rows> {
                self.0.query(statement, parameters).map(Rows::of)
            }

            /// Runs a statement and decodes each row into `T`, by column names.
            ///
            /// # Errors
            /// What the host answers; `sql.value` when a row does not fit.
            pub fn query_as<T: DeserializeOwned>(
                &self,
                statement: &str,
                parameters: &[Value],
            ) -> Result<Vec<T>> {
                self.query(statement, parameters)?
                    .map(|row| row?.decode())
                    .collect()
            }

            /// Runs a statement and answers its first row, if there is one.
            ///
            /// # Errors
            /// What the host answers; see the module's page.
            pub fn query_one(&self, statement: &str, parameters: &[Value]) -> Result<Option<Row>> {
                self.query(statement, parameters)?.next().transpose()
            }

            /// Runs a statement that changes rows; answers how many.
            ///
            /// # Errors
            /// What the host answers; see the module's page.
            pub fn execute(&self, statement: &str, parameters: &[Value]) -> Result<u64> {
                self.0.execute(statement, parameters)
            }

            /// Runs one statement for each list of parameters, all or none; answers the counts.
            ///
            /// # Errors
            /// What the host answers; see the module's page.
            pub fn execute_batch(
                &self,
                statement: &str,
                parameters: &[Vec<Value>],
            ) -> Result<Vec<u64>> {
                self.0.execute_batch(statement, parameters)
            }
        }
    };
}

statements!(Database);
statements!(Transaction);
