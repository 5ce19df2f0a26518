//! Runs one statement on a granted database, or several in one transaction: what goes in, what comes out, and what
//! each mode expects of a result. Nothing is durable before that is known. How values travel is in `value`.

mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use flowweaver_task::serde_json::Map;
use flowweaver_task::sql::{self, Database, Row, Rows, Transaction};
use flowweaver_task::{Context, Error, Result, Value, task};

/// What to run, and where.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Input {
    /// The database's name, as the grant has it.
    database: String,
    /// The statement; either this or `statements`.
    #[serde(default)]
    statement: Option<String>,
    /// Its parameters, in order; with `mode = "batch"` one list for each time it is run.
    #[serde(default)]
    parameters: Vec<Value>,
    /// What is made of the result.
    #[serde(default)]
    mode: Mode,
    /// The most rows returned by a statement.
    #[serde(default = "thousand")]
    max_rows: NonZeroU32,
    /// Several statements, committed together or not at all.
    #[serde(default)]
    statements: Vec<Step>,
    /// Whether all of it is done once, however often the task is tried or rerun. The database has the table
    /// `flowweaver_once` then, and the grant names it.
    #[serde(default)]
    once: bool,
}

/// One of several statements.
#[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Step {
    /// The statement.
    statement: String,
    /// As above.
    #[serde(default)]
    parameters: Vec<Value>,
    /// What is made of the result.
    #[serde(default = "Mode::execute")]
    mode: Mode,
}

/// What is made of a statement's result.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// All rows, up to `max_rows`.
    #[default]
    Rows,
    /// The only row, or none.
    One,
    /// The only column of the only row; null if there is no row.
    Value,
    /// The number of changed rows.
    Execute,
    /// Run once for each list of parameters, all or none; the number of changed rows.
    Batch,
}

impl Mode {
    fn execute() -> Self {
        Mode::Execute
    }
}

/// What the database answered.
#[derive(Default, serde::Serialize, schemars::JsonSchema)]
struct Output {
    /// With `mode = "rows"`: the rows, by column names.
    rows: Vec<Map<String, Value>>,
    /// With `mode = "one"`: the row; null if there is none.
    row: Option<Map<String, Value>>,
    /// With `mode = "value"`: the value.
    value: Value,
    /// With `mode = "execute"` and `"batch"`: how many rows changed. With `statements`: in all of them.
    affected: u64,
    /// Whether there were more rows than `max_rows`.
    truncated: bool,
    /// With `statements`: what each of them answered, in order.
    results: Vec<Answer>,
    /// With `once`: whether an earlier attempt had done it; everything above is what that one was answered.
    already_done: bool,
}

/// What one of several statements answered; the fields are those of the output.
#[derive(Default, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
struct Answer {
    rows: Vec<Map<String, Value>>,
    row: Option<Map<String, Value>>,
    value: Value,
    affected: u64,
    truncated: bool,
}

fn thousand() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(999)
}

/// The name of what this task does under its idempotency key.
const EFFECT: &str = "sql-query";

/// Runs statements on a granted database.
#[task(requires("sql"))]
fn run(input: Input, cx: &Context) -> Result<Output> {
    // All parameters are read first: a mistake in the last should not cost a transaction.
    let (statements, is_one) = read(&input)?;
    let database = Database::open(&input.database)?;
    let max_rows = usize::try_from(input.max_rows.get()).unwrap_or(usize::MAX);
    let all = |transaction: &Transaction| {
        if is_one {
            let target = Target::Transaction(transaction);
            let run = |statement: &Statement<'_>| statement.run(&target, max_rows);
            statements.iter().map(run).collect()
        } else {
            in_turn(&statements, transaction, max_rows, cx)
        }
    };
    if input.once {
        let done = database.once(cx, EFFECT, all)?;
        let already_done = !done.is_new();
        return Ok(output(done.into_result(), is_one, already_done));
    }
    let answers = match statements.as_slice() {
        [one] if is_one && !one.is_judged_after_a_change() => {
            vec![one.run(&Target::Database(&database), max_rows)?]
        }
        _ => database.transaction(all)?,
    };
    Ok(output(answers, is_one, false))
}

/// The statements, and whether it is the one of `statement`.
fn read(input: &Input) -> Result<(Vec<Statement<'_>>, bool)> {
    match (&input.statement, input.statements.is_empty()) {
        (Some(text), true) => {
            let one = Statement::read(text, &input.parameters, input.mode, "parameters")?;
            Ok((vec![one], true))
        }
        (None, false) if input.parameters.is_empty() && input.mode == Mode::default() => {
            let mut several = Vec::with_capacity(input.statements.len());
            for (at, step) in input.statements.iter().enumerate() {
                let place = format!("statements[{at}].parameters");
                let (text, parameters) = (&step.statement, &step.parameters);
                several.push(Statement::read(text, parameters, step.mode, &place)?);
            }
            Ok((several, false))
        }
        (None, false) => Err(Error::permanent(
            "input.invalid",
            "with `statements`, each has `parameters` and a `mode` of its own",
        )),
        _ => Err(Error::permanent(
            "input.invalid",
            "either `statement` or `statements` is needed, and only one of them",
        )),
    }
}

/// Runs several statements, one after the other.
fn in_turn(
    statements: &[Statement<'_>],
    transaction: &Transaction,
    max_rows: usize,
    cx: &Context,
) -> Result<Vec<Answer>> {
    let total = u64::try_from(statements.len()).ok();
    let mut answers = Vec::with_capacity(statements.len());
    for (at, statement) in statements.iter().enumerate() {
        let answer = statement
            .run(&Target::Transaction(transaction), max_rows)
            .map_err(|error| error.context(format!("statements[{at}]")))?;
        answers.push(answer);
        cx.progress(at as u64 + 1, total, "");
    }
    Ok(answers)
}

fn output(mut answers: Vec<Answer>, is_one: bool, already_done: bool) -> Output {
    if is_one {
        let one = answers.pop().unwrap_or_default();
        return Output {
            rows: one.rows,
            row: one.row,
            value: one.value,
            affected: one.affected,
            truncated: one.truncated,
            results: Vec::new(),
            already_done,
        };
    }
    Output {
        affected: answers.iter().map(|answer| answer.affected).sum(),
        truncated: answers.iter().any(|answer| answer.truncated),
        results: answers,
        already_done,
        ..Output::default()
    }
}

/// Where a statement runs.
enum Target<'a> {
    Database(&'a Database),
    Transaction(&'a Transaction),
}

impl Target<'_> {
    fn query(&self, text: &str, parameters: &[sql::Value]) -> Result<Rows> {
        match self {
            Target::Database(database) => database.query(text, parameters),
            Target::Transaction(transaction) => transaction.query(text, parameters),
        }
    }

    fn execute(&self, text: &str, parameters: &[sql::Value]) -> Result<u64> {
        match self {
            Target::Database(database) => database.execute(text, parameters),
            Target::Transaction(transaction) => transaction.execute(text, parameters),
        }
    }

    fn execute_batch(&self, text: &str, lists: &[Vec<sql::Value>]) -> Result<Vec<u64>> {
        match self {
            Target::Database(database) => database.execute_batch(text, lists),
            Target::Transaction(transaction) => transaction.execute_batch(text, lists),
        }
    }
}

/// A statement with its parameters read.
struct Statement<'a> {
    text: &'a str,
    mode: Mode,
    /// One list; with `Mode::Batch` as many as were given.
    lists: Vec<Vec<sql::Value>>,
}

impl<'a> Statement<'a> {
    fn read(text: &'a str, parameters: &[Value], mode: Mode, place: &str) -> Result<Self> {
        let lists = if mode == Mode::Batch {
            value::lists(parameters, place)?
        } else {
            vec![value::list(parameters, place)?]
        };
        Ok(Statement { text, mode, lists })
    }

    /// Whether it may change rows and answers some: alone, such a change would be durable before it is known
    /// whether its rows are what the mode expects.
    fn is_judged_after_a_change(&self) -> bool {
        matches!(self.mode, Mode::Rows | Mode::One | Mode::Value) && may_change(self.text)
    }

    fn run(&self, target: &Target<'_>, max_rows: usize) -> Result<Answer> {
        let parameters = self.lists.first().map(Vec::as_slice).unwrap_or_default();
        let mut answer = Answer::default();
        match self.mode {
            Mode::Execute => answer.affected = target.execute(self.text, parameters)?,
            Mode::Batch if self.lists.is_empty() => {}
            Mode::Batch => {
                answer.affected = target.execute_batch(self.text, &self.lists)?.iter().sum();
            }
            Mode::Rows => {
                let rows = named(target.query(self.text, parameters)?)?;
                for row in rows {
                    if answer.rows.len() == max_rows {
                        answer.truncated = true;
                        break;
                    }
                    answer.rows.push(object(&row?));
                }
            }
            Mode::One => {
                let row = only(named(target.query(self.text, parameters)?)?, "one")?;
                answer.row = row.as_ref().map(object);
            }
            Mode::Value => {
                let rows = target.query(self.text, parameters)?;
                if rows.columns().len() != 1 {
                    let message = format!(
                        "mode = \"value\" is for one column; the statement returns {}",
                        rows.columns().len()
                    );
                    return Err(Error::permanent("columns.many", message));
                }
                let row = only(rows, "value")?;
                let first = row.as_ref().and_then(|row| row.iter().next());
                answer.value = first.map_or(Value::Null, |(_, value)| value::json(value));
            }
        }
        Ok(answer)
    }
}

/// Whether a statement may change rows. One that does has one of these words; one that has it for another reason
/// loses nothing by running in a transaction.
fn may_change(text: &str) -> bool {
    const WORDS: [&str; 4] = ["delete", "insert", "replace", "update"];
    text.split(|letter: char| !letter.is_ascii_alphabetic() && letter != '_')
        .any(|word| WORDS.iter().any(|known| known.eq_ignore_ascii_case(word)))
}

/// The rows, if every column has a name of its own: of two `id` an object could keep only one.
fn named(rows: Rows) -> Result<Rows> {
    let mut seen = BTreeSet::new();
    let twice = rows
        .columns()
        .iter()
        .find(|column| !seen.insert(&column.name));
    match twice {
        None => Ok(rows),
        Some(column) => {
            let message = format!("two columns are named `{}`; give one an alias", column.name);
            Err(Error::permanent("columns.twice", message))
        }
    }
}

/// The only row; none if there is none.
fn only(mut rows: Rows, mode: &str) -> Result<Option<Row>> {
    let first = rows.next().transpose()?;
    match rows.next().transpose()? {
        None => Ok(first),
        Some(_) => {
            let message = format!("mode = \"{mode}\" is for one row; the statement returns more");
            Err(Error::permanent("rows.many", message))
        }
    }
}

fn object(row: &Row) -> Map<String, Value> {
    row.iter()
        .map(|(name, value)| (name.to_owned(), value::json(value)))
        .collect()
}
