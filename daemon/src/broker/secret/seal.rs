//! Sealing a value for the table: ChaCha20-Poly1305 (RFC 8439) under a key made for this one seal.
//!
//! The nonce that is kept is 28 random bytes. Sixteen are the salt from which HKDF-SHA-256 (RFC 5869)
//! derives the seal's own key, twelve are the cipher's nonce: however many secrets are written, no pair
//! comes again. Organization, name and revision are authenticated, so a row opens only in its own place.
//! A whole older row put back in its place does open: the database would have to be written by somebody
//! who kept a copy, and nothing outside the database remembers how far it was.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};

use super::keys::Key;
use crate::id::{OrganizationId, SecretName};

/// What a derived key is for; another use of the same key, or another format, gives another one.
const PURPOSE: &[u8] = b"flowweaver secret, version 1";
/// Together with the nonce 224 random bits, so that no two seals ever share both.
const SALT_BYTES: usize = 16;

/// Where a seal belongs.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) organization: OrganizationId,
    pub(super) name: &'a SecretName,
    pub(super) revision: u64,
}

impl Place<'_> {
    /// Each part's length stands before it, so that no two places read the same.
    fn bound(self) -> Vec<u8> {
        let organization = self.organization.to_string();
        let revision = self.revision.to_be_bytes();
        let parts = [
            organization.as_bytes(),
            self.name.as_str().as_bytes(),
            &revision,
        ];
        let mut bound = Vec::new();
        for part in parts {
            bound.extend((part.len() as u64).to_be_bytes());
            bound.extend(part);
        }
        bound
    }
}

/// The cipher refused: another key, or another row than the one that was written.
#[derive(Debug)]
pub(super) struct Broken;

/// A sealed value.
pub(super) struct Sealed {
    pub(super) nonce: Vec<u8>,
    pub(super) ciphertext: Vec<u8>,
}

/// Seals a value for its place.
pub(super) fn seal(key: &Key, place: Place<'_>, value: &SecretString) -> Result<Sealed, Broken> {
    let salt: [u8; SALT_BYTES] = rand::random();
    let nonce: [u8; NONCE_LEN] = rand::random();
    let mut ciphertext = value.expose_secret().as_bytes().to_vec();
    derived(key, &salt)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place.bound()),
            &mut ciphertext,
        )
        .map_err(|_| Broken)?;
    let nonce = [&salt[..], &nonce].concat();
    Ok(Sealed { nonce, ciphertext })
}

/// Opens what was sealed for this place.
pub(super) fn open(key: &Key, place: Place<'_>, sealed: &Sealed) -> Result<SecretString, Broken> {
    let (salt, nonce) = sealed.nonce.split_at_checked(SALT_BYTES).ok_or(Broken)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Broken)?;
    let mut opened = sealed.ciphertext.clone();
    let value = derived(key, salt)?
        .open_in_place(nonce, Aad::from(place.bound()), &mut opened)
        .map_err(|_| Broken)?
        .to_vec();
    // Both copies are wiped when they go.
    drop(SecretSlice::from(opened));
    let value = SecretSlice::from(value);
    let text = std::str::from_utf8(value.expose_secret()).map_err(|_| Broken)?;
    Ok(SecretString::from(text))
}

fn derived(key: &Key, salt: &[u8]) -> Result<LessSafeKey, Broken> {
    let secret = Salt::new(HKDF_SHA256, salt).extract(key.expose());
    let own: UnboundKey = secret
        .expand(&[PURPOSE], &CHACHA20_POLY1305)
        .map_err(|_| Broken)?
        .into();
    Ok(LessSafeKey::new(own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::secret::keys::{KeySources, Keyring, generate_key};

    fn ring() -> Keyring {
        let sources = KeySources {
            variable: Some(generate_key()),
            files: Vec::new(),
        };
        sources.load().unwrap()
    }

    #[test]
    fn a_row_opens_in_its_own_place_only_and_with_its_own_key_only() {
        let (ours, theirs) = (ring(), ring());
        let key = ours.first().unwrap();
        let (name, other): (SecretName, SecretName) = ("A".parse().unwrap(), "B".parse().unwrap());
        let place = Place {
            organization: OrganizationId::ROOT,
            name: &name,
            revision: 7,
        };
        let sealed = seal(key, place, &SecretString::from("geheim")).unwrap();
        assert!(open(theirs.first().unwrap(), place, &sealed).is_err());
        for moved in [
            Place {
                organization: OrganizationId::generate(),
                ..place
            },
            Place {
                name: &other,
                ..place
            },
            Place {
                revision: 8,
                ..place
            },
        ] {
            assert!(open(key, moved, &sealed).is_err());
        }
        for at in 0..sealed.ciphertext.len() + sealed.nonce.len() {
            let (mut nonce, mut ciphertext) = (sealed.nonce.clone(), sealed.ciphertext.clone());
            match nonce.get_mut(at) {
                Some(byte) => *byte ^= 1,
                None => ciphertext[at - sealed.nonce.len()] ^= 1,
            }
            assert!(open(key, place, &Sealed { nonce, ciphertext }).is_err());
        }
        for cut in [0, 5, 15, 16, 27] {
            let nonce = sealed.nonce[..cut].to_vec();
            let ciphertext = sealed.ciphertext.clone();
            assert!(open(key, place, &Sealed { nonce, ciphertext }).is_err());
        }
        let opened = open(key, place, &sealed).unwrap();
        assert_eq!(opened.expose_secret(), "geheim");
    }

    #[test]
    fn the_same_value_never_looks_the_same_twice() {
        let ring = ring();
        let name = "A".parse().unwrap();
        let place = Place {
            organization: OrganizationId::ROOT,
            name: &name,
            revision: 1,
        };
        let value = SecretString::from("geheim");
        let [a, b] = [(); 2].map(|()| seal(ring.first().unwrap(), place, &value).unwrap());
        assert_ne!(a.nonce, b.nonce);
        assert_ne!(a.ciphertext, b.ciphertext);
        assert!(!a.ciphertext.windows(6).any(|part| part == b"geheim"));
    }
}
