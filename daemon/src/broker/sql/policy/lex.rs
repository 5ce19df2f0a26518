//! The statement as text: what is refused before and after it is parsed.
//!
//! The parser's own depth is bounded here, and whatever two databases, or two settings of one, cut into
//! different words.

use sqlparser::ast::Statement;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer, Whitespace};

use super::dialect::Dialect;
use super::refusal::{denied, invalid, shown};
use crate::broker::error::Refusal;

/// Longer statements are data in the wrong place: values travel as parameters.
const STATEMENT_BYTES_MAX: usize = 64 * 1024;
/// Parentheses within parentheses. People write ten; each costs the parser a try.
const NESTING_MAX: usize = 48;
/// Words from the outermost part to the innermost, commas apart: the bound of how deep the parsed tree
/// can be, since a tree's lists lie side by side.
const CHAIN_MAX: usize = 2_000;
/// How far the parser calls itself. Its own default of 50 refuses a long `case` in a subquery.
const PARSER_DEPTH: usize = 100;

/// Reads one statement.
pub(super) fn parse(statement: &str, dialect: Dialect) -> Result<Statement, Refusal> {
    let tokens = tokens(statement, dialect)?;
    check_shape(&tokens)?;
    let parsed = Parser::new(dialect.parser())
        .with_recursion_limit(PARSER_DEPTH)
        .with_tokens(tokens)
        .parse_statements();
    let mut parsed = parsed.map_err(|error| {
        let why = shown(&error.to_string());
        invalid(format!("the statement cannot be parsed: {why}"))
    })?;
    match (parsed.pop(), parsed.is_empty()) {
        (Some(one), true) => Ok(one),
        (None, _) => Err(invalid("the statement is empty")),
        (Some(_), false) => Err(denied("one call is one statement")),
    }
}

/// The written statement holds nothing that is not read.
pub(super) fn check_written(text: &str, dialect: Dialect) -> Result<(), Refusal> {
    let is_comment = |token: &Token| {
        matches!(
            token,
            Token::Whitespace(
                Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)
            )
        )
    };
    if tokens(text, dialect)?.iter().any(is_comment) {
        return Err(invalid(
            "the statement would become a comment; use parentheses",
        ));
    }
    Ok(())
}

fn tokens(statement: &str, dialect: Dialect) -> Result<Vec<Token>, Refusal> {
    if statement.len() > STATEMENT_BYTES_MAX {
        return Err(invalid(format!(
            "a statement has at most {STATEMENT_BYTES_MAX} bytes; values travel as parameters"
        )));
    }
    // A database reads a statement up to the first NUL, a parser past it.
    if statement.contains('\0') {
        return Err(invalid("a statement holds no NUL"));
    }
    // In a literal too: nobody needs it there, and whether it is one is what parsers disagree about.
    let upper = statement.to_ascii_uppercase();
    if ["/*!", "/*M!", "/*+", "--+"]
        .iter()
        .any(|opening| upper.contains(opening))
    {
        return Err(denied(
            "a comment that some databases execute is not allowed (`/*!`, `/*M!`, `/*+`, `--+`)",
        ));
    }
    let tokens = Tokenizer::new(dialect.parser(), statement)
        .tokenize()
        .map_err(|error| {
            let why = shown(&error.to_string());
            invalid(format!("the statement cannot be read: {why}"))
        })?;
    for token in &tokens {
        check_token(token, &upper, dialect)?;
    }
    Ok(tokens)
}

fn check_token(token: &Token, upper: &str, dialect: Dialect) -> Result<(), Refusal> {
    match (dialect, token) {
        (Dialect::MariaDb, Token::DoubleQuotedString(_)) => Err(invalid(
            "\"…\" is text or a name as the server is set; write '…' or `…`",
        )),
        (Dialect::MariaDb, Token::Word(word))
            if word.quote_style.is_none() && word.value.contains('@') =>
        {
            Err(denied(
                "variables of the session (`@x`, `@@x`) are not allowed",
            ))
        }
        (Dialect::MariaDb, Token::Word(word))
            if word.quote_style.is_none() && word.value.starts_with('$') =>
        {
            Err(invalid(
                "a placeholder of MariaDB is `?`; a name that begins with `$` needs quotes",
            ))
        }
        (Dialect::MariaDb | Dialect::Sqlite, Token::AtSign | Token::AtAt) => Err(denied(
            "variables of the session (`@x`, `@@x`) are not allowed",
        )),
        // The parser writes it as `X'…'`, which on SQLite is not a number any more.
        (_, Token::HexStringLiteral(_)) if upper.contains("0X") => Err(invalid(
            "write a hexadecimal number as a decimal one, or pass it as a parameter",
        )),
        _ => Ok(()),
    }
}

/// Bounds how deep the parsed tree can be.
fn check_shape(tokens: &[Token]) -> Result<(), Refusal> {
    // Per open parenthesis: the words since its last comma, and the queries it has joined.
    let mut levels = vec![(0_usize, 0_usize)];
    let mut chain = 0_usize;
    for token in tokens {
        let Some((words, unions)) = levels.last_mut() else {
            return Err(invalid("the parentheses do not match"));
        };
        match token {
            Token::Whitespace(_) => continue,
            Token::Comma | Token::SemiColon => {
                chain -= *words;
                *words = 0;
            }
            Token::Word(word)
                if matches!(
                    word.keyword,
                    Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::MINUS
                ) =>
            {
                *unions += 1;
                chain += 1;
            }
            Token::LParen | Token::LBracket | Token::LBrace => {
                *words += 1;
                chain += 1;
                levels.push((0, 0));
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                chain -= *words + *unions;
                levels.pop();
            }
            _ => {
                *words += 1;
                chain += 1;
            }
        }
        if levels.len() > NESTING_MAX || chain > CHAIN_MAX {
            return Err(invalid(format!(
                "the statement is nested too deeply: {NESTING_MAX} parentheses within each other and {CHAIN_MAX} words between commas are the most"
            )));
        }
    }
    Ok(())
}
