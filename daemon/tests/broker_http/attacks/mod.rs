//! What a hostile guest asks for and a hostile server answers, and what each gets: nothing outside that was
//! not granted, an answer or the end of the attempt inside, and a record.
//!
//! The doc line of each test says the input and what it gets.

use super::*;

mod addresses;
mod bodies;
mod heads;
mod redirected;
mod secrets;
mod urls;
