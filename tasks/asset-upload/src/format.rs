//! Which kind of picture some bytes are. What the sender claims counts only for kinds that their bytes do not tell.

/// A kind of picture: the ending of its name and its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) ending: &'static str,
    pub(crate) media_type: &'static str,
}

const fn format(ending: &'static str, media_type: &'static str) -> Format {
    Format { ending, media_type }
}

const PNG: Format = format("png", "image/png");
const JPEG: Format = format("jpg", "image/jpeg");
const GIF: Format = format("gif", "image/gif");
const WEBP: Format = format("webp", "image/webp");
const BMP: Format = format("bmp", "image/bmp");
const AVIF: Format = format("avif", "image/avif");

/// The kind by the first bytes, else by the `content-type`; none for anything else. SVG is not among them: it can
/// carry scripts, and a bucket's pictures are shown to readers.
pub(crate) fn of(bytes: &[u8], content_type: Option<&str>) -> Option<Format> {
    if bytes.is_empty() {
        return None;
    }
    by_bytes(bytes).or_else(|| by_type(content_type?))
}

fn by_bytes(bytes: &[u8]) -> Option<Format> {
    let at =
        |from: usize, mark: &[u8]| bytes.get(from..).is_some_and(|rest| rest.starts_with(mark));
    if at(0, b"\x89PNG\r\n\x1a\n") {
        Some(PNG)
    } else if at(0, b"\xff\xd8\xff") {
        Some(JPEG)
    } else if at(0, b"GIF87a") || at(0, b"GIF89a") {
        Some(GIF)
    } else if at(0, b"RIFF") && at(8, b"WEBP") {
        Some(WEBP)
    } else if at(4, b"ftypavif") || at(4, b"ftypavis") {
        Some(AVIF)
    } else if at(0, b"BM") && at(6, &[0, 0, 0, 0]) {
        Some(BMP)
    } else {
        None
    }
}

fn by_type(content_type: &str) -> Option<Format> {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match essence.as_str() {
        "image/png" => Some(PNG),
        "image/jpeg" | "image/jpg" | "image/pjpeg" => Some(JPEG),
        "image/gif" => Some(GIF),
        "image/webp" => Some(WEBP),
        "image/bmp" | "image/x-ms-bmp" => Some(BMP),
        "image/avif" => Some(AVIF),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn bytes_say_more_than_the_type_that_the_sender_claims() {
        for (bytes, content_type, expected) in [
            (&b"\x89PNG\r\n\x1a\n.."[..], Some("image/jpeg"), Some("png")),
            (b"\xff\xd8\xff\xe0", None, Some("jpg")),
            (
                b"RIFF\0\0\0\0WEBPVP8 ",
                Some("application/octet-stream"),
                Some("webp"),
            ),
            (b"GIF89a", Some("text/html"), Some("gif")),
            (b"????", Some("image/jpeg; charset=binary"), Some("jpg")),
            (b"<html>", Some("text/html"), None),
            (b"<svg/>", Some("image/svg+xml"), None),
            (b"", Some("image/png"), None),
        ] {
            assert_eq!(
                of(bytes, content_type).map(|format| format.ending),
                expected,
                "{content_type:?}"
            );
        }
    }
}
