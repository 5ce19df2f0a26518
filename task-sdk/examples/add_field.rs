//! A small task that can be told how to behave: it adds a field to an object, waits, logs or fails.
//! Its compiled form is the fixture that shows that modules of contract 0.1.0 keep loading, and the
//! task of the benchmark's shapes.

use flowweaver_task::{Context, Error, Result, Value, log, task};

/// What to do.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// The object to add to.
    #[serde(default)]
    object: serde_json::Map<String, Value>,
    /// The field's name.
    field: String,
    /// The field's value.
    #[serde(default)]
    value: Value,
    /// Milliseconds to wait before answering.
    #[serde(default)]
    wait_ms: u64,
    /// A line to log.
    #[serde(default)]
    say: Option<String>,
    /// Fail with this code while the attempt's number is not above `fail_attempts`.
    #[serde(default)]
    fail: Option<String>,
    /// How many attempts fail.
    #[serde(default = "every")]
    fail_attempts: u32,
}

fn every() -> u32 {
    u32::MAX
}

/// The object with the field.
#[derive(serde::Serialize, schemars::JsonSchema)]
struct Output {
    /// The object.
    object: serde_json::Map<String, Value>,
    /// The attempt that answered.
    attempt: u32,
    /// The same for every attempt.
    key: String,
}

/// Adds a field to an object.
#[task(name = "add-field", version = "0.1.0")]
fn run(input: Input, cx: &Context) -> Result<Output> {
    if let Some(line) = &input.say {
        log::info(line, &[("attempt", &cx.attempt())]);
    }
    if input.wait_ms > 0 {
        std::thread::sleep(std::time::Duration::from_millis(input.wait_ms));
    }
    if let Some(code) = input.fail.filter(|_| cx.attempt() <= input.fail_attempts) {
        return Err(Error::retryable(code, "told to fail"));
    }
    let mut object = input.object;
    object.insert(input.field, input.value);
    Ok(Output {
        object,
        attempt: cx.attempt(),
        key: cx.idempotency_key(),
    })
}
