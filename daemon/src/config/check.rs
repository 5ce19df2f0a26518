//! What settings mean together: a default and its ceiling, a database and its file.

use std::fmt::Display;

use super::decode::{Origin, Reading};
use super::sections::{Settings, sqlite_path};

/// Refuses a default that was written above its ceiling. One that nobody wrote comes down with the ceiling.
pub(super) fn ceilings(settings: &mut Settings, reading: &mut Reading) {
    let limits = &mut settings.limits;
    below(
        reading,
        "timeout",
        &mut limits.default_timeout,
        limits.timeout,
    );
    below(reading, "cpu", &mut limits.default_cpu, limits.cpu);
    below(reading, "memory", &mut limits.default_memory, limits.memory);
    let (default, most) = (&mut limits.default_max_parallel, limits.max_parallel);
    below(reading, "max_parallel", default, most);
}

fn below<T: PartialOrd + Copy + Display>(
    reading: &mut Reading,
    ceiling: &str,
    default: &mut T,
    most: T,
) {
    let full = format!("[limits] default_{ceiling}");
    if *default <= most || reading.refused.contains(&format!("[limits] {ceiling}")) {
        return;
    }
    let message = format!("{full} = {default} is above its ceiling, {ceiling} = {most}");
    let help = format!("lower it, or raise `{ceiling}`");
    match reading.origins.get(&full) {
        None => *default = most,
        Some(Origin::File(at)) => {
            reading.report.error(at.clone(), message).help(help);
        }
        Some(Origin::Variable(variable)) => {
            let text = format!("the environment variable {variable}: {message}; {help}");
            reading.variables.push(text);
        }
    }
}

/// Warns of databases in files that do not exist. They may come later, so this is no reason not to start.
pub(super) fn missing_files(settings: &Settings, reading: &mut Reading) {
    for (name, section) in &settings.databases {
        let Some(path) = sqlite_path(&section.url).filter(|path| !path.exists()) else {
            continue;
        };
        let origin = reading.origins.get(&format!("[databases.{name}] url"));
        if let Some(Origin::File(at)) = origin {
            let message = format!(
                "[databases.{name}] url: the file {} does not exist",
                path.display()
            );
            reading.report.warning(at.clone(), message).help(
                "tasks that need it fail with `sql.connect` until it is there; the daemon makes no databases",
            );
        }
    }
}
