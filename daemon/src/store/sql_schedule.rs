//! Statements about schedules that every database understands as written.

/// All schedules.
pub(super) const SCHEDULES: &str = r#"select * from "schedule" order by "schedule_id""#;

/// One schedule.
pub(super) const SCHEDULE: &str = r#"select * from "schedule" where "schedule_id" = $1"#;

/// Moves with every change of a schedule.
pub(super) const SCHEDULE_CHANGES: &str =
    r#"select "value" from "stream" where "stream_id" = 'schedule'"#;

/// Says that a schedule has changed.
pub(super) const SCHEDULE_CHANGED: &str =
    r#"update "stream" set "value" = "value" + 1 where "stream_id" = 'schedule'"#;

/// Whether version $2 is the active one of workflow $1.
pub(super) const VERSION_IS_ACTIVE: &str =
    r#"select "workflow_id" from "workflow" where "workflow_id" = $1 and "active_version" = $2"#;

/// A schedule, unless its name is taken.
pub(super) const SCHEDULE_APPEARS: &str = r#"
insert into "schedule" ("schedule_id", "organization_id", "workflow_id", "workflow_name", "name", "origin", "name_key",
  "definition", "decided_until", "looked_at", "revision", "turn", "created_at", "updated_at", "retired_at")
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) on conflict ("workflow_id", "name_key") do nothing"#;

/// Changes a schedule that still is at revision $8 and turn $9.
pub(super) const SCHEDULE_CHANGE: &str = r#"
update "schedule" set "name_key" = $2, "definition" = $3, "decided_until" = $4, "looked_at" = $5, "updated_at" = $6,
  "retired_at" = $7, "revision" = "revision" + 1, "turn" = "turn" + 1
where "schedule_id" = $1 and "revision" = $8 and "turn" = $9"#;

/// Decides about the times of a schedule up to $2, if nobody else did since revision $4 and turn $5.
pub(super) const SCHEDULE_DECIDE: &str = r#"
update "schedule" set "decided_until" = $2, "looked_at" = $3, "turn" = "turn" + 1
where "schedule_id" = $1 and "revision" = $4 and "turn" = $5"#;

/// A fire, unless there is one of that time.
pub(super) const FIRE_APPEARS: &str = r#"
insert into "schedule_fire" ("schedule_fire_id", "organization_id", "schedule_id", "nominal_at", "span", "last_at", "times",
  "cause", "outcome", "reason_code", "reason_message", "workflow_run_id", "open", "decided_at")
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) on conflict ("schedule_id", "nominal_at", "span") do nothing"#;

/// Lets a time that was skipped or refused run after all, for a backfill.
pub(super) const FIRE_AGAIN: &str = r#"
update "schedule_fire" set "cause" = $3, "outcome" = $4, "reason_code" = null, "reason_message" = null, "open" = 1,
  "decided_at" = $5
where "schedule_id" = $1 and "nominal_at" = $2 and "span" = 0 and "outcome" in ('skipped', 'refused')"#;

/// The fire of a time.
pub(super) const FIRE_OF_TIME: &str = r#"
select * from "schedule_fire" where "schedule_id" = $1 and "nominal_at" = $2 and "span" = 0"#;

/// Writes what became of a fire whose outcome still is $6.
pub(super) const FIRE_SETTLE: &str = r#"
update "schedule_fire" set "outcome" = $2, "reason_code" = $3, "reason_message" = $4, "workflow_run_id" = $5, "open" = $7
where "schedule_fire_id" = $1 and "outcome" = $6 and "open" = 1"#;

/// A fire whose run has ended is no longer under way.
pub(super) const FIRE_CLOSE: &str = r#"update "schedule_fire" set "open" = 0 where "schedule_fire_id" = $1 and "outcome" = 'started'"#;

/// What is under way of a schedule, with the states of its runs.
pub(super) const FIRES_OPEN: &str = r#"
select "f".*, "r"."status" as "run_status" from "schedule_fire" as "f"
left join "workflow_run" as "r" on "r"."workflow_run_id" = "f"."workflow_run_id"
where "f"."open" = 1 and "f"."schedule_id" = $1 order by "f"."nominal_at", "f"."schedule_fire_id""#;

/// What is to be started, of all schedules.
pub(super) const FIRES_PENDING: &str = r#"
select * from "schedule_fire"
where "open" = 1 and "outcome" in ('due', 'waiting') order by "nominal_at", "schedule_fire_id""#;

/// The history of a schedule, newest first, from before time $2 and id $3.
pub(super) const FIRES: &str = r#"
select "f".*, "r"."status" as "run_status" from "schedule_fire" as "f"
left join "workflow_run" as "r" on "r"."workflow_run_id" = "f"."workflow_run_id"
where "f"."schedule_id" = $1 and "f"."nominal_at" <= $2 and ("f"."nominal_at" < $2 or "f"."schedule_fire_id" < $3)
order by "f"."nominal_at" desc, "f"."schedule_fire_id" desc limit $4"#;

/// Removes some of a schedule's oldest history, from before $2.
pub(super) const FIRES_FORGET: &str = r#"
delete from "schedule_fire" where "schedule_fire_id" in (
  select "schedule_fire_id" from "schedule_fire"
  where "schedule_id" = $1 and "nominal_at" < $2 and "open" = 0 order by "nominal_at" limit 10)"#;
