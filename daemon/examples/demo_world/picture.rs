//! Turns planned pictures into real PNG and JPEG bytes, and finds from bytes back to the picture. The bytes
//! depend on the seed, the product and the picture's name only.

use std::collections::HashMap;
use std::io::Cursor;

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, ImageReader, Rgb, RgbImage};
use sha2::{Digest, Sha256};

use crate::catalog::{Catalog, Defect, PlannedPicture, Product};
use crate::chance::Chance;
use crate::guarded::Guarded;

/// The name of one picture: product number and picture name.
pub type PictureKey = (u64, String);

/// A picture's bytes and their digest.
#[derive(Clone)]
pub struct Rendered {
    /// The file's bytes.
    pub bytes: Bytes,
    /// Lower-case hex SHA-256 of the bytes.
    pub sha256: String,
}

/// All pictures made so far.
pub struct Pictures {
    seed: u64,
    made: Guarded<Made>,
}

#[derive(Default)]
struct Made {
    by_key: HashMap<PictureKey, Rendered>,
    by_digest: HashMap<String, PictureKey>,
}

impl Pictures {
    /// No picture yet.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            made: Guarded::default(),
        }
    }

    /// The bytes of a product's picture.
    pub fn render(&self, product: &Product, picture: &PlannedPicture) -> Rendered {
        let key = (product.id, picture.name.clone());
        if let Some(made) = self.made.lock().by_key.get(&key) {
            return made.clone();
        }
        let broken = product.defect == Some(Defect::BrokenPictures);
        let bytes = if broken {
            scrap(self.seed, &key)
        } else {
            draw(self.seed, &key, picture)
        };
        let rendered = Rendered {
            sha256: digest(&bytes),
            bytes: Bytes::from(bytes),
        };
        let mut made = self.made.lock();
        made.by_digest.insert(rendered.sha256.clone(), key.clone());
        made.by_key.insert(key, rendered.clone());
        rendered
    }

    /// Which picture has these bytes, whether it was ever asked for or not: the planned pictures of the same format
    /// and size, which are few, are made and compared.
    pub fn find(&self, catalog: &Catalog, bytes: &[u8]) -> Option<PictureKey> {
        let sha256 = digest(bytes);
        if let Some(key) = self.made.lock().by_digest.get(&sha256) {
            return Some(key.clone());
        }
        let reader = ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .ok()?;
        let format = reader.format()?;
        let size = reader.into_dimensions().ok()?;
        for product in catalog.all() {
            for picture in product
                .pictures
                .iter()
                .filter(|picture| (picture.width, picture.height) == size)
            {
                if format_of(picture) == format && self.render(product, picture).sha256 == sha256 {
                    return Some((product.id, picture.name.clone()));
                }
            }
        }
        None
    }
}

fn format_of(picture: &PlannedPicture) -> ImageFormat {
    if picture.format == "png" {
        ImageFormat::Png
    } else {
        ImageFormat::Jpeg
    }
}

/// Lower-case hex SHA-256.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// True if the bytes decode as a PNG or JPEG.
pub fn is_picture(bytes: &[u8]) -> bool {
    image::load_from_memory(bytes).is_ok()
}

fn scrap(seed: u64, key: &PictureKey) -> Vec<u8> {
    format!(
        "<html><body>404 image {}/{} of {seed} was moved</body></html>",
        key.0, key.1
    )
    .into_bytes()
}

/// A product shot: a backdrop, a body in another colour, grain over both, and, where the picture carries text,
/// dark strokes in rows.
fn draw(seed: u64, key: &PictureKey, plan: &PlannedPicture) -> Vec<u8> {
    let mut chance = Chance::new(seed, &format!("picture/{}/{}", key.0, key.1));
    let colour = |chance: &mut Chance| [0; 3].map(|_: u8| chance.between(70, 235) as u8);
    let (backdrop, body) = (colour(&mut chance), colour(&mut chance));
    let (width, height) = (plan.width, plan.height);
    let rows = plan.text.lines().count() as u32;
    let mut canvas = RgbImage::new(width, height);
    for (x, y, pixel) in canvas.enumerate_pixels_mut() {
        let inside =
            x > width / 5 && x < width - width / 5 && y > height / 4 && y < height - height / 6;
        let stroke = rows > 0 && y % 14 < 3 && y / 14 < rows && (x / 9) % 3 != 2;
        let base = if inside { body } else { backdrop };
        let grain = chance.below(u64::from(plan.grain) + 1) as u8 / 2;
        *pixel = if stroke {
            Rgb([20, 20, 20])
        } else {
            Rgb(base.map(|part| part.saturating_sub(grain)))
        };
    }
    let mut file = Cursor::new(Vec::new());
    match DynamicImage::ImageRgb8(canvas).write_to(&mut file, format_of(plan)) {
        Ok(()) => file.into_inner(),
        // Writing to memory cannot fail for an RGB canvas of this size; an empty file would be seen at once.
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Pictures, is_picture};
    use crate::catalog::{Catalog, Defect};

    #[test]
    fn pictures_are_real_differ_from_each_other_and_are_found_by_their_bytes() {
        let catalog = Catalog::grow(3);
        let pictures = Pictures::new(3);
        let mut digests = BTreeSet::new();
        let mut count = 0;
        for product in catalog.all().take(6) {
            for picture in &product.pictures {
                let rendered = pictures.render(product, picture);
                assert!(is_picture(&rendered.bytes));
                assert_eq!(
                    Pictures::new(3).render(product, picture).bytes,
                    rendered.bytes
                );
                assert_eq!(
                    Pictures::new(3).find(&catalog, &rendered.bytes),
                    Some((product.id, picture.name.clone()))
                );
                digests.insert(rendered.sha256);
                count += 1;
            }
        }
        assert_eq!(digests.len(), count);
    }

    #[test]
    fn a_broken_picture_is_no_picture() {
        let catalog = Catalog::grow(3);
        let product = catalog
            .all()
            .find(|product| product.defect == Some(Defect::BrokenPictures))
            .unwrap();
        assert!(!is_picture(
            &Pictures::new(3).render(product, &product.pictures[0]).bytes
        ));
    }
}
