//! Scripted databases: which statement gets which rows, and what was run. No SQL is understood here, but
//! the statements of [`Database::once`](crate::sql::Database::once), whose keys these databases keep.

use std::{collections::BTreeMap, fmt, rc::Rc};

use super::{
    Shared, State,
    pattern::{Turns, matches},
};
use crate::{
    Error, Result,
    sql::{Value, once::PROBE},
};

/// By database, idempotency key and effect: the result that was kept.
pub(super) type Kept = BTreeMap<(String, String, String), Value>;

/// A statement that the task ran.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// The database's name.
    pub database: String,
    /// The text as the task wrote it, or `begin`, `commit`, `rollback`.
    pub text: String,
    /// The parameters. A batch is one statement for each of its lists.
    pub parameters: Vec<Value>,
}

/// What a statement answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Rows, for a query.
    Rows {
        /// The columns' names.
        columns: Vec<String>,
        /// The values, one list a row.
        rows: Vec<Vec<Value>>,
    },
    /// The number of changed rows, for a statement that changes some.
    Affected(u64),
}

/// A rule's own function.
type Responder = dyn Fn(&Statement) -> Result<Answer>;

/// How a rule answers.
#[derive(Clone)]
enum Respond {
    With(Result<Answer>),
    Function(Rc<Responder>),
}

/// The rules of one database.
#[derive(Default)]
pub(super) struct Script(Vec<(String, Turns<Respond>)>);

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(pattern, _)| pattern))
            .finish()
    }
}

/// A granted database, to which rules are added.
#[derive(Clone, Debug)]
pub struct FakeDatabase {
    state: Shared,
    name: String,
}

impl FakeDatabase {
    pub(super) fn grant(state: &Shared, name: &str) -> Self {
        state.borrow_mut().sql.entry(name.to_owned()).or_default();
        FakeDatabase {
            state: Rc::clone(state),
            name: name.to_owned(),
        }
    }

    /// Says how statements of this pattern are answered: `*` is any text, and white space does not
    /// matter. A later rule wins over an earlier one.
    pub fn when(&self, statement: &str) -> SqlRule {
        let mut state = self.state.borrow_mut();
        let rules = &mut state.sql.entry(self.name.clone()).or_default().0;
        rules.push((one_line(statement), Turns::default()));
        SqlRule {
            database: self.clone(),
            at: rules.len() - 1,
        }
    }
}

/// A rule being written. Each answer serves one statement, the last one all that follow.
#[derive(Clone, Debug)]
pub struct SqlRule {
    database: FakeDatabase,
    at: usize,
}

impl SqlRule {
    /// Answers with rows.
    pub fn rows(self, columns: &[&str], rows: Vec<Vec<Value>>) -> Self {
        let columns = columns.iter().map(|&name| name.to_owned()).collect();
        self.push(Respond::With(Ok(Answer::Rows { columns, rows })))
    }

    /// Answers with a number of changed rows.
    pub fn affected(self, rows: u64) -> Self {
        self.push(Respond::With(Ok(Answer::Affected(rows))))
    }

    /// Answers with an error.
    pub fn error(self, error: Error) -> Self {
        self.push(Respond::With(Err(error)))
    }

    /// Answers with what the function makes of the statement.
    pub fn answer(self, answer: impl Fn(&Statement) -> Result<Answer> + 'static) -> Self {
        self.push(Respond::Function(Rc::new(answer)))
    }

    fn push(self, respond: Respond) -> Self {
        {
            let mut state = self.database.state.borrow_mut();
            let script = state.sql.get_mut(&self.database.name);
            if let Some((_, turns)) = script.and_then(|script| script.0.get_mut(self.at)) {
                turns.push(respond);
            }
        }
        self
    }
}

/// Records a statement and finds its answer.
pub(super) fn answer_to(state: &Shared, statement: Statement) -> Result<Answer> {
    let respond = {
        let state = &mut *state.borrow_mut();
        state.statements.push(statement.clone());
        let text = one_line(&statement.text);
        let rules = state
            .sql
            .get_mut(&statement.database)
            .map(|script| script.0.iter_mut().rev());
        rules
            .into_iter()
            .flatten()
            .find(|(pattern, _)| matches(pattern, &text))
            .and_then(|(_, turns)| turns.take())
    };
    match respond {
        Some(Respond::With(answer)) => answer,
        // The state is free here, so the function may look at the world.
        Some(Respond::Function(answer)) => answer(&statement),
        None => once(&mut state.borrow_mut(), &statement).unwrap_or_else(|| {
            Err(Error::permanent(
                "sql.denied",
                format!(
                    "no rule of this test answers `{}` in `{}`",
                    one_line(&statement.text),
                    statement.database
                ),
            ))
        }),
    }
}

/// What the statements of `once` are answered; none for every other statement.
fn once(state: &mut State, statement: &Statement) -> Option<Result<Answer>> {
    let text = one_line(&statement.text);
    let key = |key: &Value, effect: &Value| {
        let part = |value: &Value| value.as_text().unwrap_or_default().to_owned();
        (statement.database.clone(), part(key), part(effect))
    };
    let rows = |columns: &str, rows: Vec<Value>| {
        let rows = rows.into_iter().map(|value| vec![value]).collect();
        let columns = vec![columns.to_owned()];
        Some(Ok(Answer::Rows { columns, rows }))
    };
    if text == PROBE {
        return rows("is_true", vec![Value::Int64(1)]);
    }
    match statement.parameters.as_slice() {
        [name, effect]
            if matches(
                "select result from * where idempotency_key = ? and effect = ?",
                &text,
            ) =>
        {
            let kept = state.once.get(&key(name, effect)).cloned();
            rows("result", kept.into_iter().collect())
        }
        [name, effect]
            if matches(
                "insert into * (idempotency_key, effect) values (?, ?)",
                &text,
            ) =>
        {
            state.once.insert(key(name, effect), Value::Null);
            Some(Ok(Answer::Affected(1)))
        }
        [result, name, effect]
            if matches(
                "update * set result = ? where idempotency_key = ? and effect = ?",
                &text,
            ) =>
        {
            state.once.insert(key(name, effect), result.clone());
            Some(Ok(Answer::Affected(1)))
        }
        _ => None,
    }
}

impl State {
    /// Begins the one transaction that may be open.
    pub(super) fn begin_transaction(&mut self) -> Result<()> {
        if self.before.is_some() {
            let message = "one transaction may be open at a time";
            return Err(Error::permanent("sql.invalid", message));
        }
        self.before = Some(self.once.clone());
        Ok(())
    }

    /// Ends it.
    pub(super) fn end_transaction(&mut self, committed: bool) {
        if let (Some(before), false) = (self.before.take(), committed) {
            self.once = before;
        }
    }
}

/// The text with every run of white space as one space.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
