//! A tar stream on its way into a workspace: each file is uploaded and written before the next is looked at.

use coditect_store::Condition;

use super::ImportResponse;
use super::reader::{Entry, Reader};
use crate::error::ApiError;
use crate::handlers::files::{Workspace, checked};
use crate::incoming::Incoming;
use crate::state::ApiState;
use crate::upload::PendingUpload;

/// An archive being read.
pub(super) struct Import<'a> {
    state: &'a ApiState,
    workspace: &'a Workspace,
    /// The directory it goes to; empty for the workspace itself.
    directory: &'a str,
    reader: Reader,
    /// What was written so far.
    pub(super) done: ImportResponse,
}

impl<'a> Import<'a> {
    pub(super) fn new(
        state: &'a ApiState,
        workspace: &'a Workspace,
        directory: &'a str,
        body: Incoming,
    ) -> Self {
        let (reader, done) = (Reader::new(body), ImportResponse::default());
        Self { state, workspace, directory, reader, done }
    }

    /// Writes all files.
    ///
    /// # Errors
    ///
    /// What is wrong with the archive, or with writing; [`Import::done`] says how far it came.
    pub(super) async fn run(&mut self) -> Result<(), ApiError> {
        while let Some(entry) = self.reader.next().await? {
            self.entry(&entry).await.map_err(|error| about(&entry, error))?;
        }
        Ok(())
    }

    async fn entry(&mut self, entry: &Entry) -> Result<(), ApiError> {
        if entry.path.is_empty() {
            // The directory itself.
            return Ok(());
        }
        let path = match self.directory {
            "" => entry.path.clone(),
            directory => format!("{directory}/{}", entry.path),
        };
        checked(&path)?;
        if entry.is_directory {
            return Ok(());
        }
        let (files, condition) = (self.state.repositories.files(), Condition::Any);
        let (tenant, id) = (self.workspace.tenant, self.workspace.id);
        let admission = files.admit(tenant, id, &path, &condition).await?;
        if entry.size > admission.room {
            return Err(admission.exceeded().into());
        }
        let mut upload = PendingUpload::begin(self.state, tenant);
        while let Some(bytes) = self.reader.content().await? {
            upload.write(&bytes).await?;
        }
        let (upload, now) = (upload.complete()?, self.state.clock.now_millis());
        let executable = Some(entry.executable);
        files.finish(upload, tenant, id, &path, executable, &condition, now).await?;
        self.done.files += 1;
        self.done.bytes += entry.size;
        Ok(())
    }
}

/// The error, with the entry it is about.
fn about(entry: &Entry, error: ApiError) -> ApiError {
    match error {
        ApiError::Validation { reason, .. } => {
            ApiError::validation(format!("entry `{}`", entry.path), reason)
        }
        ApiError::QuotaExceeded(text) => ApiError::QuotaExceeded(format!("entry `{}`: {text}", entry.path)),
        error => error,
    }
}
