//! What a fake attempt knows about itself.

use std::time::{Duration, SystemTime};

/// The answers of [`Context`](crate::Context); see there for what each one means.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // each field is the function of the same name on `Context`
pub struct Facts {
    pub run_id: String,
    pub workflow: String,
    pub job: String,
    pub task: String,
    pub item_index: Option<u32>,
    pub attempt: u32,
    pub trace_id: String,
    pub idempotency_key: String,
    pub scheduled_at: String,
    pub deadline: SystemTime,
    pub cancelled: bool,
}

/// A test that waits for its deadline should fail, and no honest unit test takes a minute.
const TIME_LEFT: Duration = Duration::from_secs(60);

impl Default for Facts {
    fn default() -> Self {
        Facts {
            run_id: "01jcz0000000000000000000rn".to_owned(),
            workflow: "test-workflow".to_owned(),
            job: "test-job".to_owned(),
            task: "test-task".to_owned(),
            item_index: None,
            attempt: 1,
            trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            idempotency_key: "5e".repeat(32),
            scheduled_at: "2026-01-02T23:00:00Z".to_owned(),
            deadline: SystemTime::now() + TIME_LEFT,
            cancelled: false,
        }
    }
}
