//! Text as a vector: hashed character n-grams, so that texts that share letters lie near each other.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// FNV-1a, 64 bit (Fowler, Noll, Vo).
fn hash(letters: &[char]) -> u64 {
    letters
        .iter()
        .flat_map(|letter| u32::from(*letter).to_le_bytes())
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        })
}

/// A vector of length one.
pub fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let letters: Vec<char> = format!(" {} ", text.to_lowercase()).chars().collect();
    let mut sums = vec![0_f32; dimensions];
    for size in 1..=3 {
        for gram in letters.windows(size) {
            let hash = hash(gram);
            // The top bit gives the sign, so that unrelated texts tend to a right angle.
            let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
            if let Some(sum) = sums.get_mut((hash % dimensions.max(1) as u64) as usize) {
                *sum += sign * size as f32;
            }
        }
    }
    let length = sums.iter().map(|part| part * part).sum::<f32>().sqrt();
    if length > 0.0 {
        sums.iter_mut().for_each(|part| *part /= length);
    } else if let Some(first) = sums.first_mut() {
        *first = 1.0;
    }
    sums
}

/// The vector as `encoding_format = "base64"` gives it: little-endian 32-bit floats.
pub fn base64(vector: &[f32]) -> Value {
    let bytes: Vec<u8> = vector.iter().flat_map(|part| part.to_le_bytes()).collect();
    json!(STANDARD.encode(bytes))
}
