//! A second reader of what was decided on, made without the code under test: it cuts the text into words
//! by hand and looks for tables that are not granted and for words that must not be there.

use super::*;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Name(String),
    Word(String),
    Literal,
    Sign(char),
    /// Signs with a blank between them are not one sign: `- -` is no comment.
    Blank,
}

/// Words that no allowed statement has outside quotes.
const NEVER: &str = "alter analyze attach backup begin benchmark call checkpoint commit copy create database deallocate \
    declare describe detach discard drop dumpfile execute explain flush function grant handler import \
    infile install kill listen load lock merge notify operator outfile pg_catalog pragma prepare procedure \
    reassign refresh regclass reindex release rename reset revoke rollback savepoint shutdown sleep start \
    table tablesample temp temporary transaction trigger truncate unlisten unlock use vacuum view xa";
/// Words after which a table stands.
const BEFORE_TABLE: &[&str] = &["from", "join", "straight_join", "into", "update", "using"];
/// Words that end a list of tables.
const AFTER_TABLES: &[&str] = &[
    "where",
    "group",
    "order",
    "having",
    "limit",
    "offset",
    "fetch",
    "for",
    "window",
    "union",
    "except",
    "intersect",
    "set",
    "returning",
    "values",
    "select",
    "on",
];

fn pieces(dialect: Dialect, text: &str) -> Vec<Piece> {
    let letters: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        let letter = letters[at];
        let is_escaped =
            dialect == Dialect::Postgres && letter == 'E' && letters.get(at + 1) == Some(&'\'');
        if is_escaped || "'\"`".contains(letter) {
            at += usize::from(is_escaped);
            let quote = letters[at];
            let mut inner = String::new();
            at += 1;
            loop {
                let Some(letter) = letters.get(at) else {
                    panic!("a quote is not closed: {text}");
                };
                let follows = letters.get(at + 1);
                if (is_escaped && *letter == '\\') || (*letter == quote && follows == Some(&quote))
                {
                    inner.extend(follows);
                    at += 2;
                } else if *letter == quote {
                    at += 1;
                    break;
                } else {
                    inner.push(*letter);
                    at += 1;
                }
            }
            found.push(if quote == '\'' {
                Piece::Literal
            } else {
                Piece::Name(inner)
            });
        } else if letter.is_alphanumeric() || letter == '_' {
            let word: String = letters[at..]
                .iter()
                .take_while(|c| c.is_alphanumeric() || **c == '_')
                .collect();
            at += word.chars().count();
            found.push(Piece::Word(word.to_lowercase()));
        } else {
            at += 1;
            found.push(if letter.is_whitespace() {
                Piece::Blank
            } else {
                Piece::Sign(letter)
            });
        }
    }
    found
}

/// What is wrong with a text that was decided to be run.
pub(super) fn faults(dialect: Dialect, text: &str) -> Vec<String> {
    let mut pieces = pieces(dialect, text);
    let mut faults = Vec::new();
    let unquoted = outside_quotes(&pieces);
    if ["--", "/*", "#!"]
        .iter()
        .any(|comment| unquoted.contains(comment))
    {
        faults.push("a comment".to_owned());
    }
    pieces.retain(|piece| *piece != Piece::Blank);
    for piece in &pieces {
        match piece {
            Piece::Word(word) if NEVER.split_whitespace().any(|never| never == word) => {
                faults.push(format!("the word {word}"));
            }
            Piece::Sign(';') => faults.push("a semicolon".to_owned()),
            _ => {}
        }
    }
    let clauses = clauses(&pieces);
    for name in tables(&pieces) {
        let known = name
            .strip_prefix("public.")
            .or(name.strip_prefix("main."))
            .unwrap_or(&name);
        let known = if dialect == Dialect::Sqlite {
            known.to_lowercase()
        } else {
            known.to_owned()
        };
        if !GRANTED.contains(&known.as_str()) && !clauses.contains(&known) {
            faults.push(format!("the table {name}"));
        }
    }
    faults
}

fn outside_quotes(pieces: &[Piece]) -> String {
    let written = |piece: &Piece| match piece {
        Piece::Name(_) => "n ".to_owned(),
        Piece::Literal => "l ".to_owned(),
        Piece::Word(word) => format!("{word} "),
        Piece::Sign(sign) => sign.to_string(),
        Piece::Blank => " ".to_owned(),
    };
    pieces.iter().map(written).collect()
}

/// Names before `AS (`, with or without a list of columns: those of WITH clauses.
fn clauses(pieces: &[Piece]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let Piece::Name(name) = piece else { continue };
        let mut next = at + 1;
        if pieces.get(next) == Some(&Piece::Sign('(')) {
            next += pieces[next..]
                .iter()
                .take_while(|piece| **piece != Piece::Sign(')'))
                .count()
                + 1;
        }
        let is_as = pieces.get(next) == Some(&Piece::Word("as".to_owned()));
        let opens = |piece: &&Piece| !matches!(piece, Piece::Word(word) if word == "materialized" || word == "not");
        if is_as
            && pieces
                .get(next + 1..)
                .and_then(|rest| rest.iter().find(opens))
                == Some(&Piece::Sign('('))
        {
            found.push(name.to_lowercase());
            found.push(name.clone());
        }
    }
    found
}

/// Every name in the place of a table, its parts joined by dots.
fn tables(pieces: &[Piece]) -> Vec<String> {
    let mut found = Vec::new();
    // Per parenthesis: whether it is a query's, and whether a list of tables is open.
    let mut levels = vec![(true, false)];
    let mut expects = false;
    for (at, piece) in pieces.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| pieces.get(before));
        let (is_query, is_open) = *levels.last().unwrap();
        match piece {
            Piece::Sign('(') => {
                let queries = ["select", "with", "values", "insert", "update", "delete"];
                let opens_query = matches!(pieces.get(at + 1), Some(Piece::Word(word)) if queries.contains(&word.as_str()));
                // A parenthesis in the place of a table holds a query or more tables.
                levels.push((opens_query || expects, expects && !opens_query));
                expects = expects && !opens_query;
            }
            Piece::Sign(')') => {
                levels.pop();
                expects = false;
                assert!(!levels.is_empty(), "{pieces:?}");
            }
            Piece::Sign(',') => expects = is_open,
            Piece::Word(word) => {
                let compares = matches!(before, Some(Piece::Word(word)) if word == "distinct")
                    && matches!(pieces.get(at.wrapping_sub(2)), Some(Piece::Word(word)) if word == "is" || word == "not");
                let begins = is_query && !compares && BEFORE_TABLE.contains(&word.as_str());
                // JOIN … USING (columns); FOR UPDATE; DO UPDATE SET; KEY UPDATE.
                let is_other = (word == "using" && pieces.get(at + 1) == Some(&Piece::Sign('(')))
                    || (word == "update"
                        && matches!(before, Some(Piece::Word(word)) if ["for", "do", "key"].contains(&word.as_str())));
                if begins && !is_other {
                    expects = true;
                    levels.last_mut().unwrap().1 = word != "into";
                } else if AFTER_TABLES.contains(&word.as_str()) {
                    // A condition of a join, after which the list may go on.
                    levels.last_mut().unwrap().1 = is_open && word == "on";
                    expects = false;
                } else if !["lateral", "only", "ignore", "or"].contains(&word.as_str()) {
                    expects = false;
                }
            }
            Piece::Name(name) if expects => {
                expects = false;
                let mut full = name.clone();
                let mut next = at + 1;
                while let (Some(Piece::Sign('.')), Some(Piece::Name(part))) =
                    (pieces.get(next), pieces.get(next + 1))
                {
                    full = format!("{full}.{part}");
                    next += 2;
                }
                found.push(full);
            }
            Piece::Name(_) | Piece::Literal | Piece::Sign(_) | Piece::Blank => expects = false,
        }
    }
    found
}

#[test]
fn the_second_reader_finds_what_it_is_for() {
    for (text, fault) in [
        ("SELECT * FROM `secret`", "the table secret"),
        ("SELECT * FROM `review`, `secret`", "the table secret"),
        (
            "SELECT * FROM `review` JOIN `secret` ON 1",
            "the table secret",
        ),
        (
            "SELECT * FROM `review` JOIN `live` ON 1, `secret`",
            "the table secret",
        ),
        ("SELECT * FROM (`review` JOIN `secret`)", "the table secret"),
        ("SELECT (SELECT 1 FROM `secret`)", "the table secret"),
        (
            "SELECT 1 FROM `review` WHERE a IN (SELECT 1 FROM `b`.`c`)",
            "the table b.c",
        ),
        ("INSERT INTO `secret` VALUES (1)", "the table secret"),
        ("UPDATE `secret` SET `a` = 1", "the table secret"),
        ("DELETE FROM `review` USING `secret`", "the table secret"),
        ("SELECT 1; DROP TABLE `x`", "a semicolon"),
        ("SELECT 1 -- x", "a comment"),
        ("SELECT 1--`x`", "a comment"),
    ] {
        let faults = faults(Dialect::MariaDb, text);
        assert!(
            faults.iter().any(|found| found == fault),
            "{text}: {faults:?}"
        );
    }
    for text in [
        "SELECT EXTRACT(YEAR FROM `secret`), 'from secret' FROM `review` AS `secret`",
        "WITH `a` AS (SELECT 1) SELECT * FROM `a` JOIN `review` USING (`secret`)",
        "SELECT `SECRET` - -`secret` FROM `review`",
        "INSERT INTO `review` (`secret`) VALUES (1) ON DUPLICATE KEY UPDATE `secret` = 2",
    ] {
        assert_eq!(
            faults(Dialect::MariaDb, text),
            Vec::<String>::new(),
            "{text}"
        );
    }
}
