//! What leaves a filter: its values as JSON, within bounds, or an error that names the place that has no JSON form.

use std::{fmt, str};

use flowweaver_task::{
    Error, Value,
    serde_json::{Map, Number},
};
use jaq_json::{Num, Val};

/// The most bytes of JSON that a task returns, all results together. The host records every output, up to 8 MiB by
/// default; larger data belongs into a bucket or a database.
const RESULT_BYTES: usize = 4 << 20;

/// What each value takes beside its text. In memory it is more; a list of a million zeros should not pass for small.
const VALUE_BYTES: usize = 16;

/// The most that an error carries of what the filter gave to `error`.
const DETAIL_BYTES: usize = 4 << 10;

/// How deep a result may nest: JSON readers commonly stop at 128, and the answer is a few levels itself.
const DEPTH: usize = 120;

/// Above this every float is whole and not every whole number is a float (2^53).
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The longest integer that is still within the range of floats, in bits.
const FLOAT_BITS: u64 = 1024;

/// The room that is left for results. Values inside a filter share their parts, so a small one can be an endless text.
pub(crate) struct Room {
    left: usize,
}

/// A step from a value into one of its parts.
enum Step<'v> {
    Item(usize),
    Key(&'v [u8]),
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Item(at) => write!(f, "[{at}]"),
            Step::Key(name) => write!(f, ".{}", String::from_utf8_lossy(name)),
        }
    }
}

impl Default for Room {
    fn default() -> Self {
        Room { left: RESULT_BYTES }
    }
}

impl Room {
    /// Room for the details of an error.
    pub(crate) fn of_details() -> Self {
        Room { left: DETAIL_BYTES }
    }

    /// A result as JSON.
    ///
    /// # Errors
    /// `limit.filter-result` when there is no room for it, or it nests too deep; `filter.failed` when it holds what
    /// JSON cannot: NaN, infinities, bytes, keys that are no text. All permanent.
    pub(crate) fn json(&mut self, value: &Val) -> Result<Value, Error> {
        self.value(value, &mut Vec::new())
    }

    fn value<'v>(&mut self, value: &'v Val, path: &mut Vec<Step<'v>>) -> Result<Value, Error> {
        if path.len() > DEPTH {
            let message = format!("the result nests deeper than {DEPTH} levels");
            return Err(Error::permanent("limit.filter-result", message));
        }
        self.take(VALUE_BYTES)?;
        match value {
            Val::Null => self.take(4).map(|()| Value::Null),
            Val::Bool(truth) => self.take(5).map(|()| Value::Bool(*truth)),
            Val::Num(number) => {
                let number = self::number(number).ok_or_else(|| {
                    without_form(
                        path,
                        "a number without a JSON form (NaN, or beyond the largest float)",
                    )
                })?;
                self.take(number.to_string().len())?;
                Ok(Value::Number(number))
            }
            Val::TStr(bytes) => self.text(bytes, path).map(Value::String),
            Val::BStr(_) => Err(without_form(path, "bytes; `@base64` makes text of them")),
            Val::Arr(items) => {
                self.take(2)?;
                let mut list = Vec::new();
                for (at, item) in items.iter().enumerate() {
                    self.take(1)?;
                    path.push(Step::Item(at));
                    list.push(self.value(item, path)?);
                    path.pop();
                }
                Ok(Value::Array(list))
            }
            Val::Obj(pairs) => {
                self.take(2)?;
                let mut object = Map::new();
                for (key, item) in pairs.iter() {
                    let Val::TStr(name) = key else {
                        return Err(without_form(
                            path,
                            "a key that is not text; `tostring` makes one of it",
                        ));
                    };
                    self.take(2)?;
                    let key = self.text(name, path)?;
                    path.push(Step::Key(name));
                    let item = self.value(item, path)?;
                    path.pop();
                    object.insert(key, item);
                }
                Ok(Value::Object(object))
            }
        }
    }

    fn text(&mut self, bytes: &[u8], path: &[Step<'_>]) -> Result<String, Error> {
        self.take(bytes.len() + 2)?;
        let text = str::from_utf8(bytes).map_err(|_| {
            without_form(path, "text that is not UTF-8; `@base64` makes text of it")
        })?;
        Ok(text.to_owned())
    }

    fn take(&mut self, bytes: usize) -> Result<(), Error> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Error::permanent(
                "limit.filter-result",
                format!(
                    "the results have more than {RESULT_BYTES} bytes of JSON, {VALUE_BYTES} more counted for each value"
                ),
            )),
        }
    }
}

fn without_form(path: &[Step<'_>], what: &str) -> Error {
    let steps: String = path.iter().map(Step::to_string).collect();
    let place = if path.is_empty() {
        "the result".to_owned()
    } else {
        format!("`{steps}` of the result")
    };
    Error::permanent("filter.failed", format!("{place} is {what}"))
}

/// The number as JSON has it: whole ones without a fraction (`6 / 2` is 3), as jq writes them.
fn number(number: &Num) -> Option<Number> {
    match number {
        Num::Int(whole) => Some(Number::from(i64::try_from(*whole).ok()?)),
        Num::BigInt(big) if big.bits() <= u64::from(u64::BITS) => {
            let text = big.to_string();
            let signed = text.parse::<i64>().map(Number::from);
            signed
                .or_else(|_| text.parse::<u64>().map(Number::from))
                .ok()
                .or_else(|| float(text.parse().ok()?))
        }
        // Anything longer is no float either, and its decimal text would take long.
        Num::BigInt(big) if big.bits() > FLOAT_BITS => None,
        Num::BigInt(big) => float(big.to_string().parse().ok()?),
        Num::Float(value) => float(*value),
        Num::Dec(text) => float(text.parse().ok()?),
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "a whole float within 2^53 is exactly an integer"
)]
fn float(value: f64) -> Option<Number> {
    if value.fract() == 0.0 && value.abs() <= EXACT {
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}
