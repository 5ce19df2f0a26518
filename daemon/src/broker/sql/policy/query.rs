//! Queries: what they read, and from where.

use sqlparser::ast::{
    Distinct, Fetch, GroupByExpr, GroupByWithModifier, Join, JoinConstraint, JoinOperator,
    LimitClause, LockClause, NamedWindowDefinition, NamedWindowExpr, ObjectName, Offset, OrderBy,
    OrderByExpr, OrderByKind, OrderByOptions, OrderBySort, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, TableAlias, TableFactor,
    TableWithJoins, Values, WildcardAdditionalOptions,
};

use super::dialect::Dialect;
use super::refusal::{NO_MERGE, denied, read_only};
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
            if self.dialect == Dialect::Sqlite {
                return Err(denied(
                    "SQLite has no FOR UPDATE or FOR SHARE: leave it out; a transaction of a grant that writes has the database to itself",
                ));
            }
            if self.allowed.mode == SqlMode::Read {
                return Err(read_only("FOR UPDATE or FOR SHARE"));
            }
            self.locks = true;
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
            SetExpr::Merge(_) => Err(denied(NO_MERGE)),
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
            | TableFactor::UNNEST { .. }
            | TableFactor::JsonTable { .. } => self.computed_table(factor),
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
