//! Looks at every part of a statement and stops at the first that is not allowed.
//!
//! Each structure of the parser is taken apart field by field, so that a field which a later version
//! adds does not pass unseen. On its way the walk puts every name into quotes, as the database itself
//! would write it: what was taken for a name cannot be read as anything else.

use std::collections::{BTreeMap, BTreeSet};

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart, With};

use super::Allowed;
use super::dialect::{Dialect, is_like_a_granted, joined};
use super::refusal::{self, denied, invalid, shown};
use crate::broker::error::Refusal;

/// One look.
pub(super) type Step<T = ()> = Result<T, Refusal>;

pub(super) struct Walk<'a> {
    pub(super) allowed: &'a Allowed,
    pub(super) dialect: Dialect,
    /// The names of the `WITH` clauses that the place sees, innermost last.
    scopes: Vec<BTreeSet<String>>,
    pub(super) ctes: BTreeSet<String>,
    /// Table functions by their alias, with the columns each is known to have.
    pub(super) function_tables: BTreeMap<String, BTreeSet<String>>,
    /// Columns that were named with their table.
    pub(super) columns: Vec<(String, String)>,
    /// How many values the statement takes, as far as it was seen.
    pub(super) placeholders: usize,
    pub(super) changes: bool,
    pub(super) locks: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(allowed: &'a Allowed) -> Self {
        Self {
            allowed,
            dialect: allowed.dialect,
            scopes: Vec::new(),
            ctes: BTreeSet::new(),
            function_tables: BTreeMap::new(),
            columns: Vec::new(),
            placeholders: 0,
            changes: false,
            locks: false,
        }
    }

    /// Puts a name into quotes and answers it as the database will read it.
    pub(super) fn ident(&mut self, ident: &mut Ident) -> Step<String> {
        let name = match ident.quote_style {
            Some('\'') => {
                return Err(invalid(
                    "a name in single quotes is read in two ways; write it without",
                ));
            }
            Some(_) => ident.value.clone(),
            None => {
                // A server with a one-byte encoding would fold these letters too.
                let folds = |c: char| !c.is_ascii() && c.is_uppercase();
                if self.dialect == Dialect::Postgres && ident.value.contains(folds) {
                    return Err(invalid("put a name with such capitals into quotes"));
                }
                self.dialect.unquoted(&ident.value)
            }
        };
        let is_odd = |c: char| c.is_control() || "\"'`[]".contains(c);
        if name.is_empty() || name.contains(is_odd) {
            return Err(invalid(
                "a name holds a quote, a bracket or a control character, or is empty",
            ));
        }
        if name.starts_with('@') {
            return Err(denied(
                "variables of the session (`@x`, `@@x`) are not allowed",
            ));
        }
        if name.len() > self.dialect.name_bytes_max() {
            return Err(invalid(format!("the name `{}` is too long", shown(&name))));
        }
        ident.value.clone_from(&name);
        ident.quote_style = Some(self.dialect.quote());
        Ok(name)
    }

    pub(super) fn idents(&mut self, idents: &mut [Ident]) -> Step {
        idents
            .iter_mut()
            .try_for_each(|ident| self.ident(ident).map(drop))
    }

    /// The parts of a name with dots.
    pub(super) fn parts(&mut self, name: &mut ObjectName) -> Step<Vec<String>> {
        let ObjectName(parts) = name;
        let part = |part: &mut ObjectNamePart| match part {
            ObjectNamePart::Identifier(ident) => self.ident(ident),
            ObjectNamePart::Function(_) => Err(not_understood("a name that is computed")),
        };
        parts.iter_mut().map(part).collect()
    }

    /// A name without dots: a column's, a constraint's, a collation's.
    pub(super) fn single(&mut self, name: &mut ObjectName) -> Step<String> {
        let mut parts = self.parts(name)?;
        match (parts.pop(), parts.is_empty()) {
            (Some(part), true) => Ok(part),
            _ => Err(not_understood("a name with dots in this place")),
        }
    }

    /// A table that is read: granted, or a `WITH` clause.
    pub(super) fn source(&mut self, name: &mut ObjectName) -> Step {
        let parts = self.parts(name)?;
        if let [part] = parts.as_slice()
            && self.is_defined(part)
        {
            return Ok(());
        }
        self.granted(&parts).map(drop)
    }

    /// A table that is written. Databases look past `WITH` clauses here, and so is done here.
    pub(super) fn target(&mut self, name: &mut ObjectName) -> Step {
        let parts = self.parts(name)?;
        self.granted(&parts).map(drop)
    }

    fn granted(&self, parts: &[String]) -> Step<String> {
        let folded: Vec<String> = parts
            .iter()
            .map(|part| match self.dialect {
                Dialect::Sqlite => self.dialect.folded(part),
                Dialect::Postgres | Dialect::MariaDb => part.clone(),
            })
            .collect();
        let folded: Vec<&str> = folded.iter().map(String::as_str).collect();
        let tables = &self.allowed.tables;
        let name = joined(self.dialect, &folded);
        let shown = match (self.dialect, &name) {
            (Dialect::Postgres, Some(name)) => name.clone(),
            _ => parts.join("."),
        };
        match name.as_ref().filter(|name| tables.contains(*name)) {
            Some(name) => Ok(name.clone()),
            None if self.dialect == Dialect::MariaDb
                && is_like_a_granted(self.dialect, &shown, tables) =>
            {
                Err(denied(format!(
                    "the table `{shown}` is not granted: MariaDB may tell capitals apart, so write the name exactly as the grant does"
                )))
            }
            None => Err(refusal::table(&shown, name.is_some(), tables)),
        }
    }

    /// Whether a name in the place of a table is a `WITH` clause's.
    fn is_defined(&self, name: &str) -> bool {
        let name = self.cte_form(name);
        self.scopes.iter().any(|scope| scope.contains(&name))
    }

    fn cte_form(&self, name: &str) -> String {
        match self.dialect {
            Dialect::Sqlite => self.dialect.folded(name),
            Dialect::Postgres | Dialect::MariaDb => name.to_owned(),
        }
    }

    /// Opens the scope of a `WITH`. A clause sees those before it, and itself if it is recursive: where
    /// databases see more than that, the name is no granted table's either.
    pub(super) fn open_scope(&mut self, with: &mut With) -> Step {
        let With {
            with_token: _,
            recursive,
            cte_tables,
        } = with;
        self.scopes.push(BTreeSet::new());
        for cte in cte_tables {
            let sqlparser::ast::Cte {
                alias,
                query,
                from,
                materialized: _,
                closing_paren_token: _,
            } = cte;
            if from.is_some() {
                return Err(not_understood("a FROM after a WITH clause"));
            }
            self.alias(alias)?;
            let name = self.cte_form(&alias.name.value);
            // The database is told what a granted view reads by the view's name, and nobody else may bear it.
            if is_like_a_granted(self.dialect, &name, &self.allowed.tables) {
                return Err(denied(format!(
                    "`{name}` is a granted table; name the WITH clause otherwise"
                )));
            }
            // Databases fold other letters in ways of their own.
            if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(denied(format!(
                    "name the WITH clause `{}` with the letters a to z, digits and `_`",
                    shown(&name)
                )));
            }
            if *recursive {
                self.define(&name);
            }
            self.query(query)?;
            self.define(&name);
            self.ctes.insert(name);
        }
        Ok(())
    }

    fn define(&mut self, name: &str) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_owned());
        }
    }

    pub(super) fn close_scope(&mut self) {
        self.scopes.pop();
    }

    /// Does something where no `WITH` clause is seen.
    pub(super) fn without_scopes(&mut self, look: impl FnOnce(&mut Self) -> Step) -> Step {
        let scopes = std::mem::take(&mut self.scopes);
        look(self)?;
        self.scopes = scopes;
        Ok(())
    }

    /// After the walk: PostgreSQL calls `f(x)` for `x.f` where `x` is what a function answered and has no
    /// column `f`. So only columns that such an `x` surely has may be named this way.
    pub(super) fn check_columns(&self) -> Step {
        for (table, column) in &self.columns {
            if self
                .function_tables
                .get(table)
                .is_some_and(|known| !known.contains(column))
            {
                return Err(denied(format!(
                    "`{table}.{column}`: `{table}` is a table function; name its columns first, as in `… as {table}({column})`"
                )));
            }
        }
        Ok(())
    }
}

/// A part of the language that the policy does not know.
pub(super) fn not_understood(what: &str) -> Refusal {
    denied(format!("{what} is not understood, so it is not run"))
}

/// Each part that must be absent, by name.
pub(super) fn absent(parts: &[(bool, &str)]) -> Step {
    match parts.iter().find(|(present, _)| *present) {
        Some((_, what)) => Err(not_understood(what)),
        None => Ok(()),
    }
}
