//! The mall's feed of new products: RSS as shops write it, with HTML in the description and rooted links. Dates count back
//! from now, so that "since yesterday" means something on any day.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use chrono::TimeDelta;

use crate::answer::{escape, typed};
use crate::world::Shared;

/// Products in the feed: two days and a half of them.
const PRODUCTS: usize = 12;
/// Hours between two products: a day holds five, and none is new exactly one or two days ago.
const HOURS: i64 = 5;

/// The feed's route.
pub fn routes() -> Router<Shared> {
    Router::new().route("/mall/shop/rss.php", get(feed))
}

async fn feed(State(world): State<Shared>) -> Response {
    let mut items = String::new();
    let mut published = world.now();
    for product in world
        .catalog
        .all()
        .filter(|product| product.defect.is_none())
        .take(PRODUCTS)
    {
        let html = format!(
            "<p><b>{}</b></p><p>{}원</p>",
            escape(product.category_name),
            product.price_won
        );
        items.push_str(&format!(
            "<item><title>{}</title><link>/mall/shop/view.php?platform=1688&amp;num_iid={id}</link>\
             <guid isPermaLink=\"false\">{id}</guid><pubDate>{}</pubDate><description><![CDATA[{html}]]></description></item>\n",
            escape(&product.title),
            published.to_rfc2822(),
            id = product.id,
        ));
        published -= TimeDelta::hours(HOURS);
    }
    let feed = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<rss version=\"2.0\">\n<channel><title>싸다구 데모몰 새 상품</title>\
         <link>/mall/</link><description>새로 들어온 상품</description>\n{items}</channel>\n</rss>\n"
    );
    typed(StatusCode::OK, "application/rss+xml; charset=UTF-8", feed)
}

#[cfg(test)]
mod tests {
    use crate::testing::Ask;

    #[tokio::test]
    async fn the_feed_names_twelve_products_and_five_of_them_since_yesterday() {
        let feed = Ask::get("/mall/shop/rss.php").send().await.text().await;
        assert_eq!(feed.matches("<item>").count(), 12, "{feed}");
        assert!(
            feed.contains("<pubDate>Wed, 4 Mar 2026 05:06:07 +0000</pubDate>"),
            "{feed}"
        );
        assert!(
            feed.contains("<pubDate>Tue, 3 Mar 2026 09:06:07 +0000</pubDate>"),
            "{feed}"
        );
    }
}
