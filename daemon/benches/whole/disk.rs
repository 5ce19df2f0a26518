//! The floor under every durable step: what one flush costs on the disk that holds the store.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::figures::Spread;

/// A page, as the store's log grows by.
const PAGE: [u8; 4_096] = [7; 4_096];
/// Flushes, nine by nine.
const NINES: usize = 60;

/// Times of single flushes and of nine in a row.
pub struct Floor {
    /// Append and `fdatasync`, once.
    pub one: Spread,
    /// The same nine times.
    pub nine: Spread,
}

impl Floor {
    /// Measures it in this folder.
    pub fn of(folder: &Path) -> Self {
        let path = folder.join("floor");
        let mut file = File::create(&path).unwrap();
        let (mut one, mut nine) = (Vec::new(), Vec::new());
        for _ in 0..NINES {
            let mut sum = Duration::ZERO;
            for _ in 0..9 {
                let begun = Instant::now();
                file.write_all(&PAGE).unwrap();
                file.sync_data().unwrap();
                one.push(begun.elapsed());
                sum += begun.elapsed();
            }
            nine.push(sum);
        }
        std::fs::remove_file(path).unwrap();
        Self {
            one: Spread::of(one),
            nine: Spread::of(nine),
        }
    }
}
