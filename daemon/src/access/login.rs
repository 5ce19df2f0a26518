//! Logging in and out with a browser, and changing one's own password.

use std::net::IpAddr;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::credential::{hash, new_cookie};
use super::identify::held_in;
use super::password::problem;
use super::users::address;
use super::{Access, AccessError, Caller, Means, audit};
use crate::clock::Timestamp;
use crate::id::{OrganizationId, SessionId, UserId};
use crate::store::access::{AccessWrite, Identity, SessionRow, UserRow};

/// Characters of what a browser calls itself that are kept.
const AGENT_MAX: usize = 200;

/// Somebody wants in.
#[derive(Debug)]
pub struct Login {
    /// The address.
    pub email: String,
    /// The password.
    pub password: SecretString,
    /// From where.
    pub address: Option<IpAddr>,
    /// What the browser calls itself.
    pub agent: String,
}

/// Somebody is in.
#[derive(Debug)]
pub struct LoggedIn {
    /// What the browser keeps.
    pub cookie: SecretString,
    /// When it ends, used or not.
    pub expires_at: Timestamp,
    /// The session.
    pub session: SessionId,
    /// Who it is.
    pub user: UserRow,
    /// The organization that they see first.
    pub organization: OrganizationId,
}

impl Access {
    /// Lets somebody in who knows the password, with a session that has never been used before.
    ///
    /// # Errors
    /// `WrongLogin` in every case of somebody who is not let in, and as late in all of them; `Throttled` after
    /// too many of those; `Busy`.
    pub async fn login(&self, login: Login) -> Result<LoggedIn, AccessError> {
        // What cannot be an address is one that nobody has.
        let email = address(&login.email).unwrap_or_else(|_| login.email.to_lowercase());
        let account: String = email.chars().take(AGENT_MAX).collect();
        let now = self.clock.now();
        if let Some(wait) = self.throttle().wait(&account, login.address, now) {
            return Err(AccessError::Throttled(wait));
        }
        let user = self.store.user_by_email(&account).await?;
        let kept = user.as_ref().map(|user| user.password_hash.as_str());
        // Attempts that overlap count each, as if they came one after another.
        self.throttle().failed(&account, login.address, now);
        let right = self.passwords.verify(&login.password, kept).await;
        let right = match right {
            Err(AccessError::Busy) => {
                self.throttle().forgive(&account, login.address);
                return Err(AccessError::Busy);
            }
            right => right?,
        };
        let user = match user {
            Some(user) if right && user.active => user,
            other => {
                // Also for an unknown user, and also in the time that it takes, the same.
                let why = match &other {
                    None => "unknown",
                    Some(_) if right => "disabled",
                    Some(_) => "password",
                };
                let caller = match &other {
                    Some(user) => who(user, None, login.address),
                    None => Caller::nobody(login.address),
                };
                let details = json!({ "why": why });
                let line = audit::line(self, &caller, "login.fail", &account, details);
                self.write(vec![line], |_| AccessError::WrongLogin).await?;
                return Err(AccessError::WrongLogin);
            }
        };
        self.throttle().forgive(&account, login.address);
        self.throttle().succeeded(&account, login.address);
        self.begin(user, login).await
    }

    async fn begin(&self, user: UserRow, login: Login) -> Result<LoggedIn, AccessError> {
        let identity = self.store.identity(user.user_id).await?;
        let identity = identity.ok_or(AccessError::WrongLogin)?;
        let organization = first_organization(&identity).ok_or_else(|| {
            AccessError::Forbidden("this user belongs to no organization".to_owned())
        })?;
        let now = self.clock.now();
        let (cookie, session) = self.new_session(user.user_id, organization, &login, now);
        let caller = who(&user, Some(session.session_id), login.address);
        let caller = Caller {
            organization,
            ..caller
        };
        let logged_in = LoggedIn {
            cookie,
            expires_at: session.expires_at,
            session: session.session_id,
            organization,
            user,
        };
        let writes = vec![
            AccessWrite::SweepSessions(now),
            AccessWrite::LoggedIn(logged_in.user.user_id, now),
            AccessWrite::AddSession(session),
            audit::line(self, &caller, "login", &logged_in.user.email, Value::Null),
        ];
        self.write(writes, |_| AccessError::WrongLogin).await?;
        Ok(logged_in)
    }

    fn new_session(
        &self,
        user: UserId,
        organization: OrganizationId,
        login: &Login,
        now: Timestamp,
    ) -> (SecretString, SessionRow) {
        let cookie = new_cookie();
        let row = SessionRow {
            session_id: SessionId::generate(),
            organization_id: organization,
            user_id: user,
            token_hash: hash(cookie.expose_secret()),
            agent: login.agent.chars().take(AGENT_MAX).collect(),
            address: login
                .address
                .map(|address| address.to_string())
                .unwrap_or_default(),
            created_at: now,
            seen_at: now,
            expires_at: now.after(self.settings.session_life),
        };
        (cookie, row)
    }

    /// Ends the caller's session; whoever has none is out already.
    ///
    /// # Errors
    /// When the store gives nothing.
    pub async fn logout(&self, caller: &Caller) -> Result<(), AccessError> {
        let (Some(user), Means::Session(session)) = (caller.user, caller.means) else {
            return Ok(());
        };
        let writes = vec![
            AccessWrite::EndSession(user, session),
            audit::line(self, caller, "logout", "", Value::Null),
        ];
        // Two logouts of one session are one.
        match self.write(writes, |_| AccessError::Changed).await {
            Err(AccessError::Changed) => Ok(()),
            other => other,
        }
    }

    /// Changes the caller's own password, ends all their sessions, and begins a new one where they had one.
    ///
    /// # Errors
    /// `WrongLogin` where the old one is not theirs (and `Throttled`), `Invalid` where the new one is too weak.
    pub async fn change_own_password(
        &self,
        caller: &Caller,
        old: SecretString,
        new: &SecretString,
        agent: String,
    ) -> Result<LoggedIn, AccessError> {
        let user = caller.user.ok_or(AccessError::NotFound("user"))?;
        let identity = self.store.identity(user).await?;
        let identity = identity.ok_or(AccessError::NotFound("user"))?;
        let email = identity.user.email.clone();
        let now = self.clock.now();
        if let Some(wait) = self.throttle().wait(&email, caller.address, now) {
            return Err(AccessError::Throttled(wait));
        }
        let kept = Some(identity.user.password_hash.as_str());
        if !self.passwords.verify(&old, kept).await? {
            self.throttle().failed(&email, caller.address, now);
            return Err(AccessError::WrongLogin);
        }
        if let Some(problem) = problem(new, &email) {
            return Err(AccessError::Invalid(format!("newPassword: {problem}")));
        }
        if old.expose_secret() == new.expose_secret() {
            let same = "newPassword: it is the old one";
            return Err(AccessError::Invalid(same.to_owned()));
        }
        let user = UserRow {
            password_hash: self.passwords.hash(new).await?,
            password_change_required: false,
            revision: identity.user.revision + 1,
            updated_at: now,
            ..identity.user
        };
        let login = Login {
            email,
            password: old,
            address: caller.address,
            agent,
        };
        let (cookie, session) = self.new_session(user.user_id, caller.organization, &login, now);
        let mut writes = vec![
            AccessWrite::ChangeUser(user.clone()),
            AccessWrite::EndSessions(user.user_id, None),
            audit::line(
                self,
                caller,
                "user.password",
                &user.email,
                json!({ "own": true }),
            ),
        ];
        let logged_in = LoggedIn {
            cookie,
            expires_at: session.expires_at,
            session: session.session_id,
            organization: caller.organization,
            user,
        };
        if matches!(caller.means, Means::Session(_)) {
            writes.push(AccessWrite::AddSession(session));
        }
        self.write(writes, |_| AccessError::Changed).await?;
        Ok(logged_in)
    }
}

/// The organization that a user sees first: their own while they belong to it.
fn first_organization(identity: &Identity) -> Option<OrganizationId> {
    let home = identity.user.organization_id;
    match held_in(identity, home) {
        Some(_) => Some(home),
        None => identity.organizations.first().copied(),
    }
}

/// A user as the audit log knows them.
fn who(user: &UserRow, session: Option<SessionId>, address: Option<IpAddr>) -> Caller {
    Caller {
        organization: user.organization_id,
        user: Some(user.user_id),
        means: session.map_or(Means::Nothing, Means::Session),
        ..Caller::nobody(address)
    }
}
