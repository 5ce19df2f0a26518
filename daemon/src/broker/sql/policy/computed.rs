//! Tables that are computed: by the functions of the list, by `unnest`, by MariaDB's `json_table`.

use std::collections::BTreeSet;

use sqlparser::ast::{
    JsonTableColumn, JsonTableColumnErrorHandling, JsonTableNamedColumn, JsonTableNestedColumn,
    ObjectName, TableAlias, TableFactor, TableFunctionArgs, Value, ValueWithSpan,
};

use super::dialect::Dialect;
use super::functions;
use super::refusal::denied;
use super::walk::{Step, Walk, absent, not_understood};

impl Walk<'_> {
    /// A table that a function answers.
    pub(super) fn computed_table(&mut self, factor: &mut TableFactor) -> Step {
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
            TableFactor::JsonTable {
                json_expr,
                json_path,
                columns,
                alias,
            } => {
                absent(&[(self.dialect != Dialect::MariaDb, "JSON_TABLE")])?;
                self.expression(json_expr)?;
                self.path(json_path)?;
                self.json_columns(columns)?;
                alias.as_mut().map_or(Ok(()), |alias| self.alias(alias))
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

    /// What MariaDB makes columns of, out of a JSON text.
    fn json_columns(&mut self, columns: &mut [JsonTableColumn]) -> Step {
        for column in columns {
            match column {
                JsonTableColumn::Named(JsonTableNamedColumn {
                    name,
                    r#type,
                    path,
                    exists: _,
                    on_empty,
                    on_error,
                }) => {
                    self.ident(name)?;
                    self.data_type(r#type)?;
                    self.path(path)?;
                    for otherwise in [on_empty, on_error].into_iter().flatten() {
                        if let JsonTableColumnErrorHandling::Default(value) = otherwise {
                            self.path(value)?;
                        }
                    }
                }
                JsonTableColumn::ForOrdinality(name) => self.ident(name).map(drop)?,
                JsonTableColumn::Nested(JsonTableNestedColumn { path, columns }) => {
                    self.path(path)?;
                    self.json_columns(columns)?;
                }
            }
        }
        Ok(())
    }

    /// A text that must stand in the statement itself.
    fn path(&mut self, value: &mut ValueWithSpan) -> Step {
        match value.value {
            Value::SingleQuotedString(_) => self.value(value),
            _ => Err(not_understood(
                "a path or default of JSON_TABLE that is no literal",
            )),
        }
    }
}
