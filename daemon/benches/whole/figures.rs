//! Measured times and how they are printed.

use std::time::Duration;

/// Times in order.
#[derive(Clone)]
pub struct Spread(Vec<Duration>);

impl Spread {
    /// Sorts them.
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that this percentage of them does not exceed (nearest rank).
    pub fn at(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0[rank - 1]
    }
}

/// A line of the table.
pub struct Row {
    title: &'static str,
    cells: [String; 3],
}

impl Row {
    /// Median, 99th percentile and number of times, in milliseconds.
    pub fn spread(title: &'static str, spread: &Spread) -> Self {
        let ms = |percent| format!("{:.2} ms", spread.at(percent).as_secs_f64() * 1e3);
        let cells = [ms(50), ms(99), spread.count().to_string()];
        Self { title, cells }
    }

    /// One number.
    pub fn number(title: &'static str, value: f64) -> Self {
        let text = match value {
            large if large >= 1_000.0 => format!("{large:.0}"),
            small => format!("{small:.2}"),
        };
        Self::text(title, &text)
    }

    /// An amount of memory.
    pub fn bytes(title: &'static str, bytes: u64) -> Self {
        Self::text(title, &format!("{:.1} MiB", bytes as f64 / 1_048_576.0))
    }

    /// A remark in place of a number.
    pub fn text(title: &'static str, text: &str) -> Self {
        let cells = [text.to_owned(), String::new(), String::new()];
        Self { title, cells }
    }
}

/// The table as Markdown, so that it can be kept as it is printed.
pub fn table(rows: &[Row]) -> String {
    let mut out = format!(
        "| {:<46} | {:>12} | {:>12} | {:>7} |\n",
        "", "p50", "p99", "times"
    );
    out.push_str(&format!(
        "|{:-<48}|{:->13}:|{:->13}:|{:->8}:|\n",
        "", "", "", ""
    ));
    for Row {
        title,
        cells: [first, second, third],
    } in rows
    {
        out.push_str(&format!(
            "| {title:<46} | {first:>12} | {second:>12} | {third:>7} |\n"
        ));
    }
    out
}
