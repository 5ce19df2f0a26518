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
        let database = self.table.get(&database)?;
        let rows = database.query(&statement, parameters).await?;
        Ok(self.table.push(rows)?)
    }

    async fn execute(
        &mut self,
        database: Resource<SqlDatabase>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<u64, CallError> {
        let database = self.table.get(&database)?;
        Ok(database.execute(&statement, parameters).await?)
    }

    async fn execute_batch(
        &mut self,
        database: Resource<SqlDatabase>,
        statement: String,
        parameters: Vec<Vec<Value>>,
    ) -> Result<Vec<u64>, CallError> {
        let database = self.table.get(&database)?;
        Ok(database.execute_batch(&statement, parameters).await?)
    }

    async fn begin(
        &mut self,
        database: Resource<SqlDatabase>,
    ) -> Result<Resource<SqlTransaction>, CallError> {
        let transaction = self.table.get(&database)?.begin().await?;
        Ok(self.table.push(transaction)?)
    }

    fn drop(&mut self, database: Resource<SqlDatabase>) -> wasmtime::Result<()> {
        self.table.delete(database)?;
        Ok(())
    }
}

impl HostTransaction for BrokerView<'_> {
    async fn query(
        &mut self,
        transaction: Resource<SqlTransaction>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<Resource<SqlRows>, CallError> {
        let transaction = self.table.get(&transaction)?;
        let rows = transaction.query(&statement, parameters).await?;
        Ok(self.table.push(rows)?)
    }

    async fn execute(
        &mut self,
        transaction: Resource<SqlTransaction>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<u64, CallError> {
        let transaction = self.table.get(&transaction)?;
        Ok(transaction.execute(&statement, parameters).await?)
    }

    async fn execute_batch(
        &mut self,
        transaction: Resource<SqlTransaction>,
        statement: String,
        parameters: Vec<Vec<Value>>,
    ) -> Result<Vec<u64>, CallError> {
        let transaction = self.table.get(&transaction)?;
        Ok(transaction.execute_batch(&statement, parameters).await?)
    }

    async fn commit(&mut self, transaction: Resource<SqlTransaction>) -> Result<(), CallError> {
        Ok(self.table.delete(transaction)?.commit().await?)
    }

    async fn rollback(&mut self, transaction: Resource<SqlTransaction>) -> Result<(), CallError> {
        Ok(self.table.delete(transaction)?.rollback().await?)
    }

    async fn drop(&mut self, transaction: Resource<SqlTransaction>) -> wasmtime::Result<()> {
        self.table.delete(transaction)?;
        Ok(())
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
