//! Lists, a page at a time. A cursor is the place of a page's last item, not a count of items: what is added
//! or removed meanwhile makes no page repeat or skip what stays.

use std::fmt;
use std::str::FromStr;

use futures::future::try_join_all;
use uuid::Uuid;

use super::indexed::unpack_value;
use super::{keys_in, load};
use crate::contract::{RangePage, RangeRead, ReadMode};
use crate::error::StoreError;
use crate::keyspace::{Branch, Key, KeySpan};
use crate::records::Record;
use crate::transaction::Transaction;

/// The most items of a page.
pub const MAX_PAGE: usize = 200;

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, C = TimeCursor> {
    /// The items, in the list's order. May be fewer than asked for although there are more.
    pub items: Vec<T>,
    /// Where the next page begins; absent at the list's end.
    pub next: Option<C>,
}

/// The order of a list by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// From the first to the last.
    OldestFirst,
    /// From the last to the first.
    NewestFirst,
}

impl Order {
    pub(super) fn is_reverse(self) -> bool {
        self == Self::NewestFirst
    }
}

/// A place in a list by time: after the item with this time and id, in whatever order the list is read.
/// Written as `<time>.<id>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeCursor {
    /// Unix milliseconds.
    pub at: i64,
    /// Orders items of the same millisecond.
    pub id: Uuid,
}

/// A text that is no [`TimeCursor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of a list")]
pub struct CursorError;

impl fmt::Display for TimeCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at, self.id)
    }
}

impl FromStr for TimeCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (at, id) = text.split_once('.').ok_or(CursorError)?;
        let at = at.parse().map_err(|_| CursorError)?;
        let id = Uuid::try_parse(id).map_err(|_| CursorError)?;
        Ok(Self { at, id })
    }
}

/// At least one item, at most [`MAX_PAGE`].
pub(super) fn page_size(limit: usize) -> usize {
    limit.clamp(1, MAX_PAGE)
}

/// The keys of a page of a span, and whether there are more.
pub(super) async fn page_keys(
    transaction: &Transaction,
    span: KeySpan,
    limit: usize,
    reverse: bool,
) -> Result<(Vec<Vec<u8>>, bool), StoreError> {
    let limit = page_size(limit);
    let mut keys = keys_in(transaction, span, limit + 1, reverse, ReadMode::Snapshot).await?;
    let more = keys.len() > limit;
    keys.truncate(limit);
    Ok((keys, more))
}

/// A page of the records that an index by time names: its entries end with a time and an id.
pub(super) async fn time_page<R: Record>(
    transaction: &Transaction,
    index: &Branch,
    after: Option<&TimeCursor>,
    order: Order,
    limit: usize,
    record: impl Fn(&TimeCursor) -> Key,
) -> Result<Page<R>, StoreError> {
    let reverse = order.is_reverse();
    let mut span = index.span();
    if let Some(cursor) = after {
        span = span.beyond(&index.key(&(cursor.at, cursor.id)), reverse);
    }
    let (keys, more) = page_keys(transaction, span, limit, reverse).await?;
    let places = keys
        .iter()
        .map(|key| index.unpack(key).map(|(at, id)| TimeCursor { at, id }))
        .collect::<Result<Vec<_>, _>>()?;
    let items = load_all(transaction, places.iter().map(record)).await?;
    Ok(Page { items, next: places.last().copied().filter(|_| more) })
}

/// A page of the records that an index by id names, in the order of the ids.
pub(super) async fn id_page<R: Record>(
    transaction: &Transaction,
    index: &Branch,
    after: Option<Uuid>,
    limit: usize,
    record: impl Fn(Uuid) -> Key,
) -> Result<Page<R, Uuid>, StoreError> {
    let mut span = index.span();
    if let Some(after) = after {
        span = span.beyond(&index.key(&(after,)), false);
    }
    let (keys, more) = page_keys(transaction, span, limit, false).await?;
    let ids =
        keys.iter().map(|key| index.unpack(key).map(|(id,): (Uuid,)| id)).collect::<Result<Vec<_>, _>>()?;
    let items = load_all(transaction, ids.iter().copied().map(record)).await?;
    Ok(Page { items, next: ids.last().copied().filter(|_| more) })
}

/// A page of the records that a unique index by name names: its entries end with the name, their values are
/// ids. `names` is the part of the index to read.
pub(super) async fn name_page<R: Record>(
    transaction: &Transaction,
    index: &Branch,
    names: KeySpan,
    after: Option<&str>,
    limit: usize,
    record: impl Fn(Uuid) -> Key,
) -> Result<Page<R, String>, StoreError> {
    let page = rows_by_name(transaction, index, names, after, limit).await?;
    let ids = page
        .rows
        .iter()
        .map(|row| unpack_value(index.family(), &row.value).map(|(id,): (Uuid,)| id))
        .collect::<Result<Vec<_>, _>>()?;
    let items = load_all(transaction, ids.into_iter().map(record)).await?;
    let last = page.rows.last().map(|row| index.unpack(&row.key)).transpose()?;
    Ok(Page { items, next: last.map(|(name,): (String,)| name).filter(|_| page.more) })
}

/// A page of records whose own keys end with their name. Ends before it grows beyond about 1 MiB.
pub(super) async fn record_page<R: Record>(
    transaction: &Transaction,
    records: &Branch,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<R, String>, StoreError> {
    let page = rows_by_name(transaction, records, records.span(), after, limit).await?;
    let items = page.rows.iter().map(|row| R::decode(&row.value)).collect::<Result<Vec<_>, _>>()?;
    let last = page.rows.last().map(|row| records.unpack(&row.key)).transpose()?;
    Ok(Page { items, next: last.map(|(name,): (String,)| name).filter(|_| page.more) })
}

async fn rows_by_name(
    transaction: &Transaction,
    branch: &Branch,
    mut span: KeySpan,
    after: Option<&str>,
    limit: usize,
) -> Result<RangePage, StoreError> {
    if let Some(after) = after {
        span = span.beyond(&branch.key(&(after,)), false);
    }
    transaction.range(RangeRead::new(span.begin, span.end, page_size(limit)).snapshot()).await
}

/// The records that index entries name, all of which must be there.
pub(super) async fn load_all<R: Record>(
    transaction: &Transaction,
    keys: impl Iterator<Item = Key>,
) -> Result<Vec<R>, StoreError> {
    try_join_all(keys.map(|key| async move {
        load(transaction, &key).await?.ok_or(StoreError::Orphan { family: R::FAMILY })
    }))
    .await
}
