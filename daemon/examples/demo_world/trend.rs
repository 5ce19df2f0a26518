//! The shopping-trend services: ranked keywords as Naver's data lab, Naver's best-seller page and Google Trends give
//! them. Keywords come from the catalog.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use chrono::NaiveDate;
use serde_json::{Value, json};

use crate::answer::{escape, json, typed};
use crate::catalog::Catalog;
use crate::fields::Fields;
use crate::world::Shared;

/// Keywords on a page, as the data lab serves them.
const PER_PAGE: usize = 20;
/// The form fields without which the data lab does not answer.
const REQUIRED: [&str; 6] = ["cid", "timeUnit", "startDate", "endDate", "page", "count"];

/// The section's routes.
pub fn routes() -> Router<Shared> {
    Router::new()
        .route(
            "/trend/shoppingInsight/getCategoryKeywordRank.naver",
            post(category_rank),
        )
        .route("/trend/api/v1/snxbest/keyword/rank", get(best_rank))
        .route("/trend/trending/rss", get(trending))
}

fn refused(message: &str) -> Response {
    json(
        StatusCode::BAD_REQUEST,
        &json!({ "statusCode": 400, "returnCode": -1, "message": message, "ranks": Value::Null }),
    )
}

fn checked(form: &Fields) -> Result<(String, usize, usize), String> {
    for name in REQUIRED {
        if form.get(name).is_none_or(str::is_empty) {
            return Err(format!("missing form field: {name}"));
        }
    }
    let field = |name| form.get(name).unwrap_or_default();
    if !matches!(field("timeUnit"), "date" | "week" | "month") {
        return Err("form field timeUnit must be date, week or month".to_owned());
    }
    let day = |name| {
        NaiveDate::parse_from_str(field(name), "%Y-%m-%d")
            .map_err(|_| format!("form field {name} must be a date like 2026-01-31"))
    };
    if day("startDate")? > day("endDate")? {
        return Err("form field startDate must not be after endDate".to_owned());
    }
    let number = |name, most: usize| {
        field(name)
            .parse::<usize>()
            .ok()
            .filter(|value| (1..=most).contains(value))
            .ok_or(format!(
                "form field {name} must be a number from 1 to {most}"
            ))
    };
    // The data lab ranks five hundred keywords, twenty a page.
    Ok((
        field("cid").to_owned(),
        number("page", 25)?,
        number("count", PER_PAGE)?,
    ))
}

async fn category_rank(State(world): State<Shared>, body: Bytes) -> Response {
    let Ok(text) = std::str::from_utf8(&body) else {
        return refused("the form is not UTF-8");
    };
    let form = Fields::from_query(text);
    let (cid, page, count) = match checked(&form) {
        Ok(choice) => choice,
        Err(message) => return refused(&message),
    };
    let ranks: Vec<Value> = world
        .catalog
        .keywords(&cid)
        .into_iter()
        .enumerate()
        .skip((page - 1) * count)
        .take(count)
        .map(|(index, keyword)| json!({ "rank": index + 1, "keyword": keyword, "linkId": keyword }))
        .collect();
    let range = format!(
        "{} ~ {}",
        form.get("startDate").unwrap_or_default(),
        form.get("endDate").unwrap_or_default()
    );
    let reply = json!({ "message": Value::Null, "statusCode": 200, "returnCode": 0, "range": range, "ranks": ranks });
    json(StatusCode::OK, &reply)
}

/// The keywords of one category, or the best few of all of them in turn.
fn best_keywords(world: &Shared, cid: Option<&str>) -> Vec<String> {
    if let Some(cid) = cid.filter(|cid| !cid.is_empty() && *cid != "A") {
        return world
            .catalog
            .keywords(cid)
            .into_iter()
            .take(PER_PAGE)
            .collect();
    }
    let lists: Vec<Vec<String>> = Catalog::cids()
        .into_iter()
        .map(|cid| world.catalog.keywords(cid))
        .collect();
    let in_turn =
        (0..2).flat_map(|rank| lists.iter().filter_map(move |list| list.get(rank).cloned()));
    in_turn.take(PER_PAGE).collect()
}

async fn best_rank(State(world): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    let list: Vec<Value> = best_keywords(&world, fields.get("categoryId"))
        .into_iter()
        .enumerate()
        .map(|(index, keyword)| {
            let link = world.url(&format!("/mall/shop/search.php?ss_tx={}", coded(&keyword)));
            json!({ "rank": index + 1, "title": keyword, "status": "STABLE", "changeRank": 0, "linkUrl": link })
        })
        .collect();
    json(StatusCode::OK, &Value::Array(list))
}

async fn trending(State(world): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    let Some(geo) = fields.get("geo").filter(|geo| !geo.is_empty()) else {
        return typed(
            StatusCode::BAD_REQUEST,
            "text/plain",
            "missing query field: geo",
        );
    };
    let day = world.now().format("%a, %d %b %Y 00:00:00 +0000");
    let mut items = String::new();
    // Only Korea is known here; another country has a feed without items, which a reader must bear.
    let keywords = if geo == "KR" {
        best_keywords(&world, None)
    } else {
        Vec::new()
    };
    for (index, keyword) in keywords.iter().enumerate() {
        let title = escape(keyword);
        let traffic = 20_000 / (index + 1) / 100 * 100;
        items.push_str(&format!(
            "<item><title>{title}</title><ht:approx_traffic>{traffic}+</ht:approx_traffic><description></description>\
             <link>{link}</link><pubDate>{day}</pubDate><ht:news_item><ht:news_item_title><![CDATA[{keyword} 인기 급상승]]>\
             </ht:news_item_title><ht:news_item_source>데모일보</ht:news_item_source></ht:news_item></item>\n",
            link = escape(&world.url(&format!("/trend/trending/rss?geo={geo}"))),
        ));
    }
    let feed = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<rss version=\"2.0\" \
         xmlns:atom=\"http://www.w3.org/2005/Atom\" xmlns:ht=\"https://trends.google.com/trending/rss\">\n<channel>\
         <title>Daily Search Trends</title><description>Recent searches</description><link>{}</link>\n{items}</channel>\n</rss>\n",
        world.url("/trend/"),
    );
    typed(StatusCode::OK, "application/rss+xml; charset=UTF-8", feed)
}

/// Text as a query value.
pub fn coded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::{Ask, json_of};

    const FORM: &str = "cid=50000001&timeUnit=date&startDate=2026-01-01&endDate=2026-01-02&age=&gender=&device=&page=1&count=20";

    fn rank(form: &str) -> Ask {
        Ask::post("/trend/shoppingInsight/getCategoryKeywordRank.naver")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form)
    }

    #[tokio::test]
    async fn a_missing_form_field_is_named() {
        for name in ["cid", "timeUnit", "startDate", "endDate", "page", "count"] {
            let form: Vec<&str> = FORM
                .split('&')
                .filter(|field| !field.starts_with(&format!("{name}=")))
                .collect();
            let (status, body) = json_of(rank(&form.join("&")).send().await).await;
            assert_eq!(status, 400);
            assert_eq!(body["message"], format!("missing form field: {name}"));
        }
    }

    #[tokio::test]
    async fn two_pages_of_twenty_are_ranked_without_a_gap() {
        let mut ranks = Vec::new();
        for page in 1..=3 {
            let (status, body) = json_of(
                rank(&FORM.replace("page=1", &format!("page={page}")))
                    .send()
                    .await,
            )
            .await;
            assert_eq!(status, 200);
            ranks.extend(
                body["ranks"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|rank| rank["rank"].as_u64().unwrap()),
            );
        }
        assert_eq!(ranks, (1..=40).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn the_store_ranking_and_the_feed_name_keywords() {
        let (_, list) = json_of(Ask::get("/trend/api/v1/snxbest/keyword/rank").send().await).await;
        assert_eq!(list[0]["rank"], 1);
        assert!(
            list[0]["title"]
                .as_str()
                .is_some_and(|title| !title.is_empty())
        );
        let feed = Ask::get("/trend/trending/rss?geo=KR")
            .send()
            .await
            .text()
            .await;
        assert!(feed.matches("<item>").count() >= 10, "{feed}");
        assert_eq!(Ask::get("/trend/trending/rss").send().await.status, 400);
    }
}
