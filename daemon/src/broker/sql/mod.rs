//! `flowweaver:sql`: named databases. Nothing is granted here yet: every open is denied.

use wasmtime::component::Resource;

use super::BrokerView;
use super::error::{CallError, Refusal};
use crate::bindings::sql::client::{Column, Host, HostDatabase, HostRows, HostTransaction, Value};

/// An open database.
#[derive(Debug)]
pub struct SqlDatabase;
/// An open transaction.
#[derive(Debug)]
pub struct SqlTransaction;
/// Rows being read.
#[derive(Debug)]
pub struct SqlRows;

fn denied() -> CallError {
    Refusal::permanent("sql.denied", "no grant covers this database").into()
}

impl Host for BrokerView<'_> {}

impl HostDatabase for BrokerView<'_> {
    async fn open(&mut self, _: String) -> Result<Resource<SqlDatabase>, CallError> {
        Err(denied())
    }
    async fn query(
        &mut self,
        _: Resource<SqlDatabase>,
        _: String,
        _: Vec<Value>,
    ) -> Result<Resource<SqlRows>, CallError> {
        Err(denied())
    }
    async fn execute(
        &mut self,
        _: Resource<SqlDatabase>,
        _: String,
        _: Vec<Value>,
    ) -> Result<u64, CallError> {
        Err(denied())
    }
    async fn execute_batch(
        &mut self,
        _: Resource<SqlDatabase>,
        _: String,
        _: Vec<Vec<Value>>,
    ) -> Result<Vec<u64>, CallError> {
        Err(denied())
    }
    async fn begin(
        &mut self,
        _: Resource<SqlDatabase>,
    ) -> Result<Resource<SqlTransaction>, CallError> {
        Err(denied())
    }
    fn drop(&mut self, database: Resource<SqlDatabase>) -> wasmtime::Result<()> {
        self.table.delete(database)?;
        Ok(())
    }
}

impl HostTransaction for BrokerView<'_> {
    async fn query(
        &mut self,
        _: Resource<SqlTransaction>,
        _: String,
        _: Vec<Value>,
    ) -> Result<Resource<SqlRows>, CallError> {
        Err(denied())
    }
    async fn execute(
        &mut self,
        _: Resource<SqlTransaction>,
        _: String,
        _: Vec<Value>,
    ) -> Result<u64, CallError> {
        Err(denied())
    }
    async fn execute_batch(
        &mut self,
        _: Resource<SqlTransaction>,
        _: String,
        _: Vec<Vec<Value>>,
    ) -> Result<Vec<u64>, CallError> {
        Err(denied())
    }
    async fn commit(&mut self, _: Resource<SqlTransaction>) -> Result<(), CallError> {
        Err(denied())
    }
    async fn rollback(&mut self, _: Resource<SqlTransaction>) -> Result<(), CallError> {
        Err(denied())
    }
    async fn drop(&mut self, transaction: Resource<SqlTransaction>) -> wasmtime::Result<()> {
        self.table.delete(transaction)?;
        Ok(())
    }
}

impl HostRows for BrokerView<'_> {
    fn columns(&mut self, _: Resource<SqlRows>) -> wasmtime::Result<Vec<Column>> {
        Ok(Vec::new())
    }
    async fn next(&mut self, _: Resource<SqlRows>, _: u32) -> Result<Vec<Vec<Value>>, CallError> {
        Ok(Vec::new())
    }
    async fn drop(&mut self, rows: Resource<SqlRows>) -> wasmtime::Result<()> {
        self.table.delete(rows)?;
        Ok(())
    }
}
