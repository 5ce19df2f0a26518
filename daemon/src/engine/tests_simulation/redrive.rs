//! Somebody who looks at the dead letters in the middle of the storm.

use std::sync::Arc;

use rand::Rng as _;

use super::World;
use crate::engine::RerunVersion;
use crate::store::control::LetterState;

impl World {
    /// Somebody repeats what failed, perhaps twice.
    pub(super) fn redrive(&mut self) {
        let letters: Vec<_> = {
            let tables = self.store.tables();
            let letters = tables.turns.letters.iter();
            let open = letters.filter(|letter| letter.state == LetterState::Open);
            open.map(|letter| (letter.run_id, letter.redrives))
                .collect()
        };
        let many = self.daemons.len();
        if letters.is_empty() || many == 0 {
            return;
        }
        let (run, round) = letters[self.aside.random_range(0..letters.len())];
        for _ in 0..self.aside.random_range(1..3) {
            let daemon = &self.daemons[self.aside.random_range(0..many)];
            let (engine, acknowledged) = (daemon.engine.clone(), Arc::clone(&self.acknowledged));
            daemon.runtime.spawn(async move {
                if let Ok(accepted) = engine.redrive(run, round, RerunVersion::Same).await {
                    acknowledged.lock().unwrap().push(accepted.run_id);
                }
            });
        }
    }
}
