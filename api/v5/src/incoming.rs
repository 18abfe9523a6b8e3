//! A request's body as it comes, for as long as it comes.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};

use crate::error::ApiError;

/// How long a client may take for the next [`PROGRESS_BYTES`] of a body, or for its end. The time that the store takes
/// is not counted.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many bytes are progress: about 0.5 KiB/s is the slowest upload there can be.
const PROGRESS_BYTES: usize = 16 << 10;

/// A body that is read piece by piece. A silent client is cut off, a slow one may go on.
pub(crate) struct Incoming {
    body: Body,
    patience: Duration,
    since: usize,
}

impl Incoming {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, patience: PATIENCE, since: 0 }
    }

    /// The length that was declared, if one was.
    pub(crate) fn declared(&self) -> Option<u64> {
        HttpBody::size_hint(&self.body).exact()
    }

    /// The next bytes, at least one; `None` at the body's end.
    ///
    /// # Errors
    /// [`ApiError::RequestTimeout`] if they did not come in time, [`ApiError::UnreadableBody`] if the body was cut off.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        loop {
            let asked = Instant::now();
            let frame =
                timeout(self.patience, self.body.frame()).await.map_err(|_| ApiError::RequestTimeout)?;
            self.patience = self.patience.saturating_sub(asked.elapsed());
            let bytes = match frame {
                None => return Ok(None),
                Some(Err(_)) => return Err(ApiError::UnreadableBody),
                // Trailers say nothing here.
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            self.since += bytes.len();
            if self.since >= PROGRESS_BYTES {
                (self.patience, self.since) = (PATIENCE, 0);
            }
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::convert::Infallible;

    use futures::stream::unfold;

    use super::*;

    /// A body of pieces, each after a pause.
    fn trickle(pieces: usize, size: usize, pause: Duration) -> Incoming {
        let pieces = unfold(pieces, move |left| async move {
            tokio::time::sleep(pause).await;
            let piece = Ok::<_, Infallible>(Bytes::from(vec![0; size]));
            (left > 0).then(|| (piece, left - 1))
        });
        Incoming::new(Body::from_stream(pieces))
    }

    async fn read(mut incoming: Incoming) -> Result<usize, ApiError> {
        let mut total = 0;
        while let Some(bytes) = incoming.next().await? {
            total += bytes.len();
        }
        Ok(total)
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_that_progresses_goes_on() {
        let slow = trickle(50, PROGRESS_BYTES, PATIENCE - Duration::from_secs(1));
        assert_eq!(read(slow).await.unwrap(), 50 * PROGRESS_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_or_trickling_body_is_cut_off() {
        let silent = trickle(1, 1, PATIENCE + Duration::from_secs(1));
        assert!(matches!(read(silent).await, Err(ApiError::RequestTimeout)));
        let trickling = trickle(1000, 1, Duration::from_secs(1));
        assert!(matches!(read(trickling).await, Err(ApiError::RequestTimeout)));
    }
}
