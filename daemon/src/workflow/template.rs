//! Turns values of the file into templates: finds the expressions in text, checks every name in
//! them against what can be seen there, and their types against what is wanted.
//!
//! Evaluating is `expression`'s work; which fields a module takes is `wiring`'s.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

use super::decode::{At, DeValue, Node};
use super::expression::{Expression, Root, Template, TextPiece};
use super::graph::{Ancestors, Positions};
use super::model::TaskIndex;
use super::report::Report;
use super::scan::{self, PathUse, Scan, Segment};
use super::typing::{NoStep, Typed};
use super::value::to_json;

/// Everything names can refer to in a file.
pub(super) struct Names<'a> {
    /// The schemas of the inputs, null included where nobody must give one.
    pub(super) inputs: BTreeMap<&'a str, Value>,
    /// The types of the vars.
    pub(super) vars: BTreeMap<&'a str, Value>,
    /// The type of `run`.
    pub(super) run: Value,
    /// The tasks by name.
    pub(super) tasks: Positions<'a>,
    /// Names that stand where a task's name does, but are none: reported already.
    pub(super) broken: Vec<&'a str>,
    /// What is known of each task, by position.
    pub(super) facts: Vec<TaskFacts<'a>>,
    /// Which job is before which.
    pub(super) jobs: Ancestors,
    /// Which task is before which, per job.
    pub(super) within: Vec<Ancestors>,
    /// Whether they are those of a run that has ended, all of whose tasks may be read.
    pub(super) ended: bool,
}

/// What is known of a task before it is compiled.
pub(super) struct TaskFacts<'a> {
    pub(super) job: usize,
    pub(super) job_name: &'a str,
    /// Its position in its job.
    pub(super) place: usize,
    pub(super) output: &'a Value,
    /// What it runs, for remarks.
    pub(super) uses: String,
    pub(super) is_list: bool,
}

impl Names<'_> {
    /// Whether one task always ends before the other begins.
    fn is_before(&self, earlier: usize, later: usize) -> bool {
        let (Some(a), Some(b)) = (self.facts.get(earlier), self.facts.get(later)) else {
            return false;
        };
        if a.job == b.job {
            let within = self.within.get(a.job);
            within.is_some_and(|within| within.is_before(a.place, b.place))
        } else {
            self.jobs.is_before(a.job, b.job)
        }
    }
}

/// What an expression at one place can see.
#[derive(Clone, Copy)]
pub(super) struct View<'a, 'n> {
    pub(super) names: &'n Names<'a>,
    /// The task that reads; none outside tasks, where outputs cannot be read.
    pub(super) reader: Option<usize>,
    /// Whether `item` and `index` are there, and the item's type.
    pub(super) item: Option<Option<Typed<'n>>>,
}

/// A piece of text, or an expression with its place in the file.
enum Part<'t> {
    Text(&'t str),
    Expression(At<&'t str>),
}

/// A template; `wanted` is what its value must fit.
pub(super) fn template<'n>(
    node: Node<'_>,
    wanted: Option<Typed<'n>>,
    view: View<'_, 'n>,
    report: &mut Report,
) -> Template {
    match node.get_ref() {
        DeValue::String(text) => text_template(text, node, wanted, view, report),
        DeValue::Array(items) => {
            let inner = wanted.and_then(Typed::items);
            let items = items.iter();
            simplified(Template::Array(
                items
                    .map(|item| template(item, inner, view, report))
                    .collect(),
            ))
        }
        DeValue::Table(table) => {
            if let (1, Some(value)) = (table.len(), table.get("literal")) {
                return Template::Literal(to_json(value, report));
            }
            let mut fields = Vec::with_capacity(table.len());
            for (key, value) in table {
                let name = key.get_ref().as_ref().to_owned();
                let step = Segment::Field(name.clone());
                let inner = wanted.and_then(|wanted| wanted.step(&step).ok().flatten());
                fields.push((name, template(value, inner, view, report)));
            }
            simplified(Template::Object(fields))
        }
        _ => Template::Literal(to_json(node, report)),
    }
}

/// A tree without expressions is one literal.
fn simplified(template: Template) -> Template {
    match template.literal() {
        Some(value) => Template::Literal(value),
        None => template,
    }
}

fn text_template<'n>(
    text: &str,
    node: Node<'_>,
    wanted: Option<Typed<'n>>,
    view: View<'_, 'n>,
    report: &mut Report,
) -> Template {
    // What is broken is not a literal: nothing more is concluded from it.
    let broken = || Template::Text(Vec::new());
    let Some(parts) = parts(text, node.span(), report) else {
        return broken();
    };
    if let [Part::Expression(source)] = parts.as_slice() {
        let Some((expression, typed)) = expression(source, view, report) else {
            return broken();
        };
        if let (Some(typed), Some(wanted)) = (typed, wanted)
            && let Some(why) = typed.conflict(wanted, 0)
        {
            report.error(source.span.clone(), format!("this is {why}"));
        }
        return Template::Expression(expression);
    }
    let mut pieces = Vec::new();
    for part in &parts {
        match part {
            Part::Text(text) => pieces.push(TextPiece::Text((*text).to_owned())),
            Part::Expression(source) => {
                if let Some((expression, _)) = expression(source, view, report) {
                    pieces.push(TextPiece::Expression(expression));
                }
            }
        }
    }
    if !parts.iter().any(|part| matches!(part, Part::Expression(_))) {
        return Template::Literal(text.into());
    }
    if let Some(wanted) = wanted {
        let string = serde_json::json!({ "type": "string" });
        if let Some(why) = Typed::of(&string).conflict(wanted, 0) {
            report
                .error(node.span(), format!("text around an expression is {why}"))
                .help("a value keeps its type only when the text is exactly one `{{ }}`");
        }
    }
    Template::Text(pieces)
}

/// Text that must be exactly one expression, and its type where known.
pub(super) fn condition<'n>(
    key: &str,
    text: &At<&str>,
    view: View<'_, 'n>,
    report: &mut Report,
) -> Option<(Expression, Option<Typed<'n>>)> {
    match parts(text.value, text.span.clone(), report)?.as_slice() {
        [Part::Expression(source)] => expression(source, view, report),
        parts => {
            let bare = !parts.iter().any(|part| matches!(part, Part::Expression(_)));
            let remark = report.error(
                text.span.clone(),
                format!("`{key}` must be exactly one expression"),
            );
            if bare {
                remark.help(format!("write {key} = \"{{{{ {} }}}}\"", text.value.trim()));
            } else {
                remark.help("put everything inside one pair of `{{ }}`");
            }
            None
        }
    }
}

/// Cuts text into plain parts and expressions; reports what is no template.
fn parts<'t>(text: &'t str, span: Range<usize>, report: &mut Report) -> Option<Vec<Part<'t>>> {
    let mut whole_text = true;
    let place = Place::of(text, span, report.text());
    for (mark, what) in [("{%", "statements"), ("{#", "comments")] {
        if let Some(at) = text.find(mark) {
            report
                .error(
                    place.at(at..at + 2),
                    format!("there are no {what} here, only `{{{{ }}}}`"),
                )
                .help("for this very text write { literal = \"…\" }");
            return None;
        }
    }
    let mut parts = Vec::new();
    let mut rest = 0;
    while let Some(open) = text.get(rest..).and_then(|tail| tail.find("{{")) {
        let start = rest + open;
        if let Some(plain) = text.get(rest..start).filter(|plain| !plain.is_empty()) {
            parts.push(Part::Text(plain));
        }
        let Some(end) = scan::end_of_expression(text, start + 2) else {
            report
                .error(place.at(start..start + 2), "this `{{` is never closed")
                .help("close it with `}}`, or write { literal = \"…\" } for this very text");
            return None;
        };
        let inner = text.get(start + 2..end).unwrap_or_default();
        let trimmed = inner.trim();
        let from = start + 2 + inner.find(trimmed).unwrap_or(0);
        let whole = place.at(start..end + 2);
        if trimmed.is_empty() {
            report.error(whole, "there is nothing between these braces");
            whole_text = false;
        } else if inner.starts_with('-') || inner.ends_with('-') {
            report
                .error(whole, "`{{-` and `-}}` mean nothing here")
                .help("white space is kept as written; for a negative number leave a space");
            whole_text = false;
        } else {
            parts.push(Part::Expression(At::new(
                trimmed,
                place.at(from..from + trimmed.len()),
            )));
        }
        rest = end + 2;
    }
    if let Some(plain) = text.get(rest..).filter(|plain| !plain.is_empty()) {
        parts.push(Part::Text(plain));
    }
    whole_text.then_some(parts)
}

/// Where the inside of a string stands in the file. With escapes only the whole is known.
pub(super) struct Place {
    whole: Range<usize>,
    start: Option<usize>,
}

impl Place {
    pub(super) fn of(value: &str, span: Range<usize>, file: &str) -> Self {
        let raw = file.get(span.clone()).unwrap_or_default();
        let start = [1, 3, 4, 5]
            .into_iter()
            .find(|skip| raw.get(*skip..).is_some_and(|raw| raw.starts_with(value)))
            .filter(|_| !value.is_empty())
            .map(|skip| span.start + skip);
        Self { whole: span, start }
    }

    /// The place of a part of the string.
    pub(super) fn at(&self, part: Range<usize>) -> Range<usize> {
        match self.start {
            Some(start) => start + part.start..start + part.end,
            None => self.whole.clone(),
        }
    }
}

/// Compiles one expression; its type is known only when it is a path.
fn expression<'n>(
    source: &At<&str>,
    view: View<'_, 'n>,
    report: &mut Report,
) -> Option<(Expression, Option<Typed<'n>>)> {
    let text = source.value;
    // Where escapes hide the places inside, everything points at the whole string.
    let exact = source.span.len() == text.len();
    let place = |part: Range<usize>| {
        if exact {
            source.span.start + part.start..source.span.start + part.end
        } else {
            source.span.clone()
        }
    };
    let Scan {
        paths,
        pure,
        problems,
    } = scan::scan(text);
    let errors = report.len();

    for problem in problems {
        let remark = report.error(place(problem.span), problem.message);
        if let Some(help) = problem.help {
            remark.help(help);
        }
    }
    let mut tasks: Vec<(String, TaskIndex)> = Vec::new();
    let mut typed = None;
    for path in &paths {
        typed = resolve(path, &place, view, &mut tasks, report);
    }
    let walk = paths.first().filter(|_| pure).and_then(|path| {
        let segments = path.segments.iter().map(|(segment, _)| segment.clone());
        Some((Root::named(&path.root)?, segments.collect()))
    });

    let guarded: Vec<usize> = paths
        .iter()
        .filter(|path| path.guarded && path.root == "tasks")
        .map(|path| path.span.start)
        .collect();
    match Expression::compile(text, walk, tasks, &guarded) {
        Ok(expression) if report.len() == errors => Some((expression, typed.filter(|_| pure))),
        Ok(_) => None,
        Err(message) => {
            // What the checks above refuse reads badly in the language's own words.
            if report.len() == errors {
                report.error(
                    place(0..text.len()),
                    format!("this is no expression: {message}"),
                );
            }
            None
        }
    }
}

/// Checks one path; gives its type where known.
fn resolve<'n>(
    path: &PathUse,
    place: &dyn Fn(Range<usize>) -> Range<usize>,
    view: View<'_, 'n>,
    tasks: &mut Vec<(String, TaskIndex)>,
    report: &mut Report,
) -> Option<Typed<'n>> {
    let root_span = place(path.span.start..path.span.start + path.root.len());
    let Some(root) = Root::named(&path.root) else {
        unknown_root(path, root_span, view, report);
        return None;
    };
    let names = view.names;
    let first = path.segments.first();
    match root {
        Root::Item | Root::Index if view.item.is_none() => {
            let message = format!(
                "`{}` is only known in the `with` of a `for_each` task",
                path.root
            );
            report.error(root_span, message);
            None
        }
        Root::Item => steps(view.item.flatten()?, path, 0, "the item", place, report),
        Root::Index => None,
        Root::Run => steps(Typed::of(&names.run), path, 0, "`run`", place, report),
        Root::Inputs | Root::Vars => {
            let (known, what) = match root {
                Root::Inputs => (&names.inputs, "input"),
                _ => (&names.vars, "var"),
            };
            let Some((Segment::Field(name), at)) = first else {
                return None;
            };
            let Some(schema) = known.get(name.as_str()) else {
                report
                    .error(place(at.clone()), format!("there is no {what} `{name}`"))
                    .help(format!("the file has no {what}s"))
                    .suggest_if_any(name, known.keys().copied());
                return None;
            };
            steps(
                Typed::of(schema),
                path,
                1,
                &format!("{what} `{name}`"),
                place,
                report,
            )
        }
        Root::Tasks => {
            let (index, position) = task(path, place, view, report)?;
            if let Some((Segment::Field(name), _)) = first
                && !tasks.iter().any(|(known, _)| known == name)
            {
                tasks.push((name.clone(), index));
            }
            let facts = names.facts.get(position)?;
            let typed = if facts.is_list {
                Typed::list_of(facts.output)
            } else {
                Typed::of(facts.output)
            };
            let what = if facts.is_list {
                "this".to_owned()
            } else {
                format!("the output of {}", facts.uses)
            };
            steps(typed, path, 1, &what, place, report)
        }
    }
}

fn unknown_root(path: &PathUse, span: Range<usize>, view: View<'_, '_>, report: &mut Report) {
    let root = path.root.as_str();
    let remark = report.error(span, format!("there is no `{root}`"));
    let names = view.names;
    let owner = [
        ("tasks", names.tasks.contains_key(root)),
        ("inputs", names.inputs.contains_key(root)),
        ("vars", names.vars.contains_key(root)),
    ]
    .into_iter()
    .find(|(_, has)| *has);
    match (root, owner) {
        ("secret" | "secrets", _) => {
            remark.help(
                "a secret never enters an expression: write it in a grant's `headers` or `sign`",
            );
        }
        ("env", _) => {
            remark.help(
                "the environment is not readable: use `vars`, which the operator may override",
            );
        }
        (_, Some((owner, _))) => {
            remark.help(format!("did you mean `{owner}.{root}`?"));
        }
        _ => {
            remark
                .help("expressions know inputs, tasks, run, vars, item and index")
                .suggest(root, Root::ALL.iter().map(|(name, _)| *name));
        }
    }
}

/// The task that a path names, if it may be read here.
fn task(
    path: &PathUse,
    place: &dyn Fn(Range<usize>) -> Range<usize>,
    view: View<'_, '_>,
    report: &mut Report,
) -> Option<(TaskIndex, usize)> {
    let names = view.names;
    let Some((Segment::Field(name), at)) = path.segments.first() else {
        report
            .error(
                place(path.span.clone()),
                "a task must be named here, not computed",
            )
            .help("write tasks.NAME, or tasks[\"NAME\"]");
        return None;
    };
    let at = place(at.clone());
    let Some(&position) = names.tasks.get(name.as_str()) else {
        if !names.broken.contains(&name.as_str()) {
            report
                .error(at, format!("there is no task `{name}`"))
                .suggest(name, names.tasks.keys().copied());
        }
        return None;
    };
    if names.ended {
        return Some((TaskIndex(u32::try_from(position).ok()?), position));
    }
    let Some(reader) = view.reader else {
        report.error(at, "no task has run when this is evaluated");
        return None;
    };
    if position == reader {
        report.error(at, "a task cannot read its own output");
        return None;
    }
    if !names.is_before(position, reader) {
        let (theirs, mine) = (names.facts.get(position)?, names.facts.get(reader)?);
        let remark = report.error(
            at,
            format!("task `{name}` does not end before this one starts"),
        );
        if theirs.job == mine.job {
            remark.help(format!("add \"{name}\" to this task's `needs`"));
        } else {
            remark.help(format!(
                "it is in job `{}`: add that to the `needs` of this job",
                theirs.job_name
            ));
        }
        return None;
    }
    let index = u32::try_from(position).ok()?;
    Some((TaskIndex(index), position))
}

/// Follows a path's steps from the one at `from`.
fn steps<'n>(
    start: Typed<'n>,
    path: &PathUse,
    from: usize,
    what: &str,
    place: &dyn Fn(Range<usize>) -> Range<usize>,
    report: &mut Report,
) -> Option<Typed<'n>> {
    let mut typed = start;
    let mut what = what.to_owned();
    for (segment, at) in path.segments.iter().skip(from) {
        match typed.step(segment) {
            Ok(Some(next)) => typed = next,
            Ok(None) => return None,
            Err(NoStep::NoField(fields)) => {
                let Segment::Field(name) = segment else {
                    return None;
                };
                report
                    .error(place(at.clone()), format!("{what} has no field `{name}`"))
                    .suggest(name, fields.iter().map(String::as_str));
                return None;
            }
            Err(NoStep::NotA(kind)) => {
                let step = match segment {
                    Segment::Field(name) => format!("no field `{name}`"),
                    Segment::Index(index) => format!("no item [{index}]"),
                };
                report.error(
                    place(at.clone()),
                    format!("{what} is {kind}, which has {step}"),
                );
                return None;
            }
        }
        what = match segment {
            Segment::Field(name) => format!("`{name}`"),
            Segment::Index(index) => format!("item [{index}]"),
        };
    }
    Some(typed).filter(|_| !path.open)
}
