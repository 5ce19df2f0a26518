//! Looks for secrets in everything that a daemon has written, and in everything that it shows, in every usual form.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use flowweaver::api;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::rig::Rig;

/// Something that was written or shown, and where.
pub type Place = (String, Vec<u8>);

/// Secrets in all the forms in which they are looked for.
pub struct Search {
    needles: Vec<(String, Vec<u8>)>,
    /// The pairs of bytes with which a needle begins.
    begins: Vec<bool>,
}

/// The ways in which something may be written, named.
pub fn forms(secret: &str) -> Vec<(String, Vec<u8>)> {
    let percent = |keeps: fn(u8) -> bool, upper: bool| -> Vec<u8> {
        let escaped = |byte: u8| match (keeps(byte), upper) {
            (true, _) => char::from(byte).to_string(),
            (false, true) => format!("%{byte:02X}"),
            (false, false) => format!("%{byte:02x}"),
        };
        secret.bytes().map(escaped).collect::<String>().into_bytes()
    };
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let json = serde_json::to_string(secret).unwrap();
    let mut forms = vec![
        ("as it is".to_owned(), secret.as_bytes().to_vec()),
        (
            "JSON".to_owned(),
            json.as_bytes()[1..json.len() - 1].to_vec(),
        ),
        ("hex, lower".to_owned(), hex::encode(secret).into_bytes()),
        (
            "hex, upper".to_owned(),
            hex::encode_upper(secret).into_bytes(),
        ),
    ];
    for upper in [true, false] {
        forms.push((
            format!("percent, upper {upper}"),
            percent(unreserved, upper),
        ));
        forms.push((
            format!("all percent, upper {upper}"),
            percent(|_| false, upper),
        ));
    }
    for (alphabet, engine) in [("base64", STANDARD_NO_PAD), ("base64url", URL_SAFE_NO_PAD)] {
        // Of what stands 0 to 2 bytes behind a border, the letters that depend on nothing else.
        for (shift, mixed) in [(0, 0), (1, 2), (2, 3)] {
            let shifted = [&vec![0; shift], secret.as_bytes()].concat();
            let sure = shifted.len() * 8 / 6;
            let text = engine.encode(shifted);
            let own = text.as_bytes()[mixed..sure].to_vec();
            forms.push((format!("{alphabet}, behind {shift}"), own));
        }
    }
    forms
}

impl Search {
    /// For these, each of 8 bytes or more.
    pub fn new(secrets: &[impl AsRef<str>]) -> Self {
        let mut needles = Vec::new();
        for secret in secrets {
            for (form, needle) in forms(secret.as_ref()) {
                needles.push((format!("{} ({form})", secret.as_ref()), needle));
            }
        }
        let mut begins = vec![false; 1 << 16];
        for (_, needle) in &needles {
            begins[pair(needle[0], needle[1])] = true;
        }
        Self { needles, begins }
    }

    /// What is found where, with what stands around it.
    pub fn hits(&self, places: &[Place]) -> Vec<String> {
        let mut hits = Vec::new();
        for (place, bytes) in places {
            self.look(place, bytes, &mut hits);
            // Whatever else of a text is percent-encoded, or not.
            if bytes.contains(&b'%') {
                self.look(
                    &format!("{place}, decoded"),
                    &percent_decoded(bytes),
                    &mut hits,
                );
            }
        }
        hits
    }

    fn look(&self, place: &str, bytes: &[u8], hits: &mut Vec<String>) {
        for (at, two) in bytes.windows(2).enumerate() {
            if !self.begins[pair(two[0], two[1])] {
                continue;
            }
            for (name, needle) in &self.needles {
                if bytes[at..].starts_with(needle) {
                    let around = &bytes[at.saturating_sub(200)..(at + 200).min(bytes.len())];
                    let around = String::from_utf8_lossy(around);
                    hits.push(format!("{place}: {name} in: {around}"));
                }
            }
        }
    }

    /// Nothing is found anywhere.
    pub fn finds_nothing(&self, places: &[Place]) {
        let hits = self.hits(places);
        assert!(hits.is_empty(), "{} times; first {}", hits.len(), hits[0]);
    }
}

fn pair(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

fn percent_decoded(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        let mut byte = [0];
        match tail.get(..2) {
            Some(digits) if *first == b'%' && hex::decode_to_slice(digits, &mut byte).is_ok() => {
                decoded.push(byte[0]);
                rest = &tail[2..];
            }
            _ => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    decoded
}

/// All that the daemon has written and shows: files, the rows of its store (a value may lie across pages of the file),
/// the reply of every route that can be read, what the commands print, what it wrote to its standard streams.
pub fn everything(rig: &Rig) -> Vec<Place> {
    let mut all = rig.files();
    all.extend(rows(rig));
    let (routes, commands) = (routes(rig), commands(rig));
    for path in routes {
        let reply = rig.reply(&path);
        assert!(
            reply.starts_with(b"HTTP/1.1 200 "),
            "{path}: {}",
            String::from_utf8_lossy(&reply)
        );
        all.push((format!("GET {path}"), reply));
    }
    // Where there is no such route its refusal is what is shown.
    all.push(("GET /metrics".to_owned(), rig.reply("/metrics")));
    for words in commands {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = rig.cli(&words);
        let shown = [output.stdout, output.stderr].concat();
        all.push((format!("command {}", words.join(" ")), shown));
    }
    all.push(("log".to_owned(), rig.log().text().into_bytes()));
    all
}

/// Every value of every table, but for the bytes of modules, which are the test's own.
fn rows(rig: &Rig) -> Vec<Place> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let store = Connection::open_with_flags(rig.path("state/flowweaver.db"), flags).unwrap();
    let mut names = store
        .prepare("select name from sqlite_schema where type = 'table' and name <> 'module_chunk'")
        .unwrap();
    let names: Vec<String> = names
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(names.len() > 10, "{names:?}");
    let mut all = Vec::new();
    for name in names {
        let mut statement = store.prepare(&format!("select * from \"{name}\"")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        let mut bytes = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                if let ValueRef::Text(value) | ValueRef::Blob(value) = row.get_ref(column).unwrap()
                {
                    bytes.extend_from_slice(value);
                    bytes.push(b'\n');
                }
            }
        }
        all.push((format!("table {name}"), bytes));
    }
    all
}

fn ids(rig: &Rig, path: &str, key: &str) -> BTreeSet<String> {
    let found = rig.get(path);
    // Some lists come in pages; these tests have less than one.
    let rows = found.as_array().or(found["data"].as_array());
    let rows = rows.unwrap_or_else(|| panic!("{path}: {found}")).iter();
    rows.map(|row| row[key].as_str().unwrap().to_owned())
        .collect()
}

/// The path of every route that can be read, for every workflow, run and key there is. A new kind of place fails here.
fn routes(rig: &Rig) -> Vec<String> {
    let workflows = ids(rig, "/v0/workflows", "name");
    let runs = ids(rig, "/v0/workflow-runs?limit=100", "id");
    let users = ids(rig, "/v0/users", "id");
    let roles = ids(rig, "/v0/roles", "id");
    let organizations = ids(rig, "/v0/organizations", "id");
    let schedules = ids(rig, "/v0/schedules", "id");
    let mut paths = Vec::new();
    for route in api::table().iter().filter(|route| route.method == "GET") {
        let mut places = vec![route.path.to_owned()];
        for (name, values) in [
            ("{workflow}", &workflows),
            ("{run}", &runs),
            ("{user}", &users),
            ("{role}", &roles),
            ("{organization}", &organizations),
            ("{schedule}", &schedules),
        ] {
            places = places
                .iter()
                .flat_map(|path| match path.contains(name) {
                    true => values
                        .iter()
                        .map(|value| path.replace(name, value))
                        .collect(),
                    false => vec![path.clone()],
                })
                .collect();
        }
        for path in places {
            assert!(!path.contains('{'), "{path}: say what this stands for");
            match route.path {
                // A run's stream ends with the run.
                "/v0/events" => paths.extend(runs.iter().map(|run| format!("{path}?runId={run}"))),
                "/v0/workflows/{workflow}/kv/entry" => {
                    let list = rig.get(path.trim_end_matches("/entry"));
                    let keys = list["data"].as_array().unwrap().iter();
                    paths.extend(
                        keys.map(|row| format!("{path}?key={}", row["key"].as_str().unwrap())),
                    );
                }
                _ => paths.push(path),
            }
        }
    }
    paths
}

fn commands(rig: &Rig) -> Vec<Vec<String>> {
    let mut commands: Vec<Vec<String>> = [
        "secret list",
        "--json secret list",
        "secret rekey",
        "check",
        "runs",
        "workflows",
        "tasks",
    ]
    .map(|words| words.split(' ').map(str::to_owned).collect())
    .into();
    let runs: Value = rig.json(&["runs"]);
    for run in runs["data"].as_array().unwrap() {
        let id = run["id"].as_str().unwrap();
        for words in ["run show", "--json run show", "logs -f", "--json logs -f"] {
            let words = words.split(' ').chain([id]);
            commands.push(words.map(str::to_owned).collect());
        }
    }
    commands
}
