//! In which order files are compiled: a file after those whose workflows it names, as far as there is such an order.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::files::FlowFile;
use crate::id::WorkflowName;
use crate::workflow::{self, WorkflowSource};

/// These files of the folder, in their order.
pub(super) fn children_first(
    flows: &BTreeMap<String, FlowFile>,
    names: Vec<String>,
) -> Vec<String> {
    let sources = names.into_iter().map(|name| {
        let bytes = flows.get(&name).and_then(|file| file.bytes.clone());
        let text = bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        let source = WorkflowSource::new(name.as_str(), text.unwrap_or_default());
        (name, source)
    });
    sorted(sources.collect())
}

/// Things with their sources, each after those whose workflows it names. Files that name each other stay as they are.
pub fn sorted<T>(files: Vec<(T, WorkflowSource)>) -> Vec<T> {
    let named: Vec<Vec<WorkflowName>> = files
        .iter()
        .map(|(_, source)| workflow::names_of(source))
        .collect();
    if named.iter().all(Vec::is_empty) {
        return files.into_iter().map(|(file, _)| file).collect();
    }
    let by_name: HashMap<WorkflowName, usize> = files
        .iter()
        .enumerate()
        .filter_map(|(at, (_, source))| Some((workflow::name_of(source)?, at)))
        .collect();
    let mut order = Vec::with_capacity(files.len());
    let mut seen = HashSet::new();
    // An explicit stack: files decide its depth.
    for start in 0..files.len() {
        let mut stack = Vec::new();
        if seen.insert(start) {
            stack.push((start, 0));
        }
        while let Some((at, next)) = stack.last_mut() {
            let child = named.get(*at).and_then(|names| names.get(*next));
            *next += 1;
            match child {
                Some(name) => {
                    if let Some(child) = by_name.get(name).filter(|child| seen.insert(**child)) {
                        stack.push((*child, 0));
                    }
                }
                None => {
                    order.push(*at);
                    stack.pop();
                }
            }
        }
    }
    let mut files: Vec<Option<T>> = files.into_iter().map(|(file, _)| Some(file)).collect();
    order
        .into_iter()
        .filter_map(|at| files.get_mut(at)?.take())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, uses: &str) -> (String, WorkflowSource) {
        let text = format!(
            "name = \"{name}\"\n[[job]]\nname = \"j\"\n[[job.task]]\nname = \"t\"\nuses = \"{uses}\"\n"
        );
        (name.to_owned(), WorkflowSource::new("f", text))
    }

    #[test]
    fn a_file_comes_after_those_it_names_and_a_circle_still_comes() {
        let files = vec![
            file("a", "workflow:b"),
            file("b", "workflow:c"),
            file("c", "work"),
            file("x", "workflow:y"),
            file("y", "workflow:x"),
            file("z", "workflow:nobody"),
        ];
        assert_eq!(sorted(files), ["c", "b", "a", "y", "x", "z"]);
    }
}
