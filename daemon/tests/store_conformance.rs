//! What every driver of the store promises, promise by promise, on every database that is there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::too_many_lines,
    reason = "a panic here is the report, and a row is one long literal"
)]

#[path = "store_conformance/access.rs"]
mod access;
#[path = "store_conformance/claims.rs"]
mod claims;
#[path = "store_conformance/commits.rs"]
mod commits;
#[path = "store_conformance/definitions.rs"]
mod definitions;
#[path = "fresh/mod.rs"]
mod fresh;
#[path = "store_conformance/kv.rs"]
mod kv;
#[path = "store_conformance/letters.rs"]
mod letters;
#[path = "store_conformance/lineage.rs"]
mod lineage;
#[path = "store_conformance/lists.rs"]
mod lists;
#[path = "store_conformance/losses.rs"]
mod losses;
#[path = "store_conformance/many.rs"]
mod many;
#[path = "store_conformance/mariadb.rs"]
mod mariadb_only;
#[path = "store_conformance/plans.rs"]
mod plans;
#[path = "store_conformance/schedules.rs"]
mod schedules;
#[path = "store_conformance/schema.rs"]
mod schema;
#[path = "store_conformance/secrets.rs"]
mod secrets;
#[path = "store_conformance/turns.rs"]
mod turns;
#[path = "store_conformance/world.rs"]
mod world;

/// One test a promise and driver.
macro_rules! promises {
    ($($part:ident: $($promise:ident),* $(,)?;)*) => {
        mod sqlite {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                crate::world::on_sqlite(crate::$part::$promise).await;
            })*)*
        }
        mod postgres {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                crate::world::on_postgres(crate::$part::$promise).await;
            })*)*
        }
        mod mariadb {
            $($(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                crate::world::on_mariadb(crate::$part::$promise).await;
            })*)*
        }
    };
}

promises! {
    commits:
        a_fenced_commit_writes_nothing,
        a_commit_at_another_revision_writes_nothing,
        commits_under_way_together_each_get_their_own_outcomes,
        a_committed_step_is_read_back_as_it_was_written,
        two_owners_cannot_both_write,
        a_bad_transition_does_not_stop_the_others,
        transitions_that_clash_with_each_other_are_told_apart,
        several_steps_of_one_run_may_share_a_batch,
        runs_of_a_workflow_are_numbered_without_gaps,
        an_idempotency_key_names_one_run,
        organizations_share_neither_versions_nor_keys,
        a_run_without_its_workflow_is_refused,
        any_text_survives,
        five_mebibytes_of_output_survive,
        a_batch_larger_than_a_packet_is_written,
        keys_that_differ_in_case_or_trailing_blanks_are_different,
        runs_that_start_at_once_share_no_number_and_no_key,
        consumed_orders_are_gone_and_others_stay,
        an_empty_batch_is_nothing;
    losses:
        a_commit_whose_answer_was_lost_is_seen_as_conflict,
        dropped_commits_leave_no_transaction_open_and_no_half_writes,
        dropped_reads_harm_nobody,
        event_ids_only_grow_and_a_follower_misses_none;
    claims:
        a_run_is_never_given_to_two_daemons,
        a_live_owner_keeps_its_runs,
        a_silent_owner_loses_its_runs,
        a_restarted_instance_gets_its_runs_at_once,
        a_replaced_process_is_told_so,
        released_runs_are_claimable_at_once,
        a_departed_daemon_frees_its_runs,
        the_most_urgent_then_the_oldest_comes_first,
        a_daemon_without_a_heartbeat_claims_nothing,
        final_runs_are_not_claimed,
        orders_reach_the_owner_oldest_first;
    many:
        each_daemon_is_judged_by_its_own_lease,
        a_duty_is_one_daemons_at_a_time_and_ends_with_its_life,
        every_publication_and_removal_is_counted,
        what_one_daemon_writes_another_hears_of;
    definitions:
        publishing_twice_changes_nothing,
        a_retired_workflow_keeps_its_versions,
        versions_come_newest_first,
        a_version_of_another_workflow_is_refused,
        module_bytes_survive_and_a_changed_chunk_is_noticed,
        a_module_with_a_wrong_digest_is_refused;
    kv:
        a_key_is_set_only_at_the_expected_revision,
        concurrent_compare_and_set_lets_one_through,
        an_expired_key_is_absent,
        a_key_made_again_has_a_new_revision,
        keys_come_in_byte_order_under_their_prefix,
        spaces_do_not_see_each_other,
        a_full_space_refuses_more_and_takes_what_is_no_larger,
        expired_entries_do_not_count_and_are_removed_by_writes,
        counts_follow_every_kind_of_change,
        writers_that_race_never_exceed_the_quota,
        entries_are_listed_page_by_page_with_what_they_take,
        what_an_older_daemon_wrote_is_counted_by_the_migration;
    secrets:
        a_secret_is_written_only_over_the_revision_that_was_read,
        a_secret_is_not_written_over_one_that_was_made_again,
        of_two_who_set_the_same_secret_one_is_told_to_read_again,
        every_change_of_a_secret_is_counted_and_nothing_else,
        secrets_of_organizations_are_apart;
    lineage:
        an_end_is_noted_in_its_own_commit_once_for_each_workflow_that_waits_for_it,
        a_run_that_ends_with_its_insert_is_noted_too,
        a_delivery_is_due_by_its_time_and_settled_once,
        runs_of_a_family_are_found_by_parent_by_root_and_by_key;
    turns:
        beyond_its_limit_a_run_is_held_and_nobody_claims_it,
        those_that_wait_go_by_priority_and_then_by_age,
        a_run_of_a_dead_daemon_keeps_its_place_until_it_has_ended,
        a_held_run_that_is_to_be_stopped_can_be_claimed_for_that,
        a_larger_limit_lets_more_go_and_a_smaller_one_waits,
        daemons_that_race_never_let_more_go_than_the_limit,
        waiting_runs_are_counted_no_further_than_the_limit;
    letters:
        letters_are_written_with_the_end_of_their_run_or_not_at_all,
        letters_are_found_by_workflow_time_and_code_page_by_page,
        a_repeat_that_succeeds_takes_the_letters_of_its_chain_off_the_list,
        a_repeat_that_is_cancelled_opens_the_letters_again,
        a_dismissed_letter_keeps_who_when_and_why;
    access:
        a_list_of_writes_is_all_or_nothing,
        an_address_is_one_account_whoever_races,
        a_user_is_changed_only_at_the_revision_that_was_read,
        what_roles_permit_counts_only_where_somebody_belongs,
        a_role_of_another_organization_is_not_given,
        a_removed_user_leaves_nothing_behind_but_the_log,
        sessions_are_found_by_their_hash_until_they_end,
        tokens_are_found_by_their_hash_and_revoked_once,
        departments_and_positions_that_go_leave_their_members,
        the_audit_log_comes_newest_first_with_its_filters,
        organizations_are_named_once;
    schedules:
        a_schedule_is_written_only_over_what_was_read,
        of_several_who_decide_one_does,
        a_time_has_one_fire_and_a_backfill_takes_only_what_did_not_run,
        the_history_of_a_schedule_comes_page_by_page_and_ends_after_a_quarter;
    lists:
        runs_come_page_by_page_newest_first,
        filters_of_runs_hold_together,
        logs_are_followed_by_event_id;
}
