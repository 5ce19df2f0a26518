//! The mall as a browser sees it: search pages full of noise, product pages, pictures. Which products exist is the
//! catalog's business; here is only their look, traps included: relative, rooted and absolute addresses, links
//! that repeat, links without a title, advertisements, entities in addresses.

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::answer::{escape, html, typed};
use crate::catalog::words::CATEGORIES;
use crate::catalog::{Defect, Product};
use crate::fields::Fields;
use crate::trend::coded;
use crate::world::{Shared, World};

/// The section's routes.
pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/mall/", get(front))
        .route("/mall/shop/search.php", get(search))
        .route("/mall/shop/view.php", get(view))
        .route("/mall/img/{product}/{file}", get(picture))
        .route("/mall/theme/{file}", get(decoration))
}

/// The address of a picture below `/mall`.
pub fn picture_path(product: &Product, index: usize) -> Option<String> {
    let picture = product.pictures.get(index)?;
    Some(format!(
        "/mall/img/{}/{}.{}",
        product.id, picture.name, picture.format
    ))
}

fn page(title: &str, body: &str) -> String {
    let shelves: String = CATEGORIES
        .iter()
        .map(|shelf| {
            format!(
                "<li><a href=\"/mall/shop/list.php?ca_id={}\">{}</a></li>\n",
                shelf.key, shelf.name
            )
        })
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"ko\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title} | 싸다구 데모몰</title>\n\
         <link rel=\"stylesheet\" href=\"/mall/theme/shop.css\">\n<script>var g5_url = \"/mall\"; if (1 < 2 && 3 > 2) {{ g5_url += \"\"; }}</script>\n\
         </head>\n<body>\n<header><a href=\"/mall/\"><img src=\"/mall/theme/logo.png\" alt=\"싸다구 데모몰\"></a>\n\
         <form action=\"/mall/shop/search.php\"><label>검색 <input name=\"ss_tx\"></label></form>\n\
         <nav><ul>{shelves}<li><a href=\"#\">장바구니</a></li><li><a href=\"javascript:void(0)\" onclick=\"login()\">로그인</a></li></ul></nav></header>\n\
         <main>\n{body}\n</main>\n<footer><a href=\"https://example.com/terms\">이용약관</a> <a href=\"/mall/bbs/faq.php\">자주 묻는 질문</a>\
         <p>주식회사 데모몰 | 통신판매업 2026-데모-0001</p></footer>\n</body>\n</html>\n"
    )
}

async fn front(State(_): State<Shared>) -> Response {
    html(
        StatusCode::OK,
        page("첫 화면", "<p>찾는 상품을 검색해 보세요.</p>"),
    )
}

async fn search(State(world): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    let keyword = fields.get("ss_tx").unwrap_or_default();
    let found = world.catalog.search(keyword);
    let shown = escape(keyword);
    let mut body = format!(
        "<h2>'{shown}' 검색 결과 <em>{}</em>건</h2>\n<div class=\"search_list\">\n",
        found.len()
    );
    for (place, product) in found.iter().enumerate() {
        body.push_str(&result(&world, product, place));
        if place % 10 == 4 {
            body.push_str(&advertisement(place));
        }
    }
    if found.is_empty() {
        body.push_str("<p class=\"empty_list\">검색된 자료가 하나도 없습니다.</p>");
    }
    let sorted = format!(
        "<a href=\"search.php?ss_tx={}&amp;sort=it_price\">낮은가격순</a>",
        coded(keyword)
    );
    body.push_str(&format!("</div>\n<div class=\"sort\">{sorted}</div>"));
    html(StatusCode::OK, page(&shown, &body))
}

fn result(world: &World, product: &Product, place: usize) -> String {
    let id = product.id;
    let ampersand = if place.is_multiple_of(2) {
        "&amp;"
    } else {
        "&"
    };
    let file = format!("view.php?platform=1688{ampersand}num_iid={id}");
    let href = match place % 4 {
        0 => file,
        1 => format!("/mall/shop/{file}"),
        2 => world.url(&format!("/mall/shop/{file}")),
        // Without the platform: the number alone also makes it a product link.
        _ => format!("./view.php?num_iid={id}"),
    };
    let title = escape(&product.title);
    let source = picture_path(product, 0).unwrap_or_else(|| "/mall/theme/no_image.png".to_owned());
    let image = format!("<img src=\"{source}\" loading=\"lazy\" alt=\"\">");
    let price = format!(
        "<span class=\"price\">{}원</span>",
        grouped(product.price_won)
    );
    // The picture's link comes first and never has a title of its own; the text's link repeats the address.
    let text = if product.untitled_links {
        format!("<a class=\"name\" href=\"{href}\"><span class=\"blind\"></span></a>")
    } else if place.is_multiple_of(3) {
        format!(
            "<a class=\"name\" href=\"{href}\" title=\"{title}\"><span>{}…</span></a>",
            escape(&shortened(&product.title))
        )
    } else {
        format!("<a class=\"name\" href=\"{href}\">\n    <strong>{title}</strong>\n  </a>")
    };
    let review = format!("<a class=\"review\" href=\"{href}#reviews_wrap\"></a>");
    format!(
        "<div class=\"product_item\">\n  <a class=\"pic\" href=\"{href}\">{image}</a>\n  {text}\n  {price} {review}\n</div>\n"
    )
}

fn shortened(title: &str) -> String {
    title.chars().take(14).collect()
}

fn advertisement(place: usize) -> String {
    format!(
        "<div class=\"ad\"><a href=\"https://ads.example.com/click?slot={place}&amp;to=view.php\" title=\"오늘만 특가\">[광고] 오늘만 특가</a>\n\
         <a href=\"/mall/shop/view.php?platform=taobao&amp;item={place}\" title=\"[광고] 타오바오 인기 상품\">[광고]</a></div>\n"
    )
}

/// Digits in groups of three.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn not_found() -> Response {
    html(
        StatusCode::NOT_FOUND,
        page("오류", "<p class=\"error\">존재하지 않는 상품입니다.</p>"),
    )
}

async fn view(State(world): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let fields = Fields::from_query(query.as_deref().unwrap_or_default());
    let wanted = fields.get("num_iid").and_then(|id| id.parse().ok());
    let Some(product) = wanted.and_then(|id| world.catalog.get(id)) else {
        return not_found();
    };
    match product.defect {
        Some(Defect::Gone) => return not_found(),
        Some(Defect::ServerError) => {
            return html(
                StatusCode::INTERNAL_SERVER_ERROR,
                page("오류", "<p>일시적인 오류가 발생했습니다.</p>"),
            );
        }
        // Slowness is what this product is for; a test that needs an event uses the gate instead.
        Some(Defect::Slow) => tokio::time::sleep(world.settings.slow).await,
        _ => {}
    }
    html(
        StatusCode::OK,
        page(&escape(&product.title), &product_body(&world, product)),
    )
}

fn product_body(world: &World, product: &Product) -> String {
    let heading = match product.defect {
        Some(Defect::NoTitle) => "<h1 class=\"loading\"></h1>".to_owned(),
        _ => format!(
            "<h1 id=\"kakaotitle\">\n  {}\n</h1>",
            escape(&product.title)
        ),
    };
    let full = product.half_stars / 2;
    let mut stars = "<img src=\"/mall/theme/icon_star.svg\" alt=\"\">".repeat(full as usize);
    if product.half_stars % 2 == 1 {
        stars.push_str("<img src=\"/mall/theme/icon_star_half.svg\" alt=\"\">");
    }
    let rating = format!("{}.{}", full, product.half_stars % 2 * 5);
    let won = grouped(product.price_won);
    format!(
        "<div class=\"pdt_view\">\n{heading}\n<div class=\"pdt_price\"><span class=\"price gsItemPriceKWR\">{won}원</span></div>\n\
         <a class=\"start\" href=\"#reviews_wrap\">{stars} <span class=\"rating\">{rating}</span></a>\n{options}\n{materials}\n\
         <div id=\"detail\">\n<img src=\"/mall/theme/delivery_notice.png\" alt=\"배송 안내\">\n{pictures}</div>\n\
         <section id=\"reviews_wrap\"><h2>상품평</h2><p>아직 상품평이 없습니다.</p></section>\n\
         <aside><h2>함께 본 상품</h2><a href=\"view.php?platform=1688&amp;num_iid={next}\">다음 상품</a></aside>\n</div>",
        options = options(world, product),
        materials = materials(product),
        pictures = details(world, product),
        next = product.id + 1,
    )
}

/// A picture's address in one of the ways that pages write it.
fn source(world: &World, product: &Product, index: usize) -> String {
    let path =
        picture_path(product, index).unwrap_or_else(|| "/mall/theme/no_image.png".to_owned());
    match (product.id + index as u64) % 4 {
        0 => path,
        1 => format!("..{}", path.trim_start_matches("/mall")),
        2 => world.url(&path),
        _ => {
            let absolute = world.url(&path);
            absolute
                .split_once(':')
                .map(|(_, rest)| format!("{rest}?v=2"))
                .unwrap_or(absolute)
        }
    }
}

fn options(world: &World, product: &Product) -> String {
    let mut list = "<ul id=\"skubox\">\n".to_owned();
    for option in &product.options {
        let at = product
            .pictures
            .iter()
            .position(|picture| picture.name == option.picture);
        let image = at.map(|index| {
            format!(
                "<img class=\"colorSpec_hashPic\" src=\"{}\" alt=\"\">",
                source(world, product, index)
            )
        });
        let name = escape(&option.name);
        list.push_str(&format!(
            "  <li class=\"imgWrapper\"><a href=\"javascript:;\" title=\"{name}\">{}<span class=\"name\">{name}</span></a> \
             <span class=\"stock\">재고 : {}</span></li>\n",
            image.unwrap_or_default(),
            option.stock,
        ));
    }
    list.push_str("</ul>");
    list
}

fn materials(product: &Product) -> String {
    let mut table = "<table class=\"pro-info\">\n<caption>상품 정보</caption>\n".to_owned();
    for (name, value) in &product.materials {
        table.push_str(&format!(
            "<tr class=\"pro-info-item\"><th class=\"pro-info-title\">{}</th><td class=\"pro-info-info\">{}</td></tr>\n",
            escape(name),
            escape(value),
        ));
    }
    table.push_str("</table>");
    table
}

fn details(world: &World, product: &Product) -> String {
    let mut tags: Vec<String> = Vec::new();
    for (index, picture) in product
        .pictures
        .iter()
        .enumerate()
        .filter(|(_, picture)| !picture.name.starts_with('o'))
    {
        let source = source(world, product, index);
        tags.push(format!(
            "<p><img id=\"img_translate_{}\" src=\"{source}\" alt=\"\"></p>\n",
            picture.name
        ));
    }
    // Some sellers lay their pictures out from last to first.
    if product.id.is_multiple_of(5) {
        tags.reverse();
    }
    tags.concat()
}

async fn picture(
    State(world): State<Shared>,
    Path((product, file)): Path<(u64, String)>,
) -> Response {
    let found = file.rsplit_once('.').and_then(|(name, format)| {
        let product = world.catalog.get(product)?;
        let picture = product
            .pictures
            .iter()
            .find(|picture| picture.name == name && picture.format == format)?;
        Some((product, picture))
    });
    let Some((product, picture)) =
        found.filter(|(product, _)| product.defect != Some(Defect::MissingPictures))
    else {
        return not_found();
    };
    let kind = if picture.format == "png" {
        "image/png"
    } else {
        "image/jpeg"
    };
    let mut response = typed(
        StatusCode::OK,
        kind,
        world.pictures.render(product, picture).bytes,
    );
    response.headers_mut().insert(
        CACHE_CONTROL,
        axum::http::HeaderValue::from_static("public, max-age=3600"),
    );
    response
}

/// Icons and style of the pages: one tiny drawing serves for all of them.
async fn decoration(Path(file): Path<String>) -> Response {
    match file.rsplit_once('.').map(|(_, kind)| kind) {
        Some("css") => typed(
            StatusCode::OK,
            "text/css",
            "body { font-family: sans-serif; } .blind { display: none; }",
        ),
        Some("svg" | "png") => typed(
            StatusCode::OK,
            "image/svg+xml",
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"16\" height=\"16\"><circle cx=\"8\" cy=\"8\" r=\"6\" fill=\"#fb3\"/></svg>",
        ),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use crate::picture::is_picture;
    use crate::testing::Ask;

    #[tokio::test]
    async fn a_search_page_has_products_among_noise_and_nothing_for_an_unsold_keyword() {
        let page = Ask::get("/mall/shop/search.php?ss_tx=%EB%B0%B1%ED%8C%A9")
            .send()
            .await
            .text()
            .await;
        assert!(page.matches("num_iid=").count() > 24, "{page}");
        assert!(page.contains("platform=taobao") && page.contains("<span class=\"blind\"></span>"));
        let page = Ask::get("/mall/shop/search.php?ss_tx=qwertz")
            .send()
            .await
            .text()
            .await;
        assert_eq!(page.matches("view.php").count(), 0, "{page}");
    }

    #[tokio::test]
    async fn a_product_page_has_title_options_materials_and_pictures_that_load() {
        let page = Ask::get("/mall/shop/view.php?platform=1688&num_iid=680000000001")
            .send()
            .await
            .text()
            .await;
        for part in [
            "id=\"kakaotitle\"",
            "id=\"skubox\"",
            "재고 :",
            "pro-info-item",
            "img_translate_0",
            "gsItemPriceKWR",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        let world = crate::testing::world();
        let product = world.catalog.get(680_000_000_001).unwrap();
        let path = super::picture_path(product, 0).unwrap();
        let answer = Ask::get(&path).send().await;
        assert_eq!(answer.status, 200);
        assert!(is_picture(&answer.bytes().await));
    }

    #[tokio::test]
    async fn a_defective_product_fails_the_way_it_is_meant_to() {
        let status = async |id: u64| {
            Ask::get(&format!("/mall/shop/view.php?num_iid={id}"))
                .send()
                .await
                .status
        };
        assert_eq!(status(689_000_000_003).await, 404);
        assert_eq!(status(689_000_000_007).await, 500);
        let page = Ask::get("/mall/shop/view.php?num_iid=689000000004")
            .send()
            .await
            .text()
            .await;
        assert!(!page.contains("kakaotitle"));
    }

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!(super::grouped(990), "990");
        assert_eq!(super::grouped(12_900), "12,900");
        assert_eq!(super::grouped(1_234_567), "1,234,567");
    }
}
