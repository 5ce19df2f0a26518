//! What the world holds, for tests to compare with: products, keywords, stored objects.

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use crate::answer::json;
use crate::catalog::{Catalog, Product};
use crate::fields::Fields;
use crate::mall::picture_path;
use crate::picture::digest;
use crate::world::{Shared, World};

/// The routes that only show.
pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/control/products", get(products))
        .route("/control/keywords", get(keywords))
        .route("/control/objects", get(objects))
}

async fn products(State(world): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    let found: Vec<&Product> = match fields.get("keyword") {
        Some(keyword) => world.catalog.search(keyword),
        None => world.catalog.all().collect(),
    };
    let digests = fields.flag("digests");
    let list: Vec<Value> = found
        .into_iter()
        .filter(|product| {
            fields
                .get("category")
                .is_none_or(|category| category == product.category)
        })
        .filter(|product| {
            fields
                .get("id")
                .is_none_or(|id| id == product.id.to_string())
        })
        .map(|product| view(&world, product, digests))
        .collect();
    json(
        StatusCode::OK,
        &json!({ "count": list.len(), "products": list }),
    )
}

fn view(world: &World, product: &Product, digests: bool) -> Value {
    let mut shown = json!(product);
    let Some(members) = shown.as_object_mut() else {
        return shown;
    };
    let address = world.url(&format!(
        "/mall/shop/view.php?platform=1688&num_iid={}",
        product.id
    ));
    members.insert("url".to_owned(), json!(address));
    let pictures = product.pictures.iter().enumerate().map(|(index, picture)| {
        let mut shown = json!(picture);
        if let (Some(members), Some(path)) = (shown.as_object_mut(), picture_path(product, index)) {
            members.insert("url".to_owned(), json!(world.url(&path)));
            if digests {
                let rendered = world.pictures.render(product, picture);
                members.insert("sha256".to_owned(), json!(rendered.sha256));
                members.insert("bytes".to_owned(), json!(rendered.bytes.len()));
            }
        }
        shown
    });
    members.insert("pictures".to_owned(), pictures.collect());
    shown
}

async fn keywords(State(world): State<Shared>) -> Response {
    let lists = Catalog::cids().into_iter().map(|cid| {
        let list: Vec<Value> = world
            .catalog
            .keywords(cid)
            .into_iter()
            .map(|keyword| {
                let exact = world
                    .catalog
                    .all()
                    .filter(|product| product.title.contains(&keyword))
                    .count();
                json!({ "keyword": keyword, "exact_matches": exact })
            })
            .collect();
        (cid.to_owned(), Value::Array(list))
    });
    json(StatusCode::OK, &Value::Object(lists.collect()))
}

async fn objects(State(world): State<Shared>) -> Response {
    let buckets = world.buckets.lock();
    let list: Vec<Value> = buckets
        .all()
        .map(|(bucket, key, object)| {
            let url = world.url(&format!("/s3/{bucket}/{key}"));
            json!({
                "bucket": bucket, "key": key, "url": url, "content_type": object.content_type,
                "bytes": object.bytes.len(), "sha256": digest(&object.bytes), "metadata": object.metadata,
            })
        })
        .collect();
    json(
        StatusCode::OK,
        &json!({ "count": list.len(), "objects": list }),
    )
}
