//! A row as serde reads it: a map from column names to values. The allowances are those of `FromValue`:
//! 0 and 1 are booleans, and numbers are read from decimals.

use std::fmt;

use serde::{
    Deserializer,
    de::{
        self, IntoDeserializer, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

use super::{FromValue, Row, Value};

/// Why a value does not fit. The path in front of it is added by the caller.
#[derive(Debug)]
pub(super) struct Mismatch(String);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mismatch {}

impl de::Error for Mismatch {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Mismatch(message.to_string())
    }
}

/// Reads one row.
pub(super) struct RowReader<'a>(&'a Row);

impl<'a> RowReader<'a> {
    pub(super) fn of(row: &'a Row) -> Self {
        RowReader(row)
    }
}

impl<'de> Deserializer<'de> for RowReader<'_> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let pairs = self
            .0
            .iter()
            .map(|(name, value)| (name.to_owned(), ValueReader(value)));
        visitor.visit_map(MapDeserializer::new(pairs))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Reads one value.
struct ValueReader<'a>(&'a Value);

impl<'de> IntoDeserializer<'de, Mismatch> for ValueReader<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl ValueReader<'_> {
    /// JSON is read by its own rules.
    fn read_json<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, Mismatch> {
        let json: serde_json::Value = serde_json::from_str(text).map_err(de::Error::custom)?;
        json.deserialize_any(visitor).map_err(de::Error::custom)
    }

    /// A number of type `T` if the value holds one, else whatever the value is.
    fn number<'de, T: FromValue, V: Visitor<'de>>(
        self,
        visitor: V,
        visit: impl FnOnce(V, T) -> Result<V::Value, Mismatch>,
    ) -> Result<V::Value, Mismatch> {
        match T::from_value(self.0) {
            Some(number) => visit(visitor, number),
            None => self.deserialize_any(visitor),
        }
    }
}

impl<'de> Deserializer<'de> for ValueReader<'_> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Int64(value) => visitor.visit_i64(*value),
            Value::Float64(value) => visitor.visit_f64(*value),
            Value::Blob(bytes) => visitor.visit_bytes(bytes),
            Value::Json(text) => Self::read_json(text, visitor),
            Value::Text(text)
            | Value::Decimal(text)
            | Value::Timestamp(text)
            | Value::Uuid(text)
            | Value::Other { text, .. } => visitor.visit_str(text),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.number(visitor, |visitor, truth: bool| visitor.visit_bool(truth))
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.number(visitor, |visitor, number: i64| visitor.visit_i64(number))
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.number(visitor, |visitor, number: u64| visitor.visit_u64(number))
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.number(visitor, |visitor, number: f64| visitor.visit_f64(number))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        // A field that asks for text gets JSON as the text it is.
        match self.0 {
            Value::Json(text) => visitor.visit_str(text),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        // `Vec<u8>` asks serde for a list.
        match self.0 {
            Value::Blob(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied())),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match self.0 {
            Value::Json(text) => {
                let json: serde_json::Value =
                    serde_json::from_str(text).map_err(de::Error::custom)?;
                json.deserialize_enum(name, variants, visitor)
                    .map_err(de::Error::custom)
            }
            // Enumerations of a database arrive as text, or as a type of their own.
            value => match value.as_text() {
                Some(text) => {
                    visitor.visit_enum(IntoDeserializer::<Mismatch>::into_deserializer(text))
                }
                None => self.deserialize_any(visitor),
            },
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u128 char str bytes byte_buf unit unit_struct tuple tuple_struct map struct
        identifier ignored_any
    }
}
