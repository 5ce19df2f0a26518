//! The mall's products: made from the word lists and the seed, the same on every start. How they look as pages is
//! in `mall`, how their pictures become bytes in `picture`.

pub mod words;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::chance::Chance;
use words::{
    BRANDS, CATEGORIES, CLEARANCE, COLOURS, COMMON_PHRASES, Category, KOREAN_LINES, UNSOLD,
};

/// Products on a shelf: 15 shelves make 270, more than any page or batch of the sample workflow.
const PER_SHELF: usize = 18;
/// How many of a shelf's products carry its first noun: more than the ten that `product-rank` keeps.
const HEAD_NOUN: usize = 12;
/// The first ordinary product; twelve digits, as the mall's supplier numbers them.
const FIRST_ID: u64 = 680_000_000_001;
/// The first product of the clearance shelf.
const FIRST_CLEARANCE_ID: u64 = 689_000_000_001;
/// Keywords a category id has: two pages of twenty.
const KEYWORDS: usize = 40;
/// One product in this many has no title on any of its links.
const UNTITLED_EVERY: usize = 9;
/// One product in this many has pictures whose text is Korean already.
const KOREAN_EVERY: usize = 7;

/// What is wrong, on purpose, with a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Defect {
    /// Its page answers 404.
    Gone,
    /// Its page has no `h1#kakaotitle`.
    NoTitle,
    /// Its pictures answer 200 with bytes that are no picture.
    BrokenPictures,
    /// Its page comes late (`--slow-ms`).
    Slow,
    /// Its page answers 500.
    ServerError,
    /// Its page has no picture at all.
    NoPictures,
    /// Its pictures answer 404.
    MissingPictures,
}

const DEFECTS: [Defect; 7] = [
    Defect::Gone,
    Defect::NoTitle,
    Defect::BrokenPictures,
    Defect::Slow,
    Defect::ServerError,
    Defect::NoPictures,
    Defect::MissingPictures,
];

/// A picture as planned; the bytes are made when asked for.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedPicture {
    /// `0`, `1`, … for detail pictures, `o0`, `o1`, … for options.
    pub name: String,
    /// `png` or `jpg`.
    pub format: &'static str,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// 0 to 255: how grainy, which decides the size in bytes.
    pub grain: u8,
    /// What an OCR service reads on it; empty for a picture without text.
    pub text: String,
}

/// One choice of a product.
#[derive(Clone, Debug, Serialize)]
pub struct Choice {
    /// Korean name.
    pub name: String,
    /// Pieces in stock.
    pub stock: u64,
    /// The name of its picture.
    pub picture: String,
}

/// A product of the mall.
#[derive(Clone, Debug, Serialize)]
pub struct Product {
    /// `num_iid` in addresses.
    pub id: u64,
    /// The shelf's key.
    pub category: &'static str,
    /// The shelf's Korean name.
    pub category_name: &'static str,
    /// Korean title.
    pub title: String,
    /// Price in won.
    pub price_won: u64,
    /// Rating in half stars, 0 to 10.
    pub half_stars: u64,
    /// Choices, in page order.
    pub options: Vec<Choice>,
    /// Property and value.
    pub materials: Vec<(String, String)>,
    /// Detail pictures, then option pictures.
    pub pictures: Vec<PlannedPicture>,
    /// What is wrong with it on purpose.
    pub defect: Option<Defect>,
    /// True if no link to it carries a title.
    pub untitled_links: bool,
}

/// All products, by number.
pub struct Catalog {
    products: BTreeMap<u64, Product>,
    seed: u64,
}

impl Catalog {
    /// Makes the catalog that belongs to `seed`.
    pub fn grow(seed: u64) -> Self {
        let mut products = BTreeMap::new();
        let mut id = FIRST_ID;
        for category in CATEGORIES {
            for place in 0..PER_SHELF {
                products.insert(id, ordinary(seed, id, place, category));
                id += 1;
            }
        }
        // Two sound products first, so that a run over the clearance shelf also has something to publish.
        let defects = [None, None]
            .into_iter()
            .chain(DEFECTS.into_iter().map(Some));
        for (id, defect) in (FIRST_CLEARANCE_ID..).zip(defects) {
            products.insert(id, clearance(seed, id, defect));
        }
        Self { products, seed }
    }

    /// All products, by number.
    pub fn all(&self) -> impl Iterator<Item = &Product> {
        self.products.values()
    }

    /// The product with that number.
    pub fn get(&self, id: u64) -> Option<&Product> {
        self.products.get(&id)
    }

    /// What the mall finds for a keyword: whole keyword first, then all words, then any word of two characters,
    /// then the rest of the best product's shelf; nothing at all if no word is found.
    pub fn search(&self, keyword: &str) -> Vec<&Product> {
        let words: Vec<&str> = keyword
            .split_whitespace()
            .filter(|word| word.chars().count() >= 2)
            .collect();
        let keyword = keyword.trim();
        if keyword.is_empty() {
            return Vec::new();
        }
        let mut found: Vec<(u8, u64, &Product)> = Vec::new();
        let mut rest = Vec::new();
        for product in self.all() {
            let hits = words
                .iter()
                .filter(|word| product.title.contains(**word))
                .count();
            let score = if product.title.contains(keyword) {
                3
            } else if hits > 0 && hits == words.len() {
                2
            } else {
                u8::from(hits > 0)
            };
            // The mall's own order among equals: mixed, but always the same.
            let order = Chance::new(self.seed, &format!("{keyword}/{}", product.id)).bits();
            if score > 0 {
                found.push((3 - score, order, product));
            } else {
                rest.push(product);
            }
        }
        found.sort_by_key(|(rank, order, _)| (*rank, *order));
        let shelf = found.first().map(|(_, _, product)| product.category);
        let neighbours = rest
            .into_iter()
            .filter(|product| Some(product.category) == shelf)
            .take(4);
        found
            .into_iter()
            .map(|(_, _, product)| product)
            .take(56)
            .chain(neighbours)
            .collect()
    }

    /// The ranked keywords of a trend category, at most forty; empty for an unknown one. The first is always a
    /// noun that at least twelve products carry; ranks 7, 16, 29 and 38 are things the mall does not sell.
    pub fn keywords(&self, cid: &str) -> Vec<String> {
        let mut nouns: Vec<String> = Vec::new();
        let mut longer: Vec<String> = Vec::new();
        for category in CATEGORIES.iter().filter(|category| category.cid == cid) {
            nouns.extend(category.nouns.iter().map(|noun| (*noun).to_owned()));
            for product in self
                .all()
                .filter(|product| product.category == category.key)
            {
                let words: Vec<&str> = product.title.split(' ').collect();
                // A title is "[brand] adjective material noun size": its inner neighbours are good keywords.
                let pairs = words.windows(2).skip(1);
                let triples = words.windows(3).skip(1).take(1);
                longer.extend(pairs.chain(triples).map(|part| part.join(" ")));
            }
        }
        if nouns.is_empty() {
            return Vec::new();
        }
        longer.sort();
        longer.dedup();
        Chance::new(self.seed, &format!("trend/{cid}")).shuffle(&mut longer);
        if cid == CLEARANCE.cid {
            nouns.push(CLEARANCE.name.to_owned());
        }
        let mut ranked: Vec<String> = nouns
            .into_iter()
            .chain(longer)
            .take(KEYWORDS - UNSOLD.len())
            .collect();
        for (unsold, rank) in UNSOLD.iter().zip([7, 16, 29, 38]) {
            let at = ranked.len().min(rank - 1);
            ranked.insert(at, (*unsold).to_owned());
        }
        ranked
    }

    /// The trend category ids, without repetition.
    pub fn cids() -> Vec<&'static str> {
        let mut cids: Vec<&str> = CATEGORIES.iter().map(|category| category.cid).collect();
        cids.sort_unstable();
        cids.dedup();
        cids
    }

    /// Every Chinese phrase with its Korean meaning.
    pub fn phrases() -> impl Iterator<Item = (&'static str, &'static str)> {
        let shelves = CATEGORIES.iter().chain(std::iter::once(&CLEARANCE));
        COMMON_PHRASES
            .iter()
            .chain(shelves.flat_map(|category| category.phrases))
            .copied()
    }
}

fn ordinary(seed: u64, id: u64, place: usize, category: &'static Category) -> Product {
    let mut chance = Chance::new(seed, &format!("product/{id}"));
    let noun = match place.checked_sub(HEAD_NOUN) {
        None => category.nouns.first(),
        Some(later) => category.nouns.get(1 + later % 2),
    };
    // The brand and the size step through their lists, so that no two titles of a shelf are equal.
    let brand = BRANDS
        .get((place + chance.below(2) as usize * 5) % BRANDS.len())
        .copied()
        .unwrap_or_default();
    let size = category
        .sizes
        .get(place / 4 % category.sizes.len())
        .copied()
        .unwrap_or_default();
    let adjective = chance.word(category.adjectives);
    let material = chance.word(category.materials);
    let noun = noun.copied().unwrap_or_default();
    let words = Words {
        title: format!("[{brand}] {adjective} {material} {noun} {size}"),
        material,
        size,
    };
    let mut product = outline(&mut chance, id, category, words, 3 + place % 3);
    product.untitled_links = place % UNTITLED_EVERY == UNTITLED_EVERY - 1;
    if place % KOREAN_EVERY == KOREAN_EVERY - 1 {
        for picture in product
            .pictures
            .iter_mut()
            .filter(|picture| !picture.text.is_empty())
        {
            picture.text = chance.word(KOREAN_LINES).to_owned();
        }
    }
    product
}

fn clearance(seed: u64, id: u64, defect: Option<Defect>) -> Product {
    let mut chance = Chance::new(seed, &format!("product/{id}"));
    let title = format!(
        "[{}] 특가 재고정리 묶음 {}호",
        chance.word(BRANDS),
        id - FIRST_CLEARANCE_ID + 1
    );
    let words = Words {
        title,
        material: "혼합소재",
        size: "단품",
    };
    let mut product = outline(&mut chance, id, &CLEARANCE, words, 3);
    product.defect = defect;
    if defect == Some(Defect::NoPictures) {
        product.pictures.clear();
    }
    product
}

/// What a product's title says, and its properties must repeat.
struct Words {
    title: String,
    material: &'static str,
    size: &'static str,
}

fn outline(
    chance: &mut Chance,
    id: u64,
    category: &'static Category,
    words: Words,
    details: usize,
) -> Product {
    let (low, high) = category.price;
    let price_won = chance.between(low / 100, high / 100) * 100;
    let mut colours = COLOURS.to_vec();
    chance.shuffle(&mut colours);
    let count = chance.between(2, 4) as usize;
    let options: Vec<Choice> = colours
        .iter()
        .take(count)
        .enumerate()
        .map(|(index, colour)| Choice {
            name: format!("{colour} {}", chance.word(category.sizes)),
            stock: chance.below(500),
            picture: format!("o{index}"),
        })
        .collect();
    let mut pictures: Vec<PlannedPicture> = (0..details)
        .map(|index| detail_picture(chance, category, index))
        .collect();
    pictures.extend(
        options
            .iter()
            .map(|option| planned(chance, option.picture.clone(), String::new())),
    );
    let names: Vec<&str> = options.iter().map(|option| option.name.as_str()).collect();
    let number = chance.between(1000, 9999);
    let materials = [
        ("소재", words.material.to_owned()),
        ("색상", names.join(", ")),
        ("사이즈", words.size.to_owned()),
        ("무게", format!("{}g", chance.between(12, 180) * 10)),
        ("제조국", "중국".to_owned()),
        ("품번", format!("{}-{number}", category.key.to_uppercase())),
    ];
    Product {
        id,
        category: category.key,
        category_name: category.name,
        title: words.title,
        price_won,
        half_stars: chance.between(5, 10),
        options,
        materials: materials
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec(),
        pictures,
        defect: None,
        untitled_links: false,
    }
}

fn detail_picture(
    chance: &mut Chance,
    category: &'static Category,
    index: usize,
) -> PlannedPicture {
    // The first picture shows the product only, as shops do; the later ones are printed over with phrases.
    if index == 0 {
        return planned(chance, "0".to_owned(), String::new());
    }
    let mut phrases: Vec<&str> = category
        .phrases
        .iter()
        .chain(COMMON_PHRASES)
        .map(|(chinese, _)| *chinese)
        .collect();
    chance.shuffle(&mut phrases);
    let lines = chance.between(2, 4) as usize;
    phrases.truncate(lines);
    planned(chance, index.to_string(), phrases.join("\n"))
}

fn planned(chance: &mut Chance, name: String, text: String) -> PlannedPicture {
    PlannedPicture {
        name,
        format: if chance.below(2) == 0 { "png" } else { "jpg" },
        width: chance.between(64, 200) as u32,
        height: chance.between(64, 200) as u32,
        grain: chance.below(120) as u8,
        text,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Catalog, Defect};

    #[test]
    fn the_mall_has_over_two_hundred_products_on_over_twelve_shelves_with_titles_of_their_own() {
        let catalog = Catalog::grow(1);
        let shelves: BTreeSet<_> = catalog.all().map(|product| product.category).collect();
        let titles: BTreeSet<_> = catalog.all().map(|product| product.title.clone()).collect();
        assert!(catalog.all().count() >= 200, "{}", catalog.all().count());
        assert!(shelves.len() >= 12, "{shelves:?}");
        assert_eq!(titles.len(), catalog.all().count());
    }

    #[test]
    fn the_same_seed_grows_the_same_world_and_another_seed_another() {
        let text =
            |seed| serde_json::to_string(&Catalog::grow(seed).all().collect::<Vec<_>>()).unwrap();
        assert_eq!(text(5), text(5));
        assert_ne!(text(5), text(6));
    }

    #[test]
    fn the_top_keyword_matches_more_than_ten_products_and_some_keywords_match_none() {
        for seed in 0..5 {
            let catalog = Catalog::grow(seed);
            for cid in Catalog::cids() {
                let keywords = catalog.keywords(cid);
                assert_eq!(keywords.len(), 40, "{cid}");
                let hits = |keyword: &String| {
                    catalog
                        .all()
                        .filter(|product| product.title.contains(keyword))
                        .count()
                };
                assert!(hits(&keywords[0]) > 10, "{cid} {keywords:?}");
                for (index, keyword) in keywords.iter().enumerate() {
                    let sold = ![6, 15, 28, 37].contains(&index);
                    assert_eq!(hits(keyword) > 0, sold, "{cid} {index} {keyword}");
                    assert_eq!(
                        catalog.search(keyword).is_empty(),
                        !sold,
                        "{cid} {index} {keyword}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_defect_is_on_the_clearance_shelf_beside_sound_products() {
        let catalog = Catalog::grow(1);
        let found = catalog.search("재고정리");
        assert!(
            found
                .iter()
                .any(|product| product.defect == Some(Defect::Gone))
        );
        assert_eq!(
            found
                .iter()
                .filter(|product| product.defect.is_some())
                .count(),
            7
        );
        assert_eq!(
            found
                .iter()
                .filter(|product| product.defect.is_none())
                .count(),
            2
        );
    }
}
