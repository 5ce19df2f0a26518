//! Storms over a clock that somebody sets.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::World;
use crate::clock::{Clock as _, Timestamp};

/// In microseconds.
const HOUR: i64 = 3_600_000_000;
/// Keeps the draws of jumps apart from the storm's.
const JUMPS: u64 = 0x6a75_6d70;

impl World {
    /// The same storm over a clock that somebody sets.
    pub(super) fn with_jumps(mut self) -> Self {
        self.jumps = Some(StdRng::seed_from_u64(self.seed ^ JUMPS));
        self.calm = false;
        self
    }

    /// An hour back or a day forward, now and then.
    pub(super) fn jump(&mut self) {
        let Some(rng) = &mut self.jumps else { return };
        let by = match rng.random_range(0..60) {
            0 if self.backs > 0 => {
                self.backs -= 1;
                -HOUR
            }
            1 => 24 * HOUR,
            _ => return,
        };
        let now = self.clock.now().as_micros();
        self.clock.set(Timestamp::from_micros(now + by));
    }
}
