//! The seam's native side: each function answers from this thread's world. The scripts are elsewhere.

/// Who and where the attempt is.
pub(crate) mod context {
    use std::time::UNIX_EPOCH;

    use crate::testing::{Facts, Progress, current};

    fn fact<T>(read: impl FnOnce(&Facts) -> T) -> T {
        read(&current().borrow().facts)
    }

    pub(crate) fn run_id() -> String {
        fact(|facts| facts.run_id.clone())
    }

    pub(crate) fn workflow() -> String {
        fact(|facts| facts.workflow.clone())
    }

    pub(crate) fn job() -> String {
        fact(|facts| facts.job.clone())
    }

    pub(crate) fn task() -> String {
        fact(|facts| facts.task.clone())
    }

    pub(crate) fn item_index() -> Option<u32> {
        fact(|facts| facts.item_index)
    }

    pub(crate) fn attempt() -> u32 {
        fact(|facts| facts.attempt)
    }

    pub(crate) fn trace_id() -> String {
        fact(|facts| facts.trace_id.clone())
    }

    pub(crate) fn idempotency_key() -> String {
        fact(|facts| facts.idempotency_key.clone())
    }

    pub(crate) fn scheduled_at() -> String {
        fact(|facts| facts.scheduled_at.clone())
    }

    pub(crate) fn deadline_ms() -> u64 {
        let since = fact(|facts| {
            facts
                .deadline
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
        });
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn cancelled() -> bool {
        fact(|facts| facts.cancelled)
    }

    pub(crate) fn progress(done: u64, total: Option<u64>, note: &str) {
        current().borrow_mut().progress.push(Progress {
            done,
            total,
            note: note.to_owned(),
        });
    }
}

/// Log lines.
pub(crate) mod log {
    use crate::{
        log::Level,
        testing::{Line, current},
    };

    pub(crate) fn write(level: Level, message: &str, fields: &[(String, String)]) {
        let line = Line {
            level,
            message: message.to_owned(),
            fields: fields.to_vec(),
        };
        current().borrow_mut().logs.push(line);
    }
}

/// HTTP.
pub(crate) mod http {
    use std::cell::RefCell;

    use crate::{
        Error, Result,
        http::Outgoing,
        testing::{
            Shared, current,
            http::{Head, Reply, Sent, admit, follow, is_early},
        },
    };

    /// A place among the open requests, given back when it is dropped.
    #[derive(Debug)]
    struct Place(Shared);

    impl Place {
        fn take(state: Shared) -> Self {
            {
                let http = &mut state.borrow_mut().http;
                http.in_flight += 1;
                http.most_in_flight = http.most_in_flight.max(http.in_flight);
            }
            Place(state)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            self.0.borrow_mut().http.in_flight -= 1;
        }
    }

    #[derive(Debug)]
    pub(crate) struct Exchange {
        place: Place,
        state: RefCell<State>,
        redirects: Option<u32>,
    }

    /// How far a request is.
    #[derive(Debug)]
    enum State {
        /// Sent, and answered from there.
        Answered(Reply, String),
        /// Its body is being written.
        Writing { sent: Sent, length: Option<u64> },
        /// Its body was written to the end.
        Written(Sent),
        /// Given up, for this.
        Failed(Error),
    }

    #[derive(Debug)]
    pub(crate) struct Response {
        _place: Place,
        head: Head,
        url: String,
        rest: Vec<u8>,
    }

    pub(crate) fn start(outgoing: Outgoing) -> Result<Exchange> {
        let world = current();
        let Outgoing {
            method,
            url,
            headers,
            body,
            timeout,
            redirects,
            streamed,
        } = outgoing;
        let sent = Sent {
            method,
            url,
            headers,
            body,
            timeout,
            streamed: streamed.is_some(),
        };
        let state = match streamed {
            None => {
                let (reply, url) = follow(&world, sent, redirects)?;
                State::Answered(reply, url)
            }
            Some(_) if !sent.body.is_empty() => {
                return Err(invalid("a body is either appended or streamed, not both"));
            }
            Some(streamed) => {
                admit(&world, &sent)?;
                let length = streamed.length;
                State::Writing { sent, length }
            }
        };
        Ok(Exchange {
            place: Place::take(world),
            state: RefCell::new(state),
            redirects,
        })
    }

    pub(crate) fn send(outgoing: Outgoing) -> Result<Response> {
        start(outgoing)?.response()
    }

    fn invalid(message: &str) -> Error {
        Error::permanent("http.invalid", message)
    }

    impl Exchange {
        pub(crate) fn write_body(&self, bytes: &[u8]) -> Result<()> {
            let mut state = self.state.borrow_mut();
            let result = match &mut *state {
                State::Failed(error) => Err(error.clone()),
                State::Answered(..) | State::Written(_) => Err(invalid("the body has ended")),
                State::Writing { sent, length } => {
                    let whole = (sent.body.len() + bytes.len()) as u64;
                    if length.is_some_and(|length| whole > length) {
                        Err(invalid("the body is longer than it was said to be"))
                    } else if !sent.body.is_empty() && is_early(&self.place.0, sent) {
                        return Err(Error::permanent("http.ended", "the server has answered"));
                    } else {
                        sent.body.extend_from_slice(bytes);
                        Ok(())
                    }
                }
            };
            if let Err(error) = &result {
                *state = State::Failed(error.clone());
            }
            result
        }

        pub(crate) fn end_body(&self) -> Result<()> {
            let mut state = self.state.borrow_mut();
            let next = match &*state {
                State::Failed(error) => Err(error.clone()),
                State::Writing { sent, length } => match length {
                    Some(length) if (sent.body.len() as u64) < *length => {
                        Err(invalid("the body is shorter than it was said to be"))
                    }
                    _ => Ok(State::Written(sent.clone())),
                },
                State::Answered(..) | State::Written(_) => Err(invalid("the body has ended")),
            };
            match next {
                Ok(next) => {
                    *state = next;
                    Ok(())
                }
                Err(error) => {
                    *state = State::Failed(error.clone());
                    Err(error)
                }
            }
        }

        pub(crate) fn response(self) -> Result<Response> {
            let world = &self.place.0;
            let (reply, url) = match self.state.into_inner() {
                State::Answered(reply, url) => (reply, url),
                State::Failed(error) => return Err(error),
                State::Written(sent) => follow(world, sent, self.redirects)?,
                State::Writing { sent, .. } if is_early(world, &sent) => {
                    follow(world, sent, self.redirects)?
                }
                // The host would wait for as long as it may.
                State::Writing { .. } => {
                    let message = "the server waits for the rest of the body";
                    return Err(Error::retryable("http.timeout", message));
                }
            };
            let head = reply.outcome?;
            Ok(Response {
                _place: self.place,
                head,
                url,
                rest: reply.body,
            })
        }
    }

    impl Response {
        pub(crate) fn status(&self) -> u16 {
            self.head.status
        }

        pub(crate) fn headers(&self) -> Vec<(String, String)> {
            self.head.headers.clone()
        }

        pub(crate) fn url(&self) -> String {
            self.url.clone()
        }

        pub(crate) fn read(&mut self, max: u32) -> Result<Option<Vec<u8>>> {
            if self.rest.is_empty() {
                return Ok(None);
            }
            let end = self
                .rest
                .len()
                .min(usize::try_from(max).unwrap_or(usize::MAX));
            let after = self.rest.split_off(end);
            Ok(Some(std::mem::replace(&mut self.rest, after)))
        }
    }
}

/// Durable keys and values.
pub(crate) mod kv {
    use std::time::Duration;

    use crate::{Error, Result, kv::Entry, testing::current};

    fn check_key(key: &str) -> Result<()> {
        if key.is_empty() || key.chars().any(char::is_control) {
            return Err(Error::permanent(
                "kv.invalid",
                format!("`{}` is not a key", key.escape_default()),
            ));
        }
        Ok(())
    }

    pub(crate) fn get(key: &str) -> Result<Option<Entry>> {
        check_key(key)?;
        Ok(current()
            .borrow()
            .kv
            .get(key)
            .map(|(entry, _)| entry.clone()))
    }

    pub(crate) fn set(key: &str, value: &[u8], ttl: Option<Duration>) -> Result<u64> {
        check_key(key)?;
        Ok(current().borrow_mut().kv_write(key, value, ttl))
    }

    pub(crate) fn compare_and_set(
        key: &str,
        expected: Option<u64>,
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Result<Option<u64>> {
        let found = get(key)?.map(|entry| entry.revision);
        if found == expected {
            set(key, value, ttl).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(crate) fn delete(key: &str) -> Result<bool> {
        check_key(key)?;
        Ok(current().borrow_mut().kv.remove(key).is_some())
    }

    pub(crate) fn keys(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>> {
        if !(1..=1000).contains(&limit) {
            return Err(Error::permanent(
                "kv.invalid",
                format!("the limit is 1 to 1000, not {limit}"),
            ));
        }
        let state = current();
        let state = state.borrow();
        let wanted = |key: &&String| {
            key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after)
        };
        Ok(state
            .kv
            .keys()
            .filter(wanted)
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .cloned()
            .collect())
    }
}

/// Databases.
pub(crate) mod sql {
    use std::{
        cell::RefCell,
        rc::{Rc, Weak},
        vec,
    };

    use crate::{
        Error, Result,
        sql::{Column, Value},
        testing::{
            Shared, current,
            sql::{Answer, Statement, answer_to},
        },
    };

    #[derive(Debug)]
    pub(crate) struct Database {
        state: Shared,
        name: String,
    }

    #[derive(Debug)]
    pub(crate) struct Transaction {
        database: Database,
        ended: bool,
        /// Held by the rows that are being read in it.
        reading: RefCell<Weak<()>>,
    }

    #[derive(Debug)]
    pub(crate) struct Rows {
        columns: Vec<String>,
        rows: vec::IntoIter<Vec<Value>>,
        reading: Option<Rc<()>>,
    }

    impl Database {
        pub(crate) fn open(name: &str) -> Result<Self> {
            let state = current();
            if !state.borrow().sql.contains_key(name) {
                let message = format!("this test grants no database `{name}`");
                return Err(Error::permanent("sql.unknown-database", message));
            }
            Ok(Database {
                state,
                name: name.to_owned(),
            })
        }

        fn statement(&self, text: &str, parameters: &[Value]) -> Statement {
            Statement {
                database: self.name.clone(),
                text: text.to_owned(),
                parameters: parameters.to_vec(),
            }
        }

        fn note(&self, text: &str) {
            self.state
                .borrow_mut()
                .statements
                .push(self.statement(text, &[]));
        }

        pub(crate) fn query(&self, statement: &str, parameters: &[Value]) -> Result<Rows> {
            match answer_to(&self.state, self.statement(statement, parameters))? {
                Answer::Rows { columns, rows } => Ok(Rows {
                    columns,
                    rows: rows.into_iter(),
                    reading: None,
                }),
                Answer::Affected(_) => Err(Error::permanent(
                    "sql.invalid",
                    "this statement returns no rows",
                )),
            }
        }

        pub(crate) fn execute(&self, statement: &str, parameters: &[Value]) -> Result<u64> {
            match answer_to(&self.state, self.statement(statement, parameters))? {
                Answer::Affected(rows) => Ok(rows),
                Answer::Rows { .. } => Err(Error::permanent(
                    "sql.invalid",
                    "this statement returns rows",
                )),
            }
        }

        pub(crate) fn execute_batch(
            &self,
            statement: &str,
            parameters: &[Vec<Value>],
        ) -> Result<Vec<u64>> {
            parameters
                .iter()
                .map(|parameters| self.execute(statement, parameters))
                .collect()
        }

        pub(crate) fn begin(&self) -> Result<Transaction> {
            self.state.borrow_mut().begin_transaction()?;
            self.note("begin");
            let database = Database {
                state: self.state.clone(),
                name: self.name.clone(),
            };
            Ok(Transaction {
                database,
                ended: false,
                reading: RefCell::default(),
            })
        }
    }

    impl Transaction {
        pub(crate) fn query(&self, statement: &str, parameters: &[Value]) -> Result<Rows> {
            self.is_free()?;
            let mut rows = self.database.query(statement, parameters)?;
            let reading = Rc::new(());
            self.reading.replace(Rc::downgrade(&reading));
            rows.reading = Some(reading);
            Ok(rows)
        }

        pub(crate) fn execute(&self, statement: &str, parameters: &[Value]) -> Result<u64> {
            self.is_free()?;
            self.database.execute(statement, parameters)
        }

        pub(crate) fn execute_batch(
            &self,
            statement: &str,
            parameters: &[Vec<Value>],
        ) -> Result<Vec<u64>> {
            self.is_free()?;
            self.database.execute_batch(statement, parameters)
        }

        /// As in the sandbox, one connection does one thing at a time.
        fn is_free(&self) -> Result<()> {
            if self.reading.borrow().strong_count() > 0 {
                return Err(Error::permanent(
                    "sql.invalid",
                    "rows of this transaction are being read; read them to their end, or drop them, first",
                ));
            }
            Ok(())
        }

        pub(crate) fn commit(mut self) -> Result<()> {
            self.end("commit");
            Ok(())
        }

        pub(crate) fn rollback(mut self) -> Result<()> {
            self.end("rollback");
            Ok(())
        }

        fn end(&mut self, how: &str) {
            self.ended = true;
            let mut state = self.database.state.borrow_mut();
            state.end_transaction(how == "commit");
            drop(state);
            self.database.note(how);
        }
    }

    impl Drop for Transaction {
        fn drop(&mut self) {
            if !self.ended {
                self.end("rollback");
            }
        }
    }

    impl Rows {
        pub(crate) fn columns(&self) -> Vec<Column> {
            let named = |name: &String| Column {
                name: name.clone(),
                type_name: String::new(),
            };
            self.columns.iter().map(named).collect()
        }

        pub(crate) fn next(&mut self, max: u32) -> Result<Vec<Vec<Value>>> {
            let max = usize::try_from(max).unwrap_or(usize::MAX);
            let portion: Vec<_> = self.rows.by_ref().take(max).collect();
            if portion.is_empty() {
                self.reading = None;
            }
            Ok(portion)
        }
    }
}
