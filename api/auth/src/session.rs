//! One login or refresh, and what a refresh token presented for it deserves.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One link of a token family: made by a login, or by a refresh that rotated the link before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthSession {
    /// The claim `session_id`.
    pub id: Uuid,
    /// The claim `token_family`: the login this link descends from.
    pub family: Uuid,
    /// Whose login it is.
    pub user_id: Uuid,
    /// The user's tenant.
    pub tenant_id: Uuid,
    /// The user's e-mail address when the link was made.
    pub email: String,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds; no token of the family outlives this moment.
    pub family_ends_at: i64,
    /// Set once a refresh has replaced this link.
    pub rotated: Option<Rotation>,
    /// The client's `User-Agent`, for the user's own list of logins.
    pub user_agent: Option<String>,
    /// The client's address, for the same list.
    pub address: Option<String>,
}

/// By what and when a link was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Unix seconds.
    pub at: i64,
    /// The link that replaced it.
    pub successor: Uuid,
}

/// What to do with a refresh token that was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshVerdict {
    /// The token is the family's current one: replace it.
    Rotate,
    /// It was replaced moments ago and the answer may have been lost: give the successor's tokens once more.
    Grace {
        /// The link whose tokens to give.
        successor: Uuid,
    },
    /// It was replaced before: somebody has a copy. The whole family is to be revoked (RFC 9700, 4.14.2).
    Reused,
    /// The family was revoked before.
    Revoked,
    /// The family's time is over.
    Ended,
}

/// Judges a refresh token whose signature was found good and whose link is `session`.
///
/// `grace_seconds` is how long after a rotation the replaced token still gets its successor's tokens.
pub fn judge_refresh(
    session: &AuthSession,
    family_revoked: bool,
    now: i64,
    grace_seconds: i64,
) -> RefreshVerdict {
    if family_revoked {
        return RefreshVerdict::Revoked;
    }
    if now >= session.family_ends_at {
        return RefreshVerdict::Ended;
    }
    match session.rotated {
        None => RefreshVerdict::Rotate,
        Some(rotation) if now < rotation.at.saturating_add(grace_seconds) => {
            RefreshVerdict::Grace { successor: rotation.successor }
        }
        Some(_) => RefreshVerdict::Reused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(rotated_at: Option<i64>) -> AuthSession {
        AuthSession {
            id: Uuid::from_u128(1),
            family: Uuid::from_u128(2),
            user_id: Uuid::from_u128(3),
            tenant_id: Uuid::from_u128(4),
            email: "a@example.com".into(),
            created_at: 100,
            family_ends_at: 1000,
            rotated: rotated_at.map(|at| Rotation { at, successor: Uuid::from_u128(9) }),
            user_agent: None,
            address: None,
        }
    }

    #[test]
    fn a_current_token_rotates_until_the_family_ends() {
        assert_eq!(judge_refresh(&session(None), false, 999, 10), RefreshVerdict::Rotate);
        assert_eq!(judge_refresh(&session(None), false, 1000, 10), RefreshVerdict::Ended);
    }

    #[test]
    fn a_rotated_token_has_a_grace_window_and_then_betrays_a_copy() {
        let rotated = session(Some(200));
        let successor = Uuid::from_u128(9);
        assert_eq!(judge_refresh(&rotated, false, 209, 10), RefreshVerdict::Grace { successor });
        assert_eq!(judge_refresh(&rotated, false, 210, 10), RefreshVerdict::Reused);
    }

    #[test]
    fn a_revoked_family_gives_nothing_whatever_the_link() {
        assert_eq!(judge_refresh(&session(None), true, 150, 10), RefreshVerdict::Revoked);
        assert_eq!(judge_refresh(&session(Some(200)), true, 205, 10), RefreshVerdict::Revoked);
    }
}
