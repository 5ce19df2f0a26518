//! Words, stems and term ranking of Korean and latin text: what several task modules need of language.
//! No dictionary is here, so a module stays small; which words matter is the module's decision.

mod bm25;
mod normal;
mod stem;
mod terms;

pub use bm25::Bm25;
pub use normal::{is_hangul, normalised, words};
pub use stem::stem;
pub use terms::terms;
