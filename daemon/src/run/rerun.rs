//! What a new run takes over from an earlier one: which outputs are linked instead of made again.

use std::collections::HashSet;

use super::event::Unit;
use super::graph::Graph;
use super::state::{RunState, UnitRecord};
use super::status::Status;
use crate::workflow::model::TaskIndex;

impl RunState {
    /// The tasks and items that failed for good, in the order of the file; of a `for_each` the items alone, unless
    /// it failed before it had any.
    pub fn failed_units(&self) -> Vec<(Unit, UnitRecord)> {
        let mut found = Vec::new();
        for (at, task) in (0..).map(TaskIndex).zip(&self.tasks) {
            let before = found.len();
            let items = task.each.iter().flat_map(|each| &each.items);
            let failed = (0..)
                .zip(items)
                .filter(|(_, (item, _))| item.failed_for_good());
            found.extend(failed.map(|(item, (record, _))| (Unit::item(at, item), record.clone())));
            if found.len() == before && task.record.failed_for_good() {
                found.push((Unit::whole(at), task.record.clone()));
            }
        }
        found
    }
}

/// From where a run is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Everything that succeeded is kept.
    Failed,
    /// Everything that succeeded is kept, except this task and all after it.
    Task(TaskIndex),
    /// Nothing is kept.
    Start,
}

/// A unit of the earlier run, found in the graph of the new one by its name.
#[derive(Debug, Clone, Copy)]
pub struct Earlier {
    /// Where it stands in the new graph.
    pub unit: Unit,
    /// How it stood in the earlier run.
    pub status: Status,
}

/// The units that the new run starts with as succeeded. Items are kept alone only if the version
/// is the same, because only then the items surely are.
pub fn linked(graph: &Graph, earlier: &[Earlier], from: From, same_version: bool) -> HashSet<Unit> {
    let again: HashSet<TaskIndex> = match from {
        From::Start => return HashSet::new(),
        From::Failed => HashSet::new(),
        From::Task(task) => graph.descendants(task).into_iter().collect(),
    };
    let workflow = graph.workflow();
    let whole: HashSet<TaskIndex> = earlier
        .iter()
        .filter(|e| e.status == Status::Succeeded && e.unit.item.is_none())
        .map(|e| e.unit.task)
        .collect();
    earlier
        .iter()
        .filter(|e| e.status == Status::Succeeded && !again.contains(&e.unit.task))
        .filter(|e| {
            let task = workflow.task(e.unit.task);
            // Of a task that succeeded as a whole, the whole is enough.
            e.unit.item.is_none()
                || (same_version
                    && task.for_each.is_some()
                    && !whole.contains(&e.unit.task)
                    && task
                        .reads
                        .iter()
                        .all(|read| whole.contains(read) && !again.contains(read)))
        })
        .map(|e| e.unit)
        .collect()
}
