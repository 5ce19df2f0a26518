//! Fields and rows of a page. The page itself is `task_page`'s.

use std::collections::BTreeMap;

use flowweaver_task::{Error, Result, Value};
use task_page::{ElementRef, Page, Selector, Url, selector, text};

use crate::{Output, document::Document};

/// Attributes that hold an address, which is made absolute.
const ADDRESSES: [&str; 8] = [
    "action",
    "cite",
    "data-href",
    "data-src",
    "formaction",
    "href",
    "poster",
    "src",
];

/// What to take out of a page or row.
#[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Field {
    /// A CSS selector; without one, the row itself.
    #[serde(default)]
    selector: Option<String>,
    /// An attribute's value instead of the text; addresses are made absolute.
    #[serde(default)]
    attr: Option<String>,
    /// The list of all matches instead of the first one.
    #[serde(default)]
    all: bool,
    /// Whether white space becomes single spaces, and scripts and styles are left out.
    #[serde(default = "yes")]
    trim: bool,
    /// Whether it must be there and not be empty.
    #[serde(default)]
    required: bool,
}

fn yes() -> bool {
    true
}

/// Fields and rows with their selectors compiled.
pub(crate) struct Plan<'a> {
    fields: Vec<Compiled<'a>>,
    rows: Option<Selector>,
}

struct Compiled<'a> {
    name: &'a str,
    selector: Option<Selector>,
    field: &'a Field,
}

impl<'a> Plan<'a> {
    /// Compiles the selectors.
    ///
    /// # Errors
    /// `input.invalid`, naming the field.
    pub(crate) fn compile(fields: &'a BTreeMap<String, Field>, rows: Option<&str>) -> Result<Self> {
        if fields.is_empty() {
            return Err(Error::permanent(
                "input.invalid",
                "`fields` says what to take out of the page; it is empty",
            ));
        }
        let compile = |(name, field): (&'a String, &'a Field)| {
            let place = format!("fields.{name}.selector");
            let selector = field
                .selector
                .as_deref()
                .map(|css| selector(&place, css))
                .transpose()?;
            if selector.is_none() && rows.is_none() {
                let message =
                    format!("`{place}` is missing; only a row's field can be the row itself");
                return Err(Error::permanent("input.invalid", message));
            }
            Ok(Compiled {
                name,
                selector,
                field,
            })
        };
        Ok(Plan {
            fields: fields.iter().map(compile).collect::<Result<_>>()?,
            rows: rows.map(|css| selector("rows", css)).transpose()?,
        })
    }

    /// Takes the fields out of a page.
    ///
    /// # Errors
    /// `field.missing`, permanent, for a required field that is not there: of the page, or of every row.
    pub(crate) fn carry_out(&self, document: &Document, limit: usize) -> Result<Output> {
        let page = Page::parse(&document.text, document.base.as_str())?;
        let mut output = Output::default();
        let Some(rows) = &self.rows else {
            for compiled in &self.fields {
                let matches = |selector| page.select(selector);
                let found = compiled.selector.as_ref().into_iter().flat_map(matches);
                let value = compiled
                    .value(found, page.base())
                    .ok_or_else(|| compiled.missing())?;
                output.fields.insert(compiled.name.to_owned(), value);
            }
            return Ok(output);
        };
        let mut first_missing = None;
        for element in page.select(rows) {
            if output.rows.len() == limit {
                output.truncated = true;
                break;
            }
            match self.row(element, page.base()) {
                Ok(row) => output.rows.push(row),
                Err(missing) => {
                    output.skipped = output.skipped.saturating_add(1);
                    first_missing.get_or_insert(missing);
                }
            }
        }
        match first_missing {
            // One row without a price is an advertisement; all of them are a page that was rebuilt.
            Some(missing) if output.rows.is_empty() => {
                Err(missing.context(format!("none of {} rows is complete", output.skipped)))
            }
            _ => Ok(output),
        }
    }

    fn row(&self, element: ElementRef<'_>, base: &Url) -> Result<BTreeMap<String, Value>> {
        let mut row = BTreeMap::new();
        for compiled in &self.fields {
            let value = match &compiled.selector {
                Some(selector) => compiled.value(element.select(selector), base),
                None => compiled.value([element].into_iter(), base),
            };
            let value = value.ok_or_else(|| compiled.missing())?;
            row.insert(compiled.name.to_owned(), value);
        }
        Ok(row)
    }
}

impl Compiled<'_> {
    /// The field's value; none when it is required and absent or empty.
    fn value<'p>(&self, found: impl Iterator<Item = ElementRef<'p>>, base: &Url) -> Option<Value> {
        let mut values = found.filter_map(|element| self.text(element, base));
        let required = self.field.required;
        if self.field.all {
            let values: Vec<String> = values.collect();
            let absent = required && values.iter().all(|value| value.trim().is_empty());
            return (!absent).then(|| values.into());
        }
        let value = if required {
            values.find(|value| !value.trim().is_empty())
        } else {
            values.next()
        };
        if required && value.is_none() {
            return None;
        }
        Some(value.map_or(Value::Null, Value::String))
    }

    /// What an element gives; none when it lacks the attribute.
    fn text(&self, element: ElementRef<'_>, base: &Url) -> Option<String> {
        let Some(name) = &self.field.attr else {
            return Some(if self.field.trim {
                text(element)
            } else {
                element.text().collect()
            });
        };
        let name = name.to_ascii_lowercase();
        let value = element.attr(&name)?;
        let value = if self.field.trim { value.trim() } else { value };
        if value.is_empty() || !ADDRESSES.contains(&name.as_str()) {
            return Some(value.to_owned());
        }
        // What cannot be joined (no base, a broken address) is told as it stands.
        let absolute = base.join(value).map(String::from);
        Some(absolute.unwrap_or_else(|_| value.to_owned()))
    }

    fn missing(&self) -> Error {
        let what = match (&self.field.attr, &self.field.selector) {
            (Some(attribute), Some(css)) => format!("no `{css}` has a `{attribute}`"),
            (Some(attribute), None) => format!("it has no `{attribute}`"),
            (None, Some(css)) => format!("no `{css}` has text"),
            (None, None) => "it has no text".to_owned(),
        };
        Error::permanent(
            "field.missing",
            format!("the field `{}` is missing: {what}", self.name),
        )
    }
}
