//! The router called in process: the same routes, authorization and bodies, without a socket.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use tower::ServiceExt;

/// What can go wrong while a body comes.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body that is still coming.
pub type ReplyBody = UnsyncBoxBody<Bytes, BodyError>;

/// The API without a network.
#[derive(Clone)]
pub struct LocalApi(Router);

impl LocalApi {
    /// Over this router.
    pub fn new(router: Router) -> Self {
        Self(router)
    }

    /// Calls it.
    pub async fn call(&self, request: Request<Full<Bytes>>) -> Response<ReplyBody> {
        let result: Result<_, Infallible> = self.0.clone().oneshot(request.map(Body::new)).await;
        let Ok(response) = result;
        response.map(|body| ReplyBody::new(body.map_err(Into::into)))
    }
}
