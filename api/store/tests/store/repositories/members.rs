//! Who may do what to a tenant's members.

use coditect_store::records::{Role, User, UserStatus};
use coditect_store::{By, UpdateError};
use uuid::Uuid;

use super::{Data, NOW_MS, checks};
use crate::support::registration;

checks![
    a_role_reaches_as_far_as_it_says,
    the_last_owner_stays_one,
    of_two_owners_who_demote_each_other_one_stays,
];

/// A tenant with an owner, two admins and two members.
struct Team {
    tenant: Uuid,
    owner: User,
    admins: [User; 2],
    members: [User; 2],
}

impl Team {
    async fn of(data: &Data) -> Self {
        let new = registration(&*data.entropy, "owner@example.com");
        data.repositories.users().register(&new).await.unwrap();
        let with = async |role: Role, name: &str| {
            let email = format!("{name}@example.com");
            let user = User { id: data.id(), email, role, ..new.user.clone() };
            data.repositories.users().add(By::Operator, &user).await.unwrap();
            user
        };
        Self {
            tenant: new.tenant.id,
            admins: [with(Role::Admin, "a1").await, with(Role::Admin, "a2").await],
            members: [with(Role::Member, "m1").await, with(Role::Member, "m2").await],
            owner: new.user,
        }
    }

    /// What becomes of a member's wish to give somebody a role.
    async fn promote(&self, data: &Data, by: &User, whom: &User, role: Role) -> Result<User, UpdateError> {
        let users = data.repositories.users();
        users.administer(By::Member(by.id), self.tenant, whom.id, None, |user| user.role = role).await
    }
}

fn refused<T: std::fmt::Debug>(done: &Result<T, UpdateError>) -> bool {
    matches!(done, Err(UpdateError::NotAllowed))
}

async fn a_role_reaches_as_far_as_it_says(data: Data) {
    let t = Team::of(&data).await;
    let users = data.repositories.users();
    for whom in [&t.owner, &t.admins[1], &t.members[1], &t.members[0]] {
        let by_member = t.promote(&data, &t.members[0], whom, Role::Admin).await;
        assert!(refused(&by_member), "{by_member:?}");
        if whom.id != t.members[0].id {
            let removals = data.repositories.removals();
            let by = By::Member(t.members[0].id);
            assert!(refused(&removals.begin_user(by, t.tenant, whom.id, None, NOW_MS).await));
        }
    }
    assert!(
        refused(&t.promote(&data, &t.admins[0], &t.owner, Role::Member).await),
        "an owner is out of reach"
    );
    assert!(refused(&t.promote(&data, &t.admins[0], &t.members[0], Role::Owner).await), "nor is one made");
    assert!(
        refused(&t.promote(&data, &t.admins[0], &t.admins[0], Role::Owner).await),
        "not of oneself either"
    );
    assert!(refused(&users.disable(By::Member(t.admins[0].id), t.tenant, t.owner.id, None, NOW_MS).await));
    let before = users.get(t.tenant, t.owner.id).await.unwrap().unwrap();
    assert_eq!(before, t.owner, "a refusal changes nothing");

    t.promote(&data, &t.admins[0], &t.members[0], Role::Admin).await.unwrap();
    t.promote(&data, &t.members[0], &t.admins[0], Role::Member).await.unwrap();
    assert!(refused(&t.promote(&data, &t.admins[0], &t.members[1], Role::Admin).await), "no admin any more");
    users.disable(By::Member(t.members[0].id), t.tenant, t.admins[1].id, None, NOW_MS).await.unwrap();
    assert!(refused(&t.promote(&data, &t.admins[1], &t.members[1], Role::Admin).await), "not while disabled");
    t.promote(&data, &t.owner, &t.members[1], Role::Owner).await.unwrap();
    let stranger = By::Member(data.id());
    assert!(refused(&users.administer(stranger, t.tenant, t.members[1].id, None, |_| ()).await));

    let new =
        |role, n: u8| User { id: data.id(), email: format!("n{n}@example.com"), role, ..t.owner.clone() };
    assert!(refused(&users.add(By::Member(t.admins[0].id), &new(Role::Member, 1)).await));
    assert!(refused(&users.add(By::Member(t.members[0].id), &new(Role::Owner, 2)).await));
    users.add(By::Member(t.members[0].id), &new(Role::Admin, 3)).await.unwrap();
    data.assert_clean().await;
}

async fn the_last_owner_stays_one(data: Data) {
    let t = Team::of(&data).await;
    let (users, removals) = (data.repositories.users(), data.repositories.removals());
    let last = |done: &dyn std::fmt::Debug| format!("{done:?}").contains("LastOwner");
    for by in [By::Operator, By::Member(t.owner.id)] {
        let demoted = users.administer(by, t.tenant, t.owner.id, None, |user| user.role = Role::Admin).await;
        assert!(last(&demoted), "{demoted:?}");
        let disabled = users.disable(by, t.tenant, t.owner.id, None, NOW_MS).await;
        assert!(last(&disabled), "{disabled:?}");
        let removed = removals.begin_user(by, t.tenant, t.owner.id, None, NOW_MS).await;
        assert!(last(&removed), "{removed:?}");
    }
    let left = removals.begin_account(t.tenant, t.owner.id, NOW_MS).await;
    assert!(last(&left), "{left:?}");
    // An owner who cannot log in is no owner to rely on.
    t.promote(&data, &t.owner, &t.admins[0], Role::Owner).await.unwrap();
    users.disable(By::Operator, t.tenant, t.admins[0].id, None, NOW_MS).await.unwrap();
    assert!(last(&t.promote(&data, &t.owner, &t.owner, Role::Member).await));
    let enabled =
        users.administer(By::Operator, t.tenant, t.admins[0].id, None, |u| u.status = UserStatus::Active);
    enabled.await.unwrap();
    t.promote(&data, &t.owner, &t.owner, Role::Member).await.unwrap();
    data.assert_clean().await;
}

async fn of_two_owners_who_demote_each_other_one_stays(data: Data) {
    for round in 0..8 {
        let new = registration(&*data.entropy, &format!("a{round}@example.com"));
        data.repositories.users().register(&new).await.unwrap();
        let second = User { id: data.id(), email: format!("b{round}@example.com"), ..new.user.clone() };
        data.repositories.users().add(By::Operator, &second).await.unwrap();
        let (tenant, one, two) = (new.tenant.id, new.user.id, second.id);
        let demote = |by: Uuid, whom: Uuid| {
            let repositories = data.repositories.clone();
            tokio::spawn(async move {
                let how = |user: &mut User| user.role = Role::Member;
                repositories.users().administer(By::Member(by), tenant, whom, None, how).await
            })
        };
        let (here, there) = (demote(one, two), demote(two, one));
        let done = [here.await.unwrap().is_ok(), there.await.unwrap().is_ok()];
        assert_eq!(done.iter().filter(|done| **done).count(), 1, "{done:?}");
        let members = data.repositories.users().list(tenant, None, 10).await.unwrap().items;
        assert_eq!(members.iter().filter(|user| user.role == Role::Owner).count(), 1);
    }
}
