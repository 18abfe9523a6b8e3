//! A running edge takes changes to its key set: it looks at the file every few seconds, and when told to by SIGHUP.

use coditect_auth::{KeyFileError, KeySet, KeySetFile, Stamp, TokenKeys};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How often the file is looked at. A key that is taken out is refused this much later at most.
const INTERVAL: Duration = Duration::from_secs(2);

/// Follows the file of a key set.
pub(crate) struct KeyWatcher {
    file: KeySetFile,
    keys: Arc<TokenKeys>,
    /// Told when the file shall be read at once.
    asked: Arc<Notify>,
    /// What the file was like when it was last read, well or not.
    seen: Option<Stamp>,
    /// The key that was last said to sign.
    signing: Option<String>,
}

impl KeyWatcher {
    /// Reads the file for the first time; gives the set and what was looked at.
    pub(crate) fn first(file: &KeySetFile) -> Result<(KeySet, Option<Stamp>), KeyFileError> {
        // Looked at before it is read: a change in between is seen the next time.
        let seen = file.stamp();
        file.load().map(|set| (set, seen))
    }

    /// Keeps `keys` as the file has them, which was like `seen` when they were read from it.
    pub(crate) fn new(
        file: KeySetFile,
        seen: Option<Stamp>,
        keys: Arc<TokenKeys>,
        asked: Arc<Notify>,
    ) -> Self {
        let signing = keys.signing_kid();
        Self { file, keys, asked, seen, signing }
    }

    /// Follows until it is dropped. A file that cannot be read leaves the keys as they are.
    pub(crate) async fn follow(mut self) {
        loop {
            let asked = timeout(INTERVAL, self.asked.notified()).await.is_ok();
            self.look(asked).await;
            let signing = self.keys.signing_kid();
            if signing != self.signing {
                tracing::info!(
                    kid = signing.as_deref().unwrap_or_default(),
                    "another key signs tokens from now on"
                );
                self.signing = signing;
            }
        }
    }

    /// Reads the file if it has changed, or if `asked` to.
    async fn look(&mut self, asked: bool) {
        let (file, seen) = (self.file.clone(), self.seen);
        let read = tokio::task::spawn_blocking(move || {
            let now = file.stamp();
            let changed = now != seen || asked;
            changed.then(|| (now, file.load()))
        });
        let (stamp, loaded) = match read.await {
            Ok(None) => return,
            Ok(Some(read)) => read,
            Err(error) => {
                tracing::error!(%error, "the key set could not be read; the keys at work go on");
                return;
            }
        };
        self.seen = stamp;
        match loaded {
            Ok(set) => {
                let kids: Vec<_> = set.keys().map(coditect_auth::KeyPair::kid).collect();
                tracing::info!(file = %self.file.path().display(), keys = kids.join(" "), "key set taken");
                self.keys.replace(set);
            }
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the key set was refused, the keys at work go on"
            ),
        }
    }
}
