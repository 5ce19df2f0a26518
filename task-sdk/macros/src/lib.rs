//! The `#[task]` attribute: turns one function into a task module.
//!
//! Here the function's shape is checked and the glue is written. What the glue calls — JSON, schemas,
//! the generated bindings — is in `flowweaver_task::__private`; authors depend on `flowweaver-task` only.

mod options;
mod signature;

use proc_macro::TokenStream;
use quote::quote;
use syn::{ItemFn, parse_macro_input};

use options::Options;
use signature::Signature;

/// Makes a function the task of its crate.
///
/// The function is `fn run(input: Input, cx: &Context) -> Result<Output, Error>`, where `Input` is
/// `Deserialize + JsonSchema` and `Output` is `Serialize + JsonSchema`.
///
/// Options, all optional: `name = "…"` and `version = "…"` (default: the package's), `summary = "…"`
/// (default: the first paragraph of the function's documentation, else the package's description) and
/// `requires("http", "sql", "kv")`: the capabilities without which the task cannot work.
///
/// Beside the function stands a type of the same name with `describe() -> String` and
/// `call(&str) -> Result<String, Error>`: what the sandbox calls, and what tests may call.
#[proc_macro_attribute]
pub fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    let options = parse_macro_input!(options as Options);
    let function = parse_macro_input!(item as ItemFn);
    match Signature::of(&function) {
        Ok(signature) => glue(&options, &signature, &function).into(),
        // The function stays, so that the only error shown is the one about its signature.
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#function #error).into()
        }
    }
}

/// The function itself, and the type that exports it.
fn glue(options: &Options, signature: &Signature, function: &ItemFn) -> proc_macro2::TokenStream {
    let ident = &function.sig.ident;
    let Signature {
        input,
        output,
        error,
    } = signature;
    let name = match &options.name {
        Some(name) => quote!(#name),
        None => quote!(::core::env!("CARGO_PKG_NAME")),
    };
    let version = match &options.version {
        Some(version) => quote!(#version),
        None => quote!(::core::env!("CARGO_PKG_VERSION")),
    };
    let summary = match options
        .summary
        .clone()
        .or_else(|| signature::first_paragraph(function))
    {
        Some(summary) => quote!(#summary),
        None => quote!(::core::env!("CARGO_PKG_DESCRIPTION")),
    };
    let requires = &options.requires;
    quote! {
        #function

        /// The task as the sandbox sees it: text in, text out.
        #[allow(non_camel_case_types)]
        pub enum #ident {}

        impl #ident {
            /// What this module is, as one JSON object.
            pub fn describe() -> ::std::string::String {
                ::flowweaver_task::__private::describe::<#input, #output>(
                    #name, #version, #summary, &[#(#requires),*],
                )
            }

            /// Runs the task: a JSON object in, a JSON object out.
            ///
            /// # Errors
            /// `input.invalid`, `output.invalid`, or the task's own.
            pub fn call(
                input: &str,
            ) -> ::core::result::Result<::std::string::String, ::flowweaver_task::Error> {
                let task: fn(
                    #input,
                    &::flowweaver_task::Context,
                ) -> ::core::result::Result<#output, #error> = #ident;
                ::flowweaver_task::__private::call(task, input)
            }
        }

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            impl ::flowweaver_task::__private::Guest for #ident {
                fn describe() -> ::std::string::String {
                    #ident::describe()
                }

                fn run(
                    input: ::std::string::String,
                ) -> ::core::result::Result<
                    ::std::string::String,
                    ::flowweaver_task::__private::GuestError,
                > {
                    #ident::call(&input).map_err(::core::convert::Into::into)
                }
            }
        };

        #[cfg(target_arch = "wasm32")]
        ::flowweaver_task::__private::export!(#ident with_types_in ::flowweaver_task::__private::bindings);
    }
}
