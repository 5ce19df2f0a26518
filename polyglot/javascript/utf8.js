// Text and bytes in plain JavaScript: QuickJS has no TextEncoder.

/** Text as UTF-8; half a surrogate pair becomes the replacement character. */
export function encode(text) {
  return Uint8Array.from(unescape(encodeURIComponent(text.toWellFormed())), (letter) => letter.charCodeAt(0));
}

/** UTF-8 as text; what is not UTF-8 is read as Latin-1. */
export function decode(bytes) {
  const latin = Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
  try {
    return decodeURIComponent(escape(latin));
  } catch {
    return latin;
  }
}
