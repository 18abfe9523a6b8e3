//! A workspace on its way out: page by page of its files, chunk by chunk of each.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use coditect_store::blobs::BlobReader;
use coditect_store::records::File;
use futures::stream::try_unfold;

use super::format::{END, head, padding};
use crate::error::ApiError;
use crate::handlers::files::Workspace;
use crate::state::ApiState;
use crate::transfers::Transfer;

/// Files whose names are read at once.
const PAGE_FILES: usize = 200;

/// An archive being written.
pub(super) struct Export {
    state: Arc<ApiState>,
    workspace: Workspace,
    /// What the paths of all files begin with, and their names do not.
    prefix: String,
    files: VecDeque<File>,
    /// The place of the next page; absent after the last.
    next: Option<String>,
    /// The file being written, and its size.
    open: Option<(BlobReader, u64)>,
    ended: bool,
    _transfer: Transfer,
}

impl Export {
    /// Begins with the first files, so that what does not exist is refused while that can be told.
    pub(super) async fn begin(
        state: Arc<ApiState>,
        workspace: Workspace,
        directory: &str,
        transfer: Transfer,
    ) -> Result<Self, ApiError> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let (files, open, ended) = (VecDeque::new(), None, false);
        let mut export =
            Self { state, workspace, prefix, files, next: None, open, ended, _transfer: transfer };
        export.page(None).await?;
        if export.files.is_empty() && !directory.is_empty() {
            return Err(ApiError::NotFound);
        }
        Ok(export)
    }

    /// The whole of it. An error cuts it off before the blocks that an archive ends with.
    pub(super) fn into_body(self) -> Body {
        Body::from_stream(try_unfold(self, |mut export| async move {
            match export.next().await {
                Ok(bytes) => Ok(bytes.map(|bytes| (bytes, export))),
                Err(error) => {
                    tracing::error!(%error, "an archive was cut off");
                    Err(error)
                }
            }
        }))
    }

    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            if let Some((reader, size)) = &mut self.open {
                if let Some(chunk) = reader.next_chunk().await? {
                    return Ok(Some(chunk));
                }
                let filling = padding(*size);
                self.open = None;
                if filling > 0 {
                    return Ok(Some(vec![0_u8; filling].into()));
                }
            } else if let Some(file) = self.files.pop_front() {
                if let Some(head) = self.start(file).await? {
                    return Ok(Some(head));
                }
            } else if let Some(after) = self.next.take() {
                self.page(Some(after)).await?;
            } else if self.ended {
                return Ok(None);
            } else {
                self.ended = true;
                return Ok(Some(Bytes::from_static(&END)));
            }
        }
    }

    async fn page(&mut self, after: Option<String>) -> Result<(), ApiError> {
        let files = self.state.repositories.files();
        let (tenant, id) = (self.workspace.tenant, self.workspace.id);
        let page = files.list(tenant, id, &self.prefix, after.as_deref(), PAGE_FILES).await?;
        (self.files, self.next) = (page.items.into(), page.next);
        Ok(())
    }

    /// Opens a file, and returns what stands before it; `None` if it is gone.
    async fn start(&mut self, file: File) -> Result<Option<Bytes>, ApiError> {
        let (tenant, id) = (self.workspace.tenant, self.workspace.id);
        let (files, blobs) = (self.state.repositories.files(), self.state.repositories.blobs());
        let mut found = (blobs.open(tenant, &file.content.sha256).await?, file);
        if found.0.is_none() {
            // What was listed a while ago may have been replaced, and its content collected.
            let Some(file) = files.get(tenant, id, &found.1.path).await? else { return Ok(None) };
            found = (blobs.open(tenant, &file.content.sha256).await?, file);
        }
        let (Some(reader), file) = found else {
            return Err(ApiError::Internal("a file's content is not there".into()));
        };
        let name = file.path.strip_prefix(&self.prefix).unwrap_or(&file.path);
        let time = u64::try_from(file.updated_at / 1000).unwrap_or(0);
        let head = head(name, file.content.size, time, file.content.executable);
        self.open = Some((reader, file.content.size));
        Ok(Some(head.into()))
    }
}
