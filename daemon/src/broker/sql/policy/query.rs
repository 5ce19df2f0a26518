//! Queries: what they read, and from where.

use std::collections::BTreeSet;

use sqlparser::ast::{
    Distinct, Fetch, GroupByExpr, GroupByWithModifier, Join, JoinConstraint, JoinOperator,
    LimitClause, LockClause, NamedWindowDefinition, NamedWindowExpr, ObjectName, Offset, OrderBy,
    OrderByExpr, OrderByKind, OrderByOptions, OrderBySort, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, TableAlias, TableFactor,
    TableFunctionArgs, TableWithJoins, Values, WildcardAdditionalOptions,
};

use super::dialect::Dialect;
use super::functions;
use super::refusal::{denied, read_only};
use super::walk::{Step, Walk, absent, not_understood};
use crate::workflow::grant::SqlMode;

impl Walk<'_> {
    pub(super) fn query(&mut self, query: &mut Query) -> Step {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        absent(&[
            (for_clause.is_some(), "FOR XML or JSON"),
            (settings.is_some(), "SETTINGS"),
            (format_clause.is_some(), "FORMAT"),
            (!pipe_operators.is_empty(), "`|>`"),
        ])?;
        let has_scope = with.is_some();
        if let Some(with) = with {
            self.open_scope(with)?;
        }
        self.body(body)?;
        if let Some(OrderBy { kind, interpolate }) = order_by {
            absent(&[(interpolate.is_some(), "INTERPOLATE")])?;
            match kind {
                OrderByKind::All(_) => return Err(not_understood("ORDER BY ALL")),
                OrderByKind::Expressions(keys) => self.order(keys)?,
            }
        }
        match limit_clause {
            Some(LimitClause::LimitOffset {
                limit,
                offset,
                limit_by,
            }) => {
                self.maybe(limit.as_mut())?;
                if let Some(Offset { value, rows: _ }) = offset {
                    self.expression(value)?;
                }
                absent(&[(!limit_by.is_empty(), "LIMIT BY")])?;
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                self.expression(offset)?;
                self.expression(limit)?;
            }
            None => {}
        }
        if let Some(Fetch {
            with_ties: _,
            percent,
            quantity,
        }) = fetch
        {
            absent(&[(*percent, "FETCH PERCENT")])?;
            self.maybe(quantity.as_mut())?;
        }
        self.locks(locks)?;
        if has_scope {
            self.close_scope();
        }
        Ok(())
    }

    fn locks(&mut self, locks: &mut [LockClause]) -> Step {
        for lock in locks {
            let LockClause {
                lock_type: _,
                of,
                nonblock: _,
            } = lock;
            if self.allowed.mode == SqlMode::Read {
                return Err(read_only("FOR UPDATE or FOR SHARE"));
            }
            // Only what stands in FROM can be named here.
            if let Some(of) = of {
                self.single(of)?;
            }
        }
        Ok(())
    }

    fn body(&mut self, body: &mut SetExpr) -> Step {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation {
                left,
                op,
                set_quantifier,
                right,
            } => {
                absent(&[
                    (*op == SetOperator::Minus, "MINUS"),
                    (
                        !matches!(
                            set_quantifier,
                            SetQuantifier::None | SetQuantifier::All | SetQuantifier::Distinct
                        ),
                        "BY NAME",
                    ),
                ])?;
                self.body(left)?;
                self.body(right)
            }
            SetExpr::Values(values) => self.values(values),
            SetExpr::Insert(statement)
            | SetExpr::Update(statement)
            | SetExpr::Delete(statement) => match self.dialect {
                Dialect::MariaDb => Err(not_understood("a change after WITH")),
                Dialect::Postgres | Dialect::Sqlite => self.change(statement).map(drop),
            },
            SetExpr::Merge(_) => Err(denied("MERGE is not allowed; use INSERT … ON CONFLICT")),
            SetExpr::Table(_) => Err(denied("write SELECT * FROM in place of TABLE")),
        }
    }

    pub(super) fn values(&mut self, values: &mut Values) -> Step {
        let Values {
            explicit_row: _,
            value_keyword: _,
            rows,
        } = values;
        rows.iter_mut()
            .try_for_each(|row| self.expressions(&mut row.content))
    }

    fn select(&mut self, select: &mut Select) -> Step {
        let Select {
            select_token: _,
            optimizer_hints,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        if into.is_some() {
            return Err(denied("SELECT INTO makes a table, a file or a variable"));
        }
        absent(&[
            (!optimizer_hints.is_empty(), "an optimizer hint"),
            (
                select_modifiers.is_some(),
                "a word between SELECT and the columns",
            ),
            (top.is_some(), "TOP"),
            (exclude.is_some(), "EXCLUDE"),
            (!lateral_views.is_empty(), "LATERAL VIEW"),
            (prewhere.is_some(), "PREWHERE"),
            (!connect_by.is_empty(), "CONNECT BY"),
            (!cluster_by.is_empty(), "CLUSTER BY"),
            (!distribute_by.is_empty(), "DISTRIBUTE BY"),
            (!sort_by.is_empty(), "SORT BY"),
            (qualify.is_some(), "QUALIFY"),
            (value_table_mode.is_some(), "SELECT AS"),
            (
                !matches!(flavor, SelectFlavor::Standard),
                "FROM before SELECT",
            ),
        ])?;
        if let Some(Distinct::On(keys)) = distinct {
            self.expressions(keys)?;
        }
        self.projection(projection)?;
        self.tables(from)?;
        self.maybe(selection.as_mut())?;
        self.grouping(group_by)?;
        self.maybe(having.as_mut())?;
        for NamedWindowDefinition(name, definition) in named_window {
            self.ident(name)?;
            match definition {
                NamedWindowExpr::NamedWindow(other) => self.ident(other).map(drop)?,
                NamedWindowExpr::WindowSpec(window) => self.window(window)?,
            }
        }
        Ok(())
    }

    fn grouping(&mut self, group_by: &mut GroupByExpr) -> Step {
        match group_by {
            GroupByExpr::All(_) => Err(not_understood("GROUP BY ALL")),
            GroupByExpr::Expressions(keys, modifiers) => {
                let is_known = |modifier: &GroupByWithModifier| {
                    matches!(modifier, GroupByWithModifier::Rollup)
                };
                absent(&[(!modifiers.iter().all(is_known), "a word after GROUP BY")])?;
                self.expressions(keys)
            }
        }
    }

    /// What a query, or a RETURNING, answers.
    pub(super) fn projection(&mut self, items: &mut [SelectItem]) -> Step {
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expression) => self.expression(expression)?,
                SelectItem::ExprWithAlias { expr, alias } => {
                    self.expression(expr)?;
                    self.ident(alias)?;
                }
                SelectItem::ExprWithAliases { .. } => {
                    return Err(not_understood("several names for one column"));
                }
                SelectItem::Wildcard(options) => wildcard(options)?,
                SelectItem::QualifiedWildcard(of, options) => {
                    wildcard(options)?;
                    match of {
                        // Only what stands in FROM can be named here.
                        SelectItemQualifiedWildcardKind::ObjectName(name) => {
                            self.parts(name)?;
                        }
                        SelectItemQualifiedWildcardKind::Expr(_) => {
                            return Err(not_understood("`(…).*`"));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn order(&mut self, keys: &mut [OrderByExpr]) -> Step {
        for OrderByExpr {
            expr,
            options:
                OrderByOptions {
                    sort,
                    nulls_first: _,
                },
            with_fill,
        } in keys
        {
            absent(&[
                (with_fill.is_some(), "WITH FILL"),
                (
                    matches!(sort, Some(OrderBySort::Using(_))),
                    "ORDER BY … USING",
                ),
            ])?;
            self.expression(expr)?;
        }
        Ok(())
    }

    pub(super) fn tables(&mut self, tables: &mut [TableWithJoins]) -> Step {
        for TableWithJoins { relation, joins } in tables {
            self.table(relation)?;
            for Join {
                relation,
                global,
                join_operator,
            } in joins
            {
                absent(&[(*global, "GLOBAL JOIN")])?;
                self.table(relation)?;
                self.join(join_operator)?;
            }
        }
        Ok(())
    }

    fn join(&mut self, operator: &mut JoinOperator) -> Step {
        let constraint = match operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint)
            | JoinOperator::CrossJoin(constraint)
            | JoinOperator::StraightJoin(constraint) => constraint,
            _ => return Err(not_understood("this kind of join")),
        };
        match constraint {
            JoinConstraint::On(condition) => self.expression(condition),
            JoinConstraint::Using(columns) => columns
                .iter_mut()
                .try_for_each(|column| self.single(column).map(drop)),
            JoinConstraint::Natural | JoinConstraint::None => Ok(()),
        }
    }

    pub(super) fn alias(&mut self, alias: &mut TableAlias) -> Step {
        let TableAlias {
            explicit: _,
            name,
            columns,
            at,
        } = alias;
        absent(&[(at.is_some(), "AT after an alias")])?;
        self.ident(name)?;
        for column in columns {
            self.ident(&mut column.name)?;
            if let Some(data_type) = &mut column.data_type {
                self.data_type(data_type)?;
            }
        }
        Ok(())
    }

    fn table(&mut self, factor: &mut TableFactor) -> Step {
        match factor {
            TableFactor::Table { args: Some(_), .. }
            | TableFactor::Function { .. }
            | TableFactor::UNNEST { .. } => self.computed_table(factor),
            TableFactor::Table { .. } => {
                let (name, alias) = plain_table(factor)?;
                self.source(name)?;
                alias.as_mut().map_or(Ok(()), |alias| self.alias(alias))
            }
            TableFactor::Derived {
                lateral,
                subquery,
                alias,
                sample,
            } => {
                absent(&[
                    (sample.is_some(), "TABLESAMPLE"),
                    (*lateral && self.dialect != Dialect::Postgres, "LATERAL"),
                ])?;
                self.query(subquery)?;
                alias.as_mut().map_or(Ok(()), |alias| self.alias(alias))
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } => {
                self.tables(std::slice::from_mut(table_with_joins))?;
                alias.as_mut().map_or(Ok(()), |alias| self.alias(alias))
            }
            _ => Err(not_understood("this kind of table")),
        }
    }

    /// A table that a function answers.
    fn computed_table(&mut self, factor: &mut TableFactor) -> Step {
        match factor {
            TableFactor::Table {
                args: Some(args),
                name,
                alias,
                with_ordinality: _,
                with_hints,
                version,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                absent(&[
                    (
                        !with_hints.is_empty() || !index_hints.is_empty() || version.is_some(),
                        "a word after a table function",
                    ),
                    (
                        !partitions.is_empty() || json_path.is_some() || sample.is_some(),
                        "a clause after a table function",
                    ),
                ])?;
                let TableFunctionArgs { args, settings } = args;
                absent(&[(settings.is_some(), "SETTINGS")])?;
                args.iter_mut()
                    .try_for_each(|arg| self.argument(arg, false))?;
                self.table_function(name, alias.as_mut())
            }
            TableFactor::Function {
                lateral: _,
                name,
                args,
                with_ordinality: _,
                alias,
            } => {
                args.iter_mut()
                    .try_for_each(|arg| self.argument(arg, false))?;
                self.table_function(name, alias.as_mut())
            }
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset,
                with_offset_alias,
                with_ordinality: _,
            } => {
                absent(&[
                    (*with_offset || with_offset_alias.is_some(), "WITH OFFSET"),
                    (self.dialect != Dialect::Postgres, "UNNEST"),
                ])?;
                self.expressions(array_exprs)?;
                self.function_table("unnest", &[], alias.as_mut())
            }
            _ => Err(not_understood("this kind of table")),
        }
    }

    fn table_function(&mut self, name: &mut ObjectName, alias: Option<&mut TableAlias>) -> Step {
        let name = self.function_name(name)?;
        match functions::table_function(self.dialect, &name) {
            Some(columns) => self.function_table(&name, columns, alias),
            None => Err(denied(format!(
                "the table function `{name}` is not allowed"
            ))),
        }
    }

    /// Notes which columns the answer of a table function has.
    fn function_table(
        &mut self,
        name: &str,
        columns: &[&str],
        alias: Option<&mut TableAlias>,
    ) -> Step {
        let mut known: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
        let mut called = name.to_owned();
        let mut is_named = false;
        if let Some(alias) = alias {
            self.alias(alias)?;
            called.clone_from(&alias.name.value);
            is_named = !alias.columns.is_empty();
            known.extend(alias.columns.iter().map(|column| column.name.value.clone()));
        }
        if columns.is_empty() && !is_named {
            // One column without a name has the table's.
            known.push(called.clone());
        }
        known.push("ordinality".to_owned());
        let known: BTreeSet<String> = known.into_iter().collect();
        // Of two by one name, what both have: which of them a column is of is not followed up.
        self.function_tables
            .entry(called)
            .and_modify(|before| before.retain(|column| known.contains(column)))
            .or_insert(known);
        Ok(())
    }
}

/// A table by its name alone.
pub(super) fn plain_table(
    factor: &mut TableFactor,
) -> Step<(&mut ObjectName, &mut Option<TableAlias>)> {
    let TableFactor::Table {
        name,
        alias,
        args,
        with_hints,
        version,
        with_ordinality,
        partitions,
        json_path,
        sample,
        index_hints,
    } = factor
    else {
        return Err(not_understood("this in the place of a table"));
    };
    absent(&[
        (
            args.is_some() || *with_ordinality,
            "a function in the place of a table",
        ),
        (
            !with_hints.is_empty() || !index_hints.is_empty(),
            "a hint after a table",
        ),
        (version.is_some(), "a version of a table"),
        (!partitions.is_empty(), "PARTITION"),
        (json_path.is_some(), "a path after a table"),
        (sample.is_some(), "TABLESAMPLE"),
    ])?;
    Ok((name, alias))
}

fn wildcard(options: &WildcardAdditionalOptions) -> Step {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude,
        opt_except,
        opt_replace,
        opt_rename,
        opt_alias,
    } = options;
    let has_options = opt_ilike.is_some()
        || opt_exclude.is_some()
        || opt_except.is_some()
        || opt_replace.is_some()
        || opt_rename.is_some()
        || opt_alias.is_some();
    absent(&[(has_options, "a word after `*`")])
}
