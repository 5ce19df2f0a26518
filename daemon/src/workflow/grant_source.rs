//! Reads grants: what a task may reach, written as text with two placeholders, `{{ vars.NAME }}`
//! and, in headers and signing values, `{{ secret.NAME }}`.
//!
//! Grant strings are not expressions: what they say is fixed at load, so it can be shown before
//! anything runs. Deciding a call against a grant is the broker's work; URL patterns are in
//! `url_pattern`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::Value;

use super::decode::{At, Entry, wrong_type};
use super::draft_task::{DraftHttp, DraftSign, DraftSql, DraftTask};
use super::environment::{DatabaseFacts, Environment, NameCase};
use super::grant::{
    Grants, HTTP_METHODS, HostPattern, HttpGrant, Place, Scheme, SecretPiece, SecretText, Signing,
    SqlGrant, SqlMode,
};
use super::report::Report;
use super::template;
use super::url_pattern;
use crate::id::{DatabaseName, SecretName, VariableName};

/// What grant strings refer to.
pub(super) struct GrantReader<'a> {
    pub(super) environment: &'a Environment,
    pub(super) vars: &'a BTreeMap<VariableName, Value>,
}

/// Headers that frame a message or steer a connection: the host's own.
const HOST_HEADERS: [&str; 10] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "accept-encoding",
];

impl GrantReader<'_> {
    /// All grants of a task.
    pub(super) fn read(&self, task: &DraftTask<'_>, report: &mut Report) -> Grants {
        let http = task.http.iter().filter_map(|http| self.http(http, report));
        let mut grants = Grants {
            http: http.collect(),
            sql: Vec::new(),
            kv: task.kv,
        };
        let mut seen: BTreeSet<DatabaseName> = BTreeSet::new();
        for sql in &task.sql {
            let Some(grant) = self.sql(sql, report) else {
                continue;
            };
            if seen.insert(grant.database.clone()) {
                grants.sql.push(grant);
            } else {
                let message = format!("database `{}` is granted twice here", grant.database);
                let at = sql
                    .database
                    .as_ref()
                    .map_or(sql.at.clone(), |name| name.span.clone());
                report
                    .error(at, message)
                    .help("one grant may list all tables");
            }
        }
        grants
    }

    fn http(&self, http: &DraftHttp<'_>, report: &mut Report) -> Option<HttpGrant> {
        let methods = methods(http, report);
        let headers = self.headers(&http.headers, report);
        let sign = http.sign.as_ref().map(|sign| self.sign(sign, report));
        let text = http.url.as_ref()?;
        let url = self.plain(text, "url", report)?;
        let pattern = match url_pattern::parse(&url) {
            Ok(pattern) => pattern,
            Err(wrong) => {
                let shown = if url == text.value {
                    String::new()
                } else {
                    format!(" (it reads {url})")
                };
                let remark = report.error(text.span.clone(), format!("{}{shown}", wrong.message));
                if let Some(help) = wrong.help {
                    remark.help(help);
                }
                return None;
            }
        };
        if pattern.bare {
            report
                .warning(
                    text.span.clone(),
                    "this grants the path `/` and nothing below it",
                )
                .help("end it with `/*` to grant every path");
        }
        let secret = sign.is_some() || headers.iter().any(|(_, text)| has_secret(text));
        if secret && pattern.scheme == Scheme::Http && !is_local(&pattern.host) {
            report
                .warning(
                    text.span.clone(),
                    "the secret of this grant travels unencrypted",
                )
                .help("write https://");
        }
        Some(HttpGrant {
            place: Place {
                file: report.file().clone(),
                line: report.line(http.at.start),
            },
            url: pattern.text,
            scheme: pattern.scheme,
            host: pattern.host,
            port: pattern.port,
            path: pattern.path,
            methods,
            headers,
            idempotency_key: http.idempotency_key,
            sign: sign.flatten(),
        })
    }

    fn headers(&self, headers: &[Entry<'_>], report: &mut Report) -> Vec<(String, SecretText)> {
        let mut read: Vec<(String, SecretText)> = Vec::new();
        for Entry {
            key,
            key_span,
            node,
        } in headers
        {
            let name = key.to_ascii_lowercase();
            let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if key.is_empty() || !key.chars().all(is_token) {
                report.error(key_span.clone(), format!("`{key}` is not a header's name"));
                continue;
            }
            if HOST_HEADERS.contains(&name.as_str()) || name.starts_with("proxy-") {
                let message = format!("the header `{key}` is the host's own");
                report.error(key_span.clone(), message).help("remove it");
                continue;
            }
            if read
                .iter()
                .any(|(known, _)| known.eq_ignore_ascii_case(key))
            {
                report.error(
                    key_span.clone(),
                    format!("the header `{key}` is written twice"),
                );
                continue;
            }
            let Some(text) = node.get_ref().as_str() else {
                wrong_type(key, node, "text in quotes", report);
                continue;
            };
            let text = At::new(text, node.span());
            if let Some(value) = self.secret_text(&text, "header", report) {
                read.push(((*key).to_owned(), value));
            }
        }
        read
    }

    fn sign(&self, sign: &DraftSign<'_>, report: &mut Report) -> Option<Signing> {
        match sign {
            DraftSign::AwsSigV4 {
                service,
                region,
                access_key,
                secret_key,
            } => {
                let plain = |text: &Option<At<&str>>, report: &mut Report| {
                    text.as_ref()
                        .and_then(|text| self.plain(text, "sign", report))
                };
                let (service, region) = (plain(service, report), plain(region, report));
                let access_key = access_key
                    .as_ref()
                    .and_then(|text| self.secret_text(text, "signing value", report));
                let secret_key = self.signing_key(secret_key.as_ref(), report);
                Some(Signing::AwsSigV4 {
                    service: service?,
                    region: region?,
                    access_key: access_key?,
                    secret_key: secret_key?,
                })
            }
            DraftSign::StandardWebhooks { secret } => Some(Signing::StandardWebhooks {
                secret: self.signing_key(secret.as_ref(), report)?,
            }),
        }
    }

    /// What is signed with; it should not stand in the file itself.
    fn signing_key(&self, text: Option<&At<&str>>, report: &mut Report) -> Option<SecretText> {
        let text = text?;
        let value = self.secret_text(text, "signing value", report)?;
        if !has_secret(&value) {
            report
                .warning(text.span.clone(), "a secret key stands in the file itself")
                .help("write \"{{ secret.NAME }}\" and store the value as a secret");
        }
        Some(value)
    }

    fn sql(&self, sql: &DraftSql<'_>, report: &mut Report) -> Option<SqlGrant> {
        let tables = tables(sql, report);
        let database = sql.database.as_ref()?;
        if let Some(databases) = &self.environment.databases {
            match databases.get(&database.value) {
                Some(facts) => check_database(sql, (database, facts), &tables, report),
                None => {
                    let message = format!("there is no database `{}`", database.value);
                    let line = format!("[databases.{}]", database.value);
                    report
                        .error(database.span.clone(), message)
                        .help(format!("configure it as {line} in flowweaver.toml"))
                        .suggest(
                            database.value.as_str(),
                            databases.keys().map(DatabaseName::as_str),
                        );
                }
            }
        }
        Some(SqlGrant {
            place: Place {
                file: report.file().clone(),
                line: report.line(sql.at.start),
            },
            database: database.value.clone(),
            mode: sql.mode,
            tables,
        })
    }

    /// Text with vars filled in and no secret in it.
    fn plain(&self, text: &At<&str>, what: &str, report: &mut Report) -> Option<String> {
        let mut plain = String::new();
        for piece in self.pieces(text, report)? {
            match piece {
                (SecretPiece::Text(piece), _) => plain.push_str(&piece),
                (SecretPiece::Secret(_), span) => {
                    report
                        .error(span, format!("a secret cannot stand in `{what}`"))
                        .help("a secret may stand in `headers` and in the keys of `sign`; use vars here");
                    return None;
                }
            }
        }
        Some(plain)
    }

    /// Text with vars filled in; secrets stay names.
    fn secret_text(&self, text: &At<&str>, what: &str, report: &mut Report) -> Option<SecretText> {
        let mut pieces: Vec<SecretPiece> = Vec::new();
        for (piece, span) in self.pieces(text, report)? {
            match piece {
                SecretPiece::Text(piece) => {
                    if piece.chars().any(char::is_control) {
                        report.error(span, format!("a {what} cannot hold control characters"));
                        return None;
                    }
                    match pieces.last_mut() {
                        Some(SecretPiece::Text(last)) => last.push_str(&piece),
                        _ => pieces.push(SecretPiece::Text(piece)),
                    }
                }
                SecretPiece::Secret(name) => {
                    if let Some(secrets) = &self.environment.secrets
                        && !secrets.contains(&name)
                    {
                        report
                            .warning(span, format!("there is no secret `{name}` yet"))
                            .help("calls under this grant fail until it is set")
                            .suggest(name.as_str(), secrets.iter().map(SecretName::as_str));
                    }
                    pieces.push(SecretPiece::Secret(name));
                }
            }
        }
        Some(SecretText(pieces))
    }

    /// Cuts a grant string at its placeholders and fills in the vars.
    fn pieces(
        &self,
        text: &At<&str>,
        report: &mut Report,
    ) -> Option<Vec<(SecretPiece, Range<usize>)>> {
        let place = template::Place::of(text.value, text.span.clone(), report.text());
        let mut pieces = Vec::new();
        let mut rest = 0;
        while let Some(open) = text.value.get(rest..).and_then(|tail| tail.find("{{")) {
            let start = rest + open;
            if start > rest {
                let plain = text.value.get(rest..start).unwrap_or_default();
                pieces.push((SecretPiece::Text(plain.to_owned()), place.at(rest..start)));
            }
            let Some(close) = text.value.get(start..).and_then(|tail| tail.find("}}")) else {
                report.error(place.at(start..start + 2), "this `{{` is never closed");
                return None;
            };
            let end = start + close + 2;
            let inside = text
                .value
                .get(start + 2..end - 2)
                .unwrap_or_default()
                .trim();
            let span = place.at(start..end);
            pieces.push((self.placeholder(inside, span.clone(), report)?, span));
            rest = end;
        }
        if let Some(plain) = text.value.get(rest..).filter(|plain| !plain.is_empty()) {
            let span = place.at(rest..text.value.len());
            pieces.push((SecretPiece::Text(plain.to_owned()), span));
        }
        Some(pieces)
    }

    fn placeholder(
        &self,
        inside: &str,
        span: Range<usize>,
        report: &mut Report,
    ) -> Option<SecretPiece> {
        if let Some(name) = inside.strip_prefix("secret.")
            && let Ok(name) = name.parse::<SecretName>()
        {
            return Some(SecretPiece::Secret(name));
        }
        let name = inside
            .strip_prefix("vars.")
            .and_then(|name| name.parse::<VariableName>().ok());
        let Some(name) = name else {
            report
                .error(span, "a grant is fixed at load, so it knows no expressions")
                .help("only `{{ vars.NAME }}`, and `{{ secret.NAME }}` in headers and sign, may stand here");
            return None;
        };
        match self.vars.get(&name) {
            Some(Value::String(text)) => Some(SecretPiece::Text(text.clone())),
            Some(Value::Number(number)) => Some(SecretPiece::Text(number.to_string())),
            Some(other) => {
                let kind = super::expression::kind_of(other);
                report.error(
                    span,
                    format!("var `{name}` is {kind}, and a grant needs text"),
                );
                None
            }
            None => {
                report
                    .error(span, format!("there is no var `{name}`"))
                    .help("the file has no vars")
                    .suggest_if_any(name.as_str(), self.vars.keys().map(VariableName::as_str));
                None
            }
        }
    }
}

fn has_secret(text: &SecretText) -> bool {
    let mut pieces = text.0.iter();
    pieces.any(|piece| matches!(piece, SecretPiece::Secret(_)))
}

/// Whether plain text does not leave the machine.
fn is_local(host: &HostPattern) -> bool {
    matches!(host, HostPattern::Exact(host) if host == "localhost" || host == "[::1]" || host.starts_with("127."))
}

fn methods(http: &DraftHttp<'_>, report: &mut Report) -> Vec<String> {
    let Some(list) = &http.methods else {
        return vec!["GET".to_owned(), "HEAD".to_owned()];
    };
    if list.value.is_empty() {
        report
            .error(list.span.clone(), "a grant without methods grants nothing")
            .help("leave `methods` out for GET and HEAD");
    }
    let mut methods: Vec<String> = Vec::new();
    for method in &list.value {
        if !HTTP_METHODS.contains(&method.value) {
            let message = format!("\"{}\" is not a method that can be granted", method.value);
            report
                .error(method.span.clone(), message)
                .help(format!("there is {}", HTTP_METHODS.join(", ")))
                .suggest(&method.value.to_uppercase(), HTTP_METHODS);
        } else if methods.iter().any(|known| known == method.value) {
            report.error(
                method.span.clone(),
                format!("{} is listed twice", method.value),
            );
        } else {
            methods.push(method.value.to_owned());
        }
    }
    methods
}

fn tables(sql: &DraftSql<'_>, report: &mut Report) -> Vec<String> {
    let Some(list) = &sql.tables else {
        return Vec::new();
    };
    if list.value.is_empty() {
        report.error(list.span.clone(), "a grant without tables grants nothing");
    }
    let mut tables: Vec<String> = Vec::new();
    for table in &list.value {
        let is_exact = |name: &str| {
            let is_odd = |c: char| c.is_control() || "\"'`[]".contains(c);
            !name.is_empty() && !name.contains(is_odd)
        };
        let is_part = |part: &str| match part.strip_prefix('"') {
            Some(rest) => rest.strip_suffix('"').is_some_and(is_exact),
            None => {
                part.starts_with(|c: char| c.is_alphanumeric() || c == '_')
                    && part
                        .chars()
                        .all(|c| c.is_alphanumeric() || "_$-".contains(c))
            }
        };
        // As written: whether case counts is the database's to say.
        let name = table.value;
        if name.split('.').count() > 2 || !name.split('.').all(is_part) {
            let message = format!("`{name}` is not a table's name");
            report
                .error(table.span.clone(), message)
                .help("write \"table\" or \"schema.table\"; there are no wildcards");
        } else if tables.iter().any(|known| known == name) {
            report.error(table.span.clone(), format!("`{name}` is listed twice"));
        } else {
            tables.push(name.to_owned());
        }
    }
    tables
}

/// The operator's own limits on a database.
fn check_database(
    sql: &DraftSql<'_>,
    (database, facts): (&At<DatabaseName>, &DatabaseFacts),
    tables: &[String],
    report: &mut Report,
) {
    let section = format!("[databases.{}]", database.value);
    if sql.mode > facts.mode {
        let at = sql.mode_at.clone().unwrap_or_else(|| sql.at.clone());
        report
            .error(
                at,
                format!("database `{}` may only be read", database.value),
            )
            .help(format!(
                "flowweaver.toml says so: {section} mode = \"read\""
            ));
    }
    debug_assert!(SqlMode::Read < SqlMode::ReadWrite);
    let Some(list) = &sql.tables else { return };
    // What is no name was already reported.
    let is_name = |table: &&At<&str>| tables.iter().any(|known| known == table.value);
    for table in list.value.iter().filter(is_name) {
        let name = table.value;
        if name.contains('"') && facts.case != NameCase::Quoted {
            report
                .error(
                    table.span.clone(),
                    format!("`{name}` names no table of this database"),
                )
                .help("only PostgreSQL has names in quotes; write it without");
            continue;
        }
        let Some(allowed) = &facts.tables else {
            continue;
        };
        if !allowed.iter().any(|known| facts.case.is_same(known, name)) {
            report
                .error(
                    table.span.clone(),
                    format!("flowweaver.toml does not open table `{name}`"),
                )
                .help(format!("it is not in the `tables` of {section}"))
                .suggest(name, allowed.iter().map(String::as_str));
        }
    }
}
