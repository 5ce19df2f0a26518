//! The `flowweaver` command.
fn main() {}
