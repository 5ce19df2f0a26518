//! Workflows that refer to workflows: what others see of one, and what no chain of them may be.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value, json};

use super::environment::WorkflowFacts;
use super::model::{Task, Uses, Workflow};
use crate::id::{TaskName, WorkflowName};

/// Runs that begin runs stand at most so many below the first one: deeper, something begins itself. Files whose tasks
/// nest deeper are refused; ends that start workflows stop there.
pub const DEPTH_MAX: u32 = 16;

/// A larger schema of all of a workflow's outputs counts as unknown: workflows that use others several times would
/// double it at each level.
const OUTPUT_SCHEMA_MAX: usize = 256 << 10;

/// A task of a workflow, as other workflows read it.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskOutput {
    /// Its name.
    pub name: TaskName,
    /// The JSON Schema of its output; of a `for_each` task, of the array of its items' outputs.
    pub output: Value,
}

impl WorkflowFacts {
    /// What is known of this workflow.
    pub fn of(workflow: &Workflow) -> Self {
        let tasks: Vec<TaskOutput> = workflow.tasks.iter().map(task_output).collect();
        let uses: BTreeSet<WorkflowName> = workflow
            .tasks
            .iter()
            .filter_map(|task| match &task.uses {
                Uses::Workflow { name, .. } => Some(name.clone()),
                Uses::Module { .. } => None,
            })
            .collect();
        Self {
            version: workflow.version,
            inputs: workflow.inputs.clone(),
            output: output_schema(&tasks),
            tasks,
            uses,
            height: workflow.height,
        }
    }
}

fn task_output(task: &Task) -> TaskOutput {
    let output = match task.for_each {
        None => task.output_schema.clone(),
        Some(_) => json!({ "type": "array", "items": moved(&task.output_schema, "/items") }),
    };
    TaskOutput {
        name: task.name.clone(),
        output,
    }
}

/// The schema of what a task that runs this workflow gives.
pub fn output_schema(tasks: &[TaskOutput]) -> Value {
    let fields: Map<String, Value> = tasks
        .iter()
        .map(|task| {
            let place = format!("/properties/tasks/properties/{}", task.name);
            (task.name.to_string(), moved(&task.output, &place))
        })
        .collect();
    let schema = json!({
        "type": "object",
        "properties": {
            "run_id": { "type": "string" },
            "tasks": { "type": "object", "properties": fields },
        },
        "required": ["run_id", "tasks"],
    });
    if schema.to_string().len() > OUTPUT_SCHEMA_MAX {
        return Value::Bool(true);
    }
    schema
}

/// A schema that is to stand at a place in another one: its links point into itself from there, too.
fn moved(schema: &Value, place: &str) -> Value {
    match schema {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| {
                let value = match (key.as_str(), value.as_str()) {
                    ("$ref", Some(link)) => match link.strip_prefix('#') {
                        Some(inside) => Value::String(format!("#{place}{inside}")),
                        None => value.clone(),
                    },
                    _ => moved(value, place),
                };
                (key.clone(), value)
            })
            .collect(),
        Value::Array(items) => items.iter().map(|item| moved(item, place)).collect(),
        other => other.clone(),
    }
}

/// How a workflow comes back to itself by running this child, as names; none if it does not.
pub(super) fn way_back(
    known: &BTreeMap<WorkflowName, WorkflowFacts>,
    own: &WorkflowName,
    child: &WorkflowName,
) -> Option<Vec<WorkflowName>> {
    let mut from: BTreeMap<&WorkflowName, &WorkflowName> = BTreeMap::new();
    let mut todo = VecDeque::from([child]);
    while let Some(at) = todo.pop_front() {
        if at == own {
            let mut way = vec![own.clone()];
            let mut step = at;
            while let Some(before) = from.get(step).filter(|_| step != child) {
                way.push((*before).clone());
                step = before;
            }
            way.push(own.clone());
            way.reverse();
            return Some(way);
        }
        for next in known.get(at).into_iter().flat_map(|facts| &facts.uses) {
            if next != child && !from.contains_key(next) {
                from.insert(next, at);
                todo.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Digest;

    fn facts(uses: &[&str]) -> WorkflowFacts {
        WorkflowFacts {
            version: Digest::of(b"v"),
            inputs: Vec::new(),
            output: Value::Bool(true),
            tasks: Vec::new(),
            uses: uses.iter().map(|name| name.parse().unwrap()).collect(),
            height: 0,
        }
    }

    #[test]
    fn a_way_back_is_told_name_by_name_and_a_diamond_is_none() {
        let known: BTreeMap<WorkflowName, WorkflowFacts> = [
            ("b", facts(&["c", "d"])),
            ("c", facts(&["e"])),
            ("d", facts(&["e"])),
            ("e", facts(&["a"])),
        ]
        .into_iter()
        .map(|(name, facts)| (name.parse().unwrap(), facts))
        .collect();
        let name = |text: &str| text.parse::<WorkflowName>().unwrap();
        let way = way_back(&known, &name("a"), &name("b")).unwrap();
        let way: Vec<&str> = way.iter().map(WorkflowName::as_str).collect();
        assert_eq!(way, ["a", "b", "c", "e", "a"]);
        assert_eq!(way_back(&known, &name("x"), &name("b")), None);
        assert!(way_back(&known, &name("a"), &name("a")).is_some());
    }

    #[test]
    fn a_link_inside_a_schema_still_points_to_its_own_parts_where_it_was_moved() {
        let schema = json!({ "$ref": "#/$defs/P", "$defs": { "P": { "type": "string" } } });
        let list = json!({ "items": moved(&schema, "/items") });
        let whole = json!({ "at": moved(&list, "/at") });
        let link = whole["at"]["items"]["$ref"].as_str().unwrap();
        assert_eq!(
            whole.pointer(link.strip_prefix('#').unwrap()),
            Some(&json!({ "type": "string" }))
        );
    }
}
