//! What the store in memory says about schedules: the engine does not ask.

use async_trait::async_trait;

use super::testing_store::{FakeStore, unused};
use crate::clock::Timestamp;
use crate::id::{Digest, FireId, ScheduleId};
use crate::store::StoreError;
use crate::store::schedule::{
    Before, FireRow, FireSeen, ScheduleRow, ScheduleStep, ScheduleStore, Settled, Stepped,
};

#[async_trait]
impl ScheduleStore for FakeStore {
    async fn schedules(&self) -> Result<(u64, Vec<ScheduleRow>), StoreError> {
        Err(unused())
    }
    async fn schedule_changes(&self) -> Result<u64, StoreError> {
        Err(unused())
    }
    async fn schedule(&self, _: ScheduleId) -> Result<Option<ScheduleRow>, StoreError> {
        Err(unused())
    }
    async fn schedule_put(
        &self,
        _: &ScheduleRow,
        _: Before<'_>,
        _: Option<Digest>,
        _: &[FireRow],
    ) -> Result<bool, StoreError> {
        Err(unused())
    }
    async fn schedule_decide(&self, _: &[ScheduleStep]) -> Result<Vec<Stepped>, StoreError> {
        Err(unused())
    }
    async fn schedule_backfill(&self, _: &[FireRow]) -> Result<Vec<bool>, StoreError> {
        Err(unused())
    }
    async fn fires_open(&self, _: &[ScheduleId]) -> Result<Vec<FireSeen>, StoreError> {
        Err(unused())
    }
    async fn fires_pending(&self) -> Result<Vec<FireSeen>, StoreError> {
        Err(unused())
    }
    async fn fires_settle(&self, _: &[Settled]) -> Result<Vec<bool>, StoreError> {
        Err(unused())
    }
    async fn fire_of(&self, _: ScheduleId, _: Timestamp) -> Result<Option<FireRow>, StoreError> {
        Err(unused())
    }
    async fn fires(
        &self,
        _: ScheduleId,
        _: Option<(Timestamp, FireId)>,
        _: u32,
    ) -> Result<Vec<FireSeen>, StoreError> {
        Err(unused())
    }
}
