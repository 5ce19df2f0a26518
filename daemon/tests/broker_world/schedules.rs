//! What a store of keys says about schedules: there are none.

use async_trait::async_trait;
use flowweaver::clock::Timestamp;
use flowweaver::id::{Digest, FireId, ScheduleId};
use flowweaver::store::StoreError;
use flowweaver::store::schedule::{
    Before, FireRow, FireSeen, ScheduleRow, ScheduleStep, ScheduleStore, Settled, Stepped,
};

use super::Keys;

#[async_trait]
impl ScheduleStore for Keys {
    async fn schedules(&self) -> Result<(u64, Vec<ScheduleRow>), StoreError> {
        Err(StoreError::Corrupt("no schedules here".into()))
    }
    async fn schedule_changes(&self) -> Result<u64, StoreError> {
        Err(StoreError::Corrupt("no schedules here".into()))
    }
    async fn schedule(&self, _: ScheduleId) -> Result<Option<ScheduleRow>, StoreError> {
        Err(StoreError::Corrupt("no schedules here".into()))
    }
    async fn schedule_put(
        &self,
        _: &ScheduleRow,
        _: Before<'_>,
        _: Option<Digest>,
        _: &[FireRow],
    ) -> Result<bool, StoreError> {
        Err(StoreError::Corrupt("no schedules here".into()))
    }
    async fn schedule_decide(&self, _: &[ScheduleStep]) -> Result<Vec<Stepped>, StoreError> {
        Err(StoreError::Corrupt("no schedules here".into()))
    }
    async fn schedule_backfill(&self, _: &[FireRow]) -> Result<Vec<bool>, StoreError> {
        Err(StoreError::Corrupt("no schedules here".into()))
    }
    async fn fires_open(&self, _: &[ScheduleId]) -> Result<Vec<FireSeen>, StoreError> {
        Err(StoreError::Corrupt("no schedules here".into()))
    }
    async fn fires_pending(&self) -> Result<Vec<FireSeen>, StoreError> {
        Err(StoreError::Corrupt("no schedules here".into()))
    }
    async fn fires_settle(&self, _: &[Settled]) -> Result<Vec<bool>, StoreError> {
        Err(StoreError::Corrupt("no schedules here".into()))
    }
    async fn fire_of(&self, _: ScheduleId, _: Timestamp) -> Result<Option<FireRow>, StoreError> {
        Err(StoreError::Corrupt("no schedules here".into()))
    }
    async fn fires(
        &self,
        _: ScheduleId,
        _: Option<(Timestamp, FireId)>,
        _: u32,
    ) -> Result<Vec<FireSeen>, StoreError> {
        Err(StoreError::Corrupt("no schedules here".into()))
    }
}
