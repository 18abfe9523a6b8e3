//! The messages of conversations, in the order in which they were said.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::indexed::{IndexEntry, Indexed, replace, unpack_value};
use super::page::page_size;
use super::{Context, Order, Page, TimeCursor, UpdateError, conversations, keys_in, load};
use crate::contract::{RangeRead, ReadMode};
use crate::error::StoreError;
use crate::keyspace::{Branch, Key, TenantFamily, TenantScope};
use crate::records::{Message, MessageRole, Record};
use crate::transaction::Transaction;

/// A message to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMessage {
    /// Its id, fresh in the conversation.
    pub id: Uuid,
    /// Who speaks.
    pub role: MessageRole,
    /// What is said. With `metadata` it must fit into one value of the store: about 99 kB as JSON.
    pub content: String,
    /// What the client keeps with it.
    pub metadata: Map<String, Value>,
}

/// The messages of conversations.
pub struct Messages<'a> {
    context: &'a Context,
}

impl<'a> Messages<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Appends a message to a user's conversation at `now` (Unix milliseconds).
    ///
    /// Its time is `now`, or just after the last message's if that is later: messages keep the order in which
    /// they were appended, and a reader who pages through them misses none. Appending the very same message
    /// again returns it as it was stored.
    ///
    /// # Errors
    ///
    /// [`UpdateError::NotFound`] if the user has no such conversation, [`UpdateError::Taken`] if the
    /// conversation has another message with the id.
    pub async fn append(
        &self,
        tenant: Uuid,
        user: Uuid,
        conversation: Uuid,
        message: &NewMessage,
        now: i64,
    ) -> Result<Message, UpdateError> {
        let keys = &self.context.keys;
        let scope = &keys.tenant(tenant);
        self.context
            .run(|transaction| async move {
                let owned = conversations::owned(&transaction, scope, user, conversation).await?;
                owned.ok_or(UpdateError::NotFound)?;
                if let Some(found) = find(&transaction, scope, conversation, message.id).await? {
                    return if is_stored(message, &found) { Ok(found) } else { Err(UpdateError::Taken) };
                }
                let created_at = match last(&transaction, scope, conversation).await? {
                    Some(last) => now.max(last.saturating_add(1)),
                    None => now,
                };
                let new = Message {
                    id: message.id,
                    tenant_id: tenant,
                    conversation_id: conversation,
                    role: message.role,
                    content: message.content.clone(),
                    metadata: message.metadata.clone(),
                    created_at,
                };
                replace(&transaction, keys, scope, None, Some(&new)).await?;
                Ok(new)
            })
            .await
    }

    /// A message of a user's conversation.
    pub async fn get(
        &self,
        tenant: Uuid,
        user: Uuid,
        conversation: Uuid,
        id: Uuid,
    ) -> Result<Option<Message>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        self.context
            .run(|transaction| async move {
                if conversations::owned(&transaction, scope, user, conversation).await?.is_none() {
                    return Ok(None);
                }
                find(&transaction, scope, conversation, id).await
            })
            .await
    }

    /// A page of the messages of a user's conversation; `None` if the user has no such conversation.
    ///
    /// A page ends before it grows beyond about 1 MiB.
    pub async fn list(
        &self,
        tenant: Uuid,
        user: Uuid,
        conversation: Uuid,
        after: Option<&TimeCursor>,
        order: Order,
        limit: usize,
    ) -> Result<Option<Page<Message>>, StoreError> {
        let scope = &self.context.keys.tenant(tenant);
        self.context
            .run(|transaction| async move {
                if conversations::owned(&transaction, scope, user, conversation).await?.is_none() {
                    return Ok(None);
                }
                page(&transaction, &of(scope, conversation), after, order, limit).await.map(Some)
            })
            .await
    }
}

impl Indexed for Message {
    fn tenant(&self) -> Uuid {
        self.tenant_id
    }

    fn key(&self, scope: &TenantScope) -> Key {
        of(scope, self.conversation_id).key(&(self.created_at, self.id))
    }

    fn entries(&self, scope: &TenantScope) -> Vec<IndexEntry> {
        let key = by_id(scope, self.conversation_id, self.id);
        vec![IndexEntry::valued(key, foundationdb_tuple::pack(&(self.created_at,)))]
    }
}

/// The messages of a conversation, by time.
fn of(scope: &TenantScope, conversation: Uuid) -> Branch {
    scope.branch(TenantFamily::Messages, &(conversation,))
}

fn by_id(scope: &TenantScope, conversation: Uuid, id: Uuid) -> Key {
    scope.key(TenantFamily::MessagesById, &(conversation, id))
}

async fn find(
    transaction: &Transaction,
    scope: &TenantScope,
    conversation: Uuid,
    id: Uuid,
) -> Result<Option<Message>, StoreError> {
    let Some(value) = transaction.get(by_id(scope, conversation, id)).await? else {
        return Ok(None);
    };
    let (at,): (i64,) = unpack_value("messages_by_id", &value)?;
    let message = load(transaction, &of(scope, conversation).key(&(at, id))).await?;
    message.map(Some).ok_or(StoreError::Orphan { family: "messages_by_id" })
}

fn is_stored(new: &NewMessage, found: &Message) -> bool {
    (new.role, &new.content, &new.metadata) == (found.role, &found.content, &found.metadata)
}

/// The time of a conversation's last message.
async fn last(
    transaction: &Transaction,
    scope: &TenantScope,
    conversation: Uuid,
) -> Result<Option<i64>, StoreError> {
    let messages = of(scope, conversation);
    let keys = keys_in(transaction, messages.span(), 1, true, ReadMode::Serializable).await?;
    keys.first().map(|key| messages.unpack(key).map(|(at, _): (i64, Uuid)| at)).transpose()
}

async fn page(
    transaction: &Transaction,
    messages: &Branch,
    after: Option<&TimeCursor>,
    order: Order,
    limit: usize,
) -> Result<Page<Message>, StoreError> {
    let reverse = order.is_reverse();
    let mut span = messages.span();
    if let Some(cursor) = after {
        span = span.beyond(&messages.key(&(cursor.at, cursor.id)), reverse);
    }
    let limit = page_size(limit);
    let (begin, end) = (span.begin, span.end);
    let rows = transaction.range(RangeRead { begin, end, limit, reverse, mode: ReadMode::Snapshot }).await?;
    let items = rows.rows.iter().map(|row| Message::decode(&row.value)).collect::<Result<Vec<_>, _>>()?;
    let last = rows.rows.last().map(|row| messages.unpack(&row.key)).transpose()?;
    Ok(Page { items, next: last.map(|(at, id)| TimeCursor { at, id }).filter(|_| rows.more) })
}

/// Removes all messages of a conversation. They and their entries lie in one range each, so this is two
/// mutations however many there are.
pub(super) fn remove_all(
    transaction: &Transaction,
    scope: &TenantScope,
    conversation: Uuid,
) -> Result<(), StoreError> {
    for family in [TenantFamily::Messages, TenantFamily::MessagesById] {
        let span = scope.span(family, &(conversation,));
        transaction.clear_range(span.begin, span.end)?;
    }
    Ok(())
}
