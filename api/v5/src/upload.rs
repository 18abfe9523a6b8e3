//! An upload that is given up when whoever wrote to it goes away.

use coditect_store::blobs::Upload;
use uuid::Uuid;

use crate::error::ApiError;
use crate::state::ApiState;

/// A blob being written. Dropped before it is complete, what was written is removed by the collector's next run: a
/// client that is cut off leaves nothing behind for long.
pub(crate) struct PendingUpload {
    upload: Option<Upload>,
}

impl PendingUpload {
    pub(crate) fn begin(state: &ApiState, tenant: Uuid) -> Self {
        Self { upload: Some(state.repositories.blobs().upload(tenant)) }
    }

    /// Adds bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
        match &mut self.upload {
            Some(upload) => Ok(upload.write(bytes).await?),
            None => Ok(()),
        }
    }

    /// The bytes that came so far.
    pub(crate) fn size(&self) -> u64 {
        self.upload.as_ref().map_or(0, Upload::size)
    }

    /// All bytes came: whoever has the upload finishes it.
    pub(crate) fn complete(mut self) -> Result<Upload, ApiError> {
        self.upload.take().ok_or_else(|| ApiError::Internal("an upload ended twice".into()))
    }
}

impl Drop for PendingUpload {
    fn drop(&mut self) {
        let Some(upload) = self.upload.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(%error, "an upload that was cut off stays for an hour");
                }
            });
        }
    }
}
