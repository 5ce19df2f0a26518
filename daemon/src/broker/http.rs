//! `flowweaver:http`: requests on a task's behalf. Nothing is granted here yet: every send is denied.

use wasmtime::component::Resource;

use super::BrokerView;
use super::error::{CallError, Refusal};
use crate::bindings::http::client::{Host, HostExchange, HostRequest, HostResponse};

/// A request being built.
#[derive(Debug)]
pub struct HttpRequest;
/// A request on its way.
#[derive(Debug)]
pub struct HttpExchange;
/// A response whose head has arrived.
#[derive(Debug)]
pub struct HttpResponse;

fn denied() -> CallError {
    Refusal::permanent("http.denied", "no grant covers this request").into()
}

impl Host for BrokerView<'_> {
    async fn start(
        &mut self,
        request: Resource<HttpRequest>,
    ) -> Result<Resource<HttpExchange>, CallError> {
        self.table.delete(request)?;
        Err(denied())
    }
    async fn send(
        &mut self,
        request: Resource<HttpRequest>,
    ) -> Result<Resource<HttpResponse>, CallError> {
        self.table.delete(request)?;
        Err(denied())
    }
}

impl HostRequest for BrokerView<'_> {
    fn new(&mut self, _: String, _: String) -> wasmtime::Result<Resource<HttpRequest>> {
        Ok(self.table.push(HttpRequest)?)
    }
    fn append_header(
        &mut self,
        _: Resource<HttpRequest>,
        _: String,
        _: String,
    ) -> Result<(), CallError> {
        Ok(())
    }
    fn append_body(&mut self, _: Resource<HttpRequest>, _: Vec<u8>) -> Result<(), CallError> {
        Ok(())
    }
    fn set_timeout_ms(&mut self, _: Resource<HttpRequest>, _: u64) -> wasmtime::Result<()> {
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
        _: Resource<HttpExchange>,
    ) -> Result<Resource<HttpResponse>, CallError> {
        Err(denied())
    }
    fn drop(&mut self, exchange: Resource<HttpExchange>) -> wasmtime::Result<()> {
        self.table.delete(exchange)?;
        Ok(())
    }
}

impl HostResponse for BrokerView<'_> {
    fn status(&mut self, _: Resource<HttpResponse>) -> wasmtime::Result<u16> {
        Ok(0)
    }
    fn headers(&mut self, _: Resource<HttpResponse>) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }
    fn url(&mut self, _: Resource<HttpResponse>) -> wasmtime::Result<String> {
        Ok(String::new())
    }
    async fn read(
        &mut self,
        _: Resource<HttpResponse>,
        _: u32,
    ) -> Result<Option<Vec<u8>>, CallError> {
        Ok(None)
    }
    fn drop(&mut self, response: Resource<HttpResponse>) -> wasmtime::Result<()> {
        self.table.delete(response)?;
        Ok(())
    }
}
