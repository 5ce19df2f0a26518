//! Schedules over real stores and a clock that the test holds: once, whoever decides, whoever dies, and whatever the
//! clock does.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

#[path = "schedules/edits.rs"]
mod edits;
#[path = "fresh/mod.rs"]
mod fresh;
#[path = "schedules/once.rs"]
mod once;
#[path = "schedules/overlaps.rs"]
mod overlaps;
#[path = "schedules/world.rs"]
mod world;

/// One test a promise and store.
macro_rules! promises {
    ($($part:ident: $($promise:ident),* $(,)?;)*) => {
        mod sqlite {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                crate::fresh::sqlite(crate::$part::$promise).await;
            })*)*
        }
        mod postgres {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                crate::fresh::postgres(crate::$part::$promise).await;
            })*)*
        }
        mod mariadb {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                crate::fresh::mariadb(crate::$part::$promise).await;
            })*)*
        }
    };
}

promises! {
    once:
        several_daemons_fire_each_time_once,
        a_time_that_was_recorded_but_not_started_is_started_by_whoever_comes_next,
        a_time_that_was_started_but_not_told_so_keeps_its_one_run,
        a_connection_that_is_lost_at_any_step_neither_doubles_nor_loses_a_time,
        a_clock_that_goes_back_an_hour_fires_nothing_twice,
        a_clock_that_goes_forward_a_day_and_back_misses_nothing_silently,
        a_scheduled_run_has_its_trace_id_its_time_its_inputs_and_its_config;
    overlaps:
        a_time_is_skipped_while_a_run_is_active_and_the_history_says_why,
        a_queued_time_waits_for_its_turn,
        a_newer_time_cancels_the_run_before_it,
        missed_times_are_caught_up_one_after_the_other,
        a_backfill_runs_what_has_not_run_and_nothing_else;
    edits:
        a_schedule_of_a_file_is_read_only_and_says_where_to_change_it,
        a_changed_expression_counts_from_now_on,
        a_schedule_that_leaves_its_file_is_retired_with_its_history_and_returns_as_itself,
        a_second_schedule_replaces_none_and_deleting_one_leaves_the_other,
        times_of_a_pause_are_recorded_and_not_caught_up,
        of_two_who_edit_the_same_schedule_one_is_told_to_read_again,
        a_daemon_with_older_files_changes_no_schedule;
}
