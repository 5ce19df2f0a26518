//! Statements as a whole: which kind each is, and what those that change rows read and write.

use sqlparser::ast::{
    Assignment, AssignmentTarget, ConflictTarget, Delete, DoUpdate, FromTable, Insert, ObjectName,
    OnConflict, OnConflictAction, OnInsert, Query, SelectItem, SetExpr, SqliteOnConflict,
    Statement, TableAlias, TableFactor, TableObject, TableWithJoins, Update, UpdateTableFromKind,
};

use super::dialect::Dialect;
use super::refusal::{NO_MERGE, denied, read_only};
use super::walk::{Step, Walk, absent, not_understood};
use crate::workflow::grant::SqlMode;

/// What a statement does, for the record and for who runs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outline {
    pub(super) verb: &'static str,
    pub(super) returns_rows: bool,
}

impl Walk<'_> {
    /// The whole statement.
    pub(super) fn statement(&mut self, statement: &mut Statement) -> Step<Outline> {
        match statement {
            Statement::Query(query) => {
                self.query(query)?;
                outline(query)
            }
            Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) => {
                self.change(statement)
            }
            other => Err(denied(kind_denied(other))),
        }
    }

    pub(super) fn change(&mut self, statement: &mut Statement) -> Step<Outline> {
        let outline = change_outline(statement)?;
        if self.allowed.mode == SqlMode::Read {
            return Err(read_only(&outline.verb.to_ascii_uppercase()));
        }
        self.changes = true;
        match statement {
            Statement::Insert(insert) => self.insert(insert)?,
            Statement::Update(update) => self.update(update)?,
            Statement::Delete(delete) => self.delete(delete)?,
            other => return Err(denied(kind_denied(other))),
        }
        Ok(outline)
    }

    fn insert(&mut self, insert: &mut Insert) -> Step {
        let Insert {
            insert_token: _,
            optimizer_hints,
            or,
            ignore: _,
            into: _,
            table,
            table_alias,
            columns,
            overwrite,
            source,
            assignments,
            partitioned,
            after_columns,
            has_table_keyword,
            on,
            returning,
            output,
            replace_into: _,
            priority,
            insert_alias,
            settings,
            format_clause,
            multi_table_insert_type,
            multi_table_into_clauses,
            multi_table_when_clauses,
            multi_table_else_clause,
        } = insert;
        let is_multiple = multi_table_insert_type.is_some()
            || !multi_table_into_clauses.is_empty()
            || !multi_table_when_clauses.is_empty()
            || multi_table_else_clause.is_some();
        absent(&[
            (!optimizer_hints.is_empty(), "an optimizer hint"),
            (*overwrite || *has_table_keyword, "INSERT OVERWRITE"),
            (
                partitioned.is_some() || !after_columns.is_empty(),
                "PARTITION",
            ),
            (output.is_some(), "OUTPUT"),
            (priority.is_some(), "a priority"),
            (insert_alias.is_some(), "a name for the new row"),
            (settings.is_some() || format_clause.is_some(), "FORMAT"),
            (is_multiple, "an INSERT into several tables"),
        ])?;
        resolution(*or)?;
        let TableObject::TableName(name) = table else {
            return Err(not_understood("an INSERT into this"));
        };
        self.target(name)?;
        if let Some(alias) = table_alias {
            self.ident(&mut alias.alias)?;
        }
        columns
            .iter_mut()
            .try_for_each(|column| self.single(column).map(drop))?;
        if let Some(source) = source {
            self.query(source)?;
        }
        self.assignments(assignments)?;
        self.afterwards(|walk| {
            if let Some(on) = on {
                walk.on_conflict(on)?;
            }
            walk.returning(returning)
        })
    }

    /// Looks at what happens after a row: on SQLite that sees no `WITH` clause of the statement.
    fn afterwards(&mut self, look: impl FnOnce(&mut Self) -> Step) -> Step {
        match self.dialect {
            Dialect::Sqlite => self.without_scopes(look),
            Dialect::Postgres | Dialect::MariaDb => look(self),
        }
    }

    fn on_conflict(&mut self, on: &mut OnInsert) -> Step {
        match on {
            OnInsert::DuplicateKeyUpdate(assignments) => self.assignments(assignments),
            OnInsert::OnConflict(OnConflict {
                conflict_target,
                action,
            }) => {
                match conflict_target {
                    Some(ConflictTarget::Columns(columns)) => self.idents(columns)?,
                    Some(ConflictTarget::OnConstraint(name)) => self.single(name).map(drop)?,
                    None => {}
                }
                match action {
                    OnConflictAction::DoNothing => Ok(()),
                    OnConflictAction::DoUpdate(DoUpdate {
                        assignments,
                        selection,
                    }) => {
                        self.assignments(assignments)?;
                        self.maybe(selection.as_mut())
                    }
                }
            }
            _ => Err(not_understood("a clause after INSERT")),
        }
    }

    fn update(&mut self, update: &mut Update) -> Step {
        let Update {
            update_token: _,
            optimizer_hints,
            table,
            assignments,
            from,
            selection,
            returning,
            output,
            or,
            order_by,
            limit,
        } = update;
        absent(&[
            (!optimizer_hints.is_empty(), "an optimizer hint"),
            (output.is_some(), "OUTPUT"),
            (
                from.is_some() && self.dialect == Dialect::MariaDb,
                "UPDATE … FROM",
            ),
        ])?;
        resolution(*or)?;
        match self.dialect {
            Dialect::MariaDb => {
                self.without_scopes(|walk| walk.tables(std::slice::from_mut(table)))?
            }
            Dialect::Sqlite | Dialect::Postgres => self.written_table(table)?,
        }
        match from {
            Some(UpdateTableFromKind::AfterSet(tables)) => self.tables(tables)?,
            Some(UpdateTableFromKind::BeforeSet(_)) => {
                return Err(not_understood("FROM before SET"));
            }
            None => {}
        }
        self.assignments(assignments)?;
        self.maybe(selection.as_mut())?;
        self.order(order_by)?;
        self.maybe(limit.as_mut())?;
        self.afterwards(|walk| walk.returning(returning))
    }

    fn delete(&mut self, delete: &mut Delete) -> Step {
        let Delete {
            delete_token: _,
            optimizer_hints,
            tables,
            from,
            using,
            selection,
            returning,
            output,
            order_by,
            limit,
        } = delete;
        absent(&[
            (!optimizer_hints.is_empty(), "an optimizer hint"),
            (output.is_some(), "OUTPUT"),
        ])?;
        let FromTable::WithFromKeyword(from) = from else {
            return Err(not_understood("DELETE without FROM"));
        };
        match (self.dialect, tables.as_mut_slice(), using) {
            // DELETE a FROM a JOIN b
            (Dialect::MariaDb, [_, ..], None) => {
                self.without_scopes(|walk| walk.tables(from))?;
                let aliases = aliases(from);
                tables
                    .iter_mut()
                    .try_for_each(|table| self.deleted(table, &aliases))?;
            }
            // DELETE FROM a USING a JOIN b
            (Dialect::MariaDb, [], Some(using)) => {
                self.without_scopes(|walk| walk.tables(using))?;
                let aliases = aliases(using);
                for table in from {
                    let name = only_table(table)?;
                    self.deleted(name.0, &aliases)?;
                    absent(&[(name.1.is_some(), "a second name of a table to delete from")])?;
                }
            }
            (_, [], using) => {
                let [table] = from.as_mut_slice() else {
                    return Err(not_understood("a DELETE from several tables"));
                };
                self.written_table(table)?;
                if let Some(using) = using {
                    self.tables(using)?;
                }
            }
            _ => return Err(not_understood("this kind of DELETE")),
        }
        self.maybe(selection.as_mut())?;
        self.order(order_by)?;
        self.maybe(limit.as_mut())?;
        self.afterwards(|walk| walk.returning(returning))
    }

    /// The one table that a statement writes.
    fn written_table(&mut self, table: &mut TableWithJoins) -> Step {
        let (name, alias) = only_table(table)?;
        self.target(name)?;
        alias.as_mut().map_or(Ok(()), |alias| self.alias(alias))
    }

    /// A table to delete from, by its name or by the name that its statement gives it.
    fn deleted(&mut self, name: &mut ObjectName, aliases: &[String]) -> Step {
        let parts = self.parts(name)?;
        match parts.as_slice() {
            [alias] if aliases.contains(alias) => Ok(()),
            _ => self.target(name),
        }
    }

    fn assignments(&mut self, assignments: &mut [Assignment]) -> Step {
        for Assignment { target, value } in assignments {
            match target {
                // Only a statement over several tables needs more than the column's name.
                AssignmentTarget::ColumnName(name) if self.dialect == Dialect::MariaDb => {
                    self.parts(name)?;
                }
                AssignmentTarget::ColumnName(name) => self.single(name).map(drop)?,
                AssignmentTarget::Tuple(names) => {
                    names
                        .iter_mut()
                        .try_for_each(|name| self.single(name).map(drop))?;
                }
            }
            self.expression(value)?;
        }
        Ok(())
    }

    fn returning(&mut self, returning: &mut Option<Vec<SelectItem>>) -> Step {
        returning
            .as_mut()
            .map_or(Ok(()), |items| self.projection(items))
    }
}

/// A table without joins.
fn only_table(table: &mut TableWithJoins) -> Step<(&mut ObjectName, &mut Option<TableAlias>)> {
    let TableWithJoins { relation, joins } = table;
    absent(&[(
        !joins.is_empty(),
        "a join in the place of the table to change",
    )])?;
    super::query::plain_table(relation)
}

/// The names that tables got beside their own. They are in quotes already.
fn aliases(tables: &[TableWithJoins]) -> Vec<String> {
    let factors = tables.iter().flat_map(|table| {
        std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation))
    });
    factors
        .filter_map(|factor| match factor {
            TableFactor::Table {
                alias: Some(alias), ..
            } => Some(alias.name.value.clone()),
            _ => None,
        })
        .collect()
}

/// What SQLite does with a row that it cannot write.
fn resolution(or: Option<SqliteOnConflict>) -> Step {
    match or {
        Some(SqliteOnConflict::Rollback) => Err(denied("OR ROLLBACK ends a transaction")),
        _ => Ok(()),
    }
}

fn outline(query: &Query) -> Step<Outline> {
    let reads = |verb| {
        Ok(Outline {
            verb,
            returns_rows: true,
        })
    };
    match &*query.body {
        SetExpr::Select(_) | SetExpr::SetOperation { .. } => reads("select"),
        SetExpr::Values(_) => reads("values"),
        SetExpr::Query(inner) => outline(inner),
        SetExpr::Insert(statement) | SetExpr::Update(statement) | SetExpr::Delete(statement) => {
            change_outline(statement)
        }
        SetExpr::Merge(_) | SetExpr::Table(_) => Err(not_understood("this kind of query")),
    }
}

fn change_outline(statement: &Statement) -> Step<Outline> {
    let (verb, returning) = match statement {
        Statement::Insert(insert)
            if insert.replace_into || insert.or == Some(SqliteOnConflict::Replace) =>
        {
            ("replace", &insert.returning)
        }
        Statement::Insert(insert) => ("insert", &insert.returning),
        Statement::Update(update) => ("update", &update.returning),
        Statement::Delete(delete) => ("delete", &delete.returning),
        other => return Err(denied(kind_denied(other))),
    };
    Ok(Outline {
        verb,
        returns_rows: returning.is_some(),
    })
}

fn kind_denied(statement: &Statement) -> &'static str {
    match statement {
        Statement::StartTransaction { .. }
        | Statement::Commit { .. }
        | Statement::Rollback { .. }
        | Statement::Savepoint { .. }
        | Statement::ReleaseSavepoint { .. } => {
            "a transaction is begun and ended by the calls for it, not by a statement"
        }
        Statement::Explain { .. } | Statement::ExplainTable { .. } => "EXPLAIN is not allowed",
        Statement::Merge(_) => NO_MERGE,
        _ => {
            "a task runs SELECT, VALUES and, with mode = \"read-write\", INSERT, UPDATE, DELETE; this statement is of another kind"
        }
    }
}
