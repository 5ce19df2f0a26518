//! What somebody may do to others, and when what they hold ends: on a store in a file, with a clock of the test's own.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;

use super::*;
use crate::clock::{Clock as _, ManualClock, Timestamp};
use crate::id::OrganizationId;
use crate::store::{Durability, LEASE, open_all};

const PASSWORD: &str = "correct horse battery";
const IDLE: Duration = Duration::from_secs(3_600);
const LIFE: Duration = Duration::from_secs(12 * 3_600);

struct World {
    access: Access,
    clock: ManualClock,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("store.db").display());
        let (_, store) = open_all(&url, Durability::Normal, LEASE).await.unwrap();
        let clock = ManualClock::new(Timestamp::from_micros(1_800_000_000_000_000));
        let settings = AccessSettings {
            session_idle: IDLE,
            session_life: LIFE,
        };
        let access = Access::open(store, Arc::new(clock.clone()), settings)
            .await
            .unwrap();
        Self {
            access,
            clock,
            _folder: folder,
        }
    }

    fn owner(&self) -> Caller {
        Caller::owner(OrganizationId::ROOT)
    }

    async fn make(&self, by: &Caller, email: &str, roles: &[&str]) -> Result<(), AccessError> {
        let new = NewUser {
            email: email.to_owned(),
            name: "Name".to_owned(),
            password: Some(SecretString::from(PASSWORD)),
            roles: Some(roles.iter().map(|role| (*role).to_owned()).collect()),
            department: None,
            position: None,
        };
        self.access.add_user(by, new).await.map(drop)
    }

    async fn login(&self, email: &str, password: &str) -> Result<LoggedIn, AccessError> {
        let login = Login {
            email: email.to_owned(),
            password: SecretString::from(password),
            address: Some([203, 0, 113, 9].into()),
            agent: "test".to_owned(),
        };
        self.access.login(login).await
    }

    async fn enter(&self, cookie: &SecretString) -> Result<Caller, Refusal> {
        let cookie = cookie.expose_secret();
        self.access.by_cookie(cookie, None, None).await.unwrap()
    }

    /// A user with these roles, as they ask.
    async fn someone(&self, email: &str, roles: &[&str]) -> Caller {
        self.make(&self.owner(), email, roles).await.unwrap();
        let logged_in = self.login(email, PASSWORD).await.unwrap();
        self.enter(&logged_in.cookie).await.unwrap()
    }

    async fn token(&self, by: &Caller, permissions: &[&str]) -> Result<MadeToken, AccessError> {
        let new = NewToken {
            name: "deploy".to_owned(),
            permissions: Some(permissions.iter().map(|p| (*p).to_owned()).collect()),
            life: Duration::from_secs(60),
            user: None,
        };
        self.access.add_token(by, new).await
    }

    async fn hold(&self, token: &SecretString) -> Result<Caller, Refusal> {
        let token = token.expose_secret();
        self.access.by_token(token, None, None).await.unwrap()
    }
}

fn refused<T>(answer: Result<T, AccessError>) -> String {
    match answer {
        Err(AccessError::Forbidden(why)) => why,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was done"),
    }
}

#[tokio::test]
async fn a_session_ends_when_it_is_idle_and_in_any_case_after_its_life() {
    let world = World::new().await;
    world
        .make(&world.owner(), "minji@example.com", &["USER"])
        .await
        .unwrap();
    let idle = world.login("minji@example.com", PASSWORD).await.unwrap();
    let busy = world.login("minji@example.com", PASSWORD).await.unwrap();
    assert_ne!(idle.cookie.expose_secret(), busy.cookie.expose_secret());
    world.clock.advance(IDLE / 2);
    assert!(world.enter(&busy.cookie).await.is_ok());
    world.clock.advance(IDLE / 2);
    assert_eq!(
        world.enter(&idle.cookie).await.unwrap_err(),
        Refusal::EndedSession
    );
    let mut rounds = 0;
    while world.clock.now() < busy.expires_at {
        assert!(world.enter(&busy.cookie).await.is_ok(), "{rounds}");
        world.clock.advance(IDLE / 2);
        rounds += 1;
    }
    assert!(rounds > 20);
    assert_eq!(
        world.enter(&busy.cookie).await.unwrap_err(),
        Refusal::EndedSession
    );
}

#[tokio::test]
async fn the_first_administrator_is_made_once_and_must_change_the_password() {
    let world = World::new().await;
    let first = world.access.first_admin().await.unwrap().unwrap();
    assert!(world.access.first_admin().await.unwrap().is_none());
    let password = first.password.expose_secret();
    let logged_in = world.login(&first.email, password).await.unwrap();
    let admin = world.enter(&logged_in.cookie).await.unwrap();
    assert!(admin.must_change_password && !admin.may(Permission::WorkflowsRead));
    assert!(admin.may(Permission::Login));
    // The owner can have another one-time password until there is one of the administrator's own.
    let again = world.access.first_password(&world.owner()).await.unwrap();
    assert!(world.login(&first.email, password).await.is_err());
    let password = again.password.expose_secret();
    let logged_in = world.login(&first.email, password).await.unwrap();
    let admin = world.enter(&logged_in.cookie).await.unwrap();
    let (old, new) = (SecretString::from(password), SecretString::from(PASSWORD));
    let changed = world
        .access
        .change_own_password(&admin, old, &new, String::new())
        .await
        .unwrap();
    assert_eq!(
        world.enter(&logged_in.cookie).await.unwrap_err(),
        Refusal::EndedSession
    );
    let admin = world.enter(&changed.cookie).await.unwrap();
    assert!(admin.everywhere && admin.may(Permission::SecretsWrite));
    assert!(
        refused(world.access.first_password(&world.owner()).await).contains("has been changed")
    );
}

#[tokio::test]
async fn a_token_permits_what_it_says_as_long_as_its_user_holds_it() {
    let world = World::new().await;
    let minji = world.someone("minji@example.com", &["USER"]).await;
    let made = world
        .token(&minji, &["workflows.read", "workflows.execute"])
        .await
        .unwrap();
    let holder = world.hold(&made.token).await.unwrap();
    assert!(holder.may(Permission::WorkflowsRead) && !holder.may(Permission::WorkflowsCreate));
    assert_eq!(holder.user, minji.user);
    let guest = ["GUEST".to_owned()];
    world
        .access
        .set_roles(&world.owner(), "minji@example.com", &guest)
        .await
        .unwrap();
    let holder = world.hold(&made.token).await.unwrap();
    assert!(holder.may(Permission::WorkflowsRead) && !holder.may(Permission::WorkflowsExecute));
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(
        world.hold(&made.token).await.unwrap_err(),
        Refusal::ExpiredToken
    );
}

#[tokio::test]
async fn what_is_done_is_in_the_log_without_any_password() {
    let world = World::new().await;
    let admin = world.someone("admin@example.com", &["SUPER_ADMIN"]).await;
    world
        .make(&admin, "minji@example.com", &["USER"])
        .await
        .unwrap();
    let made = world
        .access
        .reset_password(&admin, "minji@example.com")
        .await
        .unwrap();
    let made_token = world.token(&admin, &["workflows.read"]).await.unwrap();
    assert!(world.login("minji@example.com", "wrong").await.is_err());
    let filter = crate::store::access::AuditFilter {
        limit: 100,
        ..Default::default()
    };
    let log = world
        .access
        .audit_log(&world.owner(), filter)
        .await
        .unwrap();
    let text = format!("{log:?}");
    for secret in [
        PASSWORD,
        made.password().unwrap(),
        made_token.token.expose_secret(),
        "wrong",
    ] {
        assert!(!text.contains(secret));
    }
    let deeds: Vec<_> = log
        .iter()
        .map(|row| (row.action.as_str(), row.actor.as_str()))
        .collect();
    for deed in [
        ("user.create", "owner"),
        ("login", "admin@example.com"),
        ("user.create", "admin@example.com"),
        ("user.password", "admin@example.com"),
        ("token.create", "admin@example.com"),
        ("login.fail", "minji@example.com"),
    ] {
        assert!(deeds.contains(&deed), "{deed:?} in {deeds:?}");
    }
}

#[tokio::test]
async fn roles_of_an_earlier_program_are_brought_up_to_date_and_nothing_is_written_twice() {
    let world = World::new().await;
    let owner = world.owner();
    let roles = world.access.roles(&owner).await.unwrap();
    assert_eq!(roles.len(), SYSTEM_ROLES.len());
    for role in SYSTEM_ROLES {
        let row = roles.iter().find(|row| row.role_id == role.id).unwrap();
        assert_eq!(row.permissions.len(), role.permissions().names().len());
    }
    let stale = crate::store::access::RoleRow {
        permissions: vec!["users.delete".to_owned()],
        ..roles
            .iter()
            .find(|row| row.name == "GUEST")
            .unwrap()
            .clone()
    };
    let store = &world.access.store;
    store
        .access_write(vec![AccessWrite::ChangeRole(stale)])
        .await
        .unwrap();
    world.access.bring_up_to_date().await.unwrap();
    assert_eq!(world.access.roles(&owner).await.unwrap(), roles);
}

mod attacks {
    use super::*;

    /// Attack: An administrator of an organization who makes a SUPER_ADMIN, or a role or token of more than they hold. Refused with 403: nobody gives what they do not hold.
    #[tokio::test]
    async fn nobody_gives_what_they_do_not_hold() {
        let world = World::new().await;
        let chief = world.someone("chief@example.com", &["ORG_ADMIN"]).await;
        for role in ["SUPER_ADMIN", "SYSTEM_ADMIN"] {
            refused(world.make(&chief, "pal@example.com", &[role]).await);
        }
        world
            .make(&chief, "pal@example.com", &["USER"])
            .await
            .unwrap();
        let roles = ["SUPER_ADMIN".to_owned()];
        refused(
            world
                .access
                .set_roles(&chief, "pal@example.com", &roles)
                .await,
        );
        refused(
            world
                .access
                .set_roles(&chief, "chief@example.com", &roles)
                .await,
        );
        let mighty = NewRole {
            name: "mighty".to_owned(),
            description: String::new(),
            permissions: vec!["system.backup.restore".to_owned()],
        };
        refused(world.access.add_role(&chief, mighty).await);
        refused(world.token(&chief, &["system.settings.update"]).await);
        // A token makes no token of more than itself.
        let made = world
            .token(&chief, &["tokens.create", "users.read"])
            .await
            .unwrap();
        let holder = world.hold(&made.token).await.unwrap();
        refused(world.token(&holder, &["users.delete"]).await);
        assert!(world.token(&holder, &["users.read"]).await.is_ok());
    }

    /// Attack: An administrator who disables, deletes or takes over the account of somebody mightier, or of another organization too. Refused with 403.
    #[tokio::test]
    async fn nobody_has_power_over_somebody_mightier() {
        let world = World::new().await;
        world.someone("root@example.com", &["SUPER_ADMIN"]).await;
        world.someone("tech@example.com", &["SYSTEM_ADMIN"]).await;
        let chief = world.someone("chief@example.com", &["ORG_ADMIN"]).await;
        for mightier in ["root@example.com", "tech@example.com"] {
            refused(world.access.reset_password(&chief, mightier).await);
            refused(world.access.set_active(&chief, mightier, false).await);
            refused(world.access.remove_user(&chief, mightier).await);
            refused(world.access.set_roles(&chief, mightier, &[]).await);
            refused(world.access.end_sessions(&chief, mightier).await);
        }
        world
            .make(&chief, "both@example.com", &["USER"])
            .await
            .unwrap();
        let acme = world
            .access
            .add_organization(&world.owner(), "acme")
            .await
            .unwrap();
        let there = Caller::owner(acme.organization_id);
        world
            .access
            .add_member(&there, "both@example.com")
            .await
            .unwrap();
        refused(
            world
                .access
                .reset_password(&chief, "both@example.com")
                .await,
        );
        refused(
            world
                .access
                .set_active(&chief, "chief@example.com", false)
                .await,
        );
    }

    /// Attack: A role of the system given in another organization. Permissions over the installation do not count there.
    #[tokio::test]
    async fn what_all_organizations_share_is_not_reached_from_one_of_them() {
        let world = World::new().await;
        let acme = world
            .access
            .add_organization(&world.owner(), "acme")
            .await
            .unwrap();
        let there = Caller::owner(acme.organization_id);
        world
            .make(&there, "tech@acme.com", &["SYSTEM_ADMIN"])
            .await
            .unwrap();
        assert!(matches!(
            world.make(&there, "root@acme.com", &["SUPER_ADMIN"]).await,
            Err(AccessError::Invalid(_))
        ));
        let logged_in = world.login("tech@acme.com", PASSWORD).await.unwrap();
        let tech = world.enter(&logged_in.cookie).await.unwrap();
        assert_eq!(tech.organization, acme.organization_id);
        assert!(tech.may(Permission::WorkflowsRead));
        assert!(!tech.may(Permission::BackupRestore) && !tech.may(Permission::OrganizationsManage));
        let cookie = logged_in.cookie.expose_secret();
        let root = world
            .access
            .by_cookie(cookie, Some("root"), None)
            .await
            .unwrap();
        assert_eq!(root.unwrap_err(), Refusal::NoOrganization);
    }

    /// Attack: The cookie of somebody who logged out, was disabled or deleted, got other roles or a new password. Refused with the next request.
    #[tokio::test]
    async fn a_cookie_ends_with_what_it_stood_for() {
        let world = World::new().await;
        let (owner, email) = (world.owner(), "minji@example.com");
        world.make(&owner, email, &["USER"]).await.unwrap();
        let access = &world.access;
        for deed in ["logout", "roles", "disable", "password", "delete"] {
            let password = SecretString::from(PASSWORD);
            let logged_in = world.login(email, password.expose_secret()).await.unwrap();
            let caller = world.enter(&logged_in.cookie).await.unwrap();
            match deed {
                "logout" => access.logout(&caller).await.unwrap(),
                "roles" => drop(
                    access
                        .set_roles(&owner, email, &["GUEST".to_owned()])
                        .await
                        .unwrap(),
                ),
                "disable" => {
                    access.set_active(&owner, email, false).await.unwrap();
                    assert!(world.login(email, PASSWORD).await.is_err());
                    access.set_active(&owner, email, true).await.unwrap();
                }
                "password" => {
                    let made = access.reset_password(&owner, email).await.unwrap();
                    assert!(world.login(email, PASSWORD).await.is_err());
                    let one_time = SecretString::from(made.password().unwrap());
                    let in_again = world.login(email, one_time.expose_secret()).await.unwrap();
                    let again = world.enter(&in_again.cookie).await.unwrap();
                    let new = SecretString::from(PASSWORD);
                    access
                        .change_own_password(&again, one_time, &new, String::new())
                        .await
                        .unwrap();
                }
                _ => drop(access.remove_user(&owner, email).await.unwrap()),
            }
            assert_eq!(
                world.enter(&logged_in.cookie).await.unwrap_err(),
                Refusal::EndedSession,
                "{deed}"
            );
        }
    }

    /// Attack: A token with a letter changed, of a disabled or deleted user, or revoked. Refused, each with its reason.
    #[tokio::test]
    async fn a_token_that_is_no_more_is_refused_with_the_reason() {
        let world = World::new().await;
        let minji = world.someone("minji@example.com", &["USER"]).await;
        let made = world.token(&minji, &["workflows.read"]).await.unwrap();
        let text = made.token.expose_secret();
        let flipped = if text.ends_with('a') { 'b' } else { 'a' };
        let other = SecretString::from(format!("{}{flipped}", &text[..text.len() - 1]));
        assert_eq!(world.hold(&other).await.unwrap_err(), Refusal::Malformed);
        let foreign = super::super::credential::new_token();
        assert_eq!(
            world.hold(&foreign).await.unwrap_err(),
            Refusal::UnknownToken
        );
        let owner = world.owner();
        world
            .access
            .set_active(&owner, "minji@example.com", false)
            .await
            .unwrap();
        assert_eq!(
            world.hold(&made.token).await.unwrap_err(),
            Refusal::Disabled
        );
        world
            .access
            .set_active(&owner, "minji@example.com", true)
            .await
            .unwrap();
        assert!(world.hold(&made.token).await.is_ok());
        let id = made.row.token_id.to_string();
        let jun = world.someone("jun@example.com", &["USER"]).await;
        assert!(matches!(
            world.access.revoke_token(&jun, &id).await,
            Err(AccessError::NotFound("token"))
        ));
        world.access.revoke_token(&minji, &id).await.unwrap();
        assert_eq!(
            world.hold(&made.token).await.unwrap_err(),
            Refusal::RevokedToken
        );
        let made = world.token(&minji, &["workflows.read"]).await.unwrap();
        world
            .access
            .remove_user(&owner, "minji@example.com")
            .await
            .unwrap();
        assert_eq!(
            world.hold(&made.token).await.unwrap_err(),
            Refusal::UnknownToken
        );
    }

    /// Attack: Logins of an unknown user, to tell from the time whether there is one. As much is computed as for a known one.
    #[tokio::test]
    async fn an_unknown_user_costs_as_much_as_a_wrong_password() {
        let world = World::new().await;
        world
            .make(&world.owner(), "minji@example.com", &["USER"])
            .await
            .unwrap();
        let mut fastest = [Duration::MAX; 2];
        for _ in 0..4 {
            for (place, email) in ["minji@example.com", "nobody@example.com"]
                .iter()
                .enumerate()
            {
                let start = std::time::Instant::now();
                let answer = world.login(email, "wrong password").await;
                assert!(matches!(answer, Err(AccessError::WrongLogin)), "{answer:?}");
                fastest[place] = fastest[place].min(start.elapsed());
            }
        }
        // Without the hash of nobody the second would take a hundredth.
        assert!(fastest[1] * 4 > fastest[0], "{fastest:?}");
    }
}
