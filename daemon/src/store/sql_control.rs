//! Statements about turns and dead letters that every database understands as they stand.

/// A dead letter.
pub(super) const ADD_LETTER: &str = r#"
insert into "dead_letter" ("dead_letter_id", "organization_id", "workflow_run_id", "origin_run_id", "workflow_name",
  "job", "task", "item_index", "code", "message", "attempts", "interrupts", "created_at", "state", "redrives")
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'open', 0)"#;

/// A run ($2) that repeats the run $1 has begun.
pub(super) const REDRIVEN: &str = r#"
update "dead_letter" set "state" = 'redriven', "redrives" = "redrives" + 1, "redrive_run_id" = $2
where "workflow_run_id" = $1 and "state" = 'open'"#;

/// The entries of run $1 are done with.
pub(super) const RESOLVED_RUN: &str = r#"
update "dead_letter" set "state" = 'resolved', "settled_at" = $2
where "workflow_run_id" = $1 and "state" in ('open', 'redriven')"#;

/// The entries of the whole chain that began with run $1 are done with.
pub(super) const RESOLVED_CHAIN: &str = r#"
update "dead_letter" set "state" = 'resolved', "settled_at" = $2
where "origin_run_id" = $1 and "state" in ('open', 'redriven')"#;

/// The run $2 that repeated run $1 has ended without success: its entries are now $3.
pub(super) const NOT_RESOLVED: &str = r#"
update "dead_letter" set "state" = $3
where "workflow_run_id" = $1 and "redrive_run_id" = $2 and "state" = 'redriven'"#;

/// Dismisses entry $1 of organization $2.
pub(super) const DISMISS: &str = r#"
update "dead_letter" set "state" = 'dismissed', "settled_at" = $3, "settled_by" = $4, "note" = $5
where "dead_letter_id" = $1 and "organization_id" = $2 and "state" = 'open'"#;

/// One entry ($1) of organization $2.
pub(super) const LETTER: &str = r#"
select * from "dead_letter" where "dead_letter_id" = $1 and "organization_id" = $2"#;

/// Entries by keyset: $1 from, $2 before, $3 state, $4 organization, $5 how many.
pub(super) const LETTERS: &str = r#"
select * from "dead_letter"
where "state" = $3 and "dead_letter_id" >= $1 and "dead_letter_id" < $2
  and ($4 is null or "organization_id" = $4)
order by "dead_letter_id" desc limit $5"#;

/// The same of workflow $6 (and with code $7), along its own index.
pub(super) const LETTERS_OF_WORKFLOW: &str = r#"
select * from "dead_letter"
where "workflow_name" = $6 and "state" = $3 and "dead_letter_id" >= $1 and "dead_letter_id" < $2
  and ($4 is null or "organization_id" = $4) and ($7 is null or "code" = $7)
order by "dead_letter_id" desc limit $5"#;

/// The same with code $6, along its own index.
pub(super) const LETTERS_WITH_CODE: &str = r#"
select * from "dead_letter"
where "code" = $6 and "state" = $3 and "dead_letter_id" >= $1 and "dead_letter_id" < $2
  and ($4 is null or "organization_id" = $4)
order by "dead_letter_id" desc limit $5"#;

/// Held runs, counted up to $1.
pub(super) const HELD: &str = r#"
select count(*) as "count" from
  (select 1 as "one" from "workflow_run" where "status" = 'held' limit $1) as "h""#;

/// Queued, interrupted and given-back runs, counted up to $1.
pub(super) const UNOWNED: &str = r#"
select count(*) as "count" from (select 1 as "one" from "workflow_run"
  where "owner" is null and "status" in ('queued', 'running', 'waiting', 'interrupted') limit $1) as "w""#;

/// The lane of a run.
pub(super) const LANE_OF: &str = r#"select "lane_id" from "lane_run" where "lane_run_id" = $1"#;

/// Makes a lane, or brings its limit up to date; whoever does it next waits for this transaction.
pub(super) const LANE_APPEARS: &str = r#"
insert into "lane" ("lane_id", "organization_id", "workflow_id", "max") values ($1, $2, $3, $4)
on conflict ("lane_id") do update set "max" = excluded."max""#;

/// A lane's limit; on servers, whoever changes the lane next waits for this transaction.
pub(super) const LANE: &str = r#"select "max" from "lane" where "lane_id" = $1"#;

/// The same with a lock.
pub(super) const LANE_LOCKED: &str = r#"select "max" from "lane" where "lane_id" = $1 for update"#;

/// A run ($1) waits in lane $3.
pub(super) const LANE_ENTERED: &str = r#"
insert into "lane_run" ("lane_run_id", "organization_id", "lane_id", "has_place", "rank") values ($1, $2, $3, 0, $4)"#;

/// A run has left its lane.
pub(super) const LANE_LEFT: &str = r#"delete from "lane_run" where "lane_run_id" = $1"#;

/// How many have a place in lane $1.
pub(super) const LANE_GOING: &str = r#"
select count(*) as "count" from "lane_run" where "lane_id" = $1 and "has_place" = 1"#;

/// The best $2 that wait in lane $1.
pub(super) const LANE_NEXT: &str = r#"
select "lane_run_id" from "lane_run" where "lane_id" = $1 and "has_place" = 0
order by "rank", "lane_run_id" limit $2"#;

/// A run has a place.
pub(super) const LANE_PLACE: &str =
    r#"update "lane_run" set "has_place" = 1 where "lane_run_id" = $1"#;

/// A held run may be claimed: it has a place, or is to be stopped.
pub(super) const LET_GO: &str = r#"
update "workflow_run" set "status" = 'queued' where "workflow_run_id" = $1 and "status" = 'held'"#;

/// An empty lane is forgotten.
pub(super) const LANE_ENDS: &str = r#"delete from "lane" where "lane_id" = $1"#;
