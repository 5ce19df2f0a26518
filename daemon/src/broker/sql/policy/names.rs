//! The tables that a statement names, allowed or not: for the answer to a denial, which says what would
//! have to be granted. Nothing is decided on it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{ObjectName, Query, Visit as _, Visitor};

use super::dialect::{Dialect, table_name};
use super::{STACK_BYTES, lex};

/// The tables that a statement names, its own `WITH` names not among them; none if it cannot be read.
pub fn tables_named(statement: &str, dialect: Dialect) -> Option<BTreeSet<String>> {
    stacker::grow(STACK_BYTES, || {
        let parsed = lex::parse(statement, dialect).ok()?;
        let mut names = Names::default();
        // It stops nowhere.
        let ControlFlow::Continue(()) = parsed.visit(&mut names);
        let plain = |name: &String| table_name(dialect, name);
        let own: BTreeSet<String> = names.own.iter().filter_map(plain).collect();
        let tables = names.tables.iter().filter_map(plain);
        Some(tables.filter(|table| !own.contains(table)).collect())
    })
}

#[derive(Default)]
struct Names {
    tables: Vec<String>,
    own: Vec<String>,
}

impl Visitor for Names {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        self.own
            .extend(with.map(|cte| cte.alias.name.value.clone()));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Self::Break> {
        let parts: Option<Vec<&str>> = relation
            .0
            .iter()
            .map(|part| part.as_ident().map(|name| name.value.as_str()))
            .collect();
        self.tables.extend(parts.map(|parts| parts.join(".")));
        ControlFlow::Continue(())
    }
}
