//! No secret comes through, in no form and however the stream is cut; and nothing else is changed.

use super::*;
use proptest::prelude::*;

fn scrubber(secrets: &[&str]) -> Scrubber {
    Scrubber::new(secrets.iter().map(|s| SecretString::from(*s)).collect())
}

fn streamed(scrubber: &Scrubber, mut rest: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (mut carry, mut out) = (Vec::new(), Vec::new());
    for cut in cuts {
        let (head, tail) = rest.split_at((*cut).min(rest.len()));
        out.extend(scrubber.portion(&mut carry, head));
        rest = tail;
    }
    out.extend(scrubber.portion(&mut carry, rest));
    out.extend(scrubber.last(&mut carry));
    out
}

/// The ways in which a server may write something, made without the code under test.
fn written(secret: &str, how: usize, before: &[u8], after: &[u8]) -> Vec<u8> {
    let all = [before, secret.as_bytes(), after].concat();
    let percent = |keep: fn(&u8) -> bool, upper: bool| -> Vec<u8> {
        let escaped = |byte: &u8| match (keep(byte), upper) {
            (true, _) => char::from(*byte).to_string(),
            (false, true) => format!("%{byte:02X}"),
            (false, false) => format!("%{byte:02x}"),
        };
        secret
            .bytes()
            .map(|byte| escaped(&byte))
            .collect::<String>()
            .into_bytes()
    };
    let units = |upper: bool| -> Vec<u8> {
        let unit = |unit: u16| {
            if upper {
                format!("\\u{unit:04X}")
            } else {
                format!("\\u{unit:04x}")
            }
        };
        secret
            .encode_utf16()
            .map(unit)
            .collect::<String>()
            .into_bytes()
    };
    match how {
        0 => secret.as_bytes().to_vec(),
        1 => percent(|_| false, true),
        2 => percent(|_| false, false),
        3 => percent(u8::is_ascii_alphanumeric, true),
        4 => percent(u8::is_ascii_alphanumeric, false),
        5 => hex::encode(secret).into_bytes(),
        6 => hex::encode_upper(secret).into_bytes(),
        7 => {
            let quoted = serde_json::to_string(secret).unwrap();
            quoted.as_bytes()[1..quoted.len() - 1].to_vec()
        }
        8 => units(true),
        9 => units(false),
        10 => secret
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;")
            .into_bytes(),
        11 => base64::engine::general_purpose::STANDARD
            .encode(all)
            .into_bytes(),
        12 => base64::engine::general_purpose::URL_SAFE
            .encode(all)
            .into_bytes(),
        13 => STANDARD_NO_PAD.encode(all).replace('/', "\\/").into_bytes(),
        14 => STANDARD_NO_PAD
            .encode(all)
            .replace('+', "%2B")
            .replace('/', "%2F")
            .into_bytes(),
        15 => {
            let text = STANDARD_NO_PAD.encode(all);
            let lines: Vec<_> = text.as_bytes().chunks(7).map(<[u8]>::to_vec).collect();
            lines.join(&b"\r\n"[..])
        }
        _ => url::form_urlencoded::byte_serialize(secret.as_bytes())
            .collect::<String>()
            .into_bytes(),
    }
}

const WAYS: usize = 17;

/// What is left of an encoded text when the letters at its ends, which may hold bits of something
/// else, do not count.
fn core(encoded: &[u8], how: usize, before: usize, after: usize) -> Vec<u8> {
    if !(11..=15).contains(&how) {
        return encoded.to_vec();
    }
    let letters: Vec<u8> = encoded.to_vec();
    let (start, end) = (before.div_ceil(3) * 8 + 8, after.div_ceil(3) * 8 + 12);
    letters
        .get(start..letters.len().saturating_sub(end))
        .unwrap_or_default()
        .to_vec()
}

#[test]
fn a_secret_that_contains_another_is_masked_whole_however_it_arrives() {
    let scrubber = scrubber(&["abcd", "abcdefgh"]);
    assert_eq!(scrubber.text("x abcdefgh y abcd z"), "x *** y *** z");
    let out = streamed(&scrubber, b"x abcdefgh y abcd", &[6, 1, 1, 1, 20]);
    assert_eq!(String::from_utf8(out).unwrap(), "x *** y ***");
}

#[test]
fn a_secret_in_a_headers_name_is_masked_although_names_lose_their_case() {
    let scrubber = scrubber(&["Sk-Geheim-42"]);
    assert_eq!(scrubber.name("x-sk-geheim-42"), "***");
    assert_eq!(scrubber.name("x-request-id"), "x-request-id");
}

#[test]
fn a_short_secret_is_found_in_every_form_but_base64_and_a_shorter_one_is_not_looked_for() {
    let four = scrubber(&["p%4x"]);
    for text in [
        "p%4x",
        "p%254x",
        "%70%25%34%78",
        "7025 no",
        "70253478",
        "p\\u00254x",
    ] {
        assert_eq!(
            four.text(text).contains("***"),
            !text.contains("no"),
            "{text}"
        );
    }
    assert_eq!(scrubber(&["abc"]).text("abc abc"), "abc abc");
}

/// The bytes of a text whose letters are all of Latin-1.
fn latin(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).unwrap()).collect()
}

#[test]
fn a_secret_beyond_ascii_is_found_as_latin_1_and_as_utf_8_of_that() {
    let scrubber = scrubber(&["pässwörd-ÿ", "비밀번호"]);
    let mistaken = |text: &str| -> String { text.bytes().map(char::from).collect() };
    let latin = latin("pässwörd-ÿ");
    for found in [
        latin.clone(),
        b"p%E4ssw%f6rd-%ff".to_vec(),
        hex::encode(&latin).into_bytes(),
        base64::engine::general_purpose::STANDARD
            .encode([b"user:", &latin[..], b" "].concat())
            .into_bytes(),
        mistaken("pässwörd-ÿ").into_bytes(),
        mistaken("비밀번호").into_bytes(),
        "p\\u00c3\\u00a4ssw\\u00c3\\u00b6rd-\\u00c3\\u00bf".into(),
        "p&#xE4;ssw&#246;rd-&#255;".into(),
    ] {
        let body = [b"[echo] ", &found[..], b" [end]"].concat();
        for cuts in [&[][..], &[8, 1, 1, 1, 1, 1, 1, 1, 1]] {
            let out = streamed(&scrubber, &body, cuts);
            let shown = String::from_utf8_lossy(&out);
            assert!(shown.contains("***"), "{shown}");
            assert!(found.len() < 8 || !out.windows(6).any(|part| found[4..].starts_with(part)));
        }
    }
    // Text that shares letters with it, in either encoding, stays.
    for text in [&b"p\xe4sse \xe4\xf6\xff"[..], "Pässe 비밀".as_bytes()] {
        assert_eq!(streamed(&scrubber, text, &[3, 1]), text);
    }
}

#[test]
fn a_webhooks_key_is_found_without_its_prefix_and_decoded() {
    let key = "a key of 24 bytes, at least";
    let encoded = base64::engine::general_purpose::STANDARD.encode(key);
    let scrubber = scrubber(&[&format!("whsec_{encoded}")]);
    for (echo, left) in [
        (format!("[whsec_{encoded}]"), "[***]"),
        (format!("[{encoded}]"), "[***]"),
        (format!("[{key}]"), "[***]"),
        (format!("[{}]", hex::encode(key)), "[***]"),
        (format!("[{}]", hex::encode(&encoded)), "[***]"),
        ("[whsec_]".to_owned(), "[whsec_]"),
    ] {
        assert_eq!(scrubber.text(&echo), left, "{echo}");
    }
}

#[test]
fn what_may_be_a_secret_is_not_waited_for_without_end() {
    let scrubber = scrubber(&["wJalrXUtnFEMI/K7MDENG"]);
    let (mut carry, mut out) = (Vec::new(), Vec::new());
    for begin in ["d0phb", "\\u0077\\u00", "%77%4", "774a"] {
        out.extend(scrubber.portion(&mut carry, begin.as_bytes()));
        for _ in 0..100 {
            out.extend(scrubber.portion(&mut carry, b"\r\n"));
            assert!(carry.len() < 20, "{carry:?}");
        }
    }
    assert!(!out.is_empty());
}

#[test]
fn ordinary_text_is_not_changed() {
    let scrubber = scrubber(&["sk-geheim-42/+x y", "wJalrXUtnFEMI/K7MDENG"]);
    let text = "100% of &c. \\o/ \\u12 &#x; &amp; %zz %2 sk-geheim-4 \u{fffd}가나다 c2stZ2";
    assert_eq!(scrubber.text(text), text);
    let bytes: Vec<u8> = (0..=255).cycle().take(4_096).collect();
    assert_eq!(streamed(&scrubber, &bytes, &[1, 2, 3, 100, 1_000]), bytes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn no_secret_comes_through_as_latin_1_however_the_stream_is_cut(
        secret in "[ -~é\u{a1}-\u{ff}]{3,16}[\u{a1}-\u{ff}]",
        mistaken in any::<bool>(),
        cuts in prop::collection::vec(1usize..6, 0..80),
    ) {
        let scrubber = scrubber(&[&secret]);
        let echoed = if mistaken {
            secret.bytes().map(char::from).collect::<String>().into_bytes()
        } else {
            latin(&secret)
        };
        let body = [b"[echo] ", &echoed[..], b" [end]"].concat();
        let out = streamed(&scrubber, &body, &cuts);
        prop_assert!(!out.windows(echoed.len()).any(|part| part == echoed));
        prop_assert_eq!(out, b"[echo] *** [end]");
    }

    #[test]
    fn no_secret_comes_through_in_any_form_however_the_stream_is_cut(
        secret in "[ -~가é\"\\\\/+&<'% ]{8,24}",
        how in 0usize..WAYS,
        before in prop::collection::vec(any::<u8>(), 0..7),
        after in prop::collection::vec(any::<u8>(), 0..7),
        cuts in prop::collection::vec(1usize..6, 0..80),
    ) {
        let scrubber = scrubber(&[&secret]);
        let echoed = written(&secret, how, &before, &after);
        let body = [b"[echo] ", &echoed[..], b" [end]"].concat();
        let out = streamed(&scrubber, &body, &cuts);
        let shown = String::from_utf8_lossy(&out).into_owned();
        prop_assert!(shown.contains("***"), "{}", shown);
        let core = core(&echoed, how, before.len(), after.len());
        if core.len() > 4 {
            prop_assert!(!out.windows(core.len()).any(|part| part == core), "{}", shown);
        }
        // The same text in one piece gives the same result.
        prop_assert_eq!(out, streamed(&scrubber, &body, &[]));
    }

    #[test]
    fn secrets_that_overlap_do_not_come_through(
        text in "[ab]{0,60}", cuts in prop::collection::vec(1usize..5, 0..60),
    ) {
        let scrubber = scrubber(&["abab", "aabba", "ababbb"]);
        let out = String::from_utf8(streamed(&scrubber, text.as_bytes(), &cuts)).unwrap();
        prop_assert!(!out.contains("abab") && !out.contains("aabba"), "{}", out);
        prop_assert_eq!(out, scrubber.text(&text));
    }

    #[test]
    fn what_holds_no_secret_is_not_changed(
        bytes in prop::collection::vec(any::<u8>(), 0..400), cuts in prop::collection::vec(1usize..9, 0..60),
    ) {
        let scrubber = scrubber(&["a secret that no random bytes hold"]);
        prop_assert_eq!(streamed(&scrubber, &bytes, &cuts), bytes);
    }
}
