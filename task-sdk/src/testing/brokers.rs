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
    use crate::{
        Result,
        http::Outgoing,
        testing::{
            Shared, current,
            http::{Head, Reply, Sent, reply_to},
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
        reply: Reply,
        url: String,
    }

    #[derive(Debug)]
    pub(crate) struct Response {
        _place: Place,
        head: Head,
        url: String,
        rest: Vec<u8>,
    }

    pub(crate) fn start(outgoing: Outgoing) -> Result<Exchange> {
        let state = current();
        let url = outgoing.url.clone();
        let Outgoing {
            method,
            url: target,
            headers,
            body,
            timeout,
        } = outgoing;
        let reply = reply_to(
            &state,
            Sent {
                method,
                url: target,
                headers,
                body,
                timeout,
            },
        )?;
        Ok(Exchange {
            place: Place::take(state),
            reply,
            url,
        })
    }

    pub(crate) fn send(outgoing: Outgoing) -> Result<Response> {
        start(outgoing)?.response()
    }

    impl Exchange {
        pub(crate) fn response(self) -> Result<Response> {
            let head = self.reply.outcome?;
            Ok(Response {
                _place: self.place,
                head,
                url: self.url,
                rest: self.reply.body,
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
    use std::vec;

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
    }

    #[derive(Debug)]
    pub(crate) struct Rows {
        columns: Vec<String>,
        rows: vec::IntoIter<Vec<Value>>,
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
            if !self
                .state
                .borrow_mut()
                .in_transaction
                .insert(self.name.clone())
            {
                return Err(Error::permanent(
                    "sql.invalid",
                    "one transaction may be open at a time",
                ));
            }
            self.note("begin");
            let database = Database {
                state: self.state.clone(),
                name: self.name.clone(),
            };
            Ok(Transaction {
                database,
                ended: false,
            })
        }
    }

    impl Transaction {
        pub(crate) fn query(&self, statement: &str, parameters: &[Value]) -> Result<Rows> {
            self.database.query(statement, parameters)
        }

        pub(crate) fn execute(&self, statement: &str, parameters: &[Value]) -> Result<u64> {
            self.database.execute(statement, parameters)
        }

        pub(crate) fn execute_batch(
            &self,
            statement: &str,
            parameters: &[Vec<Value>],
        ) -> Result<Vec<u64>> {
            self.database.execute_batch(statement, parameters)
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
            self.database
                .state
                .borrow_mut()
                .in_transaction
                .remove(&self.database.name);
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
            Ok(self
                .rows
                .by_ref()
                .take(usize::try_from(max).unwrap_or(usize::MAX))
                .collect())
        }
    }
}
