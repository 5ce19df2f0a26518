//! Who may do what: permissions, roles, users, sessions, tokens, and the log of changes.
//!
//! It decides; `api` asks it at each request and the store keeps the rows. What somebody holds is read anew
//! each time, so that whatever is taken is gone with the next request. Nothing here speaks HTTP.
//!
//! Nobody gives what they do not hold: a role, a token or power over somebody else's account.

mod audit;
mod caller;
mod credential;
mod first;
mod identify;
mod login;
mod password;
mod permission;
mod places;
mod roles;
#[cfg(test)]
mod tests;
mod throttle;
mod tokens;
mod users;

pub use caller::{Caller, Means};
pub use first::FirstAdmin;
pub use identify::Refusal;
pub use login::{LoggedIn, Login};
pub use permission::{Permission, PermissionSet};
pub use roles::{NewRole, SYSTEM_ROLES, SystemRole};
pub use tokens::{LIFE_MAX, MadeToken, NewToken};
pub use users::{MadeUser, Member, NewUser, USERS_MAX, UserChange};

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::store::access::{AccessWrite, Written};
use crate::store::{AccessStore, StoreError};
use password::Passwords;
use throttle::Throttle;

/// What the operator decides.
#[derive(Debug, Clone, Copy)]
pub struct AccessSettings {
    /// A session that is not used ends after this long.
    pub session_idle: Duration,
    /// Every session ends after this long.
    pub session_life: Duration,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The store gave nothing.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Too many logins at this moment.
    #[error("too many logins at once; try again")]
    Busy,
    /// Too many wrong passwords.
    #[error("too many failed logins; try again in {} s", .0.as_secs().max(1))]
    Throttled(Duration),
    /// No such user, a wrong password, or a disabled user: which of them is not told.
    #[error("the address or the password is wrong")]
    WrongLogin,
    /// There is none, or it is not theirs to see.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The name is somebody else's.
    #[error("there is already such a {0}")]
    Taken(&'static str),
    /// It changed meanwhile.
    #[error("it was changed meanwhile; look at it and try again")]
    Changed,
    /// Not theirs to do.
    #[error("{0}")]
    Forbidden(String),
    /// What was given cannot be.
    #[error("{0}")]
    Invalid(String),
    /// No more of these.
    #[error("there are as many {0} as there may be")]
    TooMany(&'static str),
    /// A bug or a broken machine.
    #[error("{0}")]
    Internal(String),
}

/// Everything about people.
pub struct Access {
    store: Arc<dyn AccessStore>,
    clock: Arc<dyn Clock>,
    passwords: Passwords,
    throttle: Mutex<Throttle>,
    settings: AccessSettings,
}

impl Access {
    /// Over this store. Brings permissions and the system's roles up to date.
    ///
    /// # Errors
    /// When the store gives nothing.
    pub async fn open(
        store: Arc<dyn AccessStore>,
        clock: Arc<dyn Clock>,
        settings: AccessSettings,
    ) -> Result<Self, AccessError> {
        let passwords = tokio::task::spawn_blocking(Passwords::new)
            .await
            .map_err(|error| AccessError::Internal(error.to_string()))??;
        let access = Self {
            store,
            clock,
            passwords,
            throttle: Mutex::default(),
            settings,
        };
        access.bring_up_to_date().await?;
        Ok(access)
    }

    /// The counters; a thread that died left them as good as before.
    fn throttle(&self) -> std::sync::MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all or nothing; `unmet` says what it means that a write at some place found something else.
    async fn write(
        &self,
        writes: Vec<AccessWrite>,
        unmet: impl FnOnce(usize) -> AccessError,
    ) -> Result<(), AccessError> {
        match self.store.access_write(writes).await? {
            Written::Done => Ok(()),
            Written::Unmet(place) => Err(unmet(place)),
        }
    }
}

/// A name that people read: one line of a bounded length.
fn display_name(text: &str, what: &str) -> Result<String, AccessError> {
    /// As long as a line of a list bears.
    const NAME_MAX: usize = 100;
    let text = text.trim();
    let length = text.chars().count();
    if length == 0 || length > NAME_MAX || text.chars().any(char::is_control) {
        return Err(AccessError::Invalid(format!(
            "{what}: 1 to {NAME_MAX} characters on one line"
        )));
    }
    Ok(text.to_owned())
}
