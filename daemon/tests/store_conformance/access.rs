//! People: users, roles, sessions, tokens and the log of changes, as rows.

use flowweaver::id::{
    AuditId, DepartmentId, OrganizationId, PositionId, RoleId, SessionId, TokenId, UserId,
};
use flowweaver::store::access::{
    AccessWrite as W, AuditFilter, AuditRow, OrganizationRow, PlaceRow, RoleRow, SessionRow,
    TokenRow, UserRow, Written,
};

use crate::world::{World, at};

const ROOT: OrganizationId = OrganizationId::ROOT;

fn user(email: &str) -> UserRow {
    UserRow {
        user_id: UserId::generate(),
        organization_id: ROOT,
        email: email.to_owned(),
        name: "민지 \0 Kim".to_owned(),
        password_hash: "$argon2id$…".to_owned(),
        password_change_required: true,
        active: true,
        revision: 1,
        created_at: at(1),
        updated_at: at(1),
        last_login_at: None,
    }
}

fn role(organization: OrganizationId, name: &str, permissions: &[&str]) -> RoleRow {
    RoleRow {
        role_id: RoleId::generate(),
        organization_id: organization,
        name: name.to_owned(),
        description: "what it is for".to_owned(),
        system: false,
        created_at: at(1),
        permissions: permissions.iter().map(|p| (*p).to_owned()).collect(),
    }
}

fn member(organization: OrganizationId, user: UserId) -> W {
    W::PutMember {
        organization,
        user,
        department: None,
        position: None,
        at: at(2),
    }
}

fn line(action: &str, target: &str) -> AuditRow {
    AuditRow {
        audit_id: AuditId::generate(),
        organization_id: ROOT,
        actor: "owner".to_owned(),
        user_id: None,
        means: "owner".to_owned(),
        address: Some("127.0.0.1".to_owned()),
        action: action.to_owned(),
        target: Some(target.to_owned()),
        details: Some(r#"{"a":1}"#.to_owned()),
        created_at: at(5),
    }
}

fn everything() -> AuditFilter {
    AuditFilter {
        limit: 100,
        ..AuditFilter::default()
    }
}

async fn done(world: &World, writes: Vec<W>) {
    assert_eq!(
        world.access.access_write(writes).await.unwrap(),
        Written::Done
    );
}

async fn permit(world: &World, names: &[&str]) {
    let writes = names
        .iter()
        .map(|name| W::PutPermission((*name).to_owned(), "about".to_owned()));
    done(world, writes.collect()).await;
}

async fn organization(world: &World, name: &str) -> OrganizationId {
    let row = OrganizationRow {
        organization_id: OrganizationId::generate(),
        name: name.to_owned(),
        created_at: at(1),
    };
    done(world, vec![W::AddOrganization(row.clone())]).await;
    row.organization_id
}

pub async fn a_list_of_writes_is_all_or_nothing(world: World) {
    let minji = user("minji@example.com");
    let gone = UserId::generate();
    let writes = vec![
        W::AddUser(minji.clone()),
        W::Audit(line("user.create", "minji")),
        W::RemoveUser(gone),
    ];
    let answer = world.access.access_write(writes).await.unwrap();
    assert_eq!(answer, Written::Unmet(2));
    assert!(!world.access.has_users().await.unwrap());
    assert!(
        world
            .access
            .audit_log(&everything())
            .await
            .unwrap()
            .is_empty()
    );
    let writes = vec![
        W::AddUser(minji.clone()),
        W::Audit(line("user.create", "minji")),
    ];
    done(&world, writes).await;
    assert!(world.access.has_users().await.unwrap());
    let found = world.access.user_by_email("minji@example.com").await;
    assert_eq!(found.unwrap(), Some(minji));
}

pub async fn an_address_is_one_account_whoever_races(world: World) {
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let access = world.access.clone();
        tasks.push(tokio::spawn(async move {
            let writes = vec![W::AddUser(user("minji@example.com"))];
            access.access_write(writes).await.unwrap()
        }));
    }
    let mut winners = 0;
    for task in tasks {
        winners += usize::from(task.await.unwrap() == Written::Done);
    }
    assert_eq!(winners, 1);
    // Addresses are compared byte by byte; `access` writes them in lower case.
    done(&world, vec![W::AddUser(user("Minji@example.com"))]).await;
}

pub async fn a_user_is_changed_only_at_the_revision_that_was_read(world: World) {
    let minji = user("minji@example.com");
    done(&world, vec![W::AddUser(minji.clone())]).await;
    let next = UserRow {
        name: "Minji".to_owned(),
        password_hash: "another".to_owned(),
        password_change_required: false,
        active: false,
        revision: 2,
        updated_at: at(9),
        ..minji.clone()
    };
    for revision in [1, 3] {
        let stale = UserRow {
            revision,
            ..next.clone()
        };
        let answer = world.access.access_write(vec![W::ChangeUser(stale)]).await;
        assert_eq!(answer.unwrap(), Written::Unmet(0));
    }
    done(&world, vec![W::ChangeUser(next.clone())]).await;
    done(&world, vec![W::LoggedIn(next.user_id, at(10))]).await;
    let found = world.access.user_by_email(&next.email).await.unwrap();
    let expected = UserRow {
        last_login_at: Some(at(10)),
        ..next
    };
    assert_eq!(found, Some(expected));
}

pub async fn what_roles_permit_counts_only_where_somebody_belongs(world: World) {
    permit(&world, &["a.read", "a.write"]).await;
    let acme = organization(&world, "acme").await;
    let minji = user("minji@example.com");
    let reader = role(ROOT, "reader", &["a.read"]);
    let writer = role(acme, "writer", &["a.read", "a.write"]);
    let id = minji.user_id;
    done(
        &world,
        vec![
            W::AddUser(minji),
            W::AddRole(reader.clone()),
            W::AddRole(writer.clone()),
            member(ROOT, id),
            member(acme, id),
            W::PutRoles(ROOT, id, vec![reader.role_id]),
            W::PutRoles(acme, id, vec![writer.role_id]),
        ],
    )
    .await;
    let identity = world.access.identity(id).await.unwrap().unwrap();
    let held = |organization| {
        let grants = identity.grants.iter();
        grants
            .filter(|grant| grant.organization_id == organization)
            .count()
    };
    assert_eq!((held(ROOT), held(acme)), (1, 2));
    done(&world, vec![W::RemoveMember(acme, id)]).await;
    let identity = world.access.identity(id).await.unwrap().unwrap();
    assert_eq!(identity.organizations, [ROOT]);
    assert_eq!(identity.grants.len(), 1);
    // A changed role permits exactly what it says now.
    let changed = RoleRow {
        permissions: vec!["a.write".to_owned()],
        ..reader
    };
    done(&world, vec![W::ChangeRole(changed)]).await;
    let identity = world.access.identity(id).await.unwrap().unwrap();
    assert_eq!(identity.grants[0].permission.as_deref(), Some("a.write"));
    assert_eq!(
        world.access.identity(UserId::generate()).await.unwrap(),
        None
    );
}

pub async fn a_role_of_another_organization_is_not_given(world: World) {
    let acme = organization(&world, "acme").await;
    let minji = user("minji@example.com");
    let theirs = role(acme, "writer", &[]);
    let system = RoleRow {
        system: true,
        ..role(ROOT, "GUEST", &[])
    };
    let id = minji.user_id;
    done(
        &world,
        vec![
            W::AddUser(minji),
            member(ROOT, id),
            W::AddRole(theirs.clone()),
            W::AddRole(system.clone()),
        ],
    )
    .await;
    for role in [theirs.role_id, RoleId::generate()] {
        let writes = vec![W::PutRoles(ROOT, id, vec![role])];
        let answer = world.access.access_write(writes).await.unwrap();
        assert_eq!(answer, Written::Unmet(0));
    }
    done(&world, vec![W::PutRoles(ROOT, id, vec![system.role_id])]).await;
    // The system's roles are seen in every organization, others in their own; the system's are not removed.
    let names = |rows: Vec<RoleRow>| rows.into_iter().map(|row| row.name).collect::<Vec<_>>();
    assert_eq!(names(world.access.roles(ROOT).await.unwrap()), ["GUEST"]);
    assert_eq!(
        names(world.access.roles(acme).await.unwrap()),
        ["GUEST", "writer"]
    );
    let remove = |organization, role| vec![W::RemoveRole(organization, role)];
    for writes in [remove(ROOT, system.role_id), remove(ROOT, theirs.role_id)] {
        let answer = world.access.access_write(writes).await.unwrap();
        assert_eq!(answer, Written::Unmet(0));
    }
    done(&world, remove(acme, theirs.role_id)).await;
}

pub async fn a_removed_user_leaves_nothing_behind_but_the_log(world: World) {
    permit(&world, &["a.read"]).await;
    let minji = user("minji@example.com");
    let reader = role(ROOT, "reader", &["a.read"]);
    let id = minji.user_id;
    let by_minji = AuditRow {
        actor: String::new(),
        user_id: Some(id),
        ..line("workflow.update", "blog")
    };
    done(
        &world,
        vec![
            W::AddUser(minji),
            W::AddRole(reader.clone()),
            member(ROOT, id),
            W::PutRoles(ROOT, id, vec![reader.role_id]),
            W::AddSession(session(id, "s1")),
            W::AddToken(token(id, "t1")),
            W::Audit(by_minji),
        ],
    )
    .await;
    done(&world, vec![W::RemoveUser(id)]).await;
    assert!(world.access.session("s1").await.unwrap().is_none());
    assert!(world.access.api_token("t1").await.unwrap().is_none());
    assert!(world.access.members(ROOT, 9).await.unwrap().is_empty());
    assert!(world.access.member_roles(ROOT).await.unwrap().is_empty());
    // The log knows who it was.
    let log = world.access.audit_log(&everything()).await.unwrap();
    assert_eq!(log[0].actor, "minji@example.com");
    assert_eq!(log[0].user_id, Some(id));
}

fn session(user: UserId, hash: &str) -> SessionRow {
    SessionRow {
        session_id: SessionId::generate(),
        organization_id: ROOT,
        user_id: user,
        token_hash: hash.to_owned(),
        agent: "Browser\u{1b}[31m".to_owned(),
        address: "127.0.0.1".to_owned(),
        created_at: at(1),
        seen_at: at(1),
        expires_at: at(100),
    }
}

pub async fn sessions_are_found_by_their_hash_until_they_end(world: World) {
    let minji = user("minji@example.com");
    let id = minji.user_id;
    let rows = ["s1", "s2", "s3"].map(|hash| session(id, hash));
    let mut writes = vec![W::AddUser(minji)];
    writes.extend(rows.iter().cloned().map(W::AddSession));
    done(&world, writes).await;
    assert!(world.access.session("s9").await.unwrap().is_none());
    let (found, identity) = world.access.session("s2").await.unwrap().unwrap();
    assert_eq!(found, rows[1]);
    assert_eq!(identity.user.user_id, id);
    done(&world, vec![W::SessionSeen(rows[1].session_id, at(7))]).await;
    let (found, _) = world.access.session("s2").await.unwrap().unwrap();
    assert_eq!(found.seen_at, at(7));
    let stranger = vec![W::EndSession(UserId::generate(), rows[1].session_id)];
    let answer = world.access.access_write(stranger).await.unwrap();
    assert_eq!(answer, Written::Unmet(0));
    done(&world, vec![W::EndSession(id, rows[1].session_id)]).await;
    done(&world, vec![W::EndSessions(id, Some(rows[2].session_id))]).await;
    let left = world.access.sessions(id).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].session_id, rows[2].session_id);
    done(&world, vec![W::SweepSessions(at(99))]).await;
    assert_eq!(world.access.sessions(id).await.unwrap().len(), 1);
    done(&world, vec![W::SweepSessions(at(100))]).await;
    assert!(world.access.sessions(id).await.unwrap().is_empty());
}

fn token(user: UserId, hash: &str) -> TokenRow {
    TokenRow {
        token_id: TokenId::generate(),
        organization_id: ROOT,
        user_id: user,
        name: "deploy".to_owned(),
        token_hash: hash.to_owned(),
        hint: "fwt_abcdef".to_owned(),
        permissions: vec!["a.read".to_owned(), "a.write".to_owned()],
        created_at: at(1),
        expires_at: at(100),
        last_used_at: None,
        revoked_at: None,
    }
}

pub async fn tokens_are_found_by_their_hash_and_revoked_once(world: World) {
    let acme = organization(&world, "acme").await;
    let minji = user("minji@example.com");
    // Ids of one millisecond are in no order of their own.
    let row = TokenRow {
        token_id: "01ARZ3NDEKTSV4RRFFQ69G5FA0".parse().unwrap(),
        ..token(minji.user_id, "t1")
    };
    let none = TokenRow {
        token_id: "01ARZ3NDEKTSV4RRFFQ69G5FA1".parse().unwrap(),
        permissions: Vec::new(),
        ..token(minji.user_id, "t2")
    };
    let writes = vec![
        W::AddUser(minji),
        W::AddToken(row.clone()),
        W::AddToken(none.clone()),
    ];
    done(&world, writes).await;
    let (found, _) = world.access.api_token("t1").await.unwrap().unwrap();
    assert_eq!(found, row);
    done(&world, vec![W::TokenUsed(row.token_id, at(5))]).await;
    let other = vec![W::RevokeToken(acme, row.token_id, at(6))];
    let answer = world.access.access_write(other).await.unwrap();
    assert_eq!(answer, Written::Unmet(0));
    done(&world, vec![W::RevokeToken(ROOT, row.token_id, at(6))]).await;
    let again = vec![W::RevokeToken(ROOT, row.token_id, at(7))];
    let answer = world.access.access_write(again).await.unwrap();
    assert_eq!(answer, Written::Unmet(0));
    let (found, _) = world.access.api_token("t1").await.unwrap().unwrap();
    assert_eq!(
        (found.last_used_at, found.revoked_at),
        (Some(at(5)), Some(at(6)))
    );
    let listed = world.access.api_tokens(ROOT, 9).await.unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0], none);
    assert!(world.access.api_tokens(acme, 9).await.unwrap().is_empty());
}

pub async fn departments_and_positions_that_go_leave_their_members(world: World) {
    let minji = user("minji@example.com");
    let id = minji.user_id;
    let sales = PlaceRow {
        id: DepartmentId::generate(),
        organization_id: ROOT,
        name: "영업".to_owned(),
        created_at: at(1),
    };
    let head = PlaceRow {
        id: PositionId::generate(),
        organization_id: ROOT,
        name: "head".to_owned(),
        created_at: at(1),
    };
    let belongs = W::PutMember {
        organization: ROOT,
        user: id,
        department: Some(sales.id),
        position: Some(head.id),
        at: at(2),
    };
    let writes = vec![
        W::AddDepartment(sales.clone()),
        W::AddPosition(head.clone()),
        W::AddUser(minji),
        member(ROOT, id),
        belongs,
    ];
    done(&world, writes).await;
    let twin = PlaceRow {
        id: DepartmentId::generate(),
        ..sales.clone()
    };
    let answer = world
        .access
        .access_write(vec![W::AddDepartment(twin)])
        .await;
    assert_eq!(answer.unwrap(), Written::Unmet(0));
    let renamed = PlaceRow {
        name: "Sales".to_owned(),
        ..sales.clone()
    };
    done(&world, vec![W::RenameDepartment(renamed.clone())]).await;
    assert_eq!(world.access.departments(ROOT).await.unwrap(), [renamed]);
    assert_eq!(
        world.access.positions(ROOT).await.unwrap(),
        std::slice::from_ref(&head)
    );
    let members = world.access.members(ROOT, 9).await.unwrap();
    assert_eq!(members[0].department_id, Some(sales.id));
    done(
        &world,
        vec![
            W::RemoveDepartment(ROOT, sales.id),
            W::RemovePosition(ROOT, head.id),
        ],
    )
    .await;
    let members = world.access.members(ROOT, 9).await.unwrap();
    assert_eq!(members.len(), 1);
    assert_eq!(
        (members[0].department_id, members[0].position_id),
        (None, None)
    );
}

pub async fn the_audit_log_comes_newest_first_with_its_filters(world: World) {
    let acme = organization(&world, "acme").await;
    let mut rows = Vec::new();
    for (number, action) in ["user.create", "user.delete", "role.create", "userx.create"]
        .into_iter()
        .enumerate()
    {
        rows.push(AuditRow {
            // In the order of their ids, also within a millisecond.
            audit_id: format!("01ARZ3NDEKTSV4RRFFQ69G5FA{number}")
                .parse()
                .unwrap(),
            created_at: at(i64::try_from(number).unwrap()),
            ..line(
                action,
                if number < 2 {
                    "minji"
                } else {
                    "jun\u{202e}\r\n"
                },
            )
        });
    }
    let elsewhere = AuditRow {
        organization_id: acme,
        ..line("user.create", "them")
    };
    let writes = rows.iter().chain([&elsewhere]).cloned().map(W::Audit);
    done(&world, writes.collect()).await;
    let read = async |filter: AuditFilter| world.access.audit_log(&filter).await.unwrap();
    let all = read(everything()).await;
    assert_eq!(all, rows.iter().rev().cloned().collect::<Vec<_>>());
    let page = AuditFilter {
        limit: 3,
        ..everything()
    };
    let first = read(page.clone()).await;
    let next = AuditFilter {
        before: first.last().map(|row| row.audit_id),
        ..page
    };
    assert_eq!(read(next).await, rows[..1]);
    let deed = |action: &str| AuditFilter {
        action: Some(action.to_owned()),
        ..everything()
    };
    assert_eq!(read(deed("user.")).await.len(), 2);
    assert_eq!(read(deed("user.create")).await, rows[..1]);
    assert_eq!(read(deed("user")).await, []);
    let filter = AuditFilter {
        target: Some("minji".to_owned()),
        since: Some(at(1)),
        until: Some(at(2)),
        ..everything()
    };
    assert_eq!(read(filter).await, rows[1..2]);
    let theirs = AuditFilter {
        organization: acme,
        ..everything()
    };
    assert_eq!(read(theirs).await, [elsewhere]);
}

pub async fn organizations_are_named_once(world: World) {
    let acme = organization(&world, "acme").await;
    let twin = OrganizationRow {
        organization_id: OrganizationId::generate(),
        name: "acme".to_owned(),
        created_at: at(1),
    };
    let answer = world
        .access
        .access_write(vec![W::AddOrganization(twin)])
        .await;
    assert_eq!(answer.unwrap(), Written::Unmet(0));
    let rows = world.access.organizations().await.unwrap();
    let names: Vec<_> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["acme", "root"]);
    assert_eq!(rows[0].organization_id, acme);
}
