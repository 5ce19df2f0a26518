//! An effect that happens once however often its task is tried: the effect and the task's idempotency
//! key are committed together, and a key that is there already says that the effect is too.
//!
//! The keys live in a table of the database in which the effect happens, made once by its owner. On
//! SQLite:
//!
//! ```sql
//! create table flowweaver_once (
//!     idempotency_key text not null, effect text not null, result text,
//!     done_at text not null default current_timestamp,
//!     primary key (idempotency_key, effect)
//! );
//! ```
//!
//! On PostgreSQL:
//!
//! ```sql
//! create table flowweaver_once (
//!     idempotency_key text not null, effect text not null, result text,
//!     done_at timestamptz not null default now(),
//!     primary key (idempotency_key, effect)
//! );
//! ```
//!
//! On MariaDB:
//!
//! ```sql
//! create table flowweaver_once (
//!     idempotency_key char(64) character set ascii not null, effect varchar(100) not null, result mediumtext,
//!     done_at timestamp not null default current_timestamp,
//!     primary key (idempotency_key, effect)
//! ) engine = innodb;
//! ```
//!
//! The task's grant covers it: `mode = "read-write"`, `tables = ["flowweaver_once", …]`. Rows may be
//! deleted once the runs they belong to will not be tried or rerun any more.

use serde::{Serialize, de::DeserializeOwned};

use super::{Database, Transaction, Value, params};
use crate::{Context, Error, Result};

/// The table's usual name.
pub const ONCE_TABLE: &str = "flowweaver_once";
/// A result is a receipt, not a document; MariaDB's smallest text type holds it.
const RESULT_BYTES_MAX: usize = 60_000;
/// What PostgreSQL answers with a boolean, and the others, whose parameters are marked otherwise, with 1.
pub(crate) const PROBE: &str = "select true as is_true";

/// What became of an effect, with its result: that of the attempt that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Once<T> {
    /// It happened now.
    Done(T),
    /// An earlier attempt had made it; nothing happened now.
    AlreadyDone(T),
}

impl<T> Once<T> {
    /// The effect's result, whenever it happened.
    pub fn into_result(self) -> T {
        match self {
            Once::Done(result) | Once::AlreadyDone(result) => result,
        }
    }

    /// Whether it happened now.
    pub fn is_new(&self) -> bool {
        matches!(self, Once::Done(_))
    }
}

impl Database {
    /// Runs `work` in a transaction that also keeps this task's idempotency key for `effect`: both are
    /// committed, or neither is. When the key is there already, answers the result that was kept with it
    /// and runs nothing. A result that a later attempt is to read is small: at most 60,000 bytes of JSON.
    ///
    /// ```no_run
    /// # fn run(cx: &flowweaver_task::Context) -> flowweaver_task::Result<i64> {
    /// use flowweaver_task::sql::{Database, Once, params};
    ///
    /// let shop = Database::open("shop")?;
    /// let placed = shop.once(cx, "order", |tx| {
    ///     tx.execute("update stock set left_over = left_over - 1 where id = 7", &[])?;
    ///     let row = tx.query_one("insert into orders (product) values (7) returning id", &[])?;
    ///     row.map(|row| row.get::<i64>("id")).transpose()
    /// })?;
    /// if let Once::AlreadyDone(order) = &placed {
    ///     flowweaver_task::log::info("ordered by an earlier attempt", &[("order", &format!("{order:?}"))]);
    /// }
    /// Ok(placed.into_result().unwrap_or_default())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What `work` returns, or what the host answers; `sql.value` for a result that is too large, or
    /// that was kept by other code and is not a `T`.
    pub fn once<T: Serialize + DeserializeOwned>(
        &self,
        cx: &Context,
        effect: &str,
        work: impl FnOnce(&Transaction) -> Result<T>,
    ) -> Result<Once<T>> {
        self.once_in(ONCE_TABLE, cx, effect, work)
    }

    /// As [`Database::once`], with the keys in a table of this name (`name` or `schema.name`).
    ///
    /// # Errors
    /// As [`Database::once`]; `sql.invalid` for what is not a table's name.
    pub fn once_in<T: Serialize + DeserializeOwned>(
        &self,
        table: &str,
        cx: &Context,
        effect: &str,
        work: impl FnOnce(&Transaction) -> Result<T>,
    ) -> Result<Once<T>> {
        let keys = Keys {
            statements: Statements::of(table, self.placeholders()?)?,
            key: cx.idempotency_key(),
            effect: effect.to_owned(),
        };
        let transaction = self.begin()?;
        if let Some(kept) = keys.find(&transaction)? {
            transaction.rollback()?;
            return Ok(Once::AlreadyDone(kept));
        }
        if let Err(refused) = keys.claim(&transaction) {
            // Another attempt, perhaps one thought dead, was quicker; then its key is to be seen now.
            drop(transaction);
            let look = self.begin()?;
            let kept = keys.find(&look)?;
            look.rollback()?;
            return kept.map(Once::AlreadyDone).ok_or(refused);
        }
        let result = work(&transaction)?;
        keys.keep(&transaction, &result)?;
        transaction.commit()?;
        Ok(Once::Done(result))
    }

    /// How this database's statements mark their parameters.
    fn placeholders(&self) -> Result<Placeholders> {
        let row = self.query_one(PROBE, &[])?;
        Ok(match row.as_ref().and_then(|row| row.value("is_true")) {
            Some(Value::Boolean(_)) => Placeholders::Numbered,
            _ => Placeholders::Plain,
        })
    }
}

#[derive(Clone, Copy)]
enum Placeholders {
    /// `?`
    Plain,
    /// `$1`
    Numbered,
}

/// The statements over the table of keys.
struct Statements {
    find: String,
    claim: String,
    keep: String,
}

impl Statements {
    fn of(table: &str, placeholders: Placeholders) -> Result<Self> {
        let is_name = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if !table.split('.').all(is_name) || table.split('.').count() > 2 {
            let message = format!("`{table}` is not a table's name");
            return Err(Error::permanent("sql.invalid", message));
        }
        let [one, two, three] = match placeholders {
            Placeholders::Plain => ["?", "?", "?"],
            Placeholders::Numbered => ["$1", "$2", "$3"],
        };
        Ok(Statements {
            find: format!(
                "select result from {table} where idempotency_key = {one} and effect = {two}"
            ),
            claim: format!("insert into {table} (idempotency_key, effect) values ({one}, {two})"),
            keep: format!(
                "update {table} set result = {one} where idempotency_key = {two} and effect = {three}"
            ),
        })
    }
}

/// The key of one effect of this task.
struct Keys {
    statements: Statements,
    key: String,
    effect: String,
}

impl Keys {
    /// The result that was kept with the key, if the key is there.
    fn find<T: DeserializeOwned>(&self, transaction: &Transaction) -> Result<Option<T>> {
        let parameters = params![&self.key, &self.effect];
        let Some(row) = transaction.query_one(&self.statements.find, parameters)? else {
            return Ok(None);
        };
        let text: String = row.get("result")?;
        serde_json::from_str(&text).map(Some).map_err(|error| {
            let effect = &self.effect;
            Error::permanent(
                "sql.value",
                format!("the result kept for `{effect}` does not fit: {error}"),
            )
        })
    }

    fn claim(&self, transaction: &Transaction) -> Result<()> {
        transaction
            .execute(&self.statements.claim, params![&self.key, &self.effect])
            .map(drop)
    }

    fn keep(&self, transaction: &Transaction, result: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(result)?;
        if text.len() > RESULT_BYTES_MAX {
            let message = format!(
                "the result of `{}` has {} bytes of JSON; at most {RESULT_BYTES_MAX} are kept",
                self.effect,
                text.len()
            );
            return Err(Error::permanent("sql.value", message));
        }
        let parameters = params![text, &self.key, &self.effect];
        transaction
            .execute(&self.statements.keep, parameters)
            .map(drop)
    }
}
