//! Decodes what a response's body is encoded with, a bounded piece at a time.
//!
//! The caller counts what comes out; no step makes more than [`STEP_OUT`] and a little, however much
//! it expands.

use std::io::{Error, ErrorKind, Result, Write as _};

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::{Buf as _, Bytes};
use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};

/// What one step makes at most: one portion for the guest is made of at most a few of these.
const STEP_OUT: usize = 256 * 1024;
/// How much gzip is decoded at a time: deflate expands at most 1032 times, so that a step stays
/// near [`STEP_OUT`].
const GZIP_STEP: usize = STEP_OUT / 1024;

/// What a body is encoded with, of what is decoded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
    Brotli,
}

impl Coding {
    /// The coding of this name, in lower case.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "br" => Some(Self::Brotli),
            _ => None,
        }
    }
}

/// A body being decoded.
pub(super) enum Decoder {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    /// Zlib by its standard, raw deflate by what some servers send; the first bytes tell.
    Deflate(Option<Inflate>),
    Brotli(Box<Brotli>),
}

pub(super) struct Inflate {
    inner: Decompress,
    /// The last step made something: more may wait behind it (in the window, in bits already taken),
    /// with all input taken. Only a step that makes nothing shows that there is none.
    more: bool,
    ended: bool,
}

pub(super) struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    total: usize,
    /// The last step filled its output: there is more without more input.
    more: bool,
    ended: bool,
}

impl Decoder {
    pub(super) fn new(coding: Coding) -> Self {
        match coding {
            Coding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            Coding::Deflate => Self::Deflate(None),
            Coding::Brotli => Self::Brotli(Box::new(Brotli::new())),
        }
    }

    /// Takes some of `raw` and answers what it decodes to, perhaps nothing yet.
    pub(super) fn step(&mut self, raw: &mut Bytes) -> Result<Vec<u8>> {
        match self {
            Self::Gzip(gzip) => {
                let step = raw.split_to(GZIP_STEP.min(raw.len()));
                gzip.write_all(&step)?;
                gzip.flush()?;
                Ok(std::mem::take(gzip.get_mut()))
            }
            Self::Deflate(inflate) => match inflate {
                Some(inflate) => inflate.step(raw),
                None => inflate.insert(Inflate::new(raw)).step(raw),
            },
            Self::Brotli(brotli) => brotli.step(raw),
        }
    }

    /// Whether `step` can make more without new input.
    pub(super) fn has_more(&self) -> bool {
        match self {
            // Each of its steps is flushed to the end.
            Self::Gzip(_) => false,
            Self::Deflate(inflate) => inflate.as_ref().is_some_and(|inflate| inflate.more),
            Self::Brotli(brotli) => brotli.more,
        }
    }

    /// The rest, once there is no more input. An error: the body was cut.
    pub(super) fn finish(&mut self) -> Result<Vec<u8>> {
        match self {
            Self::Gzip(gzip) => {
                gzip.try_finish()?;
                Ok(std::mem::take(gzip.get_mut()))
            }
            Self::Deflate(Some(inflate)) if inflate.ended => Ok(Vec::new()),
            Self::Brotli(brotli) if brotli.ended => Ok(Vec::new()),
            Self::Deflate(_) | Self::Brotli(_) => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Inflate {
    /// Zlib's two first bytes, as a number, are a multiple of 31, and the first names deflate
    /// (RFC 1950 §2.2). Raw deflate beginning so would be an invalid block or a stored one of odd
    /// length bits; nobody makes those.
    fn new(raw: &[u8]) -> Self {
        let zlib = match raw {
            [first, second, ..] => {
                first & 0x0f == 8 && (u16::from(*first) << 8 | u16::from(*second)) % 31 == 0
            }
            [first] => first & 0x0f == 8,
            [] => true,
        };
        Self {
            inner: Decompress::new(zlib),
            more: false,
            ended: false,
        }
    }

    fn step(&mut self, raw: &mut Bytes) -> Result<Vec<u8>> {
        if self.ended {
            return Err(Error::other("there is something after its end"));
        }
        let mut out = Vec::with_capacity(STEP_OUT);
        let (before, given) = (self.inner.total_in(), !raw.is_empty());
        let status = self
            .inner
            .decompress_vec(raw, &mut out, FlushDecompress::None)?;
        let taken = usize::try_from(self.inner.total_in() - before).unwrap_or(raw.len());
        raw.advance(taken.min(raw.len()));
        self.ended = status == Status::StreamEnd;
        self.more = !out.is_empty() && !self.ended;
        if given && taken == 0 && out.is_empty() && !self.ended {
            return Err(Error::other("it does not go on"));
        }
        Ok(out)
    }
}

impl Brotli {
    fn new() -> Self {
        let mut state = BrotliState::new(
            StandardAlloc::default(),
            StandardAlloc::default(),
            StandardAlloc::default(),
        );
        // Windows beyond the standard's 16 MiB are another format, and a way to take memory.
        state.large_window = false;
        Self {
            state,
            total: 0,
            more: false,
            ended: false,
        }
    }

    fn step(&mut self, raw: &mut Bytes) -> Result<Vec<u8>> {
        if self.ended {
            return Err(Error::other("there is something after its end"));
        }
        let mut out = vec![0; STEP_OUT];
        let (mut left, mut taken) = (raw.len(), 0);
        let (mut room, mut made) = (out.len(), 0);
        let result = BrotliDecompressStream(
            &mut left,
            &mut taken,
            raw,
            &mut room,
            &mut made,
            &mut out,
            &mut self.total,
            &mut self.state,
        );
        raw.advance(taken.min(raw.len()));
        out.truncate(made);
        self.more = false;
        match result {
            BrotliResult::ResultSuccess => self.ended = true,
            BrotliResult::NeedsMoreInput => {}
            BrotliResult::NeedsMoreOutput => self.more = true,
            BrotliResult::ResultFailure => return Err(Error::other("it is damaged")),
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    fn decoded(coding: Coding, bytes: &[u8], cut: usize) -> Result<Vec<u8>> {
        let (mut decoder, mut out) = (Decoder::new(coding), Vec::new());
        for chunk in bytes.chunks(cut) {
            let mut raw = Bytes::copy_from_slice(chunk);
            while !raw.is_empty() || decoder.has_more() {
                let made = decoder.step(&mut raw)?;
                assert!(made.len() <= STEP_OUT + 32 * 1024, "{}", made.len());
                out.extend(made);
            }
        }
        out.extend(decoder.finish()?);
        Ok(out)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(bytes: &[u8], zlib: bool) -> Vec<u8> {
        if zlib {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        } else {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }

    #[test]
    fn a_brotli_body_is_decoded_and_a_cut_or_lengthened_one_is_an_error() {
        // A window of 16 bits, one stored block "hello", and the empty last block.
        let hello = [0x0b, 0x02, 0x80, b'h', b'e', b'l', b'l', b'o', 0x03];
        for cut in 1..=hello.len() {
            assert_eq!(decoded(Coding::Brotli, &hello, cut).unwrap(), b"hello");
        }
        assert!(decoded(Coding::Brotli, &hello[..8], 3).is_err());
        assert!(decoded(Coding::Brotli, &[&hello[..], b"x"].concat(), 3).is_err());
        assert!(decoded(Coding::Brotli, b"not brotli at all", 3).is_err());
    }

    #[test]
    fn what_waits_in_the_window_or_in_bits_comes_after_the_last_chunk() {
        // 280,000: the rest waits in the window. Beyond 294,912: some also in bits of a byte already taken.
        let lengths = (294_900..297_000).step_by(37).chain([280_000]);
        for (length, zlib) in lengths.flat_map(|length| [(length, true), (length, false)]) {
            let text = vec![b'x'; length];
            let encoded = {
                // Its first 10,000 bytes in a chunk of their own.
                let mut encoder = flate2::Compress::new(Compression::best(), zlib);
                let mut first = Vec::with_capacity(4096);
                encoder
                    .compress_vec(&text[..10_000], &mut first, flate2::FlushCompress::Sync)
                    .unwrap();
                let mut last = Vec::with_capacity(4096);
                let status = encoder
                    .compress_vec(&text[10_000..], &mut last, flate2::FlushCompress::Finish)
                    .unwrap();
                assert_eq!(status, Status::StreamEnd);
                [first, last]
            };
            let (mut decoder, mut out) = (Decoder::new(Coding::Deflate), Vec::new());
            for chunk in encoded {
                let mut raw = Bytes::from(chunk);
                while !raw.is_empty() || decoder.has_more() {
                    out.extend(decoder.step(&mut raw).unwrap());
                }
            }
            out.extend(decoder.finish().unwrap());
            assert!(out == text, "{length} {zlib}: {} bytes", out.len());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_body_of_several_steps_comes_back_whole(
            pattern in prop::collection::vec(any::<u8>(), 1..40), length in 200_000usize..1_500_000, cut in 1usize..6_000,
        ) {
            let text: Vec<u8> = pattern.iter().copied().cycle().take(length).collect();
            for (coding, encoded) in [
                (Coding::Gzip, gzip(&text)), (Coding::Deflate, deflate(&text, true)), (Coding::Deflate, deflate(&text, false)),
            ] {
                prop_assert!(decoded(coding, &encoded, cut).unwrap() == text);
                prop_assert!(decoded(coding, &encoded[..encoded.len() - 1], cut).is_err());
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_back_however_it_is_cut_and_a_missing_byte_is_an_error(
            text in prop::collection::vec(any::<u8>(), 0..3_000), repeat in 1usize..200, cut in 1usize..700,
        ) {
            let text = text.repeat(repeat);
            let two = [gzip(&text), gzip(b"and more")].concat();
            prop_assert_eq!(decoded(Coding::Gzip, &two, cut).unwrap(), [&text[..], b"and more"].concat());
            for (coding, encoded) in [
                (Coding::Gzip, gzip(&text)), (Coding::Deflate, deflate(&text, true)), (Coding::Deflate, deflate(&text, false)),
            ] {
                prop_assert_eq!(&decoded(coding, &encoded, cut).unwrap(), &text);
                prop_assert!(decoded(coding, &encoded[..encoded.len() - 1], cut).is_err());
            }
        }
    }
}
