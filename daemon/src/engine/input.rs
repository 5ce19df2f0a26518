//! A task's input, its condition and its items, from the run's data.

use serde_json::Value;

use super::active::Active;
use crate::run::event::{Decision, Reason, Refusal, Unit};
use crate::run::failure::{Failure, FailureSource};
use crate::workflow::expression::Scope;
use crate::workflow::input::{InputProblem, ResolvedInput, resolve};
use crate::workflow::model::TaskIndex;

/// More items than this in one task is a mistake; each has rows of its own.
const ITEMS_MAX: usize = 100_000;

/// Why something has no value.
pub(super) enum Unmade {
    /// It reads the run's number, which the store gives with the insert: again after that.
    Later,
    /// It never will.
    Refused(Refusal),
}

impl Active {
    /// The input of a unit.
    pub(super) fn input_of(&self, unit: Unit) -> Result<ResolvedInput, Unmade> {
        let task = self.graph().workflow().task(unit.task);
        let config = self.config.get(task.name.as_str());
        let scheduled = self.row.trigger == crate::run::status::Trigger::Schedule;
        let (schedule, run) = if scheduled {
            (config, None)
        } else {
            (None, config)
        };
        let item = match unit.item {
            None => None,
            Some(at) => self
                .book
                .items
                .get(&unit.task)
                .and_then(|items| items.get(at as usize))
                .map(|item| (item, at)),
        };
        resolve(task, &self.scope(item), schedule, run).map_err(|problem| self.unmade(problem))
    }

    /// Whether and how often a task runs. Remembers the items.
    pub(super) fn decide(&mut self, at: TaskIndex) -> Result<Decision, Unmade> {
        let graph = std::sync::Arc::clone(self.graph());
        let task = graph.workflow().task(at);
        // A task that is under way was wanted when it began.
        let begun = self.state.unit(Unit::whole(at)).status() != crate::run::status::Status::Queued;
        if let (Some(when), false) = (&task.when, begun) {
            let wanted = when.evaluate(&self.scope(None));
            match wanted.map_err(|error| self.unmade(error.into()))? {
                Value::Bool(true) => {}
                Value::Bool(false) => {
                    let reason = Reason::new("when", "its condition is false");
                    return Ok(Decision::Refuse(Refusal::Skip(reason)));
                }
                other => return Err(invalid(format!("`when` gave {other}, not true or false"))),
            }
        }
        let Some(each) = &task.for_each else {
            return Ok(Decision::Run);
        };
        let items = each.items.fill(&self.scope(None));
        match items.map_err(|error| self.unmade(error.into()))? {
            Value::Array(items) if items.len() <= ITEMS_MAX => {
                let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
                self.book.items.insert(at, items);
                Ok(Decision::Each(count))
            }
            Value::Array(items) => Err(invalid(format!(
                "`for_each` gave {} items; at most {ITEMS_MAX} are allowed",
                items.len()
            ))),
            _ => Err(invalid("`for_each` gave no array".into())),
        }
    }

    pub(super) fn scope<'a>(&'a self, item: Option<(&'a Value, u32)>) -> Scope<'a> {
        Scope {
            inputs: &self.inputs,
            run: &self.run_value,
            vars: &self.compiled.vars,
            outputs: &self.book,
            item,
        }
    }

    fn unmade(&self, problem: InputProblem) -> Unmade {
        match problem.code {
            "input.missing" => {
                Unmade::Refused(Refusal::Skip(Reason::new(problem.code, problem.message)))
            }
            // Before the insert the run has no number, so whatever failed may have wanted it.
            _ if self.row.number == 0 => Unmade::Later,
            code => Unmade::Refused(Refusal::Fail(Failure::permanent(
                FailureSource::Input,
                code,
                problem.message,
            ))),
        }
    }
}

fn invalid(message: String) -> Unmade {
    Unmade::Refused(Refusal::Fail(Failure::permanent(
        FailureSource::Input,
        "input.invalid",
        message,
    )))
}
