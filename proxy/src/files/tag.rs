//! Strong entity tags (RFC 9110, 8.8.3): one per content, and one per compressed variant of it.

use sha2::{Digest, Sha256};

use super::content::Stamp;
use super::encoding::Coding;

/// Bytes of the hash kept; 128 bits leave no chance of two contents with one tag.
const TAG_BYTES: usize = 16;

/// Identifies one content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tag([u8; TAG_BYTES]);

impl Tag {
    /// For files compiled in: from the content itself.
    pub(super) fn of_content(bytes: &[u8]) -> Self {
        Tag::truncated(Sha256::digest(bytes).as_slice())
    }

    /// For files of a directory: from size, times and inode, hashed, so that no inode number is shown to
    /// clients. The change time is part of it because builds often set all modification times alike, and inode
    /// numbers are used again. What it cannot see is a file written twice in place within one tick of the file
    /// system's clock (milliseconds); deploys that replace files by rename have no such gap.
    pub(super) fn of_stamp(stamp: &Stamp) -> Self {
        let mut hash = Sha256::new();
        hash.update(stamp.device.to_le_bytes());
        hash.update(stamp.inode.to_le_bytes());
        hash.update(stamp.size.to_le_bytes());
        for (seconds, nanoseconds) in [stamp.modified, stamp.changed] {
            hash.update(seconds.to_le_bytes());
            hash.update(nanoseconds.to_le_bytes());
        }
        Tag::truncated(hash.finalize().as_slice())
    }

    /// The `ETag` header's value for the content as it is (`None`) or compressed.
    pub(super) fn header(self, coding: Option<Coding>) -> String {
        let base = hex::encode(self.0);
        match coding {
            None => format!("\"{base}\""),
            Some(coding) => format!("\"{base}-{}\"", coding.token()),
        }
    }

    fn truncated(hash: &[u8]) -> Self {
        let mut tag = [0; TAG_BYTES];
        for (to, from) in tag.iter_mut().zip(hash) {
            *to = *from;
        }
        Tag(tag)
    }
}
