//! The options in `#[task(…)]`. What they default to is decided where the glue is written.

use proc_macro2::Span;
use syn::{
    Error, Ident, LitStr, Result, Token, parenthesized,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
};

/// The capabilities that a workflow can grant, by the names that `requires` takes. They are the WIT
/// packages of the same names.
const CAPABILITIES: [&str; 3] = ["http", "sql", "kv"];

/// The keys, for the message about an unknown one.
const KEYS: &str =
    "`name = \"…\"`, `version = \"…\"`, `summary = \"…\"` or `requires(\"http\", \"sql\", \"kv\")`";

/// What the author wrote in the attribute.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) summary: Option<String>,
    pub(crate) requires: Vec<LitStr>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Options::default();
        let mut seen: Vec<String> = Vec::new();
        while !input.is_empty() {
            let key: Ident = input
                .parse()
                .map_err(|error| Error::new(error.span(), format!("expected {KEYS}")))?;
            let name = key.to_string();
            if seen.contains(&name) {
                return Err(Error::new(key.span(), format!("`{name}` is given twice")));
            }
            match name.as_str() {
                "name" => options.name = Some(text(input)?),
                "version" => options.version = Some(text(input)?),
                "summary" => options.summary = Some(text(input)?),
                "requires" => options.requires = capabilities(input)?,
                _ => {
                    return Err(Error::new(
                        key.span(),
                        format!("unknown option `{name}`; expected {KEYS}"),
                    ));
                }
            }
            seen.push(name);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

/// `= "text"`, not empty.
fn text(input: ParseStream<'_>) -> Result<String> {
    input.parse::<Token![=]>()?;
    let literal: LitStr = input.parse()?;
    let text = literal.value();
    if text.trim().is_empty() {
        return Err(Error::new(
            literal.span(),
            "this may not be empty; leave the option out instead",
        ));
    }
    Ok(text)
}

/// `("http", …)`, each known and named once.
fn capabilities(input: ParseStream<'_>) -> Result<Vec<LitStr>> {
    let content;
    parenthesized!(content in input);
    let names: Vec<LitStr> = Punctuated::<LitStr, Token![,]>::parse_terminated(&content)?
        .into_iter()
        .collect();
    let mut seen: Vec<String> = Vec::new();
    for name in &names {
        let value = name.value();
        if !CAPABILITIES.contains(&value.as_str()) {
            return Err(unknown_capability(name.span(), &value));
        }
        if seen.contains(&value) {
            return Err(Error::new(
                name.span(),
                format!("\"{value}\" is named twice"),
            ));
        }
        seen.push(value);
    }
    Ok(names)
}

fn unknown_capability(span: Span, value: &str) -> Error {
    let known = CAPABILITIES.map(|name| format!("\"{name}\"")).join(", ");
    Error::new(
        span,
        format!("unknown capability \"{value}\"; there are {known}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(source: &str) -> String {
        syn::parse_str::<Options>(source)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn an_unknown_capability_is_refused_and_the_known_ones_are_named() {
        assert_eq!(
            refusal(r#"requires("htpp")"#),
            r#"unknown capability "htpp"; there are "http", "sql", "kv""#
        );
    }

    #[test]
    fn an_unknown_or_repeated_option_is_refused() {
        assert!(refusal(r#"title = "x""#).starts_with("unknown option `title`; expected `name"));
        assert_eq!(
            refusal(r#"name = "x", name = "y""#),
            "`name` is given twice"
        );
        assert!(refusal(r#"summary = " ""#).starts_with("this may not be empty"));
    }

    #[test]
    fn every_option_is_read() {
        let options: Options = syn::parse_str(
            r#"name = "n", version = "2.0.0", summary = "s", requires("http", "kv"),"#,
        )
        .unwrap();
        assert_eq!(options.name.as_deref(), Some("n"));
        assert_eq!(options.version.as_deref(), Some("2.0.0"));
        assert_eq!(options.summary.as_deref(), Some("s"));
        let requires: Vec<String> = options.requires.iter().map(LitStr::value).collect();
        assert_eq!(requires, ["http", "kv"]);
    }
}
