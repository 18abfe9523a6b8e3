//! Workspaces ("sessions" in the API). A workspace belongs to one user; to everybody else it does not exist.

use uuid::Uuid;

use super::indexed::{IndexEntry, Indexed, Versioned, change, expect, insert};
use super::page::{id_page, load_all, page_size, time_page};
use super::session_accesses::{with_access, with_accesses};
use super::{Context, Order, Page, TimeCursor, UpdateError, keys_in, load};
use crate::contract::ReadMode;
use crate::error::StoreError;
use crate::keyspace::{GlobalFamily, Key, Keyspace, TenantFamily, TenantScope};
use crate::records::{Record, Session, SessionStatus, SessionType};
use crate::transaction::Transaction;

/// The most workspaces looked through for one page of those that fit a filter.
const LOOKED_THROUGH: usize = 1000;

/// Workspaces. Their files and state have repositories of their own.
pub struct Sessions<'a> {
    pub(super) context: &'a Context,
}

/// Which workspaces a list shows: those that are all of this.
#[derive(Debug, Clone, Default)]
pub struct SessionFilter {
    /// Only where they are in their life.
    pub status: Option<SessionStatus>,
    /// Only what they are for.
    pub r#type: Option<SessionType>,
    /// Only with this path.
    pub workspace_path: Option<String>,
}

impl SessionFilter {
    fn admits(&self, session: &Session) -> bool {
        self.status.is_none_or(|status| session.status == status)
            && self.r#type.is_none_or(|kind| session.r#type == kind)
            && (self.workspace_path.is_none() || session.workspace_path == self.workspace_path)
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self { status: None, r#type: None, workspace_path: None })
    }
}

impl<'a> Sessions<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Stores a new workspace; its id must be fresh.
    pub async fn create(&self, session: &Session) -> Result<(), UpdateError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(session.tenant_id);
        self.context.run(|transaction| async move { insert(&transaction, keys, scope, session).await }).await
    }

    /// As [`Self::create`], if the user has less than `limit` workspaces.
    ///
    /// # Errors
    ///
    /// [`UpdateError::LimitReached`] otherwise, whatever others create at the same time.
    pub async fn create_within(&self, session: &Session, limit: usize) -> Result<(), UpdateError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(session.tenant_id);
        self.context
            .once(|transaction| async move {
                check_limit(&transaction, scope, session.user_id, limit).await?;
                insert(&transaction, keys, scope, session).await
            })
            .await
    }

    /// A user's workspace: two point reads.
    pub async fn get(&self, tenant: Uuid, user: Uuid, id: Uuid) -> Result<Option<Session>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        self.context
            .run(|transaction| async move {
                match owned(&transaction, scope, user, id).await? {
                    Some(session) => with_access(&transaction, scope, session).await.map(Some),
                    None => Ok(None),
                }
            })
            .await
    }

    /// A user's workspaces, newest first, at most `limit`, however many that is.
    pub async fn list(&self, tenant: Uuid, user: Uuid, limit: usize) -> Result<Vec<Session>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        let index = &scope.branch(TenantFamily::SessionsByUser, &(user,));
        self.context
            .run(|transaction| async move {
                let keys = keys_in(&transaction, index.span(), limit, true, ReadMode::Serializable).await?;
                let ids = keys
                    .iter()
                    .map(|key| index.unpack(key).map(|(_, id): (i64, Uuid)| id))
                    .collect::<Result<Vec<_>, _>>()?;
                let sessions = load_all(&transaction, ids.iter().map(|id| scope.session(*id))).await?;
                with_accesses(&transaction, scope, sessions).await
            })
            .await
    }

    /// A page of a user's workspaces, newest first.
    pub async fn page(
        &self,
        tenant: Uuid,
        user: Uuid,
        after: Option<&TimeCursor>,
        limit: usize,
    ) -> Result<Page<Session>, StoreError> {
        self.page_of(tenant, user, &SessionFilter::default(), after, limit).await
    }

    /// A page of those of a user's workspaces that fit a filter, newest first. It ends early, and may even be empty
    /// although there are more, where few of those looked through fit.
    pub async fn page_of(
        &self,
        tenant: Uuid,
        user: Uuid,
        filter: &SessionFilter,
        after: Option<&TimeCursor>,
        limit: usize,
    ) -> Result<Page<Session>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        let index = &scope.branch(TenantFamily::SessionsByUser, &(user,));
        let limit = page_size(limit);
        self.context
            .run(|transaction| async move {
                let (mut items, mut next, mut looked) = (Vec::new(), after.copied(), 0);
                loop {
                    let most = if filter.is_empty() { limit } else { LOOKED_THROUGH };
                    let place = |place: &TimeCursor| scope.session(place.id);
                    let order = Order::NewestFirst;
                    let page: Page<Session> =
                        time_page(&transaction, index, next.as_ref(), order, most, place).await?;
                    looked += page.items.len();
                    next = page.next;
                    for session in page.items.into_iter().filter(|session| filter.admits(session)) {
                        if items.len() == limit {
                            next = items.last().map(place_of);
                            break;
                        }
                        items.push(session);
                    }
                    if next.is_none() || items.len() == limit || looked >= LOOKED_THROUGH {
                        let items = with_accesses(&transaction, scope, items).await?;
                        return Ok(Page { items, next });
                    }
                }
            })
            .await
    }

    /// A page of the user's workspaces that name a path, in the order of their ids, from the one after `after`
    /// on.
    pub async fn by_path(
        &self,
        tenant: Uuid,
        user: Uuid,
        path: &str,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Page<Session, Uuid>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        let index = &scope.branch(TenantFamily::SessionsByPath, &(user, path));
        self.context
            .run(|transaction| async move {
                let page: Page<Session, Uuid> =
                    id_page(&transaction, index, after, limit, |id| scope.session(id)).await?;
                let items = with_accesses(&transaction, scope, page.items).await?;
                Ok(Page { items, next: page.next })
            })
            .await
    }

    /// Changes a user's workspace and returns it as it is now.
    ///
    /// `how` may run several times, each time on the record as stored. Ids, owner, creation time and what is under way
    /// with the workspace stay as they are whatever it does.
    pub async fn update(
        &self,
        tenant: Uuid,
        user: Uuid,
        id: Uuid,
        expected: Option<u64>,
        how: impl Fn(&mut Session) + Send + Sync,
    ) -> Result<Session, UpdateError> {
        let keys = &self.context.keys;
        let (scope, how) = (&keys.tenant(tenant), &how);
        self.context
            .once(|transaction| async move {
                let old = owned(&transaction, scope, user, id).await?.ok_or(UpdateError::NotFound)?;
                expect(&old, expected)?;
                let new = change(&transaction, keys, scope, &old, how).await?;
                Ok(with_access(&transaction, scope, new).await?)
            })
            .await
    }
}

fn place_of(session: &Session) -> TimeCursor {
    TimeCursor { at: session.created_at, id: session.id }
}

/// Refuses if a user has `limit` workspaces. Checked at commit: of those who create the last one at the same time, one
/// does.
pub(super) async fn check_limit(
    transaction: &Transaction,
    scope: &TenantScope,
    user: Uuid,
    limit: usize,
) -> Result<(), UpdateError> {
    let span = scope.span(TenantFamily::SessionsByUser, &(user,));
    let keys = keys_in(transaction, span, limit, false, ReadMode::Serializable).await?;
    if keys.len() >= limit { Err(UpdateError::LimitReached { limit }) } else { Ok(()) }
}

impl Indexed for Session {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        scope.session(self.id)
    }

    fn entries(&self, scope: &TenantScope) -> Vec<IndexEntry> {
        if self.status == SessionStatus::Deleting {
            return Vec::new();
        }
        let by_user = scope.session_by_user(self.user_id, self.created_at, self.id);
        let by_path = self
            .workspace_path
            .as_ref()
            .map(|path| scope.key(TenantFamily::SessionsByPath, &(self.user_id, path.as_str(), self.id)));
        [by_user].into_iter().chain(by_path).map(IndexEntry::plain).collect()
    }

    fn global_entries(&self, keys: &Keyspace, scope: &TenantScope) -> Vec<IndexEntry> {
        let unsettled = || keys.global(GlobalFamily::SessionsUnsettled, &(scope.id(), self.id));
        self.status.is_unsettled().then(|| IndexEntry::plain(unsettled())).into_iter().collect()
    }
}

impl Versioned for Session {
    fn version(&mut self) -> &mut u64 {
        &mut self.version
    }

    fn settle(&mut self, old: &Self) {
        self.id = old.id;
        self.tenant_id = old.tenant_id;
        self.user_id = old.user_id;
        self.forked_from = old.forked_from;
        self.created_at = old.created_at;
        if self.status.is_unsettled() || old.status.is_unsettled() {
            self.status = old.status;
        }
    }
}

/// A workspace, unless it is being removed.
pub(super) async fn live(
    transaction: &Transaction,
    scope: &TenantScope,
    id: Uuid,
) -> Result<Option<Session>, StoreError> {
    let session: Option<Session> = load(transaction, &scope.session(id)).await?;
    Ok(session.filter(|session| session.status != SessionStatus::Deleting))
}

/// A workspace, if it is this user's.
pub(super) async fn owned(
    transaction: &Transaction,
    scope: &TenantScope,
    user: Uuid,
    id: Uuid,
) -> Result<Option<Session>, StoreError> {
    Ok(live(transaction, scope, id).await?.filter(|session| session.user_id == user))
}

/// A workspace, unless it is being removed, as it was when the transaction began; checked at commit against nothing.
pub(super) async fn at_snapshot(
    transaction: &Transaction,
    scope: &TenantScope,
    id: Uuid,
) -> Result<Option<Session>, StoreError> {
    let stored = transaction.get_snapshot(scope.session(id)).await?;
    let session = stored.map(|stored| Session::decode(&stored)).transpose()?;
    Ok(session.filter(|session| session.status != SessionStatus::Deleting))
}

/// A workspace, if it is this user's, as it was when the transaction began; checked at commit against nothing.
pub(super) async fn owned_at_snapshot(
    transaction: &Transaction,
    scope: &TenantScope,
    user: Uuid,
    id: Uuid,
) -> Result<Option<Session>, StoreError> {
    Ok(at_snapshot(transaction, scope, id).await?.filter(|session| session.user_id == user))
}
