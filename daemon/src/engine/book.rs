//! The ids and data of an active run: what `run` leaves out because it decides nothing.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::id::{IoId, JobRunId, TaskRunId};
use crate::run::event::Unit;
use crate::store::rows::AttemptRow;
use crate::workflow::expression::Outputs;
use crate::workflow::model::TaskIndex;

/// A recorded output. Its text is shared with the rows; it is parsed when first read, if ever.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pub io_id: IoId,
    pub text: Arc<str>,
    value: OnceLock<Arc<Value>>,
}

impl Output {
    pub(super) fn new(io_id: IoId, text: Arc<str>) -> Self {
        Self {
            io_id,
            text,
            value: OnceLock::new(),
        }
    }

    fn value(&self) -> Arc<Value> {
        let parse = || {
            // An output that is not JSON was refused before it was recorded.
            Arc::new(serde_json::from_str(&self.text).unwrap_or(Value::Null))
        };
        Arc::clone(self.value.get_or_init(parse))
    }
}

/// What is kept of a unit.
#[derive(Debug)]
pub(super) struct Entry {
    pub id: TaskRunId,
    pub output: Option<Output>,
    /// The attempt under way.
    pub attempt: Option<Box<AttemptRow>>,
    /// Its input.
    pub input: Option<Arc<str>>,
}

/// The ids and data of one run.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub jobs: HashMap<u32, JobRunId>,
    pub units: HashMap<Unit, Entry>,
    /// The items of `for_each` tasks.
    pub items: HashMap<TaskIndex, Vec<Value>>,
}

impl Book {
    /// What is kept of a unit, from now on.
    pub(super) fn entry(&mut self, unit: Unit) -> &mut Entry {
        self.units.entry(unit).or_insert_with(|| Entry {
            id: TaskRunId::generate(),
            output: None,
            attempt: None,
            input: None,
        })
    }

    /// The outputs of the items as one JSON array; `null` where an item has none.
    pub(super) fn gather(&self, task: TaskIndex, items: u32) -> Arc<str> {
        let mut text = String::from("[");
        for item in 0..items {
            if item > 0 {
                text.push(',');
            }
            let entry = self.units.get(&Unit::item(task, item));
            let output = entry.and_then(|entry| entry.output.as_ref());
            text.push_str(output.map_or("null", |output| &output.text));
        }
        text.push(']');
        text.into()
    }
}

impl Outputs for Book {
    fn output(&self, task: TaskIndex) -> Option<Arc<Value>> {
        let entry = self.units.get(&Unit::whole(task))?;
        entry.output.as_ref().map(Output::value)
    }
}
