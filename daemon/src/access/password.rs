//! Passwords: what is accepted, one-time ones, and hashing that cannot be used to exhaust the machine.
//!
//! The parameters are OWASP's for argon2id: 19 MiB, 2 passes, 1 lane
//! (<https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html>).

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use rand::Rng as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;

use super::AccessError;

/// Memory of one hash, in KiB.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over it.
const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;

/// Hashes at once: each takes a core and 19 MiB, and the daemon has other work.
const AT_ONCE: usize = 2;
/// How long a login waits for its turn; a hash takes some hundredths of a second, so whoever waits longer
/// is one of a flood.
const TURN: Duration = Duration::from_secs(5);

/// NIST 800-63B asks for eight at least and advises more; there is no second factor here.
const LENGTH_MIN: usize = 12;
/// Longer ones only cost time.
const BYTES_MAX: usize = 512;

/// Letters and digits that are not mistaken for each other: 31, so that twenty make 99 bits.
const ONE_TIME_LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// Groups of a one-time password, and letters of a group.
const ONE_TIME_GROUPS: (usize, usize) = (4, 5);

/// Hashes and verifies, some at a time.
#[derive(Debug, Clone)]
pub(super) struct Passwords {
    turns: Arc<Semaphore>,
    /// What is verified where there is no such user, so that it takes as long.
    nobody: Arc<str>,
}

impl Passwords {
    /// # Errors
    /// When the library refuses its parameters.
    pub(super) fn new() -> Result<Self, AccessError> {
        Ok(Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            nobody: hash(&one_time())?.into(),
        })
    }

    /// The hash to be kept, in PHC form with its salt.
    pub(super) async fn hash(&self, password: &SecretString) -> Result<String, AccessError> {
        let password = password.clone();
        self.in_turn(move || hash(&password)).await?
    }

    /// Whether this is the password of the hash. Where there is no hash, the answer is no, and as late.
    pub(super) async fn verify(
        &self,
        password: &SecretString,
        kept: Option<&str>,
    ) -> Result<bool, AccessError> {
        // One that nobody can have is not worth more time than any other.
        let known = kept.is_some() && password.expose_secret().len() <= BYTES_MAX;
        let kept: Arc<str> = kept.map_or_else(|| Arc::clone(&self.nobody), Into::into);
        let password = password.clone();
        let right = self.in_turn(move || verify(&password, &kept)).await?;
        Ok(right && known)
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AccessError> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        let Ok(Ok(turn)) = tokio::time::timeout(TURN, turn).await else {
            return Err(AccessError::Busy);
        };
        let work = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        work.await
            .map_err(|error| AccessError::Internal(error.to_string()))
    }
}

fn argon2() -> Result<Argon2<'static>, AccessError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|error| AccessError::Internal(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &SecretString) -> Result<String, AccessError> {
    let bytes = password.expose_secret().as_bytes();
    argon2()?
        .hash_password(bytes)
        .map(|hash| hash.to_string())
        .map_err(|error| AccessError::Internal(error.to_string()))
}

fn verify(password: &SecretString, kept: &str) -> bool {
    let Ok(kept) = PasswordHash::new(kept) else {
        tracing::error!("a password's hash in the store cannot be read; its user cannot log in");
        return false;
    };
    let bytes = password.expose_secret().as_bytes();
    argon2().is_ok_and(|argon2| argon2.verify_password(bytes, &kept).is_ok())
}

/// A password that is given to somebody to be changed.
pub(super) fn one_time() -> SecretString {
    let mut random = rand::rng();
    let (groups, letters) = ONE_TIME_GROUPS;
    let mut text = String::with_capacity(groups * (letters + 1));
    for group in 0..groups {
        if group > 0 {
            text.push('-');
        }
        for _ in 0..letters {
            let letter = ONE_TIME_LETTERS.get(random.random_range(0..ONE_TIME_LETTERS.len()));
            text.push(char::from(letter.copied().unwrap_or(b'a')));
        }
    }
    SecretString::from(text)
}

/// What is wrong with a new password, if anything.
pub(super) fn problem(password: &SecretString, email: &str) -> Option<&'static str> {
    let text = password.expose_secret();
    let distinct: std::collections::BTreeSet<char> = text.chars().collect();
    let (name, _) = email.split_once('@').unwrap_or((email, ""));
    if text.chars().count() < LENGTH_MIN {
        Some("a password has at least 12 characters")
    } else if text.len() > BYTES_MAX {
        Some("a password has at most 512 bytes")
    } else if distinct.len() < 5 {
        Some("a password has at least five different characters")
    } else if text.eq_ignore_ascii_case(email) || text.eq_ignore_ascii_case(name) {
        Some("a password is not the user's address")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_verified_against_its_own_hash_only() {
        let passwords = Passwords::new().unwrap();
        let right = SecretString::from("correct horse battery");
        let kept = passwords.hash(&right).await.unwrap();
        assert!(
            kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{kept}"
        );
        assert_ne!(passwords.hash(&right).await.unwrap(), kept, "salted");
        let wrong = SecretString::from("correct horse batterz");
        assert!(!passwords.verify(&wrong, Some(&kept)).await.unwrap());
        assert!(!passwords.verify(&right, None).await.unwrap());
        assert!(!passwords.verify(&right, Some("no hash")).await.unwrap());
        assert!(passwords.verify(&right, Some(&kept)).await.unwrap());
    }

    #[test]
    fn weak_passwords_are_refused_and_long_ones_too() {
        let problem = |text: &str| problem(&SecretString::from(text), "minji@example.com");
        assert!(problem("short").is_some());
        assert!(problem("aaaaaaaaaaaaaaaa").is_some());
        assert!(problem("minji@example.com").is_some());
        assert!(problem(&"long one ".repeat(60)).is_some());
        assert_eq!(problem("한글로 쓴 긴 비밀번호 문장"), None);
        assert_eq!(problem(one_time().expose_secret()), None);
    }

    #[test]
    fn one_time_passwords_differ_and_can_be_read_aloud() {
        let (a, b) = (one_time(), one_time());
        assert_ne!(a.expose_secret(), b.expose_secret());
        assert_eq!(a.expose_secret().len(), 23);
        assert!(!a.expose_secret().contains(['l', 'o', '0', '1', 'i']));
    }
}
