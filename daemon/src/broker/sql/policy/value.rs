//! Literals, placeholders and types: what is written out so that every server reads the same.

use sqlparser::ast::{
    ArrayElemTypeDef, DataType, DateTimeField, Interval, TypedString, Value, ValueWithSpan,
};

use super::dialect::Dialect;
use super::refusal::{denied, invalid, shown};
use super::walk::{Step, Walk, absent, not_understood};

/// Placeholders of one statement: SQLite's own default, and half of what the servers count.
const PARAMETERS_MAX: usize = 32_766;
/// PostgreSQL's types without a name in the parser. None reads a catalog or calls a guest's code.
const POSTGRES_TYPES: &[&str] = &[
    "bpchar",
    "cidr",
    "citext",
    "daterange",
    "inet",
    "int4range",
    "int8range",
    "jsonpath",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "numrange",
    "timetz",
    "tsrange",
    "tstzrange",
];

impl Walk<'_> {
    pub(super) fn value(&mut self, value: &mut ValueWithSpan) -> Step {
        let ValueWithSpan { value, span: _ } = value;
        match value {
            Value::Number(number, long) => {
                let plain = !*long
                    && number.starts_with(|c: char| c.is_ascii_digit() || c == '.')
                    && number
                        .chars()
                        .all(|c| c.is_ascii_digit() || ".eE+-".contains(c));
                if plain {
                    return Ok(());
                }
                Err(invalid(format!(
                    "`{}` is not a number everywhere",
                    shown(number)
                )))
            }
            Value::SingleQuotedString(text) => {
                if let Some(escaped) = self.literal(text)? {
                    *value = escaped;
                }
                Ok(())
            }
            Value::EscapedStringLiteral(_) if self.dialect == Dialect::Postgres => Ok(()),
            Value::HexStringLiteral(digits) | Value::SingleQuotedByteStringLiteral(digits)
                if digits.chars().all(|c| c.is_ascii_hexdigit()) =>
            {
                Ok(())
            }
            Value::Boolean(_) | Value::Null => Ok(()),
            Value::Placeholder(name) => self.placeholder(name),
            _ => Err(invalid("write a literal as '…', or pass it as a parameter")),
        }
    }

    /// A literal in single quotes, or the spelling of it that no setting changes.
    fn literal(&self, text: &str) -> Step<Option<Value>> {
        // The parser writes these two out otherwise than it read them.
        let is_odd = text.contains("''") || text.contains("\\'") || text.ends_with('\\');
        match self.dialect {
            // Whether `\` is a letter is a setting (`standard_conforming_strings`).
            Dialect::Postgres if is_odd || text.contains('\\') => {
                Ok(Some(Value::EscapedStringLiteral(text.to_owned())))
            }
            // The same (`NO_BACKSLASH_ESCAPES`), without another spelling.
            Dialect::MariaDb if text.contains('\\') => Err(invalid(
                "a literal holds `\\`, whose meaning is a setting of the server; pass it as a parameter",
            )),
            Dialect::Sqlite | Dialect::MariaDb if is_odd => Err(invalid(
                "a literal holds quotes side by side, or `\\` before one; pass it as a parameter",
            )),
            _ => Ok(None),
        }
    }

    fn placeholder(&mut self, name: &str) -> Step {
        let number = |digits: &str| {
            let plain = digits.chars().all(|c| c.is_ascii_digit()) && !digits.starts_with('0');
            digits
                .parse::<usize>()
                .ok()
                .filter(|number| plain && *number <= PARAMETERS_MAX)
        };
        let used = self.placeholders;
        let count = match (self.dialect, name.split_at_checked(1)) {
            (Dialect::Postgres, Some(("$", digits))) => {
                number(digits).map(|number| used.max(number))
            }
            (Dialect::Sqlite | Dialect::MariaDb, Some(("?", ""))) => Some(used + 1),
            (Dialect::Sqlite, Some(("?", digits))) => number(digits).map(|number| used.max(number)),
            _ => None,
        };
        let form = match self.dialect {
            Dialect::Sqlite => "`?` or `?1`",
            Dialect::Postgres => "`$1`",
            Dialect::MariaDb => "`?`",
        };
        match count.filter(|count| *count <= PARAMETERS_MAX) {
            Some(count) => {
                self.placeholders = count;
                Ok(())
            }
            None => Err(invalid(format!(
                "`{}` is no placeholder of {}; write {form}, at most {PARAMETERS_MAX}",
                shown(name),
                self.dialect.name()
            ))),
        }
    }

    pub(super) fn typed_string(&mut self, typed: &mut TypedString) -> Step {
        let TypedString {
            data_type,
            value,
            uses_odbc_syntax,
        } = typed;
        absent(&[(*uses_odbc_syntax, "`{d …}`")])?;
        self.data_type(data_type)?;
        self.value(value)
    }

    pub(super) fn interval(&mut self, interval: &mut Interval) -> Step {
        let Interval {
            value,
            leading_field,
            leading_precision: _,
            last_field,
            fractional_seconds_precision: _,
        } = interval;
        absent(&[(self.dialect == Dialect::Sqlite, "INTERVAL")])?;
        for field in [leading_field, last_field].into_iter().flatten() {
            time_field(field)?;
        }
        self.expression(value)
    }

    /// A type that a value may be turned into.
    pub(super) fn data_type(&mut self, data_type: &mut DataType) -> Step {
        let is_known = match data_type {
            DataType::Character(_)
            | DataType::Char(_)
            | DataType::CharacterVarying(_)
            | DataType::CharVarying(_)
            | DataType::Varchar(_)
            | DataType::Text
            | DataType::Uuid
            | DataType::Binary(_)
            | DataType::Varbinary(_)
            | DataType::Blob(_)
            | DataType::Bytea => true,
            DataType::Numeric(_)
            | DataType::Decimal(_)
            | DataType::Dec(_)
            | DataType::Float(_)
            | DataType::Real
            | DataType::Float4
            | DataType::Float8
            | DataType::Double(_)
            | DataType::DoublePrecision => true,
            DataType::TinyInt(_)
            | DataType::SmallInt(_)
            | DataType::MediumInt(_)
            | DataType::Int(_)
            | DataType::Integer(_)
            | DataType::BigInt(_)
            | DataType::Int2(_)
            | DataType::Int4(_)
            | DataType::Int8(_)
            | DataType::Signed
            | DataType::SignedInteger
            | DataType::Unsigned
            | DataType::UnsignedInteger => true,
            DataType::Bool
            | DataType::Boolean
            | DataType::Bit(_)
            | DataType::BitVarying(_)
            | DataType::VarBit(_) => true,
            DataType::Date
            | DataType::Time(..)
            | DataType::Datetime(_)
            | DataType::Timestamp(..)
            | DataType::Interval { .. } => true,
            DataType::JSON | DataType::JSONB | DataType::TsVector | DataType::TsQuery => true,
            DataType::Array(ArrayElemTypeDef::SquareBracket(element, _))
                if self.dialect == Dialect::Postgres =>
            {
                return self.data_type(element);
            }
            DataType::Custom(name, modifiers)
                if self.dialect == Dialect::Postgres && modifiers.is_empty() =>
            {
                POSTGRES_TYPES.contains(&self.single(name)?.as_str())
            }
            _ => false,
        };
        if is_known {
            return Ok(());
        }
        let shown = shown(&data_type.to_string());
        Err(denied(format!("the type `{shown}` is not allowed")))
    }
}

/// A unit of time, as `extract` and `interval` name it.
pub(super) fn time_field(field: &DateTimeField) -> Step {
    match field {
        DateTimeField::Custom(_) | DateTimeField::Week(Some(_)) => {
            Err(not_understood("this unit of time"))
        }
        _ => Ok(()),
    }
}
