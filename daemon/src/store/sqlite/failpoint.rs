//! Failpoints of the tests: a store in a file that fails before its n-th statement, or after its n-th commit with the
//! answer lost. Each file has its own; nothing of this is in the daemon.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use crate::store::commit::Fault;

/// Where it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// Before this statement, counted from 0.
    Statement(usize),
    /// After this commit, counted from 0.
    Commit(usize),
}

struct Plan {
    point: Point,
    statements: usize,
    commits: usize,
    hit: bool,
}

static PLANS: LazyLock<Mutex<HashMap<PathBuf, Plan>>> = LazyLock::new(Mutex::default);

/// From now on statements and commits in this file count.
pub(crate) fn arm(file: &Path, point: Point) {
    let plan = Plan {
        point,
        statements: 0,
        commits: 0,
        hit: false,
    };
    PLANS.lock().unwrap().insert(file.to_owned(), plan);
}

/// Whether the point was reached. Nothing counts any more afterwards.
pub(crate) fn disarm(file: &Path) -> bool {
    let plan = PLANS.lock().unwrap().remove(file);
    plan.is_some_and(|plan| plan.hit)
}

fn lost() -> Fault {
    Fault::Lost("the failpoint".into())
}

/// A statement is about to be made.
pub(super) fn statement(file: &Path) -> Result<(), Fault> {
    let mut plans = PLANS.lock().unwrap();
    let Some(plan) = plans.get_mut(file) else {
        return Ok(());
    };
    let now = plan.statements;
    plan.statements += 1;
    match plan.point {
        Point::Statement(at) if at == now => {
            plan.hit = true;
            Err(lost())
        }
        _ => Ok(()),
    }
}

/// A transaction is durable.
pub(super) fn committed(file: &Path) -> Result<(), Fault> {
    let mut plans = PLANS.lock().unwrap();
    let Some(plan) = plans.get_mut(file) else {
        return Ok(());
    };
    let now = plan.commits;
    plan.commits += 1;
    match plan.point {
        Point::Commit(at) if at == now => {
            plan.hit = true;
            Err(lost())
        }
        _ => Ok(()),
    }
}
