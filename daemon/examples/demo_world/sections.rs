//! All routes of the world on one address, and the page that explains them.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::Response;
use axum::routing::get;

use crate::answer;
use crate::observe::observe;
use crate::world::Shared;
use crate::{blog, control, llm, mall, news, s3, translate, trend, vision};

/// The help at the root.
const HELP: &str = include_str!("README.md");

/// The whole world as one service.
pub fn router(world: Shared) -> Router {
    Router::new()
        .route("/", get(help))
        .merge(trend::routes())
        .merge(mall::routes())
        .merge(news::routes())
        .merge(s3::routes())
        .merge(vision::routes())
        .merge(translate::routes())
        .merge(llm::routes())
        .merge(blog::routes())
        .merge(control::routes())
        .fallback(nothing)
        // The observing layer reads the body and has its own limit.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(world.clone(), observe))
        .with_state(world)
}

async fn help() -> Response {
    answer::typed(StatusCode::OK, "text/plain; charset=UTF-8", HELP)
}

async fn nothing() -> Response {
    let message = "no such route in the demo world; the root page lists them";
    answer::json(
        StatusCode::NOT_FOUND,
        &serde_json::json!({ "error": { "code": 404, "message": message } }),
    )
}
