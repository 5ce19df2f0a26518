//! Names to positions: which job and task waits for which, and what is wrong with that.

use std::ops::Range;

use super::decode::At;
use super::draft::Draft;
use super::draft_task::{DraftJob, DraftTask};
use super::graph::{Edges, Positions};
use super::report::Report;

/// The two graphs of a file.
pub(super) struct Links<'d> {
    /// The tasks of the whole file by name.
    pub(super) tasks: Positions<'d>,
    /// Names that are none.
    pub(super) broken: Vec<&'d str>,
    /// Which job waits for which.
    pub(super) job_edges: Edges,
    /// Per job, by position in the job: which task waits for which.
    pub(super) task_edges: Vec<Edges>,
}

/// Something with a name and `needs`.
struct Item<'x> {
    at: &'x Range<usize>,
    name: Option<&'x str>,
    needs: Option<&'x At<Vec<At<&'x str>>>>,
}

fn of_job<'x>(job: &'x DraftJob<'_>) -> Item<'x> {
    Item {
        at: job.name.as_ref().map_or(&job.at, |name| &name.span),
        name: job.written,
        needs: job.needs.as_ref(),
    }
}

fn of_task<'x>(task: &'x DraftTask<'_>) -> Item<'x> {
    Item {
        at: task.name.as_ref().map_or(&task.at, |name| &name.span),
        name: task.written,
        needs: task.needs.as_ref(),
    }
}

/// Resolves the names of a file.
pub(super) fn link<'d>(draft: &'d Draft<'_>, report: &mut Report) -> Links<'d> {
    let mut jobs = Positions::new();
    let mut tasks = Positions::new();
    let mut places: Vec<(usize, &Range<usize>)> = Vec::new();
    let mut broken = Vec::new();
    let mut first_places: Vec<&Range<usize>> = Vec::new();
    for (position, job) in draft.jobs.iter().enumerate() {
        first_places.push(of_job(job).at);
        if let Some(name) = job.written {
            unique(
                name,
                position,
                &mut jobs,
                &first_places,
                ("job", of_job(job).at),
                report,
            );
        }
        for task in &job.tasks {
            places.push((position, of_task(task).at));
        }
    }
    let task_places: Vec<&Range<usize>> = places.iter().map(|(_, at)| *at).collect();
    for (position, task) in draft.jobs.iter().flat_map(|job| &job.tasks).enumerate() {
        let Some(name) = task.written else { continue };
        if task.name.is_none() {
            broken.push(name);
            continue;
        }
        unique(
            name,
            position,
            &mut tasks,
            &task_places,
            ("task", of_task(task).at),
            report,
        );
    }
    let items: Vec<Item<'_>> = draft.jobs.iter().map(of_job).collect();
    let job_edges = edges(&items, "job", &|_| None, report);
    let mut task_edges = Vec::with_capacity(draft.jobs.len());
    for job in &draft.jobs {
        let items: Vec<Item<'_>> = job.tasks.iter().map(of_task).collect();
        let elsewhere = |name: &str| {
            let (owner, _) = tasks.get(name).and_then(|position| places.get(*position))?;
            draft.jobs.get(*owner)?.written.map(str::to_owned)
        };
        task_edges.push(edges(&items, "task", &elsewhere, report));
    }
    Links {
        tasks,
        broken,
        job_edges,
        task_edges,
    }
}

fn unique<'d>(
    name: &'d str,
    position: usize,
    known: &mut Positions<'d>,
    places: &[&Range<usize>],
    (kind, at): (&str, &Range<usize>),
    report: &mut Report,
) {
    let Some(first) = known.get(name) else {
        known.insert(name, position);
        return;
    };
    let line = places.get(*first).map_or(0, |at| report.line(at.start));
    report
        .error(
            at.clone(),
            format!("there are two {kind}s named `{name}`; the first is in line {line}"),
        )
        .help(format!(
            "{kind} names are unique in a file, since others refer to them"
        ));
}

/// The edges of one list: an item without `needs` needs the one above it.
fn edges(
    items: &[Item<'_>],
    kind: &str,
    elsewhere: &dyn Fn(&str) -> Option<String>,
    report: &mut Report,
) -> Edges {
    let mut positions = Positions::new();
    for (position, item) in items.iter().enumerate() {
        if let Some(name) = item.name {
            positions.entry(name).or_insert(position);
        }
    }
    let before = items
        .iter()
        .enumerate()
        .map(|(position, item)| match item.needs {
            None => position.checked_sub(1).into_iter().collect(),
            Some(needs) => written(needs, position, &positions, kind, elsewhere, report),
        })
        .collect();
    let edges = Edges { before };
    let Some(cycle) = edges.cycle() else {
        return edges;
    };
    let names: Vec<&str> = cycle
        .iter()
        .filter_map(|position| items.get(*position).and_then(|item| item.name))
        .collect();
    let at = cycle
        .iter()
        .find_map(|position| items.get(*position)?.needs);
    let at = at.map_or_else(
        || items.first().map_or(0..0, |item| item.at.clone()),
        |n| n.span.clone(),
    );
    report
        .error(
            at,
            format!("these {kind}s wait for each other: {}", names.join(" → ")),
        )
        .help(format!(
            "an arrow means \"needs\"; a {kind} without `needs` needs the one above it"
        ));
    // In the order of the file, so that nothing else is blamed on the cycle.
    Edges {
        before: (0..items.len())
            .map(|position| position.checked_sub(1).into_iter().collect())
            .collect(),
    }
}

fn written(
    needs: &At<Vec<At<&str>>>,
    position: usize,
    positions: &Positions<'_>,
    kind: &str,
    elsewhere: &dyn Fn(&str) -> Option<String>,
    report: &mut Report,
) -> Vec<usize> {
    let mut before: Vec<usize> = Vec::with_capacity(needs.value.len());
    for need in &needs.value {
        let name = need.value;
        match positions.get(name) {
            Some(found) if *found == position => {
                report.error(need.span.clone(), format!("a {kind} cannot need itself"));
            }
            Some(found) if before.contains(found) => {
                report.error(need.span.clone(), format!("`{name}` is listed twice"));
            }
            Some(found) => before.push(*found),
            None => match elsewhere(name) {
                Some(job) => {
                    report
                        .error(need.span.clone(), format!("task `{name}` is in job `{job}`"))
                        .help("the `needs` of a task name tasks of its own job; let the job need that job");
                }
                None => {
                    let others = positions.iter().filter(|(_, at)| **at != position);
                    report
                        .error(need.span.clone(), format!("there is no {kind} `{name}`"))
                        .suggest(name, others.map(|(name, _)| *name));
                }
            },
        }
    }
    before
}
