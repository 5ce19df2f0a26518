//! Expressions, apart from what they call.

use sqlparser::ast::{
    AccessExpr, Array, BinaryOperator, CaseWhen, CastKind, Expr, Subscript, UnaryOperator,
};

use super::dialect::Dialect;
use super::refusal::denied;
use super::walk::{Step, Walk, absent, not_understood};

/// What PostgreSQL keeps in every table beside its columns: where a row lies, and who wrote it.
const POSTGRES_SYSTEM_COLUMNS: &[&str] = &["tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"];

impl Walk<'_> {
    pub(super) fn expressions(&mut self, expressions: &mut [Expr]) -> Step {
        expressions
            .iter_mut()
            .try_for_each(|expression| self.expression(expression))
    }

    pub(super) fn maybe(&mut self, expression: Option<&mut Expr>) -> Step {
        expression.map_or(Ok(()), |expression| self.expression(expression))
    }

    pub(super) fn expression(&mut self, expression: &mut Expr) -> Step {
        match expression {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => self.column(expression),
            Expr::Value(value) => self.value(value),
            Expr::TypedString(_)
            | Expr::Interval(_)
            | Expr::Cast { .. }
            | Expr::Convert { .. }
            | Expr::Collate { .. }
            | Expr::AtTimeZone { .. } => self.typed(expression),
            Expr::IsFalse(inner)
            | Expr::IsNotFalse(inner)
            | Expr::IsTrue(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsNull(inner)
            | Expr::IsNotNull(inner)
            | Expr::IsUnknown(inner)
            | Expr::IsNotUnknown(inner)
            | Expr::Nested(inner) => self.expression(inner),
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                self.expression(left)?;
                self.expression(right)
            }
            Expr::InList { .. }
            | Expr::InSubquery { .. }
            | Expr::Between { .. }
            | Expr::Like { .. }
            | Expr::ILike { .. }
            | Expr::SimilarTo { .. }
            | Expr::RLike { .. }
            | Expr::AnyOp { .. }
            | Expr::AllOp { .. } => self.predicate(expression),
            Expr::BinaryOp { left, op, right } => {
                self.operator(op)?;
                self.expression(left)?;
                self.expression(right)
            }
            Expr::UnaryOp { op, expr } => self.unary(*op, expr),
            Expr::Case { .. }
            | Expr::Tuple(_)
            | Expr::Array(_)
            | Expr::GroupingSets(_)
            | Expr::Cube(_)
            | Expr::Rollup(_)
            | Expr::CompoundFieldAccess { .. } => self.composed(expression),
            Expr::Exists {
                subquery,
                negated: _,
            }
            | Expr::Subquery(subquery) => self.query(subquery),
            Expr::Function(function) => self.call(function),
            Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Overlay { .. }
            | Expr::MatchAgainst { .. } => self.special_call(expression),
            _ => Err(not_understood("this kind of expression")),
        }
    }

    fn column(&mut self, expression: &mut Expr) -> Step {
        let column = match expression {
            // Reserved everywhere, so it cannot be a column; in quotes it would be one.
            Expr::Identifier(ident)
                if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default") =>
            {
                return Ok(());
            }
            Expr::Identifier(ident) => self.ident(ident)?,
            Expr::CompoundIdentifier(parts) => {
                let mut names = Vec::new();
                for part in parts {
                    names.push(self.ident(part)?);
                }
                match names.as_slice() {
                    [.., table, column] => {
                        self.columns.push((table.clone(), column.clone()));
                        column.clone()
                    }
                    _ => return Err(not_understood("a column's name of one part")),
                }
            }
            _ => return Err(not_understood("this kind of expression")),
        };
        if self.dialect == Dialect::Postgres && POSTGRES_SYSTEM_COLUMNS.contains(&column.as_str()) {
            return Err(denied(format!(
                "the system column `{column}` is not allowed"
            )));
        }
        Ok(())
    }

    fn predicate(&mut self, expression: &mut Expr) -> Step {
        match expression {
            Expr::InList {
                expr,
                list,
                negated: _,
            } => {
                self.expression(expr)?;
                self.expressions(list)
            }
            Expr::InSubquery {
                expr,
                subquery,
                negated: _,
            } => {
                self.expression(expr)?;
                self.query(subquery)
            }
            Expr::Between {
                expr,
                negated: _,
                low,
                high,
            } => {
                self.expression(expr)?;
                self.expression(low)?;
                self.expression(high)
            }
            Expr::AnyOp {
                left,
                compare_op,
                right,
                is_some: _,
            }
            | Expr::AllOp {
                left,
                compare_op,
                right,
            } => {
                self.operator(compare_op)?;
                self.expression(left)?;
                self.expression(right)
            }
            _ => self.pattern(expression),
        }
    }

    fn pattern(&mut self, expression: &mut Expr) -> Step {
        match expression {
            Expr::Like {
                negated: _,
                any,
                expr,
                pattern,
                escape_char,
            }
            | Expr::ILike {
                negated: _,
                any,
                expr,
                pattern,
                escape_char,
            } => {
                absent(&[(*any, "LIKE ANY")])?;
                self.expression(expr)?;
                self.expression(pattern)?;
                self.maybe(escape_char.as_deref_mut())
            }
            Expr::SimilarTo {
                negated: _,
                expr,
                pattern,
                escape_char,
            } => {
                self.expression(expr)?;
                self.expression(pattern)?;
                self.maybe(escape_char.as_deref_mut())
            }
            Expr::RLike {
                negated: _,
                expr,
                pattern,
                regexp: _,
            } => {
                self.expression(expr)?;
                self.expression(pattern)
            }
            _ => Err(not_understood("this kind of condition")),
        }
    }

    fn unary(&mut self, operator: UnaryOperator, operand: &mut Box<Expr>) -> Step {
        match operator {
            UnaryOperator::Plus
            | UnaryOperator::Minus
            | UnaryOperator::BitwiseNot
            | UnaryOperator::Not => {}
            _ => return Err(not_understood("this sign before an expression")),
        }
        self.expression(operand)?;
        // Two signs side by side are a comment, or another operator.
        if operator != UnaryOperator::Not && matches!(**operand, Expr::UnaryOp { .. }) {
            let inner = std::mem::replace(&mut **operand, Expr::Tuple(Vec::new()));
            **operand = Expr::Nested(Box::new(inner));
        }
        Ok(())
    }

    fn operator(&self, operator: &BinaryOperator) -> Step {
        use BinaryOperator as Op;
        let is_known = match operator {
            Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo => true,
            Op::Gt | Op::Lt | Op::GtEq | Op::LtEq | Op::Eq | Op::NotEq => true,
            Op::And | Op::Or | Op::StringConcat => true,
            Op::BitwiseOr | Op::BitwiseAnd => true,
            Op::PGBitwiseShiftLeft | Op::PGBitwiseShiftRight => true,
            Op::Arrow | Op::LongArrow => self.dialect != Dialect::MariaDb,
            Op::Glob => self.dialect == Dialect::Sqlite,
            Op::Xor | Op::BitwiseXor | Op::Spaceship | Op::MyIntegerDivide | Op::Regexp => {
                self.dialect == Dialect::MariaDb
            }
            Op::PGBitwiseXor | Op::PGExp | Op::PGOverlap | Op::Overlaps => {
                self.dialect == Dialect::Postgres
            }
            Op::PGRegexMatch | Op::PGRegexIMatch | Op::PGRegexNotMatch | Op::PGRegexNotIMatch => {
                self.dialect == Dialect::Postgres
            }
            Op::PGLikeMatch | Op::PGILikeMatch | Op::PGNotLikeMatch | Op::PGNotILikeMatch => {
                self.dialect == Dialect::Postgres
            }
            Op::PGStartsWith | Op::HashArrow | Op::HashLongArrow | Op::HashMinus => {
                self.dialect == Dialect::Postgres
            }
            Op::AtAt | Op::AtArrow | Op::ArrowAt | Op::AtQuestion => {
                self.dialect == Dialect::Postgres
            }
            Op::Question | Op::QuestionAnd | Op::QuestionPipe => self.dialect == Dialect::Postgres,
            _ => false,
        };
        if is_known {
            return Ok(());
        }
        Err(denied(format!("the operator `{operator}` is not allowed")))
    }

    fn composed(&mut self, expression: &mut Expr) -> Step {
        match expression {
            Expr::Case {
                case_token: _,
                end_token: _,
                operand,
                conditions,
                else_result,
            } => {
                self.maybe(operand.as_deref_mut())?;
                for CaseWhen { condition, result } in conditions {
                    self.expression(condition)?;
                    self.expression(result)?;
                }
                self.maybe(else_result.as_deref_mut())
            }
            Expr::Tuple(items) => self.expressions(items),
            Expr::Array(Array { elem, named: _ }) => {
                absent(&[(self.dialect != Dialect::Postgres, "ARRAY")])?;
                self.expressions(elem)
            }
            Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => {
                sets.iter_mut().try_for_each(|set| self.expressions(set))
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                absent(&[(self.dialect != Dialect::Postgres, "`[…]` after a value")])?;
                self.expression(root)?;
                for access in access_chain {
                    match access {
                        // `(x).f` calls `f(x)` where `x` has no column `f`.
                        AccessExpr::Dot(_) => {
                            return Err(denied(
                                "`(…).name` may call any function, so it is not allowed",
                            ));
                        }
                        AccessExpr::Subscript(Subscript::Index { index }) => {
                            self.expression(index)?
                        }
                        AccessExpr::Subscript(Subscript::Slice {
                            lower_bound,
                            upper_bound,
                            stride,
                        }) => {
                            absent(&[(stride.is_some(), "a stride")])?;
                            self.maybe(lower_bound.as_mut())?;
                            self.maybe(upper_bound.as_mut())?;
                        }
                    }
                }
                Ok(())
            }
            _ => Err(not_understood("this kind of expression")),
        }
    }

    /// Casts of either spelling, literals with a type, and what else names a type or a collation.
    fn typed(&mut self, expression: &mut Expr) -> Step {
        match expression {
            Expr::Cast {
                kind,
                expr,
                data_type,
                format,
            } => {
                absent(&[
                    (
                        matches!(kind, CastKind::TryCast | CastKind::SafeCast),
                        "TRY_CAST",
                    ),
                    (
                        *kind == CastKind::DoubleColon && self.dialect != Dialect::Postgres,
                        "`::`",
                    ),
                    (format.is_some(), "FORMAT in a cast"),
                ])?;
                self.data_type(data_type)?;
                self.expression(expr)
            }
            Expr::Convert {
                is_try,
                expr,
                data_type,
                charset,
                target_before_value,
                styles,
            } => {
                absent(&[
                    (
                        *is_try || *target_before_value || !styles.is_empty(),
                        "this kind of CONVERT",
                    ),
                    (self.dialect != Dialect::MariaDb, "CONVERT"),
                ])?;
                if let Some(data_type) = data_type {
                    self.data_type(data_type)?;
                }
                if let Some(charset) = charset {
                    self.single(charset)?;
                }
                self.expression(expr)
            }
            Expr::Collate { expr, collation } => {
                self.single(collation)?;
                self.expression(expr)
            }
            Expr::AtTimeZone {
                timestamp,
                time_zone,
            } => {
                self.expression(timestamp)?;
                self.expression(time_zone)
            }
            Expr::TypedString(typed) => self.typed_string(typed),
            Expr::Interval(interval) => self.interval(interval),
            _ => Err(not_understood("this kind of expression")),
        }
    }
}
