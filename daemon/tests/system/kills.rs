//! kill -9 under load: nothing that was acknowledged is lost, nothing is recorded twice.

use super::databases::Kind;
use super::fleet::{Dice, Fleet, Home, times, under_load};

/// Kills daemons at random moments while runs are being started, each after some more runs were accepted.
fn kills(home: Home, daemons: usize, variable: &str) {
    let kills = times(variable, 4);
    let mut dice = Dice::new();
    let name = match &home {
        Home::Sqlite => "SQLite",
        Home::Server(_) | Home::Own(_) if variable.ends_with("POSTGRES") => "PostgreSQL",
        Home::Server(_) | Home::Own(_) => "MariaDB",
    };
    let Some(mut fleet) = Fleet::start(home, daemons) else {
        return;
    };
    let verdict = under_load(&mut fleet, 2 * daemons, |fleet, load| {
        for _ in 0..kills {
            load.more(1 + dice.roll(12));
            let daemon = &mut fleet.daemons[dice.roll(daemons)];
            daemon.kill();
            daemon.start();
        }
        load.more(1);
    });
    println!(
        "{name}, {daemons} daemons: {kills} kills, {}",
        verdict.line()
    );
    verdict.must_be_clean();
}

#[test]
fn a_daemon_that_is_killed_again_and_again_loses_and_doubles_nothing_on_sqlite() {
    kills(Home::Sqlite, 1, "FLOWWEAVER_KILLS_SQLITE");
}

#[test]
fn three_daemons_that_are_killed_again_and_again_lose_and_double_nothing_on_postgres() {
    if let Some(home) = Home::on(Kind::Postgres) {
        kills(home, 3, "FLOWWEAVER_KILLS_POSTGRES");
    }
}

#[test]
fn three_daemons_that_are_killed_again_and_again_lose_and_double_nothing_on_mariadb() {
    if let Some(home) = Home::on(Kind::Mariadb) {
        kills(home, 3, "FLOWWEAVER_KILLS_MARIADB");
    }
}
