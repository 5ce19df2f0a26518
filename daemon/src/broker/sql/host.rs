//! The guest's side of SQL: handles to plain values, and nothing decided.

use wasmtime::component::Resource;

use super::{Column, SqlDatabase, SqlRows, SqlTransaction, Value};
use crate::bindings::sql::client::{Host, HostDatabase, HostRows, HostTransaction};
use crate::broker::BrokerView;
use crate::broker::error::CallError;

impl Host for BrokerView<'_> {}

impl HostDatabase for BrokerView<'_> {
    async fn open(&mut self, name: String) -> Result<Resource<SqlDatabase>, CallError> {
        let database = self.ctx.sql.open(&name)?;
        Ok(self.table.push(database)?)
    }

    async fn query(
        &mut self,
        database: Resource<SqlDatabase>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<Resource<SqlRows>, CallError> {
        let rows = self
            .table
            .get(&database)?
            .query(&statement, parameters)
            .await?;
        Ok(self.table.push(rows)?)
    }

    async fn execute(
        &mut self,
        database: Resource<SqlDatabase>,
        _: String,
        _: Vec<Value>,
    ) -> Result<u64, CallError> {
        Err(self.table.get(&database)?.change("execute").into())
    }

    async fn execute_batch(
        &mut self,
        database: Resource<SqlDatabase>,
        _: String,
        _: Vec<Vec<Value>>,
    ) -> Result<Vec<u64>, CallError> {
        Err(self.table.get(&database)?.change("execute-batch").into())
    }

    async fn begin(
        &mut self,
        database: Resource<SqlDatabase>,
    ) -> Result<Resource<SqlTransaction>, CallError> {
        Err(self.table.get(&database)?.change("begin").into())
    }

    fn drop(&mut self, database: Resource<SqlDatabase>) -> wasmtime::Result<()> {
        self.table.delete(database)?;
        Ok(())
    }
}

/// No transaction can exist, so no handle can either: the table refuses every one.
impl HostTransaction for BrokerView<'_> {
    async fn query(
        &mut self,
        transaction: Resource<SqlTransaction>,
        _: String,
        _: Vec<Value>,
    ) -> Result<Resource<SqlRows>, CallError> {
        match self.table.get(&transaction)?.0 {}
    }

    async fn execute(
        &mut self,
        transaction: Resource<SqlTransaction>,
        _: String,
        _: Vec<Value>,
    ) -> Result<u64, CallError> {
        match self.table.get(&transaction)?.0 {}
    }

    async fn execute_batch(
        &mut self,
        transaction: Resource<SqlTransaction>,
        _: String,
        _: Vec<Vec<Value>>,
    ) -> Result<Vec<u64>, CallError> {
        match self.table.get(&transaction)?.0 {}
    }

    async fn commit(&mut self, transaction: Resource<SqlTransaction>) -> Result<(), CallError> {
        match self.table.delete(transaction)?.0 {}
    }

    async fn rollback(&mut self, transaction: Resource<SqlTransaction>) -> Result<(), CallError> {
        match self.table.delete(transaction)?.0 {}
    }

    async fn drop(&mut self, transaction: Resource<SqlTransaction>) -> wasmtime::Result<()> {
        match self.table.delete(transaction)?.0 {}
    }
}

impl HostRows for BrokerView<'_> {
    fn columns(&mut self, rows: Resource<SqlRows>) -> wasmtime::Result<Vec<Column>> {
        Ok(self.table.get(&rows)?.columns().to_vec())
    }

    async fn next(
        &mut self,
        rows: Resource<SqlRows>,
        max: u32,
    ) -> Result<Vec<Vec<Value>>, CallError> {
        Ok(self.table.get_mut(&rows)?.next(max).await?)
    }

    async fn drop(&mut self, rows: Resource<SqlRows>) -> wasmtime::Result<()> {
        self.table.delete(rows)?;
        Ok(())
    }
}
