//! A prepared statement that is used again and again: one value after the other, then run.

use std::fmt::{Display, Write as _};

use rusqlite::types::Null;
use rusqlite::{Connection, PrepFlags, Statement, ToSql};

use super::dialect::fault_of;
use crate::clock::Timestamp;
use crate::store::commit::Fault;
use crate::store::text::stored;

/// A prepared statement whose parameters are given one after the other, all of them each time.
pub(super) struct Put<'c> {
    statement: Statement<'c>,
    at: usize,
    /// Whether a value is too large to be kept.
    large: bool,
    id: String,
    #[cfg(test)]
    file: std::path::PathBuf,
}

/// A statement keeps its values until the next ones come; those above this many bytes are let go at once.
const KEPT_BYTES: usize = 16 << 10;

impl<'c> Put<'c> {
    pub(super) fn new(db: &'c Connection, sql: &str) -> Result<Self, Fault> {
        let statement = db.prepare_with_flags(sql, PrepFlags::SQLITE_PREPARE_PERSISTENT);
        Ok(Self {
            statement: statement.map_err(fault_of)?,
            at: 0,
            large: false,
            id: String::new(),
            #[cfg(test)]
            file: db.path().unwrap_or_default().into(),
        })
    }

    /// The same with its first parameter to come.
    pub(super) fn open(&mut self) -> &mut Self {
        self.at = 0;
        self
    }

    /// A value whose form is ours: a number, a name, a state.
    pub(super) fn raw(&mut self, value: impl ToSql) -> Result<&mut Self, Fault> {
        self.at += 1;
        self.statement
            .raw_bind_parameter(self.at, value)
            .map_err(fault_of)?;
        Ok(self)
    }

    pub(super) fn id(&mut self, id: impl Display) -> Result<&mut Self, Fault> {
        let mut text = std::mem::take(&mut self.id);
        text.clear();
        write!(text, "{id}").map_err(broken)?;
        self.raw(text.as_str())?;
        self.id = text;
        Ok(self)
    }

    pub(super) fn opt_id(&mut self, id: Option<impl Display>) -> Result<&mut Self, Fault> {
        match id {
            Some(id) => self.id(id),
            None => self.raw(Null),
        }
    }

    /// Text that came from somewhere else.
    pub(super) fn text(&mut self, text: &str) -> Result<&mut Self, Fault> {
        self.large |= text.len() > KEPT_BYTES;
        self.raw(stored(text).as_ref())
    }

    pub(super) fn opt_text(&mut self, text: Option<&str>) -> Result<&mut Self, Fault> {
        match text {
            Some(text) => self.text(text),
            None => self.raw(Null),
        }
    }

    pub(super) fn time(&mut self, at: Timestamp) -> Result<&mut Self, Fault> {
        self.raw(at.as_micros())
    }

    pub(super) fn opt_time(&mut self, at: Option<Timestamp>) -> Result<&mut Self, Fault> {
        self.raw(at.map(Timestamp::as_micros))
    }

    /// How many rows it changed.
    pub(super) fn run(&mut self) -> Result<usize, Fault> {
        #[cfg(test)]
        super::failpoint::statement(&self.file)?;
        let changed = self.statement.raw_execute().map_err(fault_of);
        if std::mem::take(&mut self.large) {
            self.statement.clear_bindings();
        }
        changed
    }

    /// Its rows.
    pub(super) fn all<T>(
        &mut self,
        read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Fault> {
        let mut rows = self.statement.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(fault_of)? {
            found.push(read(row).map_err(fault_of)?);
        }
        Ok(found)
    }

    /// Its first row, if there is one.
    pub(super) fn first<T>(
        &mut self,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Fault> {
        #[cfg(test)]
        super::failpoint::statement(&self.file)?;
        let mut rows = self.statement.raw_query();
        let row = rows.next().map_err(fault_of)?;
        row.map(read).transpose().map_err(fault_of)
    }
}

pub(super) fn broken(error: impl Display) -> Fault {
    Fault::Corrupt(error.to_string())
}
