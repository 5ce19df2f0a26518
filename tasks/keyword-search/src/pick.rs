//! Which of the ranked keywords is taken.

use crate::Ranking;

/// How the keyword is chosen.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Deserialize,
    serde::Serialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pick {
    /// Any, all alike.
    #[default]
    Random,
    /// The one ranked first.
    Top,
}

/// The keyword taken; none from an empty ranking.
pub(crate) fn pick(ranking: &Ranking, pick: Pick, seed: u64) -> Option<String> {
    let at = match pick {
        Pick::Top => 0,
        Pick::Random => {
            // The high half of a product maps 64 random bits to 0..len evenly enough, without a division.
            let share = (u128::from(mixed(seed)) * ranking.len() as u128) >> 64;
            usize::try_from(share).unwrap_or_default()
        }
    };
    ranking.values().nth(at).cloned()
}

/// The seed that a text stands for: its FNV-1a hash, 64 bits (Fowler, Noll, Vo).
pub(crate) fn seed_of(text: &str) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325; // the offset basis that the hash defines
    const PRIME: u64 = 0x0100_0000_01b3; // the prime that the hash defines
    text.bytes().fold(BASIS, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    })
}

/// SplitMix64's step and finaliser (Steele, Lea and Flood, 2014): neighbouring seeds give unrelated bits.
fn mixed(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn ranking() -> Ranking {
        (1..=40).map(|rank| (rank, format!("k{rank}"))).collect()
    }

    #[test]
    fn the_same_seed_takes_the_same_keyword_and_seeds_reach_every_keyword() {
        let taken = |seed| pick(&ranking(), Pick::Random, seed);
        assert_eq!(taken(7), taken(7));
        let reached: BTreeSet<_> = (0..1000).map(taken).collect();
        assert_eq!(reached.len(), 40);
    }

    #[test]
    fn top_takes_the_best_rank_there_is() {
        let ranking = Ranking::from([(10, "ten".to_owned()), (2, "two".to_owned())]);
        assert_eq!(pick(&ranking, Pick::Top, 1).as_deref(), Some("two"));
    }

    #[test]
    fn nothing_is_taken_from_nothing() {
        assert_eq!(pick(&Ranking::new(), Pick::Random, 1), None);
        assert_eq!(pick(&Ranking::new(), Pick::Top, 1), None);
    }
}
