//! A workflow's edges the other way round: who waits for whom. Made once a version.

use std::sync::Arc;

use crate::workflow::model::{JobIndex, TaskIndex, Workflow};

/// A workflow with its dependants.
#[derive(Debug)]
pub struct Graph {
    workflow: Arc<Workflow>,
    task_dependants: Vec<Vec<TaskIndex>>,
    job_dependants: Vec<Vec<JobIndex>>,
    job_order: Vec<JobIndex>,
}

impl Graph {
    /// Turns the edges round.
    pub fn new(workflow: Arc<Workflow>) -> Self {
        let mut task_dependants = vec![Vec::new(); workflow.tasks.len()];
        for (at, task) in (0..).zip(&workflow.tasks) {
            for need in &task.needs {
                if let Some(list) = task_dependants.get_mut(need.0 as usize) {
                    list.push(TaskIndex(at));
                }
            }
        }
        let mut job_dependants = vec![Vec::new(); workflow.jobs.len()];
        for (at, job) in (0..).zip(&workflow.jobs) {
            for need in &job.needs {
                if let Some(list) = job_dependants.get_mut(need.0 as usize) {
                    list.push(JobIndex(at));
                }
            }
        }
        let job_order = order(&workflow, &job_dependants);
        Self {
            workflow,
            task_dependants,
            job_dependants,
            job_order,
        }
    }

    /// The workflow.
    pub fn workflow(&self) -> &Arc<Workflow> {
        &self.workflow
    }

    /// The tasks that need this one.
    pub fn task_dependants(&self, task: TaskIndex) -> &[TaskIndex] {
        self.task_dependants
            .get(task.0 as usize)
            .map_or(&[], Vec::as_slice)
    }

    /// The jobs that need this one.
    pub fn job_dependants(&self, job: JobIndex) -> &[JobIndex] {
        self.job_dependants
            .get(job.0 as usize)
            .map_or(&[], Vec::as_slice)
    }

    /// All jobs, each after those it needs.
    pub fn job_order(&self) -> &[JobIndex] {
        &self.job_order
    }

    /// The task and all that come after it: through task edges in its job, and every task of every
    /// job after its job.
    pub fn descendants(&self, task: TaskIndex) -> Vec<TaskIndex> {
        let mut seen = vec![false; self.workflow.tasks.len()];
        let mut todo = vec![task];
        while let Some(at) = todo.pop() {
            if let Some(seen) = seen.get_mut(at.0 as usize)
                && !std::mem::replace(seen, true)
            {
                todo.extend_from_slice(self.task_dependants(at));
            }
        }
        let mut jobs = vec![false; self.workflow.jobs.len()];
        let mut todo = self.job_dependants(self.workflow.task(task).job).to_vec();
        while let Some(at) = todo.pop() {
            if let Some(seen) = jobs.get_mut(at.0 as usize)
                && !std::mem::replace(seen, true)
            {
                todo.extend_from_slice(self.job_dependants(at));
            }
        }
        (0..)
            .map(TaskIndex)
            .zip(&self.workflow.tasks)
            .zip(seen)
            .filter(|((_, task), seen)| {
                *seen || jobs.get(task.job.0 as usize).is_some_and(|after| *after)
            })
            .map(|((at, _), _)| at)
            .collect()
    }
}

fn order(workflow: &Workflow, dependants: &[Vec<JobIndex>]) -> Vec<JobIndex> {
    let mut unmet: Vec<usize> = workflow.jobs.iter().map(|job| job.needs.len()).collect();
    let mut order: Vec<JobIndex> = (0..)
        .map(JobIndex)
        .zip(&workflow.jobs)
        .filter(|(_, job)| job.needs.is_empty())
        .map(|(at, _)| at)
        .collect();
    let mut done = 0;
    while let Some(job) = order.get(done).copied() {
        done += 1;
        for next in dependants.get(job.0 as usize).into_iter().flatten() {
            if let Some(left) = unmet.get_mut(next.0 as usize) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    order.push(*next);
                }
            }
        }
    }
    order
}
