//! Patterns in rules, and answers given in turn.

/// Whether `text` is `pattern`, in which `*` is any text.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        match text.split_once(part) {
            Some((_, after)) => text = after,
            None => return false,
        }
    }
    true
}

/// Answers that are given one after the other; the last one is given from then on.
#[derive(Clone, Debug)]
pub(super) struct Turns<A> {
    answers: Vec<A>,
    given: usize,
}

impl<A> Default for Turns<A> {
    fn default() -> Self {
        Turns {
            answers: Vec::new(),
            given: 0,
        }
    }
}

impl<A: Clone> Turns<A> {
    pub(super) fn push(&mut self, answer: A) {
        self.answers.push(answer);
    }

    /// The answer that `take` would give.
    pub(super) fn peek(&self) -> Option<&A> {
        self.answers.get(self.given).or(self.answers.last())
    }

    /// The next answer; none when there is none at all.
    pub(super) fn take(&mut self) -> Option<A> {
        let answer = self.peek().cloned();
        self.given += 1;
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_and_all_else_is_literal() {
        for (pattern, text) in [
            ("*", ""),
            ("a*", "a"),
            ("*c", "abc"),
            ("a*c", "abbc"),
            ("a*b*c", "a1b2b3c"),
            ("a", "a"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("a", "ab"),
            ("a*", "ba"),
            ("a*c", "acd"),
            ("ab*b", "ab"),
            ("a*b*c", "acb"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
