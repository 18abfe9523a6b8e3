//! Directories: they are where paths with a common beginning meet, and nothing of their own.

use uuid::Uuid;

use super::Files;
use super::entry::{file_id, file_key};
use crate::contract::RangeRead;
use crate::error::StoreError;
use crate::file_path;
use crate::keyspace::{Branch, KeySpan, TenantFamily};
use crate::records::File;
use crate::repo::Page;
use crate::repo::page::{load_all, name_page, page_size};
use crate::transaction::Transaction;

/// Rows read at once after a directory was skipped: there may be another one right after.
const FEW_ROWS: usize = 4;

/// What a directory holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectoryEntry {
    /// A file.
    File(File),
    /// A directory, by its whole path.
    Directory(String),
}

/// A name found in the index, before its file is read.
enum Found {
    File(Uuid),
    Directory(String),
}

impl Files<'_> {
    /// A page of what lies in a directory (`""` is the workspace itself), from the place `after` on; places are for
    /// this function only. The order is that of the paths as bytes, those of directories with a slash at their end.
    ///
    /// Reads about as much as it returns, however much lies in directories below.
    pub async fn list_directory(
        &self,
        tenant: Uuid,
        session: Uuid,
        directory: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<DirectoryEntry, String>, StoreError> {
        let scope = &self.scope(tenant);
        let index = &scope.branch(TenantFamily::FilesByPath, &(session,));
        let prefix = &file_path::prefix(directory);
        self.context
            .run(|transaction| async move {
                let (found, next) = names(&transaction, index, prefix, after, page_size(limit)).await?;
                let files = found.iter().filter_map(|(_, found)| match found {
                    Found::File(id) => Some(file_key(scope, *id)),
                    Found::Directory(_) => None,
                });
                let mut files = load_all::<File>(&transaction, files).await?.into_iter();
                let items = found.into_iter().filter_map(|(_, found)| match found {
                    Found::File(_) => files.next().map(DirectoryEntry::File),
                    Found::Directory(path) => Some(DirectoryEntry::Directory(path)),
                });
                Ok(Page { items: items.collect(), next })
            })
            .await
    }

    /// A page of the files whose paths begin with `prefix`, in the order of their paths as bytes, from the one
    /// after the path `after` on.
    pub async fn list(
        &self,
        tenant: Uuid,
        session: Uuid,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<File, String>, StoreError> {
        let scope = &self.scope(tenant);
        let index = &scope.branch(TenantFamily::FilesByPath, &(session,));
        self.context
            .run(|transaction| async move {
                let names = index.span_of_text(prefix);
                name_page(&transaction, index, names, after, limit, |id| file_key(scope, id)).await
            })
            .await
    }
}

/// The first `limit` names in a directory after a place, with their places, and the place of the last if there are
/// more. A directory's place is its path with a slash, and what follows is what follows all that lies in it.
async fn names(
    transaction: &Transaction,
    index: &Branch,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<(String, Found)>, Option<String>), StoreError> {
    let mut span = index.span_of_text(prefix);
    if let Some(after) = after {
        span = past(index, span, after);
    }
    let mut found: Vec<(String, Found)> = Vec::new();
    let mut rows_at_once = limit + 1;
    loop {
        let read = RangeRead::new(span.begin.as_slice(), span.end.as_slice(), rows_at_once).snapshot();
        let page = transaction.range(read).await?;
        let mut skipped = None;
        for row in &page.rows {
            if skipped.as_ref().is_some_and(|skip: &KeySpan| row.key < skip.begin) {
                continue;
            }
            let (path,): (String,) = index.unpack(&row.key)?;
            if found.len() == limit {
                let last = found.last().map(|(place, _)| place.clone());
                return Ok((found, last));
            }
            let rest = path.strip_prefix(prefix).unwrap_or_default();
            match rest.find('/') {
                None => found.push((path, Found::File(file_id(&row.value)?))),
                Some(at) => {
                    let end = prefix.len() + at;
                    let place = path.get(..=end).unwrap_or(&path).to_owned();
                    skipped = Some(past(index, span.clone(), &place));
                    let directory = path.get(..end).unwrap_or(&path).to_owned();
                    found.push((place, Found::Directory(directory)));
                }
            }
        }
        if !page.more {
            return Ok((found, None));
        }
        let Some(last) = page.rows.last() else { return Ok((found, None)) };
        rows_at_once = match skipped {
            Some(skip) if skip.begin > last.key => {
                span = skip;
                FEW_ROWS
            }
            _ => {
                span.begin = [last.key.as_slice(), &[0]].concat();
                (rows_at_once * 2).min(limit + 1)
            }
        };
    }
}

/// The part of a span after a place.
fn past(index: &Branch, mut span: KeySpan, place: &str) -> KeySpan {
    let begin = match place.ends_with('/') {
        true => index.span_of_text(place).end,
        false => [index.key(&(place,)).as_ref(), &[0]].concat(),
    };
    span.begin = begin.clamp(span.begin, span.end.clone());
    span
}
