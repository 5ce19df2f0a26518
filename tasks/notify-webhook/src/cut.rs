//! Text within a receiver's limits. Receivers count UTF-16 units, as JavaScript does; so does this.

/// Shown where text was cut off.
const ELLIPSIS: char = '…';

/// Text being cut, and whether anything was lost on the way.
#[derive(Default)]
pub(crate) struct Cutter {
    pub(crate) lost: bool,
}

/// A letter as it is sent.
pub(crate) type Encode = fn(char, &mut String);

/// The letter itself.
pub(crate) fn as_is(letter: char, into: &mut String) {
    into.push(letter);
}

/// Slack's three control characters: unescaped, `<!channel>` calls everybody.
pub(crate) fn slack(letter: char, into: &mut String) {
    match letter {
        '&' => into.push_str("&amp;"),
        '<' => into.push_str("&lt;"),
        '>' => into.push_str("&gt;"),
        other => into.push(other),
    }
}

/// How long a text is for a receiver.
pub(crate) fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

impl Cutter {
    /// The text, at most `max` long with its letters encoded; an escape is never cut in two.
    pub(crate) fn cut(&mut self, text: &str, max: usize, encode: Encode) -> String {
        let mut parts = self.parts(text, max, 1, encode);
        parts.pop().unwrap_or_default()
    }

    /// The text in at most `count` parts of at most `max`, divided at a line's end where there is one near.
    pub(crate) fn parts(
        &mut self,
        text: &str,
        max: usize,
        count: usize,
        encode: Encode,
    ) -> Vec<String> {
        let mut parts = Vec::new();
        let (mut part, mut used) = (String::new(), 0);
        for letter in text.chars() {
            let mut encoded = String::new();
            encode(letter, &mut encoded);
            let more = length(&encoded);
            if used + more > max {
                if parts.len() + 1 >= count {
                    self.lost = true;
                    shorten(&mut part, max, encode);
                    part.push(ELLIPSIS);
                    parts.push(part);
                    return parts;
                }
                let rest = split_at_line(&mut part);
                used = length(&rest);
                parts.push(std::mem::replace(&mut part, rest));
            }
            part.push_str(&encoded);
            used += more;
        }
        if !part.is_empty() {
            parts.push(part);
        }
        parts
    }
}

/// Takes encoded letters off the end until the ellipsis fits.
fn shorten(part: &mut String, max: usize, encode: Encode) {
    let escapes = ["&amp;", "&lt;", "&gt;"];
    let mut escaped = String::new();
    encode('&', &mut escaped);
    let knows_escapes = escaped.len() > 1;
    while length(part) + 1 > max {
        let escape = escapes
            .iter()
            .find(|escape| knows_escapes && part.ends_with(**escape));
        let keep = part.len()
            - escape.map_or_else(
                || part.chars().next_back().map_or(part.len(), char::len_utf8),
                |escape| escape.len(),
            );
        part.truncate(keep);
    }
}

/// Cuts a full part at its last line's end, if that is in its second half; answers what comes after.
fn split_at_line(part: &mut String) -> String {
    match part.rfind('\n') {
        Some(at) if at >= part.len() / 2 => {
            let rest = part.split_off(at + 1);
            part.truncate(at);
            rest
        }
        _ => String::new(),
    }
}
