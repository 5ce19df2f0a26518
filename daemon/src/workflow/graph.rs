//! Which job and task waits for which: implicit and written edges, cycles, and who runs before
//! whom.

use std::collections::HashMap;

/// The edges of one list of items: `before[i]` are the items that `i` waits for.
pub(super) struct Edges {
    pub(super) before: Vec<Vec<usize>>,
}

impl Edges {
    /// A cycle as positions, the first repeated at the end; none when there is none.
    pub(super) fn cycle(&self) -> Option<Vec<usize>> {
        // 0: not seen, 1: on the path, 2: done. An explicit stack: a file decides its depth.
        let mut state = vec![0_u8; self.before.len()];
        for start in 0..self.before.len() {
            let mut path: Vec<(usize, usize)> = vec![(start, 0)];
            while let Some((at, next)) = path.last().copied() {
                if next == 0 && state.get(at).copied() == Some(2) {
                    path.pop();
                    continue;
                }
                set(&mut state, at, 1);
                let Some(&need) = self.before.get(at).and_then(|needs| needs.get(next)) else {
                    set(&mut state, at, 2);
                    path.pop();
                    continue;
                };
                if let Some(last) = path.last_mut() {
                    last.1 += 1;
                }
                match state.get(need).copied() {
                    Some(1) => {
                        let from = path.iter().position(|(item, _)| *item == need)?;
                        let mut cycle: Vec<usize> =
                            path.iter().skip(from).map(|(item, _)| *item).collect();
                        cycle.push(need);
                        return Some(cycle);
                    }
                    Some(0) => path.push((need, 0)),
                    _ => {}
                }
            }
        }
        None
    }

    /// Who runs before whom, directly or not. The edges must be free of cycles.
    pub(super) fn ancestors(&self) -> Ancestors {
        let words = self.before.len().div_ceil(64);
        let mut sets: Vec<Option<Box<[u64]>>> = vec![None; self.before.len()];
        for start in 0..self.before.len() {
            let mut stack = vec![start];
            while let Some(at) = stack.last().copied() {
                let needs = self.before.get(at).map_or(&[][..], Vec::as_slice);
                let open: Vec<usize> = needs
                    .iter()
                    .copied()
                    .filter(|need| sets.get(*need).is_some_and(Option::is_none))
                    .collect();
                if !open.is_empty() {
                    stack.extend(open);
                    continue;
                }
                let mut set = vec![0_u64; words].into_boxed_slice();
                for need in needs {
                    if let Some(Some(theirs)) = sets.get(*need) {
                        set.iter_mut().zip(theirs.iter()).for_each(|(a, b)| *a |= b);
                    }
                    if let Some(word) = set.get_mut(need / 64) {
                        *word |= 1 << (need % 64);
                    }
                }
                if let Some(slot) = sets.get_mut(at) {
                    *slot = Some(set);
                }
                stack.pop();
            }
        }
        Ancestors(sets)
    }
}

fn set(state: &mut [u8], at: usize, value: u8) {
    if let Some(slot) = state.get_mut(at) {
        *slot = value;
    }
}

/// For each item the set of those before it, one bit an item.
pub(super) struct Ancestors(Vec<Option<Box<[u64]>>>);

impl Ancestors {
    /// Whether `earlier` always ends before `later` begins.
    pub(super) fn is_before(&self, earlier: usize, later: usize) -> bool {
        self.0
            .get(later)
            .and_then(Option::as_ref)
            .and_then(|set| set.get(earlier / 64))
            .is_some_and(|word| word >> (earlier % 64) & 1 == 1)
    }
}

/// Names and the first position of each.
pub(super) type Positions<'n> = HashMap<&'n str, usize>;

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(before: &[&[usize]]) -> Edges {
        Edges {
            before: before.iter().map(|needs| needs.to_vec()).collect(),
        }
    }

    #[test]
    fn a_cycle_is_found_with_its_path_and_a_diamond_is_none() {
        assert_eq!(edges(&[&[], &[0], &[0], &[1, 2]]).cycle(), None);
        assert_eq!(edges(&[&[0]]).cycle(), Some(vec![0, 0]));
        assert_eq!(
            edges(&[&[], &[3], &[1], &[2, 0]]).cycle(),
            Some(vec![1, 3, 2, 1])
        );
    }

    #[test]
    fn those_before_an_item_are_all_that_lead_to_it() {
        let ancestors = edges(&[&[], &[0], &[], &[1, 2], &[]]).ancestors();
        let before = |at| {
            (0..5)
                .filter(|e| ancestors.is_before(*e, at))
                .collect::<Vec<_>>()
        };
        assert_eq!(before(3), [0, 1, 2]);
        assert_eq!(before(1), [0]);
        assert!(before(4).is_empty());
    }
}
