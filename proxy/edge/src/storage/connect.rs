//! Waiting at the start for a store that is elsewhere.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use coditect_store::contract::Backend;

/// The pause between two attempts.
#[cfg(feature = "foundationdb")]
pub(super) const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Asks a backend until it answers, and tells the log of each attempt that failed.
///
/// # Errors
///
/// It does not answer within `limit` (and one last attempt).
pub(super) async fn until_it_answers(
    backend: &dyn Backend,
    cluster_file: &Path,
    limit: Duration,
    pause: Duration,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let cluster_file = cluster_file.display();
    let mut attempt = 1_u32;
    while let Err(reason) = backend.ping().await {
        if started.elapsed() >= limit {
            bail!(
                "FoundationDB at {cluster_file} did not answer within {} s ({attempt} attempts): {reason}. Is the \
                 cluster up (fdbcli: `status`), and does this machine reach the addresses in that file? How long \
                 the start waits is connect_timeout_seconds in [store.foundationdb]",
                limit.as_secs()
            );
        }
        tracing::warn!("waiting for FoundationDB at {cluster_file}: {reason}, attempt {attempt}");
        tokio::time::sleep(pause.min(limit.saturating_sub(started.elapsed()))).await;
        attempt += 1;
    }
    if attempt > 1 {
        tracing::info!("FoundationDB at {cluster_file} answers");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use async_trait::async_trait;
    use coditect_store::StoreError;
    use coditect_store::contract::BackendTransaction;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// A backend that answers from the `answers_at`-th ping on.
    struct Late {
        answers_at: u32,
        pings: AtomicU32,
    }

    impl Late {
        fn new(answers_at: u32) -> Self {
            Self { answers_at, pings: AtomicU32::new(0) }
        }
    }

    #[async_trait]
    impl Backend for Late {
        fn name(&self) -> &'static str {
            "late"
        }

        fn begin(&self) -> Box<dyn BackendTransaction> {
            unreachable!("nobody begins a transaction before the backend answers")
        }

        async fn ping(&self) -> Result<(), StoreError> {
            let ping = self.pings.fetch_add(1, Ordering::SeqCst) + 1;
            if ping >= self.answers_at { Ok(()) } else { Err(StoreError::TimedOut) }
        }

        async fn close(&self) -> Result<(), StoreError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn it_goes_on_asking_until_there_is_an_answer() {
        let late = Late::new(3);
        let (file, limit) = (Path::new("fdb.cluster"), Duration::from_secs(60));
        until_it_answers(&late, file, limit, Duration::ZERO).await.unwrap();
        assert_eq!(late.pings.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn it_gives_up_and_says_what_to_look_at() {
        let never = Late::new(u32::MAX);
        let file = Path::new("/etc/fdb.cluster");
        let error = until_it_answers(&never, file, Duration::ZERO, Duration::ZERO).await.unwrap_err();
        let text = error.to_string();
        for part in ["/etc/fdb.cluster", "did not answer in time", "connect_timeout_seconds"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
