//! The seam's side inside the sandbox: each function is one call of the generated bindings, with the
//! types changed to the SDK's own. No decisions are made here.

use std::time::Duration;

use serde_json::Value as Json;

use super::bindings::flowweaver::types::types::Error as HostError;
use crate::Error;

impl From<HostError> for Error {
    fn from(error: HostError) -> Self {
        Error {
            code: error.code,
            message: error.message,
            retryable: error.retryable,
            retry_after: error.retry_after_ms.map(Duration::from_millis),
            // Details that are not JSON are kept, as text.
            details: error
                .details
                .map(|text| serde_json::from_str(&text).unwrap_or(Json::String(text))),
        }
    }
}

impl From<Error> for HostError {
    fn from(error: Error) -> Self {
        HostError {
            code: error.code,
            message: error.message,
            retryable: error.retryable,
            retry_after_ms: error.retry_after.map(whole_ms),
            details: error.details.map(|details| details.to_string()),
        }
    }
}

/// Milliseconds, rounded up, so that a wait or a life time is never shortened to nothing.
fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Who and where the attempt is.
pub(crate) mod context {
    pub(crate) use crate::host::bindings::flowweaver::context::context::{
        attempt, cancelled, deadline_ms, idempotency_key, item_index, job, progress, run_id,
        scheduled_at, task, trace_id, workflow,
    };
}

/// Log lines.
pub(crate) mod log {
    use crate::host::bindings::flowweaver::log::log as wit;
    use crate::log::Level;

    pub(crate) fn write(level: Level, message: &str, fields: &[(String, String)]) {
        let level = match level {
            Level::Trace => wit::Level::Trace,
            Level::Debug => wit::Level::Debug,
            Level::Info => wit::Level::Info,
            Level::Warn => wit::Level::Warn,
            Level::Error => wit::Level::Error,
        };
        wit::write(level, message, fields);
    }
}

/// HTTP.
pub(crate) mod http {
    use crate::Result;
    use crate::host::bindings::flowweaver::http::client as wit;
    use crate::http::Outgoing;

    #[derive(Debug)]
    pub(crate) struct Exchange(wit::Exchange);

    #[derive(Debug)]
    pub(crate) struct Response(wit::Response);

    fn request(outgoing: &Outgoing) -> Result<wit::Request> {
        let request = wit::Request::new(&outgoing.method, &outgoing.url);
        for (name, value) in &outgoing.headers {
            request.append_header(name, value)?;
        }
        if !outgoing.body.is_empty() {
            request.append_body(&outgoing.body)?;
        }
        if let Some(timeout) = outgoing.timeout {
            request.set_timeout_ms(super::whole_ms(timeout));
        }
        if let Some(max) = outgoing.redirects {
            request.set_redirects(max);
        }
        if let Some(streamed) = outgoing.streamed {
            request.stream_body(streamed.length);
        }
        Ok(request)
    }

    pub(crate) fn start(outgoing: Outgoing) -> Result<Exchange> {
        Ok(Exchange(wit::start(request(&outgoing)?)?))
    }

    pub(crate) fn send(outgoing: Outgoing) -> Result<Response> {
        Ok(Response(wit::send(request(&outgoing)?)?))
    }

    impl Exchange {
        pub(crate) fn write_body(&self, bytes: &[u8]) -> Result<()> {
            Ok(self.0.write_body(bytes)?)
        }

        pub(crate) fn end_body(&self) -> Result<()> {
            Ok(self.0.end_body()?)
        }

        pub(crate) fn response(self) -> Result<Response> {
            Ok(Response(self.0.response()?))
        }
    }

    impl Response {
        pub(crate) fn status(&self) -> u16 {
            self.0.status()
        }

        pub(crate) fn headers(&self) -> Vec<(String, String)> {
            self.0.headers()
        }

        pub(crate) fn url(&self) -> String {
            self.0.url()
        }

        pub(crate) fn read(&mut self, max: u32) -> Result<Option<Vec<u8>>> {
            Ok(self.0.read(max)?)
        }
    }
}

/// Durable keys and values.
pub(crate) mod kv {
    use std::time::Duration;

    use crate::Result;
    use crate::host::bindings::flowweaver::kv::store as wit;
    use crate::kv::Entry;

    pub(crate) fn get(key: &str) -> Result<Option<Entry>> {
        Ok(wit::get(key)?.map(|entry| Entry {
            value: entry.value,
            revision: entry.revision,
        }))
    }

    pub(crate) fn set(key: &str, value: &[u8], ttl: Option<Duration>) -> Result<u64> {
        Ok(wit::set(key, value, ttl.map(super::whole_ms))?)
    }

    pub(crate) fn compare_and_set(
        key: &str,
        expected: Option<u64>,
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Result<Option<u64>> {
        Ok(wit::compare_and_set(
            key,
            expected,
            value,
            ttl.map(super::whole_ms),
        )?)
    }

    pub(crate) fn delete(key: &str) -> Result<bool> {
        Ok(wit::delete(key)?)
    }

    pub(crate) fn keys(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>> {
        Ok(wit::keys(prefix, after, limit)?)
    }
}

/// Databases.
pub(crate) mod sql {
    use crate::Result;
    use crate::host::bindings::flowweaver::sql::client as wit;
    use crate::sql::{Column, Value};

    #[derive(Debug)]
    pub(crate) struct Database(wit::Database);

    #[derive(Debug)]
    pub(crate) struct Transaction(wit::Transaction);

    #[derive(Debug)]
    pub(crate) struct Rows(wit::Rows);

    fn lower(values: &[Value]) -> Vec<wit::Value> {
        values.iter().cloned().map(wit::Value::from).collect()
    }

    fn lower_all(lists: &[Vec<Value>]) -> Vec<Vec<wit::Value>> {
        lists.iter().map(|values| lower(values)).collect()
    }

    impl Database {
        pub(crate) fn open(name: &str) -> Result<Self> {
            Ok(Database(wit::Database::open(name)?))
        }

        pub(crate) fn query(&self, statement: &str, parameters: &[Value]) -> Result<Rows> {
            Ok(Rows(self.0.query(statement, &lower(parameters))?))
        }

        pub(crate) fn execute(&self, statement: &str, parameters: &[Value]) -> Result<u64> {
            Ok(self.0.execute(statement, &lower(parameters))?)
        }

        pub(crate) fn execute_batch(
            &self,
            statement: &str,
            parameters: &[Vec<Value>],
        ) -> Result<Vec<u64>> {
            Ok(self.0.execute_batch(statement, &lower_all(parameters))?)
        }

        pub(crate) fn begin(&self) -> Result<Transaction> {
            Ok(Transaction(self.0.begin()?))
        }
    }

    impl Transaction {
        pub(crate) fn query(&self, statement: &str, parameters: &[Value]) -> Result<Rows> {
            Ok(Rows(self.0.query(statement, &lower(parameters))?))
        }

        pub(crate) fn execute(&self, statement: &str, parameters: &[Value]) -> Result<u64> {
            Ok(self.0.execute(statement, &lower(parameters))?)
        }

        pub(crate) fn execute_batch(
            &self,
            statement: &str,
            parameters: &[Vec<Value>],
        ) -> Result<Vec<u64>> {
            Ok(self.0.execute_batch(statement, &lower_all(parameters))?)
        }

        pub(crate) fn commit(self) -> Result<()> {
            Ok(wit::Transaction::commit(self.0)?)
        }

        pub(crate) fn rollback(self) -> Result<()> {
            Ok(wit::Transaction::rollback(self.0)?)
        }
    }

    impl Rows {
        pub(crate) fn columns(&self) -> Vec<Column> {
            let columns = self.0.columns().into_iter();
            columns
                .map(|column| Column {
                    name: column.name,
                    type_name: column.type_name,
                })
                .collect()
        }

        pub(crate) fn next(&mut self, max: u32) -> Result<Vec<Vec<Value>>> {
            let rows = self.0.next(max)?.into_iter();
            Ok(rows
                .map(|row| row.into_iter().map(Value::from).collect())
                .collect())
        }
    }

    impl From<Value> for wit::Value {
        fn from(value: Value) -> Self {
            match value {
                Value::Null => wit::Value::Null,
                Value::Boolean(value) => wit::Value::Boolean(value),
                Value::Int64(value) => wit::Value::Int64(value),
                Value::Float64(value) => wit::Value::Float64(value),
                Value::Text(value) => wit::Value::Text(value),
                Value::Blob(value) => wit::Value::Blob(value),
                Value::Decimal(value) => wit::Value::Decimal(value),
                Value::Timestamp(value) => wit::Value::Timestamp(value),
                Value::Json(value) => wit::Value::Json(value),
                Value::Uuid(value) => wit::Value::Uuid(value),
                Value::Other { type_name, text } => wit::Value::Other((type_name, text)),
            }
        }
    }

    impl From<wit::Value> for Value {
        fn from(value: wit::Value) -> Self {
            match value {
                wit::Value::Null => Value::Null,
                wit::Value::Boolean(value) => Value::Boolean(value),
                wit::Value::Int64(value) => Value::Int64(value),
                wit::Value::Float64(value) => Value::Float64(value),
                wit::Value::Text(value) => Value::Text(value),
                wit::Value::Blob(value) => Value::Blob(value),
                wit::Value::Decimal(value) => Value::Decimal(value),
                wit::Value::Timestamp(value) => Value::Timestamp(value),
                wit::Value::Json(value) => Value::Json(value),
                wit::Value::Uuid(value) => Value::Uuid(value),
                wit::Value::Other((type_name, text)) => Value::Other { type_name, text },
            }
        }
    }
}
