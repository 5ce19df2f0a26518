//! What a product's page says, and where it says it. Fetching is elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use flowweaver_task::serde_json::Number;
use flowweaver_task::{Error, Result};
use task_page::{ElementRef, Page, Selector, Url, identity, selector, text};

use crate::number;

/// Attributes that hold a picture's address, those of late-loading pages first: there `src` is a placeholder.
const SOURCES: [&str; 4] = ["data-original", "data-src", "data-lazy", "src"];

/// Where the parts of a product's page are, as CSS selectors.
#[derive(Debug, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Selectors {
    /// The title.
    title: String,
    /// The price; the first match with a number counts.
    price: String,
    /// The rating as a number; the first match with one counts.
    rating: String,
    /// The pictures of whole stars, counted when no number tells the rating.
    rating_star: String,
    /// The pictures of half stars.
    rating_half_star: String,
    /// The options, one element each.
    option: String,
    /// Within an option: its name, as the `title` attribute or text.
    option_name: String,
    /// The word before the number of pieces in stock, within an option's text.
    option_stock_word: String,
    /// Within an option: its picture.
    option_image: String,
    /// The rows of the table of materials, one element each.
    material: String,
    /// Within a row: what is told.
    material_name: String,
    /// Within a row: its value.
    material_value: String,
    /// What the ids of detail pictures begin with; a number follows, which orders them.
    image_id: String,
}

impl Default for Selectors {
    fn default() -> Self {
        Selectors {
            title: "h1#kakaotitle".to_owned(),
            price: "span.price.gsItemPriceKWR, .pdt_price .price".to_owned(),
            rating: "a.start .rating".to_owned(),
            rating_star: "a.start img[src*='icon_star.']".to_owned(),
            rating_half_star: "a.start img[src*='icon_star_half.']".to_owned(),
            option: "ul#skubox li".to_owned(),
            option_name: "a[title], .name".to_owned(),
            option_stock_word: "재고".to_owned(),
            option_image: "img".to_owned(),
            material: ".pro-info-item".to_owned(),
            material_name: ".pro-info-title".to_owned(),
            material_value: ".pro-info-info".to_owned(),
            image_id: "img_translate_".to_owned(),
        }
    }
}

/// What a product's page says.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub(crate) struct ProductDetail {
    /// The address that answered in the end.
    url: String,
    /// The title.
    title: String,
    /// The price in the page's currency; null if none is given.
    price: Option<Number>,
    /// The rating in stars; null if none is given.
    rating: Option<Number>,
    /// The choices a buyer has.
    options: Vec<ProductOption>,
    /// What it is made of, and other properties, by name.
    material_info: BTreeMap<String, String>,
    /// Its pictures, each once: those of the description in their order, then those of the options.
    product_images: Vec<ProductImage>,
}

/// A choice.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct ProductOption {
    /// Its name.
    name: String,
    /// Pieces in stock; null if none is given.
    stock: Option<u64>,
    /// The absolute address of its picture; null without one.
    image_url: Option<String>,
}

/// A picture.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
struct ProductImage {
    /// Its absolute address.
    original_url: String,
}

/// The selectors, compiled.
pub(crate) struct Parts {
    title: Selector,
    price: Selector,
    rating: Selector,
    rating_star: Selector,
    rating_half_star: Selector,
    option: Selector,
    option_name: Selector,
    option_stock_word: String,
    option_image: Selector,
    material: Selector,
    material_name: Selector,
    material_value: Selector,
    image: Selector,
    image_id: String,
}

impl Parts {
    /// # Errors
    /// `input.invalid`, naming the field, for what is no selector.
    pub(crate) fn new(given: &Selectors) -> Result<Self> {
        let part = |name: &str, css: &str| selector(&format!("selectors.{name}"), css);
        Ok(Parts {
            title: part("title", &given.title)?,
            price: part("price", &given.price)?,
            rating: part("rating", &given.rating)?,
            rating_star: part("rating_star", &given.rating_star)?,
            rating_half_star: part("rating_half_star", &given.rating_half_star)?,
            option: part("option", &given.option)?,
            option_name: part("option_name", &given.option_name)?,
            option_stock_word: given.option_stock_word.clone(),
            option_image: part("option_image", &given.option_image)?,
            material: part("material", &given.material)?,
            material_name: part("material_name", &given.material_name)?,
            material_value: part("material_value", &given.material_value)?,
            image: part("image_id", "img[id]")?,
            image_id: given.image_id.clone(),
        })
    }

    /// Reads a page. Only the title must be there: without it the page is no product's.
    ///
    /// # Errors
    /// `title.missing`.
    pub(crate) fn read(&self, page: &Page) -> Result<ProductDetail> {
        let title = page
            .first_text(&self.title)
            .ok_or_else(|| Error::permanent("title.missing", "the page has no product title"))?;
        let options = self.options(page);
        Ok(ProductDetail {
            url: page.url().to_string(),
            title,
            price: first_number(page, &self.price).and_then(number::json),
            rating: self.rating(page).and_then(number::json),
            product_images: self.images(page, &options),
            options: options.into_iter().map(|(option, _)| option).collect(),
            material_info: self.materials(page),
        })
    }

    fn rating(&self, page: &Page) -> Option<f64> {
        first_number(page, &self.rating).or_else(|| {
            let whole = page.select(&self.rating_star).count() as f64;
            let half = page.select(&self.rating_half_star).count() as f64;
            // A product that nobody rated shows no star, which is not a rating of nothing.
            (whole + half > 0.0).then_some(whole + half / 2.0)
        })
    }

    fn options(&self, page: &Page) -> Vec<(ProductOption, Option<Url>)> {
        let option = |element: ElementRef<'_>| {
            let image = element
                .select(&self.option_image)
                .find_map(|image| source(page, image));
            let name = element
                .select(&self.option_name)
                .map(name)
                .find(|name| !name.is_empty())?;
            let all = number::narrow(&text(element));
            // What stands before the word is the option's name, which may hold numbers as well.
            let stock = all
                .rsplit_once(&self.option_stock_word)
                .and_then(|(_, after)| number::whole(after));
            Some((
                ProductOption {
                    name,
                    stock,
                    image_url: image.as_ref().map(Url::to_string),
                },
                image,
            ))
        };
        page.select(&self.option).filter_map(option).collect()
    }

    fn materials(&self, page: &Page) -> BTreeMap<String, String> {
        let mut materials = BTreeMap::new();
        for row in page.select(&self.material) {
            let cell = |part: &Selector| row.select(part).map(text).find(|text| !text.is_empty());
            if let (Some(name), Some(value)) =
                (cell(&self.material_name), cell(&self.material_value))
            {
                // A table that tells the same thing twice tells it best the first time.
                materials
                    .entry(name.trim_end_matches([':', ' ']).to_owned())
                    .or_insert(value);
            }
        }
        materials
    }

    fn images(&self, page: &Page, options: &[(ProductOption, Option<Url>)]) -> Vec<ProductImage> {
        let mut described: Vec<(u64, Url)> = page
            .select(&self.image)
            .filter_map(|image| {
                let place = image
                    .attr("id")?
                    .strip_prefix(&self.image_id)?
                    .parse()
                    .ok()?;
                Some((place, source(page, image)?))
            })
            .collect();
        described.sort_by_key(|(place, _)| *place);
        let mut seen = BTreeSet::new();
        let described = described.into_iter().map(|(_, url)| url);
        described
            .chain(options.iter().filter_map(|(_, image)| image.clone()))
            .filter(|url| seen.insert(identity(url)))
            .map(|url| ProductImage {
                original_url: url.into(),
            })
            .collect()
    }
}

fn first_number(page: &Page, part: &Selector) -> Option<f64> {
    page.select(part)
        .find_map(|element| number::first(&number::narrow(&text(element))))
}

fn name(element: ElementRef<'_>) -> String {
    let attribute = task_page::squeezed(element.attr("title").unwrap_or_default());
    if attribute.is_empty() {
        text(element)
    } else {
        attribute
    }
}

fn source(page: &Page, image: ElementRef<'_>) -> Option<Url> {
    SOURCES
        .iter()
        .filter_map(|name| image.attr(name))
        .find_map(|reference| page.address(reference))
}
