//! The tables that a statement names, allowed or not: for the answer to a denial, which says what would
//! have to be granted. Nothing is decided on it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{Ident, ObjectName, Query, TableFactor, Visit as _, Visitor};

use super::dialect::{Dialect, joined};
use super::{STACK_BYTES, lex};

/// The tables that a statement names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// Each in the form that grants are compared in.
    pub tables: BTreeSet<String>,
    /// Those of them that stand somewhere without their schema.
    pub bare: BTreeSet<String>,
}

/// The tables that a statement names, its own `WITH` names and table functions not among them; none if it cannot be
/// read.
pub fn tables_named(statement: &str, dialect: Dialect) -> Option<Named> {
    stacker::grow(STACK_BYTES, || {
        let parsed = lex::parse(statement, dialect).ok()?;
        let mut names = Names {
            dialect,
            is_function: false,
            tables: Vec::new(),
            own: BTreeSet::new(),
        };
        // It stops nowhere.
        let ControlFlow::Continue(()) = parsed.visit(&mut names);
        let mut named = Named::default();
        for parts in &names.tables {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let Some(table) = joined(dialect, &parts) else {
                continue;
            };
            if let [part] = parts.as_slice() {
                if names.own.contains(*part) {
                    continue;
                }
                named.bare.insert(table.clone());
            }
            named.tables.insert(table);
        }
        Some(named)
    })
}

struct Names {
    dialect: Dialect,
    /// The next relation is the name of a function.
    is_function: bool,
    /// The parts of each name, as the database reads them.
    tables: Vec<Vec<String>>,
    own: BTreeSet<String>,
}

impl Names {
    fn read(&self, name: &Ident) -> String {
        let read = match name.quote_style {
            Some(_) => name.value.clone(),
            None => self.dialect.unquoted(&name.value),
        };
        match self.dialect {
            Dialect::Sqlite => self.dialect.folded(&read),
            Dialect::Postgres | Dialect::MariaDb => read,
        }
    }
}

impl Visitor for Names {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let name = self.read(&cte.alias.name);
            self.own.insert(name);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        self.is_function = matches!(factor, TableFactor::Table { args: Some(_), .. });
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Self::Break> {
        if std::mem::take(&mut self.is_function) {
            return ControlFlow::Continue(());
        }
        let parts: Option<Vec<String>> = relation
            .0
            .iter()
            .map(|part| part.as_ident().map(|name| self.read(name)))
            .collect();
        self.tables.extend(parts);
        ControlFlow::Continue(())
    }
}
