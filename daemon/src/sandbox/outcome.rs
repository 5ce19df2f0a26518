//! What an attempt's end means: a task's own error, a trap, a limit; and whether its output is one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use wasmtime::Trap;
use wasmtime::component::ResourceTableError;
use wasmtime_wasi::I32Exit;

use super::attempt::TRANSFER_BYTES_MAX;
use crate::bindings::types::types::Error as GuestError;
use crate::broker::error::HostFault;
use crate::run::failure::{Failure, FailureSource};
use crate::units::{Size, Span};

/// Readers of JSON stop at 128 levels; a little less, so that an output still fits into other objects.
const DEPTH_MAX: usize = 100;
/// A code is a name.
const CODE_BYTES_MAX: usize = 128;
/// A message is a sentence; a page of it is shown nowhere.
const MESSAGE_BYTES_MAX: usize = 8 << 10;
/// Details of an error are kept with the attempt; data belongs in the output.
const DETAILS_BYTES_MAX: usize = 64 << 10;

/// A limit that ends an attempt from within.
#[derive(Debug, thiserror::Error)]
pub(super) enum LimitReached {
    /// Linear memories and tables together.
    #[error("the task needs more memory than its limit of {}", Size(*bytes as u64))]
    Memory {
        /// The limit.
        bytes: usize,
    },
    /// CPU time.
    #[error("the task used up its {} of CPU time", Span(*budget))]
    Cpu {
        /// The limit.
        budget: Duration,
    },
}

/// What the task itself says, cut to size.
pub(super) fn task_failure(error: GuestError) -> Failure {
    let details = error.details.map_or(serde_json::Value::Null, |text| {
        if text.len() > DETAILS_BYTES_MAX {
            return serde_json::Value::String(cut(text, DETAILS_BYTES_MAX));
        }
        serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
    });
    let is_code = !error.code.is_empty()
        && error.code.len() <= CODE_BYTES_MAX
        && error.code.bytes().all(|byte| byte.is_ascii_graphic());
    Failure {
        source: FailureSource::Task,
        code: if is_code {
            error.code
        } else {
            "task.error".to_owned()
        },
        message: cut(error.message, MESSAGE_BYTES_MAX),
        retryable: error.retryable,
        retry_after_ms: error.retry_after_ms,
        details,
    }
}

fn cut(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    text
}

/// What ended the guest before it returned.
pub(super) fn trap_failure(error: &wasmtime::Error) -> Failure {
    let limit =
        |code: &str, message: String| Failure::permanent(FailureSource::Limit, code, message);
    if let Some(reached) = error.downcast_ref::<LimitReached>() {
        let code = match reached {
            LimitReached::Memory { .. } => "limit.memory",
            LimitReached::Cpu { .. } => "limit.cpu",
        };
        return limit(code, reached.to_string());
    }
    if let Some(I32Exit(status)) = error.downcast_ref::<I32Exit>() {
        return Failure {
            details: serde_json::json!({ "status": status }),
            ..Failure::retryable(
                FailureSource::Trap,
                "exit",
                format!("the task ended its program with status {status} instead of returning"),
            )
        };
    }
    if let Some(HostFault(message)) = error.downcast_ref::<HostFault>() {
        return Failure::retryable(FailureSource::Host, "host.broker", message.clone());
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return Failure::retryable(
            FailureSource::Trap,
            format!("trap.{}", trap_name(*trap)),
            format!("the task stopped: {trap}"),
        );
    }
    let cause = error.root_cause().to_string();
    if matches!(
        error.downcast_ref::<ResourceTableError>(),
        Some(ResourceTableError::Full)
    ) || cause.contains(HANDLES_FULL)
    {
        return limit(
            "limit.handles",
            format!("the task holds too many handles: {cause}"),
        );
    }
    if cause.contains(INSTANCES_FULL) {
        return limit(
            "limit.instances",
            format!("the module has too many instances, memories or tables: {cause}"),
        );
    }
    if cause.contains(TRANSFER_SPENT) {
        let max = Size(TRANSFER_BYTES_MAX as u64);
        return limit(
            "limit.transfer",
            format!("the task handed the host more than {max} in one call"),
        );
    }
    Failure::retryable(
        FailureSource::Trap,
        "trap.contract",
        format!("the task broke the calling contract: {cause}"),
    )
}

/// How wasmtime 48 words limits whose error types it keeps to itself; `tests/sandbox/attacks` notices a change.
const HANDLES_FULL: &str = "handle limit";
const INSTANCES_FULL: &str = "resource limit exceeded";
const TRANSFER_SPENT: &str = "fuel allocated for hostcalls";

fn trap_name(trap: Trap) -> &'static str {
    match trap {
        Trap::StackOverflow => "stack-overflow",
        Trap::MemoryOutOfBounds => "memory-out-of-bounds",
        Trap::TableOutOfBounds => "table-out-of-bounds",
        Trap::IndirectCallToNull => "indirect-call-to-null",
        Trap::BadSignature => "bad-signature",
        Trap::IntegerOverflow => "integer-overflow",
        Trap::IntegerDivisionByZero => "integer-division-by-zero",
        Trap::BadConversionToInteger => "bad-conversion-to-integer",
        Trap::UnreachableCodeReached => "unreachable",
        Trap::CannotEnterComponent | Trap::CannotLeaveComponent => "reentrance",
        Trap::InvalidChar
        | Trap::StringOutOfBounds
        | Trap::ListOutOfBounds
        | Trap::InvalidDiscriminant
        | Trap::UnalignedPointer => "contract",
        Trap::AllocationTooLarge => "allocation-too-large",
        _ => "other",
    }
}

/// The output if it is one: a JSON object, small enough, that every reader can read.
pub(super) fn checked_output(text: String, bytes_max: u64) -> Result<Arc<str>, Failure> {
    let limit = |message| Failure::permanent(FailureSource::Limit, "limit.output", message);
    if text.len() as u64 > bytes_max {
        return Err(limit(format!(
            "the output has {} bytes, more than its limit of {}",
            text.len(),
            Size(bytes_max)
        )));
    }
    if deeper_than(&text, DEPTH_MAX) {
        return Err(limit(format!(
            "the output nests deeper than {DEPTH_MAX} levels"
        )));
    }
    let invalid = |why: String| {
        Failure::permanent(
            FailureSource::Task,
            "output.invalid",
            format!("the output is not a JSON object: {why}"),
        )
    };
    if !text.trim_start().starts_with('{') {
        return Err(invalid("it does not begin with '{'".to_owned()));
    }
    let mut json = serde_json::Deserializer::from_str(&text);
    Readable
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|error| invalid(error.to_string()))?;
    Ok(text.into())
}

/// Whether brackets nest deeper than `max`. Text that is not JSON gives some answer; it is refused later.
pub(super) fn deeper_than(text: &str, max: usize) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                if depth > max {
                    return true;
                }
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Reads a value as every later reader will, numbers and escapes included, and keeps nothing of it.
struct Readable;

impl<'de> DeserializeSeed<'de> for Readable {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Readable)?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while fields.next_key_seed(Readable)?.is_some() {
            fields.next_value_seed(Readable)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        match checked_output(text.to_owned(), 1_000) {
            Ok(_) => "ok".to_owned(),
            Err(failure) => failure.code,
        }
    }

    #[test]
    fn an_output_that_some_reader_could_not_read_is_refused() {
        for bad in [
            "",
            "null",
            "[]",
            "1",
            "\"{}\"",
            "{",
            "{} {}",
            "{\"a\":1e400}",
            "{\"a\":01}",
            "{'a':1}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\u{1}\"}",
            "{\"a\":}",
            "\u{feff}{}",
            "{]",
        ] {
            assert_eq!(code(bad), "output.invalid", "{bad:?}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100), "]".repeat(100));
        assert_eq!(code(&deep), "limit.output");
        assert_eq!(code(&"{".repeat(100_000)), "limit.output");
        assert_eq!(
            code(&format!("{{\"a\":\"{}\"}}", "x".repeat(1_000))),
            "limit.output"
        );
    }

    #[test]
    fn an_object_passes_as_it_was_written() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(99), "]".repeat(99));
        for good in [
            "{}",
            " {\"a\" : [1, -2.5e3, \"\\\"[[{\\u00e9\", null, true, {}] }\n",
            &deep,
        ] {
            assert_eq!(code(good), "ok", "{good:?}");
        }
    }
}
