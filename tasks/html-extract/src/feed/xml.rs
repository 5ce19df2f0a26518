//! RSS (0.9 to 2.0, and 1.0) and Atom, read from beginning to end without a tree. Dates and links stay as written.
//!
//! Own entities of a document are not expanded, so none can grow.

use std::rc::Rc;

use flowweaver_task::Result;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;
use task_page::Url;

use super::{FeedHead, Raw, absolute, invalid, plain};

const ATOM: &str = "http://www.w3.org/2005/Atom";
const RSS_1: &str = "http://purl.org/rss/1.0/";
const DUBLIN_CORE: &str = "http://purl.org/dc/elements/1.1/";
const CONTENT: &str = "http://purl.org/rss/1.0/modules/content/";

/// How deep elements may nest. Feeds with markup inside stay below fifty.
const DEPTH: usize = 500;

/// What an element is, in whichever format.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Head,
    Entry,
    Id,
    Title,
    Link,
    Published,
    Updated,
    Summary,
    Content,
    Other,
}

/// An element that is open.
struct Open {
    part: Part,
    /// What links in it are relative to: `xml:base` here or above, else the document's own.
    base: Rc<Url>,
}

/// How the text of an element is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meant {
    Plain,
    /// HTML, escaped.
    Html,
    /// HTML as elements.
    Xhtml,
}

/// The text of an element as it is gathered.
struct Gathered {
    meant: Meant,
    /// Whether it may be the entry's link.
    address: bool,
    /// How many elements are open inside of it.
    inside: usize,
    text: String,
}

struct Reading {
    atom: bool,
    open: Vec<Open>,
    gathered: Option<Gathered>,
    head: FeedHead,
    entries: Vec<Raw>,
    /// The entry that is open.
    entry: Option<Raw>,
}

/// Reads a feed.
///
/// # Errors
/// `feed.invalid`, with the line.
pub(super) fn read(text: &str, base: &Url) -> Result<(FeedHead, Vec<Raw>)> {
    let mut reader = NsReader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    reader.config_mut().allow_dangling_amp = true;
    let mut reading: Option<Reading> = None;
    loop {
        let event = reader
            .read_resolved_event()
            .map(|(namespace, event)| match namespace {
                ResolveResult::Bound(Namespace(name)) => (name.to_owned(), event),
                _ => (String::new(), event),
            });
        let line = |at: u64| {
            let before = usize::try_from(at)
                .ok()
                .and_then(|at| text.as_bytes().get(..at));
            before
                .unwrap_or(text.as_bytes())
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
                + 1
        };
        let (namespace, event) = event
            .map_err(|error| invalid(format!("line {}: {error}", line(reader.error_position()))))?;
        match (event, &mut reading) {
            (Event::Start(start), None) => reading = Some(root(&namespace, &start, base)?),
            (Event::Start(start), Some(reading)) => {
                if reading.depth() >= DEPTH {
                    let line = line(reader.buffer_position());
                    return Err(invalid(format!(
                        "line {line}: elements nest deeper than {DEPTH}"
                    )));
                }
                reading.start(&namespace, &start);
            }
            (Event::End(end), Some(reading)) => reading.end(end.local_name().as_ref()),
            (Event::Text(piece), Some(reading)) => reading.text(&piece.xml10_content()),
            (Event::CData(piece), Some(reading)) => reading.text(&piece.xml10_content()),
            (Event::GeneralRef(reference), Some(reading)) => reading.text(&referred(&reference)),
            (Event::Eof, Some(reading)) if reading.open.is_empty() => {
                return Ok((
                    std::mem::take(&mut reading.head),
                    std::mem::take(&mut reading.entries),
                ));
            }
            (Event::Eof, Some(reading)) => {
                let open = reading.depth();
                return Err(invalid(format!("it ends with {open} elements open")));
            }
            (Event::Eof, None) => return Err(invalid("it has no element")),
            _ => {}
        }
    }
}

/// The root element decides the format.
fn root(namespace: &str, start: &BytesStart<'_>, base: &Url) -> Result<Reading> {
    let local = start.local_name();
    let (atom, part) = match (namespace, local.as_ref()) {
        ("" | ATOM, "feed") => (true, Part::Head),
        (_, "rss" | "RDF") => (false, Part::Other),
        (_, name) if name.eq_ignore_ascii_case("html") => {
            return Err(invalid("it is an HTML page"));
        }
        (_, name) => return Err(invalid(format!("its root is `{name}`"))),
    };
    Ok(Reading {
        atom,
        open: vec![Open {
            part,
            base: own_base(start, &Rc::new(base.clone())),
        }],
        gathered: None,
        head: FeedHead::default(),
        entries: Vec::new(),
        entry: None,
    })
}

/// A character by its number, or one of XML's own five; anything else stays written, and HTML may know it.
fn referred(reference: &BytesRef<'_>) -> String {
    if let Ok(Some(letter)) = reference.resolve_char_ref() {
        return letter.to_string();
    }
    let name: &str = reference;
    match quick_xml::escape::resolve_predefined_entity(name) {
        Some(text) => text.to_owned(),
        None => format!("&{name};"),
    }
}

/// What links in an element are relative to.
fn own_base(start: &BytesStart<'_>, above: &Rc<Url>) -> Rc<Url> {
    let given = attribute(start, "xml:base").and_then(|given| above.join(&given).ok());
    given.map_or_else(|| Rc::clone(above), Rc::new)
}

/// An attribute's value; none when it is absent or broken.
fn attribute(start: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = start.try_get_attribute(name).ok().flatten()?;
    let value = found.normalized_value(XmlVersion::Implicit1_0);
    // A bare `&` in an address is a mistake that everybody makes.
    Some(value.map_or_else(|_| found.value.to_string(), |value| value.into_owned()))
}

impl Reading {
    fn depth(&self) -> usize {
        self.open.len() + self.gathered.as_ref().map_or(0, |gathered| gathered.inside)
    }

    fn part(&self, namespace: &str, name: &str) -> Part {
        let part = match (self.atom, namespace, name) {
            (true, "" | ATOM, "entry") | (false, "" | RSS_1, "item") => return Part::Entry,
            (false, "" | RSS_1, "channel") => return Part::Head,
            (true, "" | ATOM, "id") | (false, "" | RSS_1, "guid") => Part::Id,
            (true, "" | ATOM, "title") | (false, "" | RSS_1, "title") => Part::Title,
            (true, "" | ATOM, "link") | (false, "" | RSS_1, "link") => Part::Link,
            (true, "" | ATOM, "published") | (false, "" | RSS_1, "pubDate") => Part::Published,
            (true, "" | ATOM, "updated") | (false, DUBLIN_CORE, "date") => Part::Updated,
            (true, "" | ATOM, "summary") | (false, "" | RSS_1, "description") => Part::Summary,
            (true, "" | ATOM, "content") | (false, CONTENT, "encoded") => Part::Content,
            _ => Part::Other,
        };
        // Pictures and sources have titles and links too: only what stands directly in an entry or feed is its own.
        match self.open.last().map(|open| open.part) {
            Some(Part::Head | Part::Entry) => part,
            _ => Part::Other,
        }
    }

    fn start(&mut self, namespace: &str, start: &BytesStart<'_>) {
        let local = start.local_name();
        let name: &str = local.as_ref();
        if let Some(gathered) = &mut self.gathered {
            if gathered.meant == Meant::Xhtml {
                gathered.text.push_str(&format!("<{name}>"));
            }
            gathered.inside += 1;
            return;
        }
        let Some(above) = self.open.last() else {
            return;
        };
        let base = own_base(start, &above.base);
        let part = self.part(namespace, name);
        match part {
            Part::Entry => self.entry = Some(Raw::default()),
            Part::Link if self.atom => self.atom_link(start, &base),
            Part::Head | Part::Other => {}
            _ => {
                self.gathered = Some(Gathered {
                    meant: self.meant(part, start),
                    // A guid is the entry's address unless it says that it is none.
                    address: part == Part::Id
                        && !self.atom
                        && attribute(start, "isPermaLink").as_deref() != Some("false"),
                    inside: 0,
                    text: String::new(),
                });
            }
        }
        self.open.push(Open { part, base });
    }

    fn meant(&self, part: Part, start: &BytesStart<'_>) -> Meant {
        match part {
            Part::Title | Part::Summary | Part::Content if !self.atom => Meant::Html,
            Part::Title | Part::Summary | Part::Content => {
                match attribute(start, "type").as_deref().map(str::trim) {
                    Some("html" | "text/html") => Meant::Html,
                    Some("xhtml" | "application/xhtml+xml") => Meant::Xhtml,
                    _ => Meant::Plain,
                }
            }
            _ => Meant::Plain,
        }
    }

    /// Of an entry's links, the first one that is the entry's page.
    fn atom_link(&mut self, start: &BytesStart<'_>, base: &Url) {
        let relation = attribute(start, "rel");
        if relation.is_some_and(|relation| relation.trim() != "alternate") {
            return;
        }
        let Some(href) = attribute(start, "href") else {
            return;
        };
        let href = absolute(base, &href);
        let link = match &mut self.entry {
            Some(entry) => &mut entry.link,
            None => &mut self.head.link,
        };
        link.get_or_insert(href);
    }

    fn text(&mut self, piece: &str) {
        let Some(gathered) = &mut self.gathered else {
            return;
        };
        if gathered.meant == Meant::Xhtml {
            gathered
                .text
                .push_str(&piece.replace('&', "&amp;").replace('<', "&lt;"));
        } else {
            gathered.text.push_str(piece);
        }
    }

    fn end(&mut self, name: &str) {
        if let Some(gathered) = &mut self.gathered
            && gathered.inside > 0
        {
            gathered.inside -= 1;
            if gathered.meant == Meant::Xhtml {
                gathered.text.push_str(&format!("</{name}>"));
            }
            return;
        }
        let Some(open) = self.open.pop() else {
            return;
        };
        if open.part == Part::Entry {
            self.entries.extend(self.entry.take());
        } else if let Some(gathered) = self.gathered.take() {
            self.keep(&open, &gathered);
        }
    }

    /// Puts a complete text where it belongs. The first of several is kept.
    fn keep(&mut self, open: &Open, gathered: &Gathered) {
        let text = match gathered.meant {
            Meant::Plain => plain::squeezed(&gathered.text),
            Meant::Html | Meant::Xhtml => plain::of_html(&gathered.text),
        };
        if text.is_empty() {
            return;
        }
        let Some(entry) = &mut self.entry else {
            match open.part {
                Part::Title => drop(self.head.title.get_or_insert(text)),
                Part::Link => drop(self.head.link.get_or_insert(absolute(&open.base, &text))),
                _ => {}
            }
            return;
        };
        match open.part {
            Part::Id => {
                if gathered.address && Url::parse(&text).is_ok() {
                    entry.link.get_or_insert_with(|| text.clone());
                }
                entry.id.get_or_insert(text);
            }
            // A link that is written is better than a guid that looks like one.
            Part::Link => entry.link = Some(absolute(&open.base, &text)),
            Part::Title => drop(entry.title.get_or_insert(text)),
            Part::Published => drop(entry.published.get_or_insert(text)),
            Part::Updated => drop(entry.updated.get_or_insert(text)),
            Part::Summary => drop(entry.summary.get_or_insert(text)),
            Part::Content => drop(entry.content.get_or_insert(text)),
            Part::Head | Part::Entry | Part::Other => {}
        }
    }
}
