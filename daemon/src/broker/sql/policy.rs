//! Whether a statement is covered by a grant. Pure: the database is not asked here, and it checks
//! again for itself.
//!
//! A statement is refused unless every part of it is understood: one query, over granted tables and
//! views, with listed functions. What only other dialects have is refused as not understood.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, ObjectName, Query, Select, SetExpr, Statement, TableFactor, Visit, Visitor, With,
};
use sqlparser::dialect::SQLiteDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer, Whitespace};

use super::functions;
use crate::broker::error::Refusal;

/// Longer statements are data in the wrong place: values travel as parameters.
const STATEMENT_BYTES_MAX: usize = 64 * 1024;

/// What a task may do with one database: the grant, cut down to what the operator allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Tables and views, lower case, without the schema `main`.
    pub tables: BTreeSet<String>,
}

/// A query that may be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecidedQuery {
    /// What is run: the statement as it was understood, written out again. Whatever a database would
    /// have read otherwise, comments among it, is not there any more.
    pub text: String,
    /// The names that its `WITH` clauses define, lower case; never a granted table's.
    pub ctes: BTreeSet<String>,
}

/// Decides on a query in SQLite's dialect.
///
/// Errors: `sql.invalid` when it is not one statement that can be parsed; `sql.denied` when it is
/// anything but a query over what is allowed.
pub fn decide_query(statement: &str, allowed: &Allowed) -> Result<DecidedQuery, Refusal> {
    let parsed = parse(statement)?;
    let [statement @ Statement::Query(_)] = parsed.as_slice() else {
        return Err(match parsed.as_slice() {
            [] => Refusal::permanent("sql.invalid", "the statement is empty"),
            [_] => denied("only a query can be run here; this statement is of another kind"),
            _ => denied("one call is one statement"),
        });
    };
    let mut walk = Walk {
        allowed,
        scopes: Vec::new(),
        ctes: BTreeSet::new(),
    };
    match parsed.visit(&mut walk) {
        ControlFlow::Continue(()) => Ok(DecidedQuery {
            text: statement.to_string(),
            ctes: walk.ctes,
        }),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

fn parse(statement: &str) -> Result<Vec<Statement>, Refusal> {
    let invalid = |why: String| Refusal::permanent("sql.invalid", why);
    if statement.len() > STATEMENT_BYTES_MAX {
        return Err(invalid(format!(
            "a statement has at most {STATEMENT_BYTES_MAX} bytes"
        )));
    }
    // A database reads a statement up to the first NUL, a parser past it.
    if statement.contains('\0') {
        return Err(invalid("a statement holds no NUL".to_owned()));
    }
    let dialect = SQLiteDialect {};
    let tokens = Tokenizer::new(&dialect, statement)
        .tokenize()
        .map_err(|error| invalid(format!("the statement cannot be read: {error}")))?;
    // Some databases run these comments.
    let runs = |token: &Token| matches!(token, Token::Whitespace(Whitespace::MultiLineComment(text)) if text.starts_with(['!', '+', 'M']));
    if tokens.iter().any(runs) {
        return Err(denied(
            "a comment that some databases execute is not allowed",
        ));
    }
    Parser::parse_sql(&dialect, statement)
        .map_err(|error| invalid(format!("the statement cannot be parsed: {error}")))
}

fn denied(why: impl Into<String>) -> Refusal {
    Refusal::permanent("sql.denied", why)
}

/// Looks at every part of a statement and stops at the first that is not allowed.
struct Walk<'a> {
    allowed: &'a Allowed,
    /// The names of the `WITH` clauses around the place, innermost last.
    scopes: Vec<BTreeSet<String>>,
    ctes: BTreeSet<String>,
}

impl Walk<'_> {
    fn stop<T>(why: impl Into<String>) -> ControlFlow<Refusal, T> {
        ControlFlow::Break(denied(why))
    }

    /// The names that a `WITH` defines. None may be a granted table's: the database is told what a
    /// granted view reads by the view's name, and nobody else may bear it.
    fn define(&self, with: &With) -> ControlFlow<Refusal, BTreeSet<String>> {
        let names: Vec<String> = with
            .cte_tables
            .iter()
            .map(|cte| lower(&cte.alias.name.value))
            .collect();
        for name in &names {
            if self.allowed.tables.contains(name) {
                return Self::stop(format!(
                    "`{name}` is a granted table; name the WITH clause otherwise"
                ));
            }
        }
        // Databases disagree about what a clause means that names a later one, or itself, without RECURSIVE.
        if !with.recursive {
            for (position, cte) in with.cte_tables.iter().enumerate() {
                let later: BTreeSet<&String> = names.iter().skip(position).collect();
                if mentions(&cte.query, &later) {
                    return Self::stop(
                        "a WITH clause names itself or a later one; write WITH RECURSIVE",
                    );
                }
            }
        }
        ControlFlow::Continue(names.into_iter().collect())
    }

    fn is_defined(&self, name: &str) -> bool {
        self.scopes.iter().any(|scope| scope.contains(name))
    }
}

impl Visitor for Walk<'_> {
    type Break = Refusal;

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<Refusal> {
        match statement {
            Statement::Query(_) => ControlFlow::Continue(()),
            _ => Self::stop(
                "only a query can be run here; a part of this statement is of another kind",
            ),
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        if !query.locks.is_empty() {
            return Self::stop("a query does not lock rows");
        }
        if query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty()
        {
            return Self::stop("a clause of this query is not understood");
        }
        if !only_queries(&query.body) {
            return Self::stop("a part of this query changes data or is not understood");
        }
        let scope = match &query.with {
            Some(with) => self.define(with)?,
            None => BTreeSet::new(),
        };
        self.ctes.extend(scope.iter().cloned());
        self.scopes.push(scope);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Refusal> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Refusal> {
        if select.into.is_some() {
            return Self::stop("SELECT INTO makes a table");
        }
        if !select.lateral_views.is_empty()
            || !select.connect_by.is_empty()
            || !select.optimizer_hints.is_empty()
        {
            return Self::stop("a clause of this query is not understood");
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Refusal> {
        match factor {
            TableFactor::Table {
                args: None,
                version: None,
                json_path: None,
                ..
            }
            | TableFactor::Derived { .. }
            | TableFactor::NestedJoin { .. } => ControlFlow::Continue(()),
            _ => Self::stop("a query reads granted tables and views, no table functions"),
        }
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Refusal> {
        let Some(name) = plain_name(relation) else {
            return Self::stop(format!("the table `{relation}` is not granted"));
        };
        if (relation.0.len() == 1 && self.is_defined(&name)) || self.allowed.tables.contains(&name)
        {
            return ControlFlow::Continue(());
        }
        Self::stop(format!("the table `{name}` is not granted"))
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<Refusal> {
        if let Expr::Function(function) = expression {
            let name = match plain_name(&function.name) {
                Some(name) if function.name.0.len() == 1 => name,
                _ => return Self::stop(format!("the function `{}` is not allowed", function.name)),
            };
            if !functions::is_allowed(&name) {
                return Self::stop(format!("the function `{name}` is not allowed"));
            }
        }
        ControlFlow::Continue(())
    }
}

/// The name of a table of this database: alone, or in the schema `main`.
fn plain_name(name: &ObjectName) -> Option<String> {
    let mut parts = Vec::new();
    for part in &name.0 {
        parts.push(lower(&part.as_ident()?.value));
    }
    match parts.as_slice() {
        [table] => Some(table.clone()),
        [schema, table] if schema == "main" => Some(table.clone()),
        _ => None,
    }
}

/// SQLite folds the case of ASCII letters only, in quoted names too.
fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}

fn only_queries(body: &SetExpr) -> bool {
    match body {
        // `Query` and the parts of `Select` and `Values` are visited on their own.
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => true,
        SetExpr::SetOperation { left, right, .. } => only_queries(left) && only_queries(right),
        SetExpr::Insert(_)
        | SetExpr::Update(_)
        | SetExpr::Delete(_)
        | SetExpr::Merge(_)
        | SetExpr::Table(_) => false,
    }
}

fn mentions(query: &Query, names: &BTreeSet<&String>) -> bool {
    struct Mentions<'a>(&'a BTreeSet<&'a String>);
    impl Visitor for Mentions<'_> {
        type Break = ();
        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
            match plain_name(relation) {
                Some(name) if self.0.contains(&name) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    query.visit(&mut Mentions(names)).is_break()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(statement: &str) -> Result<DecidedQuery, Refusal> {
        let tables = ["product_review", "live"].map(str::to_owned).into();
        decide_query(statement, &Allowed { tables })
    }

    #[test]
    fn what_is_not_a_query_over_granted_tables_is_denied() {
        for statement in [
            "select 1; drop table product_review",
            "select 1; select 2",
            "insert into product_review values (1)",
            "update product_review set a = 1",
            "delete from product_review",
            "replace into product_review values (1)",
            "create table a (b)",
            "drop table product_review",
            "attach database 'x' as y",
            "vacuum into 'x'",
            "pragma table_info(product_review)",
            "begin",
            "commit",
            "explain select 1",
            "explain query plan delete from product_review",
            "select * from secret",
            "select * from product_review, secret",
            "select * from product_review join secret using (id)",
            "select * from (select * from secret) as product_review",
            "select (select max(id) from secret)",
            "select * from product_review where exists (select 1 from secret)",
            "select * from product_review where id in secret",
            "select * from product_review order by (select 1 from secret)",
            "select * from product_review union all select * from secret",
            "values ((select id from secret))",
            "select * from \"secret\"",
            "select * from [secret]",
            "select * from `secret`",
            "select * from SECRET",
            "select * from main.secret",
            "select * from temp.product_review",
            "select * from other.product_review",
            "select * from sqlite_master",
            "select * from pragma_table_info('product_review')",
            "select * from json_each('[1]')",
            "with product_review as (select * from secret) select * from product_review",
            "with PRODUCT_REVIEW as (select 1) select * from product_review",
            "with a as (select * from secret) select * from a",
            "with a as (select * from b), b as (select 1) select * from a",
            "with a as (select * from a) select * from a",
            "select * from secret, (with secret as (select 1) select * from secret)",
            "with a as (delete from product_review returning *) select * from a",
            "select * into copy from product_review",
            "select * from product_review for update",
            "select load_extension('x')",
            "select readfile('/etc/passwd')",
            "select writefile('x', 'y')",
            "select main.lower('x')",
            "select sqlite_version()",
            "select /*! 1 */ 2",
            "select /*+ hint */ 2",
        ] {
            let refusal = decide(statement).unwrap_err();
            // What this parser does not know at all is as little run.
            assert!(
                matches!(refusal.code.as_str(), "sql.denied" | "sql.invalid"),
                "{statement}: {refusal}"
            );
        }
        assert_eq!(decide("").unwrap_err().code, "sql.invalid");
        assert_eq!(decide("selec 1").unwrap_err().code, "sql.invalid");
        assert_eq!(
            decide(&format!("select {}1{}", "(".repeat(5000), ")".repeat(5000)))
                .unwrap_err()
                .code,
            "sql.invalid"
        );
    }

    #[test]
    fn ordinary_queries_are_allowed() {
        for statement in [
            "select 1;",
            "select * from product_review",
            "SELECT * FROM \"Product_Review\" AS r WHERE r.id = ?1 -- why",
            "select count(*), max(r.stars) from main.product_review r group by lower(r.name) having count(*) > 1",
            "select * from live where id in (select id from product_review) order by 1 limit 10 offset 5",
            "with best as (select * from product_review), few as (select * from best limit 3) select * from few",
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < 9) select i from n",
            "select a.id from product_review a left join (select * from live) b on a.id = b.id",
            "select row_number() over (partition by a order by b) from live",
            "values (1), (2)",
            "select case when cast(a as text) like 'x%' then json_extract(b, '$.c') end from live /* fine */",
        ] {
            let decided = decide(statement).unwrap();
            // What is written out again means the same.
            assert_eq!(decide(&decided.text), Ok(decided.clone()), "{statement}");
        }
    }
}
