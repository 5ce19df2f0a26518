//! Compiles a file: runs the stages in order and puts the workflow together.
//!
//! A compile depends on nothing but its arguments, so a stored file, with the vars, ceilings and
//! modules of its day, gives the same workflow again.

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value, json};

use super::decode::At;
use super::draft::{Draft, decode};
use super::draft_task::{DraftTask, DraftUses};
use super::environment::{Environment, ModuleFacts};
use super::expression::{Expression, Template};
use super::grant_source::GrantReader;
use super::graph::Edges;
use super::input::InputValidator;
use super::known::{Known, readable_schema, run_schema, var_schema};
use super::limits;
use super::link::{Links, link};
use super::model::{ForEach, Job, JobIndex, Task, TaskIndex, TaskLimits, Uses, Workflow};
use super::report::Report;
use super::source::{WorkflowSource, parse};
use super::template::{Names, TaskFacts, View, condition, template};
use super::triggers;
use super::typing::Typed;
use super::wiring::{self, Target};
use crate::diagnostic::Diagnostic;
use crate::id::Digest;

/// What came of a compile.
#[derive(Debug)]
pub struct Compiled {
    /// The workflow; none when there is an error among the remarks.
    pub workflow: Option<Workflow>,
    /// Errors and warnings, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// Compiles a file against what it refers to. Never stops at the first mistake.
pub fn compile(source: &WorkflowSource, environment: &Environment) -> Compiled {
    let mut report = Report::new(Arc::clone(&source.file), Arc::clone(&source.text));
    let workflow = stages(source, environment, &mut report).filter(|_| !report.has_errors());
    Compiled {
        workflow,
        diagnostics: report.finish(),
    }
}

/// The schedules of a file, with its name, whatever is to be said about its tasks: nothing is looked up for it.
///
/// # Errors
/// What is wrong with the schedules, or with the file as a whole.
pub fn schedules(
    source: &WorkflowSource,
) -> Result<(crate::id::WorkflowName, Vec<super::model::Schedule>), Vec<Diagnostic>> {
    let environment = Environment::default();
    let new_report = || Report::new(Arc::clone(&source.file), Arc::clone(&source.text));
    let (mut report, mut rest) = (new_report(), new_report());
    let Some((table, _)) = parse(&source.text, &mut report) else {
        return Err(report.finish());
    };
    let draft = decode(&table, &mut report);
    let known = Known::gather(&draft, &environment, &mut rest);
    let compiler = Compiler {
        source,
        environment: &environment,
        draft: &draft,
        known: &known,
    };
    let names = compiler.names(&link(&draft, &mut rest));
    let schedules = triggers::schedules(&compiler, &names, &mut report);
    match (&draft.name, report.has_errors()) {
        (Some(name), false) => Ok((name.value.clone(), schedules)),
        _ => Err(report.finish()),
    }
}

fn stages(
    source: &WorkflowSource,
    environment: &Environment,
    report: &mut Report,
) -> Option<Workflow> {
    let (table, whole) = parse(&source.text, report)?;
    let syntax = report.len();
    let draft = decode(&table, report);
    if !whole {
        // What the broken part would have said is not known, so nothing is concluded from it.
        report.drop_consequences(syntax);
        return None;
    }
    let known = Known::gather(&draft, environment, report);
    let compiler = Compiler {
        source,
        environment,
        draft: &draft,
        known: &known,
    };
    compiler.workflow(report)
}

static ANYTHING: Value = Value::Bool(true);
static NO_DEFAULTS: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

pub(super) struct Compiler<'c, 'd> {
    source: &'c WorkflowSource,
    pub(super) environment: &'c Environment,
    pub(super) draft: &'c Draft<'d>,
    known: &'c Known,
}

impl<'c> Compiler<'c, '_> {
    fn workflow(&self, report: &mut Report) -> Option<Workflow> {
        let draft = self.draft;
        self.counts(report);
        let links = link(draft, report);
        let names = self.names(&links);
        let tasks: Vec<Option<Task>> = draft
            .jobs
            .iter()
            .enumerate()
            .flat_map(|(job, draft)| draft.tasks.iter().map(move |task| (job, task)))
            .enumerate()
            .map(|(position, (job, task))| {
                let needs = self.task_needs(&links, &names, position);
                self.task(task, position, job, needs, &names, report)
            })
            .collect();
        let schedules = triggers::schedules(self, &names, report);
        let triggers = triggers::triggers(self, &names, report);
        let concurrency = triggers::concurrency(self, &names, report);
        let timeout = draft.timeout.as_ref().map(|timeout| {
            let ceiling = self.environment.ceilings.run_timeout;
            let key = ("run_timeout", crate::units::Span);
            limits::capped(Some(timeout), ceiling, ceiling, key, report)
        });
        Some(Workflow {
            name: draft.name.as_ref()?.value.clone(),
            description: draft.description.clone(),
            labels: draft.labels.clone(),
            version: self.version(),
            height: self.height(),
            inputs: draft
                .inputs
                .iter()
                .map(|input| input.value.clone())
                .collect(),
            vars: self.known.vars.clone(),
            schedules,
            triggers,
            jobs: self.jobs(&links)?,
            tasks: tasks.into_iter().collect::<Option<Vec<_>>>()?,
            timeout,
            concurrency,
            priority: draft.priority,
            retention: draft.retention,
        })
    }

    fn counts(&self, report: &mut Report) {
        let ceilings = &self.environment.ceilings;
        let tasks: usize = self.draft.jobs.iter().map(|job| job.tasks.len()).sum();
        let over = |count: usize, limit: usize| count > limit;
        let at = self
            .draft
            .name
            .as_ref()
            .map_or(0..0, |name| name.span.clone());
        for (what, key, count, limit) in [
            ("tasks", "tasks", tasks, ceilings.tasks),
            (
                "schedules",
                "schedules",
                self.draft.schedules.len(),
                ceilings.schedules,
            ),
        ] {
            if over(count, limit) {
                report
                    .error(
                        at.clone(),
                        format!("this workflow has {count} {what}; {limit} are allowed"),
                    )
                    .help(format!("flowweaver.toml says so: `{key}` in [limits]"));
            }
        }
    }

    fn names(&self, links: &Links<'c>) -> Names<'c> {
        let mut facts = Vec::new();
        for (job, draft) in self.draft.jobs.iter().enumerate() {
            for (place, task) in draft.tasks.iter().enumerate() {
                let module = self.module(task);
                facts.push(TaskFacts {
                    job,
                    job_name: draft.written.unwrap_or_default(),
                    place,
                    output: self.output(task),
                    uses: match (module, self.child(task)) {
                        (Some(module), _) => format!("module `{}`", module.description.name),
                        (None, Some((name, _))) => format!("workflow `{name}`"),
                        (None, None) => "this task".to_owned(),
                    },
                    is_list: task.for_each.is_some(),
                });
            }
        }
        Names {
            inputs: self
                .draft
                .inputs
                .iter()
                .map(|input| (input.value.name.as_str(), readable_schema(&input.value)))
                .collect(),
            vars: self
                .known
                .vars
                .iter()
                .map(|(name, value)| (name.as_str(), var_schema(value)))
                .collect(),
            run: run_schema(),
            tasks: links.tasks.clone(),
            broken: links.broken.clone(),
            facts,
            jobs: links.job_edges.ancestors(),
            within: links.task_edges.iter().map(Edges::ancestors).collect(),
            ended: false,
        }
    }

    fn module(&self, task: &DraftTask<'_>) -> Option<&'c ModuleFacts> {
        match task.uses.as_ref().map(|uses| &uses.value) {
            Some(DraftUses::Module(name)) => self.environment.modules.get(name),
            _ => None,
        }
    }

    /// The schema of what a task gives.
    fn output(&self, task: &DraftTask<'_>) -> &'c Value {
        match (self.module(task), self.child(task)) {
            (Some(module), _) => &module.description.output,
            (None, Some((_, child))) => &child.output,
            (None, None) => &ANYTHING,
        }
    }

    /// What a task runs, as far as its input goes.
    pub(super) fn target(&self, task: &DraftTask<'_>) -> Option<Target<'c>> {
        let validator = |key: &str| self.known.validators.get(key).cloned().flatten();
        match &task.uses.as_ref()?.value {
            DraftUses::Module(name) => {
                let facts = self.environment.modules.get(name)?;
                Some(Target {
                    title: format!("module `{name}`"),
                    schema: &facts.description.input,
                    defaults: &facts.description.defaults,
                    validator: validator(name.as_str()),
                })
            }
            DraftUses::Workflow(name) => Some(Target {
                title: format!("workflow `{name}`"),
                schema: self.known.children.get(name)?,
                defaults: &NO_DEFAULTS,
                validator: validator(&format!("workflow:{name}")),
            }),
        }
    }

    fn task_needs(&self, links: &Links<'_>, names: &Names<'_>, position: usize) -> Vec<TaskIndex> {
        let Some(facts) = names.facts.get(position) else {
            return Vec::new();
        };
        let first = position - facts.place;
        let needs = links
            .task_edges
            .get(facts.job)
            .and_then(|edges| edges.before.get(facts.place));
        needs
            .into_iter()
            .flatten()
            .filter_map(|need| u32::try_from(first + need).ok().map(TaskIndex))
            .collect()
    }

    fn jobs(&self, links: &Links<'_>) -> Option<Vec<Job>> {
        let mut next = 0_u32;
        let mut jobs = Vec::with_capacity(self.draft.jobs.len());
        for (position, draft) in self.draft.jobs.iter().enumerate() {
            let first = next;
            next = first.checked_add(u32::try_from(draft.tasks.len()).ok()?)?;
            let needs = links.job_edges.before.get(position)?;
            jobs.push(Job {
                name: draft.name.as_ref()?.value.clone(),
                tasks: (first..next).map(TaskIndex).collect(),
                needs: needs
                    .iter()
                    .map(|need| u32::try_from(*need).ok().map(JobIndex))
                    .collect::<Option<Vec<_>>>()?,
                on_failure: draft.on_failure,
                run_on: draft.run_on,
            });
        }
        Some(jobs)
    }

    fn task(
        &self,
        draft: &DraftTask<'_>,
        position: usize,
        job: usize,
        needs: Vec<TaskIndex>,
        names: &Names<'_>,
        report: &mut Report,
    ) -> Option<Task> {
        let uses = self.uses(draft, report);
        let target = self.target(draft);
        let outside = View {
            names,
            reader: Some(position),
            item: None,
        };
        let when = draft
            .when
            .as_ref()
            .and_then(|text| self.when(text, outside, report));
        let for_each = self.for_each(draft, outside, report);
        let inside = View {
            item: for_each.as_ref().map(|(_, item)| *item),
            ..outside
        };
        let with = wiring::with(draft, target.as_ref(), inside, report);
        let grants = GrantReader {
            environment: self.environment,
            vars: &self.known.vars,
        }
        .read(draft, report);
        let module = self.module(draft);
        if let Some(module) = module {
            wiring::capabilities(draft, module, &grants, report);
        }
        let ceilings = &self.environment.ceilings;
        let defaults = &self.draft.defaults;
        let limits = self.limits(draft, report);
        let retry = limits::retry(&draft.policy.retry, &defaults.retry, ceilings, report);
        let for_each = for_each.map(|(for_each, _)| for_each);
        let reads = reads(&with, when.as_ref(), for_each.as_ref());
        let draft_job = self.draft.jobs.get(job)?;
        let empty = || Value::Object(Map::new());
        Some(Task {
            name: draft.name.as_ref()?.value.clone(),
            job: JobIndex(u32::try_from(job).ok()?),
            uses: uses?,
            needs,
            with,
            defaults: target
                .as_ref()
                .map_or_else(empty, |t| Value::Object(t.defaults.clone())),
            input_schema: target
                .as_ref()
                .map_or(Value::Bool(true), |t| t.schema.clone()),
            validator: target
                .and_then(|target| target.validator)
                .map_or_else(InputValidator::default, InputValidator::ready),
            output_schema: self.output(draft).clone(),
            when,
            for_each,
            retry,
            limits,
            on_failure: draft.on_failure.unwrap_or(draft_job.on_failure),
            on_interrupt: draft
                .policy
                .on_interrupt
                .or(defaults.on_interrupt)
                .unwrap_or_default(),
            grants: Arc::new(grants),
            reads,
        })
    }

    fn limits(&self, draft: &DraftTask<'_>, report: &mut Report) -> TaskLimits {
        let (ceilings, defaults) = (&self.environment.ceilings, &self.draft.defaults);
        match draft.uses.as_ref().map(|uses| &uses.value) {
            Some(DraftUses::Workflow(_)) => {
                limits::of_a_wait(&draft.policy, defaults, ceilings, report)
            }
            _ => limits::limits(&draft.policy, defaults, ceilings, report),
        }
    }

    fn uses(&self, draft: &DraftTask<'_>, report: &mut Report) -> Option<Uses> {
        let At { value, span } = draft.uses.as_ref()?;
        match value {
            DraftUses::Module(name) => {
                let Some(facts) = self.environment.modules.get(name) else {
                    report
                        .error(span.clone(), format!("there is no module `{name}`"))
                        .help(format!("put {name}.wasm into the folder `tasks`"))
                        .suggest(
                            name.as_str(),
                            self.environment.modules.keys().map(|n| n.as_str()),
                        );
                    return None;
                };
                if let Some(pin) = draft
                    .digest
                    .as_ref()
                    .filter(|pin| pin.value != facts.digest)
                {
                    report
                        .error(
                            pin.span.clone(),
                            format!("module `{name}` has another content now"),
                        )
                        .help(format!("it is {}", facts.digest));
                }
                Some(Uses::Module {
                    name: name.clone(),
                    digest: facts.digest,
                })
            }
            DraftUses::Workflow(name) => {
                self.no_capabilities(draft, report);
                if self
                    .draft
                    .name
                    .as_ref()
                    .is_some_and(|own| own.value == *name)
                {
                    report.error(span.clone(), "a workflow cannot run itself");
                    return None;
                }
                let Some(facts) = self.environment.workflows.get(name) else {
                    report
                        .error(span.clone(), format!("there is no workflow `{name}`"))
                        .suggest(
                            name.as_str(),
                            self.environment.workflows.keys().map(|n| n.as_str()),
                        );
                    return None;
                };
                self.chain(name, facts, span, report);
                Some(Uses::Workflow {
                    name: name.clone(),
                    version: facts.version,
                })
            }
        }
    }

    pub(super) fn when<'n>(
        &self,
        text: &At<&str>,
        view: View<'_, 'n>,
        report: &mut Report,
    ) -> Option<Expression> {
        let (expression, typed) = condition("when", text, view, report)?;
        if let Some(typed) = typed.filter(|typed: &Typed<'n>| !typed.may_be_boolean()) {
            report
                .error(
                    text.span.clone(),
                    format!(
                        "`when` must be true or false, and this is {}",
                        typed.words()
                    ),
                )
                .help("compare it: {{ inputs.a == \"b\" }}");
        }
        Some(expression)
    }

    /// The items, and what is known of one of them.
    fn for_each<'n>(
        &self,
        draft: &DraftTask<'_>,
        view: View<'_, 'n>,
        report: &mut Report,
    ) -> Option<(ForEach, Option<Typed<'n>>)> {
        let node = draft.for_each?;
        let ceilings = &self.environment.ceilings;
        let max_parallel = limits::capped(
            draft.max_parallel.as_ref(),
            ceilings.default_max_parallel,
            ceilings.max_parallel,
            ("max_parallel", |count| count),
            report,
        )
        .max(1);
        let (items, item) = if let Some(text) = node.get_ref().as_str() {
            let text = At::new(text, node.span());
            match condition("for_each", &text, view, report) {
                Some((expression, typed)) => {
                    if let Some(typed) = typed.filter(|typed| !typed.may_be_array()) {
                        let message =
                            format!("`for_each` needs an array, and this is {}", typed.words());
                        report.error(text.span, message);
                    }
                    (
                        Template::Expression(expression),
                        typed.and_then(Typed::items),
                    )
                }
                None => (Template::Array(Vec::new()), None),
            }
        } else {
            if !node.get_ref().is_array() {
                let wanted = "an array, or \"{{ … }}\" that gives one";
                super::decode::wrong_type("for_each", node, wanted, report);
            }
            (template(node, None, view, report), None)
        };
        Some((
            ForEach {
                items,
                max_parallel,
            },
            item,
        ))
    }

    /// hash(organization, file, resolved vars, ceilings, module digests, child versions).
    fn version(&self) -> Digest {
        let mut parts: Vec<Vec<u8>> = vec![
            self.environment.organization.to_string().into_bytes(),
            self.source.text.as_bytes().to_vec(),
            json!(self.known.vars).to_string().into_bytes(),
            json!(self.environment.ceilings).to_string().into_bytes(),
        ];
        let mut used: Vec<String> = Vec::new();
        for task in self.draft.jobs.iter().flat_map(|job| &job.tasks) {
            match task.uses.as_ref().map(|uses| &uses.value) {
                Some(DraftUses::Module(name)) => {
                    let module = self.environment.modules.get(name);
                    used.extend(module.map(|module| format!("module {name} {}", module.digest)));
                }
                Some(DraftUses::Workflow(name)) => {
                    let child = self.environment.workflows.get(name);
                    used.extend(child.map(|child| format!("workflow {name} {}", child.version)));
                }
                None => {}
            }
        }
        used.sort();
        used.dedup();
        parts.extend(used.into_iter().map(String::into_bytes));
        Digest::of_parts(parts.iter().map(Vec::as_slice))
    }
}

/// The tasks whose outputs a task reads.
fn reads(with: &Template, when: Option<&Expression>, for_each: Option<&ForEach>) -> Vec<TaskIndex> {
    let mut expressions = with.expressions();
    expressions.extend(when);
    if let Some(for_each) = for_each {
        expressions.extend(for_each.items.expressions());
    }
    let mut reads: Vec<TaskIndex> = expressions
        .into_iter()
        .flat_map(Expression::tasks)
        .collect();
    reads.sort();
    reads.dedup();
    reads
}
