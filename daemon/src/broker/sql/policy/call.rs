//! What a statement calls: functions of the lists, with nothing hidden in their arguments.

use sqlparser::ast::{
    CeilFloorKind, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgOperator, FunctionArgumentClause, FunctionArgumentList, FunctionArguments,
    ObjectName, ObjectNamePart, WindowFrame, WindowFrameBound, WindowSpec, WindowType,
};

use super::dialect::Dialect;
use super::functions;
use super::refusal::{denied, shown};
use super::value::time_field;
use super::walk::{Step, Walk, absent, not_understood};

/// Functions that are written without parentheses.
const WITHOUT_PARENTHESES: &[&str] = &[
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
];

impl Walk<'_> {
    pub(super) fn call(&mut self, function: &mut Function) -> Step {
        let Function {
            name,
            uses_odbc_syntax,
            parameters,
            args,
            within_group,
            filter,
            null_treatment: _,
            over,
        } = function;
        absent(&[
            (*uses_odbc_syntax, "`{fn …}`"),
            (
                !matches!(parameters, FunctionArguments::None),
                "a function with two lists",
            ),
        ])?;
        let name = self.function_name(name)?;
        let is_bare = matches!(args, FunctionArguments::None);
        let is_allowed = match args {
            FunctionArguments::None => WITHOUT_PARENTHESES.contains(&name.as_str()),
            FunctionArguments::Subquery(_) => self.dialect == Dialect::Postgres && name == "array",
            FunctionArguments::List(_) => functions::is_allowed(self.dialect, &name),
        };
        if !is_allowed {
            let hint = if is_bare { " without parentheses" } else { "" };
            return Err(denied(format!(
                "the function `{name}` is not allowed{hint}"
            )));
        }
        match args {
            FunctionArguments::None => {}
            FunctionArguments::Subquery(query) => self.query(query)?,
            FunctionArguments::List(list) => self.arguments(&name, list)?,
        }
        self.order(within_group)?;
        self.maybe(filter.as_deref_mut())?;
        match over {
            Some(WindowType::WindowSpec(window)) => self.window(window),
            Some(WindowType::NamedWindow(window)) => self.ident(window).map(drop),
            None => Ok(()),
        }
    }

    /// A function's name, which stands without quotes: some are words of the grammar.
    pub(super) fn function_name(&mut self, name: &mut ObjectName) -> Step<String> {
        let shown_name = shown(&name.to_string());
        let [ObjectNamePart::Identifier(ident)] = name.0.as_mut_slice() else {
            return Err(denied(format!(
                "the function `{shown_name}` is not allowed"
            )));
        };
        let is_plain = ident
            .value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_');
        // PostgreSQL keeps the capitals of a quoted name: another function.
        let is_other = self.dialect == Dialect::Postgres
            && ident.quote_style.is_some()
            && ident.value.contains(|c: char| c.is_ascii_uppercase());
        if !is_plain || is_other {
            return Err(denied(format!(
                "the function `{shown_name}` is not allowed"
            )));
        }
        let lower = ident.value.to_ascii_lowercase();
        ident.value.clone_from(&lower);
        ident.quote_style = None;
        Ok(lower)
    }

    fn arguments(&mut self, function: &str, list: &mut FunctionArgumentList) -> Step {
        let FunctionArgumentList {
            duplicate_treatment: _,
            args,
            clauses,
        } = list;
        for arg in args {
            self.argument(arg, function == "count")?;
        }
        for clause in clauses {
            match clause {
                FunctionArgumentClause::OrderBy(keys) => self.order(keys)?,
                FunctionArgumentClause::Limit(limit) => self.expression(limit)?,
                FunctionArgumentClause::Separator(separator) => self.value(separator)?,
                FunctionArgumentClause::IgnoreOrRespectNulls(_)
                | FunctionArgumentClause::JsonNullClause(_) => {}
                _ => return Err(not_understood("a clause within a function")),
            }
        }
        Ok(())
    }

    pub(super) fn argument(&mut self, arg: &mut FunctionArg, takes_all: bool) -> Step {
        let value = match arg {
            FunctionArg::Unnamed(value) => value,
            FunctionArg::Named {
                name,
                arg,
                operator: FunctionArgOperator::RightArrow,
            } => {
                self.ident(name)?;
                arg
            }
            FunctionArg::ExprNamed {
                name: Expr::Identifier(name),
                arg,
                operator: FunctionArgOperator::RightArrow,
            } => {
                self.ident(name)?;
                arg
            }
            _ => return Err(not_understood("a named argument of this kind")),
        };
        match value {
            FunctionArgExpr::Expr(expression) => self.expression(expression),
            FunctionArgExpr::Wildcard if takes_all => Ok(()),
            _ => Err(not_understood("`*` as an argument")),
        }
    }

    pub(super) fn window(&mut self, window: &mut WindowSpec) -> Step {
        let WindowSpec {
            window_name,
            partition_by,
            order_by,
            window_frame,
        } = window;
        if let Some(name) = window_name {
            self.ident(name)?;
        }
        self.expressions(partition_by)?;
        self.order(order_by)?;
        let Some(WindowFrame {
            units: _,
            start_bound,
            end_bound,
        }) = window_frame
        else {
            return Ok(());
        };
        for bound in std::iter::once(start_bound).chain(end_bound) {
            match bound {
                WindowFrameBound::CurrentRow => {}
                WindowFrameBound::Preceding(distance) | WindowFrameBound::Following(distance) => {
                    self.maybe(distance.as_deref_mut())?;
                }
            }
        }
        Ok(())
    }

    /// Functions with a syntax of their own. All of them compute from their arguments.
    pub(super) fn special_call(&mut self, expression: &mut Expr) -> Step {
        match expression {
            Expr::Extract {
                field,
                syntax: _,
                expr,
            } => {
                time_field(field)?;
                self.expression(expr)
            }
            Expr::Ceil { expr, field } | Expr::Floor { expr, field } => {
                let is_plain = matches!(
                    field,
                    CeilFloorKind::DateTimeField(DateTimeField::NoDateTime)
                );
                absent(&[(!is_plain, "a second argument of CEIL or FLOOR")])?;
                self.expression(expr)
            }
            Expr::Position { expr, r#in } => {
                self.expression(expr)?;
                self.expression(r#in)
            }
            Expr::Substring {
                expr,
                substring_from,
                substring_for,
                special: _,
                shorthand: _,
            } => {
                self.expression(expr)?;
                self.maybe(substring_from.as_deref_mut())?;
                self.maybe(substring_for.as_deref_mut())
            }
            Expr::Trim {
                expr,
                trim_where: _,
                trim_what,
                trim_characters,
            } => {
                self.maybe(trim_what.as_deref_mut())?;
                self.expressions(trim_characters.as_deref_mut().unwrap_or_default())?;
                self.expression(expr)
            }
            Expr::Overlay {
                expr,
                overlay_what,
                overlay_from,
                overlay_for,
            } => {
                self.expression(expr)?;
                self.expression(overlay_what)?;
                self.expression(overlay_from)?;
                self.maybe(overlay_for.as_deref_mut())
            }
            Expr::MatchAgainst {
                columns,
                match_value,
                opt_search_modifier: _,
            } => {
                absent(&[(self.dialect != Dialect::MariaDb, "MATCH … AGAINST")])?;
                for column in columns {
                    self.parts(column)?;
                }
                self.value(match_value)
            }
            _ => Err(not_understood("this kind of function")),
        }
    }
}
