//! The `flowweaver` command.

use flowweaver::cli;

fn main() -> cli::Exit {
    cli::main()
}
