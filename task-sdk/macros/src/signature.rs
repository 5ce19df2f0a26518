//! Whether a function can be a task, and which types it takes and returns. What the types must
//! implement is left to the compiler, which says it better.

use syn::{
    Attribute, Error, Expr, ExprLit, FnArg, GenericArgument, ItemFn, Lit, Meta, PathArguments,
    Result, ReturnType, Type, spanned::Spanned,
};

/// What every message about a signature ends with.
const EXPECTED: &str = "a task is `fn run(input: Input, cx: &Context) -> Result<Output, Error>`";

/// The types in a task function's signature.
pub(crate) struct Signature {
    pub(crate) input: Type,
    pub(crate) output: Type,
    pub(crate) error: Type,
}

impl Signature {
    /// Reads the types, or says at the right place what is wrong.
    pub(crate) fn of(function: &ItemFn) -> Result<Signature> {
        let signature = &function.sig;
        let refuse = |span, what: &str| Err(Error::new(span, format!("{what}; {EXPECTED}")));
        if let Some(keyword) = &signature.asyncness {
            return refuse(
                keyword.span(),
                "a task is not async: its calls block, and the host runs others meanwhile",
            );
        }
        if !signature.generics.params.is_empty() {
            return refuse(
                signature.generics.span(),
                "a task has no generic parameters",
            );
        }
        if let Some(keyword) = &signature.unsafety {
            return refuse(keyword.span(), "a task is not unsafe");
        }
        let mut inputs = signature.inputs.iter();
        let (first, second) = match (inputs.next(), inputs.next(), inputs.next()) {
            (Some(first), Some(second), None) => (first, second),
            _ => {
                return refuse(
                    signature.paren_token.span.join(),
                    "a task takes two parameters",
                );
            }
        };
        let input = match first {
            FnArg::Receiver(receiver) => {
                return refuse(receiver.span(), "a task is a free function, without `self`");
            }
            FnArg::Typed(argument) if matches!(&*argument.ty, Type::Reference(_)) => {
                return refuse(argument.ty.span(), "the input is passed by value");
            }
            FnArg::Typed(argument) => (*argument.ty).clone(),
        };
        if !matches!(second, FnArg::Typed(argument) if matches!(&*argument.ty, Type::Reference(r) if r.mutability.is_none()))
        {
            return refuse(second.span(), "the second parameter is `&Context`");
        }
        let ReturnType::Type(_, returned) = &signature.output else {
            return refuse(signature.ident.span(), "a task returns a `Result`");
        };
        let Some((output, error)) = result_types(returned) else {
            return refuse(
                returned.span(),
                "a task returns a `Result` whose types are written out",
            );
        };
        Ok(Signature {
            input,
            output,
            error,
        })
    }
}

/// `Output` and `Error` of `Result<Output, Error>`; `Result<Output>` is taken as the SDK's own alias.
fn result_types(returned: &Type) -> Option<(Type, Type)> {
    let Type::Path(path) = returned else {
        return None;
    };
    let last = path.path.segments.last()?;
    if last.ident != "Result" {
        return None;
    }
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    let mut types = arguments.args.iter().map(|argument| match argument {
        GenericArgument::Type(argument) => Some(argument.clone()),
        _ => None,
    });
    let output = types.next()??;
    let error = match types.next() {
        Some(error) => error?,
        None => syn::parse_quote!(::flowweaver_task::Error),
    };
    Some((output, error))
}

/// The first paragraph of the function's documentation, on one line.
pub(crate) fn first_paragraph(function: &ItemFn) -> Option<String> {
    let lines = function.attrs.iter().filter_map(doc_line).flat_map(|text| {
        text.lines()
            .map(|line| line.trim().to_owned())
            .collect::<Vec<_>>()
    });
    // An empty doc line holds no text at all, so a paragraph ends at the first one after any text.
    let mut paragraph = String::new();
    for line in lines {
        match (line.is_empty(), paragraph.is_empty()) {
            (true, true) => {}
            (true, false) => break,
            (false, first) => {
                if !first {
                    paragraph.push(' ');
                }
                paragraph.push_str(&line);
            }
        }
    }
    (!paragraph.is_empty()).then_some(paragraph)
}

/// The text of `#[doc = "…"]`; an empty one counts as one empty line.
fn doc_line(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else {
        return None;
    };
    if !pair.path.is_ident("doc") {
        return None;
    }
    let Expr::Lit(ExprLit {
        lit: Lit::Str(text),
        ..
    }) = &pair.value
    else {
        return None;
    };
    let text = text.value();
    Some(if text.trim().is_empty() {
        "\n".to_owned()
    } else {
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(source: &str) -> String {
        let function: ItemFn = syn::parse_str(source).unwrap();
        Signature::of(&function)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn a_wrong_signature_is_refused_with_what_is_expected() {
        for (source, what) in [
            (
                "async fn run(i: I, cx: &Context) -> Result<O, Error> {}",
                "a task is not async",
            ),
            (
                "fn run<T>(i: T, cx: &Context) -> Result<O, Error> {}",
                "a task has no generic parameters",
            ),
            (
                "fn run(i: I) -> Result<O, Error> {}",
                "a task takes two parameters",
            ),
            (
                "fn run(i: &I, cx: &Context) -> Result<O, Error> {}",
                "the input is passed by value",
            ),
            (
                "fn run(i: I, cx: Context) -> Result<O, Error> {}",
                "the second parameter is `&Context`",
            ),
            (
                "fn run(i: I, cx: &mut Context) -> Result<O, Error> {}",
                "the second parameter is `&Context`",
            ),
            ("fn run(i: I, cx: &Context) {}", "a task returns a `Result`"),
            (
                "fn run(i: I, cx: &Context) -> O {}",
                "a task returns a `Result` whose types",
            ),
        ] {
            let message = refusal(source);
            assert!(message.starts_with(what), "{source}: {message}");
            assert!(message.ends_with(EXPECTED), "{source}: {message}");
        }
    }

    #[test]
    fn a_result_by_its_path_or_alias_is_accepted() {
        assert_eq!(
            refusal("fn run(i: I, cx: &Context) -> std::result::Result<O, Error> {}"),
            ""
        );
        assert_eq!(
            refusal("fn run(i: I, cx: &Context) -> flowweaver_task::Result<O> {}"),
            ""
        );
    }

    #[test]
    fn the_summary_is_the_first_paragraph_on_one_line() {
        let function: ItemFn = syn::parse_str(
            "/// Counts words,\n/// quickly.\n///\n/// More text.\nfn run(i: I, cx: &Context) -> Result<O, Error> {}",
        )
        .unwrap();
        assert_eq!(
            first_paragraph(&function).as_deref(),
            Some("Counts words, quickly.")
        );
    }
}
