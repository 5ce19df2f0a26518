//! The guest's side of HTTP: handles to plain values, and nothing decided.

use std::time::Duration;

use wasmtime::component::Resource;

use super::{HttpExchange, HttpRequest, HttpResponse, StreamedBody};
use crate::bindings::http::client::{Host, HostExchange, HostRequest, HostResponse};
use crate::broker::BrokerView;
use crate::broker::error::CallError;

impl Host for BrokerView<'_> {
    async fn start(
        &mut self,
        request: Resource<HttpRequest>,
    ) -> Result<Resource<HttpExchange>, CallError> {
        let request = self.table.delete(request)?;
        let exchange = self.ctx.http.start(request)?;
        Ok(self.table.push(exchange)?)
    }

    async fn send(
        &mut self,
        request: Resource<HttpRequest>,
    ) -> Result<Resource<HttpResponse>, CallError> {
        let request = self.table.delete(request)?;
        let response = self.ctx.http.send(request).await?;
        Ok(self.table.push(response)?)
    }
}

impl HostRequest for BrokerView<'_> {
    fn new(&mut self, method: String, url: String) -> wasmtime::Result<Resource<HttpRequest>> {
        Ok(self.table.push(HttpRequest::new(method, url))?)
    }

    fn append_header(
        &mut self,
        request: Resource<HttpRequest>,
        name: String,
        value: String,
    ) -> Result<(), CallError> {
        Ok(self.table.get_mut(&request)?.append_header(&name, &value)?)
    }

    fn append_body(
        &mut self,
        request: Resource<HttpRequest>,
        bytes: Vec<u8>,
    ) -> Result<(), CallError> {
        let request = self.table.get_mut(&request)?;
        Ok(self.ctx.http.append_body(request, &bytes)?)
    }

    fn set_timeout_ms(
        &mut self,
        request: Resource<HttpRequest>,
        timeout: u64,
    ) -> wasmtime::Result<()> {
        self.table.get_mut(&request)?.timeout = Some(Duration::from_millis(timeout));
        Ok(())
    }

    fn set_redirects(&mut self, request: Resource<HttpRequest>, max: u32) -> wasmtime::Result<()> {
        self.table.get_mut(&request)?.redirects = Some(max);
        Ok(())
    }

    fn stream_body(
        &mut self,
        request: Resource<HttpRequest>,
        length: Option<u64>,
    ) -> wasmtime::Result<()> {
        self.table.get_mut(&request)?.streamed = Some(StreamedBody { length });
        Ok(())
    }

    fn drop(&mut self, request: Resource<HttpRequest>) -> wasmtime::Result<()> {
        self.table.delete(request)?;
        Ok(())
    }
}

impl HostExchange for BrokerView<'_> {
    async fn response(
        &mut self,
        exchange: Resource<HttpExchange>,
    ) -> Result<Resource<HttpResponse>, CallError> {
        let response = self.table.get_mut(&exchange)?.response().await?;
        Ok(self.table.push(response)?)
    }

    async fn write_body(
        &mut self,
        exchange: Resource<HttpExchange>,
        bytes: Vec<u8>,
    ) -> Result<(), CallError> {
        Ok(self.table.get_mut(&exchange)?.write_body(bytes).await?)
    }

    fn end_body(&mut self, exchange: Resource<HttpExchange>) -> Result<(), CallError> {
        Ok(self.table.get_mut(&exchange)?.end_body()?)
    }

    fn drop(&mut self, exchange: Resource<HttpExchange>) -> wasmtime::Result<()> {
        self.table.delete(exchange)?;
        Ok(())
    }
}

impl HostResponse for BrokerView<'_> {
    fn status(&mut self, response: Resource<HttpResponse>) -> wasmtime::Result<u16> {
        Ok(self.table.get(&response)?.status())
    }

    fn headers(
        &mut self,
        response: Resource<HttpResponse>,
    ) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.table.get(&response)?.headers().to_vec())
    }

    fn url(&mut self, response: Resource<HttpResponse>) -> wasmtime::Result<String> {
        Ok(self.table.get(&response)?.url().to_owned())
    }

    async fn read(
        &mut self,
        response: Resource<HttpResponse>,
        max: u32,
    ) -> Result<Option<Vec<u8>>, CallError> {
        Ok(self.table.get_mut(&response)?.read(max).await?)
    }

    fn drop(&mut self, response: Resource<HttpResponse>) -> wasmtime::Result<()> {
        self.table.delete(response)?;
        Ok(())
    }
}
