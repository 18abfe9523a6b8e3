//! Conversations. A conversation belongs to one user; to everybody else it does not exist.

use uuid::Uuid;

use super::indexed::{IndexEntry, Indexed, Versioned, expect, insert, replace};
use super::page::time_page;
use super::{Context, Order, Page, TimeCursor, UpdateError, load, messages, sessions};
use crate::error::StoreError;
use crate::keyspace::{Key, TenantFamily, TenantScope};
use crate::records::Conversation;
use crate::transaction::Transaction;

/// Conversations.
pub struct Conversations<'a> {
    context: &'a Context,
}

impl<'a> Conversations<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Stores a new conversation; its id must be fresh.
    ///
    /// # Errors
    ///
    /// [`UpdateError::NotFound`] if it names a workspace that its user does not have.
    pub async fn create(&self, conversation: &Conversation) -> Result<(), UpdateError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(conversation.tenant_id);
        self.context
            .run(|transaction| async move {
                if let Some(session) = conversation.session_id {
                    let owned = sessions::owned(&transaction, scope, conversation.user_id, session).await?;
                    owned.ok_or(UpdateError::NotFound)?;
                }
                insert(&transaction, keys, scope, conversation).await
            })
            .await
    }

    /// A user's conversation.
    pub async fn get(&self, tenant: Uuid, user: Uuid, id: Uuid) -> Result<Option<Conversation>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        self.context.run(|transaction| async move { owned(&transaction, scope, user, id).await }).await
    }

    /// A page of a user's conversations, newest first.
    pub async fn by_user(
        &self,
        tenant: Uuid,
        user: Uuid,
        after: Option<&TimeCursor>,
        limit: usize,
    ) -> Result<Page<Conversation>, StoreError> {
        self.page(tenant, TenantFamily::ConversationsByUser, user, after, limit).await
    }

    /// A page of the user's conversations that were begun in a workspace, newest first.
    pub async fn by_session(
        &self,
        tenant: Uuid,
        user: Uuid,
        session: Uuid,
        after: Option<&TimeCursor>,
        limit: usize,
    ) -> Result<Page<Conversation>, StoreError> {
        let family = TenantFamily::ConversationsBySession;
        let mut page = self.page(tenant, family, session, after, limit).await?;
        page.items.retain(|conversation| conversation.user_id == user);
        Ok(page)
    }

    async fn page(
        &self,
        tenant: Uuid,
        family: TenantFamily,
        of: Uuid,
        after: Option<&TimeCursor>,
        limit: usize,
    ) -> Result<Page<Conversation>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        let index = &scope.branch(family, &(of,));
        self.context
            .run(|transaction| async move {
                let record = |place: &TimeCursor| key(scope, place.id);
                time_page(&transaction, index, after, Order::NewestFirst, limit, record).await
            })
            .await
    }

    /// Changes a user's conversation and returns it as it is now. Ids, owner, workspace and creation time stay
    /// as they are.
    pub async fn update(
        &self,
        tenant: Uuid,
        user: Uuid,
        id: Uuid,
        expected: Option<u64>,
        change: impl Fn(&mut Conversation) + Send + Sync,
    ) -> Result<Conversation, UpdateError> {
        let scope = self.context.keys.tenant(tenant);
        let theirs = |conversation: &Conversation| conversation.user_id == user;
        self.context.update(&scope, &key(&scope, id), expected, theirs, change).await
    }

    /// Removes a user's conversation with all its messages, in one transaction.
    pub async fn delete(
        &self,
        tenant: Uuid,
        user: Uuid,
        id: Uuid,
        expected: Option<u64>,
    ) -> Result<(), UpdateError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(tenant);
        self.context
            .once(|transaction| async move {
                let old = owned(&transaction, scope, user, id).await?.ok_or(UpdateError::NotFound)?;
                expect(&old, expected)?;
                messages::remove_all(&transaction, scope, id)?;
                replace(&transaction, keys, scope, Some(&old), None).await
            })
            .await
    }
}

impl Indexed for Conversation {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        key(scope, self.id)
    }

    fn entries(&self, scope: &TenantScope) -> Vec<IndexEntry> {
        let entry = |family, of: Uuid| IndexEntry::plain(scope.key(family, &(of, self.created_at, self.id)));
        let by_session = self.session_id.map(|id| entry(TenantFamily::ConversationsBySession, id));
        [entry(TenantFamily::ConversationsByUser, self.user_id)].into_iter().chain(by_session).collect()
    }
}

impl Versioned for Conversation {
    fn version(&mut self) -> &mut u64 {
        &mut self.version
    }

    fn settle(&mut self, old: &Self) {
        self.id = old.id;
        self.tenant_id = old.tenant_id;
        self.user_id = old.user_id;
        self.session_id = old.session_id;
        self.created_at = old.created_at;
    }
}

fn key(scope: &TenantScope, id: Uuid) -> Key {
    scope.key(TenantFamily::Conversations, &(id,))
}

/// A conversation, if it is this user's.
pub(super) async fn owned(
    transaction: &Transaction,
    scope: &TenantScope,
    user: Uuid,
    id: Uuid,
) -> Result<Option<Conversation>, StoreError> {
    let conversation: Option<Conversation> = load(transaction, &key(scope, id)).await?;
    Ok(conversation.filter(|conversation| conversation.user_id == user))
}
