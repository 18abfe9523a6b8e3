//! The token families that are alive, and the end of each.
//!
//! The gate asks for every request ([`Families::admit`]); the answer is cached, and a revocation in this process takes
//! effect at once: the cached entry and the sockets share one [`Family`]. Whatever cannot be determined is refused.
//!
//! A tenant's suspension ([`Families::suspend`]) ends its [`Family`] values but not its logins: while it lasts they are
//! refused from memory, afterwards ([`Families::resume`]) each is looked up again and gets a new [`Family`].

mod recheck;
mod registry;

pub use self::recheck::{Recheck, RecheckError};
use self::registry::{Interned, Registry};
use crate::{AuthError, Claims, Clock};
use async_trait::async_trait;
use quick_cache::sync::Cache;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How many auth sessions are remembered as alive. One that fell out costs one read of the store.
const CACHED_SESSIONS: usize = 100_000;
/// How long the store may take to answer before the request is refused.
const SOURCE_DEADLINE: Duration = Duration::from_secs(2);
/// How often an admission looks up anew because a recheck began meanwhile.
const LOOKUPS: usize = 3;
/// A wait for a family's end is checked against the clock at least this often, since clocks are set.
const END_CHECK: Duration = Duration::from_secs(3600);

/// What the store knows of the family an auth session belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyRecord {
    /// The family.
    pub family: Uuid,
    /// Whose login it is.
    pub user_id: Uuid,
    /// The user's tenant.
    pub tenant_id: Uuid,
    /// Unix seconds.
    pub ends_at: i64,
    /// Ended before its time, or its tenant is gone.
    pub revoked: bool,
    /// Whether the tenant may do anything.
    pub tenant: TenantState,
}

/// Whether a tenant may do anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TenantState {
    /// It may.
    #[default]
    Active,
    /// Nothing, until it is resumed.
    Suspended,
}

/// Why a [`FamilySource`] could not answer.
#[derive(Debug, thiserror::Error)]
#[error("the family could not be looked up")]
pub struct SourceError(#[from] pub Box<dyn std::error::Error + Send + Sync>);

/// Where families not yet known are looked up: the store.
#[async_trait]
pub trait FamilySource: Send + Sync {
    /// The family of an auth session in a tenant; `None` where there is no such session.
    async fn family_of(&self, tenant: Uuid, auth_session: Uuid) -> Result<Option<FamilyRecord>, SourceError>;

    /// A tenant's family; `None` where there is no such family.
    async fn family(&self, tenant: Uuid, family: Uuid) -> Result<Option<FamilyRecord>, SourceError>;
}

/// How a family ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FamilyEnd {
    /// By logout, by an operator, or because a rotated refresh token was used again.
    Revoked,
    /// Its time was over.
    Expired,
    /// The tenant was suspended. The login itself lives on, and is good again once the tenant is resumed.
    Suspended,
}

/// One login that was alive when it was admitted. Sockets hold on to it to learn of its end.
pub struct Family {
    id: Uuid,
    user_id: Uuid,
    tenant_id: Uuid,
    ends_at: i64,
    /// Cancelled by what ends it before its time: a revocation, or the tenant's suspension.
    ended: CancellationToken,
    suspended: AtomicBool,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Family").field("id", &self.id).field("ends_at", &self.ends_at).finish_non_exhaustive()
    }
}

impl Family {
    /// The claim `token_family`.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// When it ends by itself, in Unix seconds.
    pub fn ends_at(&self) -> i64 {
        self.ends_at
    }

    /// Whether it has neither been revoked or suspended nor come to its end.
    pub fn is_live(&self) -> bool {
        !self.ended.is_cancelled() && self.clock.now() < self.ends_at
    }

    /// Waits for the end. Cancellation safe; wakes at once on revocation and suspension.
    pub async fn ended(&self) -> FamilyEnd {
        loop {
            let left = self.ends_at.saturating_sub(self.clock.now());
            if left <= 0 {
                return FamilyEnd::Expired;
            }
            let wait = Duration::from_secs(left.unsigned_abs()).min(END_CHECK);
            tokio::select! {
                biased;
                () = self.ended.cancelled() => {
                    return if self.is_suspended() { FamilyEnd::Suspended } else { FamilyEnd::Revoked };
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Whether the tenant's suspension has ended it. So it stays: after that a login gets another value.
    fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::Acquire)
    }

    fn check(&self, claims: &Claims) -> Result<(), AuthError> {
        let same = self.id == claims.token_family
            && self.user_id == claims.sub
            && self.tenant_id == claims.tenant_id;
        if !same {
            return Err(AuthError::InvalidToken);
        }
        if self.is_live() { Ok(()) } else { Err(AuthError::TokenRevoked) }
    }
}

/// The index of live families.
pub struct Families {
    source: Arc<dyn FamilySource>,
    clock: Arc<dyn Clock>,
    by_session: Cache<Uuid, Arc<Family>>,
    registry: Mutex<Registry>,
}

impl Families {
    /// An index that looks up in `source` what it does not know.
    pub fn new(source: Arc<dyn FamilySource>, clock: Arc<dyn Clock>) -> Self {
        Self { source, clock, by_session: Cache::new(CACHED_SESSIONS), registry: Mutex::default() }
    }

    /// The live family behind verified claims.
    ///
    /// # Errors
    /// [`AuthError::TokenRevoked`] where the family has ended or its auth session is gone,
    /// [`AuthError::InvalidToken`] where claims and record disagree, [`AuthError::TenantSuspended`] where the tenant is,
    /// [`AuthError::Unavailable`] where the store does not answer in time.
    pub async fn admit(&self, claims: &Claims) -> Result<Arc<Family>, AuthError> {
        if let Some(family) = self.by_session.get(&claims.session_id).filter(|family| !family.is_suspended())
        {
            family.check(claims)?;
            return Ok(family);
        }
        let family = self.look_up(claims).await?;
        family.check(claims)?;
        self.by_session.insert(claims.session_id, Arc::clone(&family));
        Ok(family)
    }

    /// Ends a family in this process, at once and for good: its tokens are refused and its sockets learn of it. For a
    /// family that is not known here, or has ended before, it changes nothing that can be seen.
    pub fn revoke(&self, family: Uuid) {
        self.registry().revoke(family);
    }

    /// Refuses a tenant's logins in this process from now on, without ending them: sockets learn of it at once.
    pub fn suspend(&self, tenant: Uuid) {
        self.registry().suspend(tenant);
    }

    /// Ends what [`Self::suspend`] began: logins are looked up again. Where the tenant was not suspended nothing can
    /// be seen of it.
    pub fn resume(&self, tenant: Uuid) {
        self.registry().resume(tenant);
    }

    /// Ends all of a tenant's families that are known here, for good: the tenant is gone. Others are looked up, and
    /// not found.
    pub fn remove_tenant(&self, tenant: Uuid) {
        self.registry().remove_tenant(tenant);
    }

    /// The live family behind claims, from the source.
    async fn look_up(&self, claims: &Claims) -> Result<Arc<Family>, AuthError> {
        for _ in 0..LOOKUPS {
            let generation = self.registry().begin_lookup(claims.tenant_id)?;
            let lookup = self.source.family_of(claims.tenant_id, claims.session_id);
            let record = match tokio::time::timeout(SOURCE_DEADLINE, lookup).await {
                Ok(Ok(record)) => record.ok_or(AuthError::TokenRevoked)?,
                Ok(Err(error)) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "family lookup failed");
                    return Err(AuthError::Unavailable);
                }
                Err(_) => {
                    tracing::error!(deadline_s = SOURCE_DEADLINE.as_secs(), "family lookup timed out");
                    return Err(AuthError::Unavailable);
                }
            };
            if record.revoked {
                return Err(AuthError::TokenRevoked);
            }
            match self.registry().intern(record, generation, &self.clock) {
                Interned::Live(family) => return Ok(family),
                Interned::Revoked => return Err(AuthError::TokenRevoked),
                Interned::Suspended => return Err(AuthError::TenantSuspended),
                Interned::Outdated => {}
            }
        }
        Err(AuthError::Unavailable)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::{AuthSession, ManualClock};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Source {
        record: Mutex<Option<FamilyRecord>>,
        reads: AtomicUsize,
    }

    #[async_trait]
    impl FamilySource for Source {
        async fn family_of(&self, _: Uuid, _: Uuid) -> Result<Option<FamilyRecord>, SourceError> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            Ok(self.record.lock().unwrap().clone())
        }

        async fn family(&self, _: Uuid, _: Uuid) -> Result<Option<FamilyRecord>, SourceError> {
            Ok(self.record.lock().unwrap().clone())
        }
    }

    fn claims() -> Claims {
        let session = AuthSession {
            id: Uuid::from_u128(1),
            family: Uuid::from_u128(2),
            user_id: Uuid::from_u128(3),
            tenant_id: Uuid::from_u128(4),
            email: String::new(),
            created_at: 0,
            family_ends_at: 1000,
            rotated: None,
            user_agent: None,
            address: None,
        };
        Claims::of(&session, Uuid::nil(), 0, 1000, "i", "a")
    }

    fn record() -> FamilyRecord {
        FamilyRecord {
            family: Uuid::from_u128(2),
            user_id: Uuid::from_u128(3),
            tenant_id: Uuid::from_u128(4),
            ends_at: 1000,
            revoked: false,
            tenant: TenantState::Active,
        }
    }

    fn index(record: Option<FamilyRecord>) -> (Arc<Families>, Arc<Source>, Arc<ManualClock>) {
        let source = Arc::new(Source { record: Mutex::new(record), ..Source::default() });
        let clock = Arc::new(ManualClock::new(100));
        (Arc::new(Families::new(source.clone(), clock.clone())), source, clock)
    }

    #[tokio::test]
    async fn a_live_family_is_looked_up_once() {
        let (families, source, _) = index(Some(record()));
        families.admit(&claims()).await.unwrap();
        families.admit(&claims()).await.unwrap();
        assert_eq!(source.reads.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_missing_session_and_a_revoked_record_are_refused() {
        let (families, _, _) = index(None);
        assert_eq!(families.admit(&claims()).await.unwrap_err(), AuthError::TokenRevoked);
        let (families, _, _) = index(Some(FamilyRecord { revoked: true, ..record() }));
        assert_eq!(families.admit(&claims()).await.unwrap_err(), AuthError::TokenRevoked);
    }

    #[tokio::test]
    async fn claims_that_disagree_with_the_record_are_refused() {
        let (families, _, _) = index(Some(record()));
        let mut other = claims();
        other.sub = Uuid::from_u128(99);
        assert_eq!(families.admit(&other).await.unwrap_err(), AuthError::InvalidToken);
    }

    #[tokio::test]
    async fn revocation_refuses_at_once_and_wakes_who_waits() {
        let (families, _, _) = index(Some(record()));
        let family = families.admit(&claims()).await.unwrap();
        let waiting = tokio::spawn({
            let family = Arc::clone(&family);
            async move { family.ended().await }
        });
        families.revoke(family.id());
        assert_eq!(waiting.await.unwrap(), FamilyEnd::Revoked);
        assert_eq!(families.admit(&claims()).await.unwrap_err(), AuthError::TokenRevoked);
    }

    #[tokio::test]
    async fn a_record_read_before_a_revocation_does_not_bring_the_family_back() {
        let (families, _, _) = index(Some(record()));
        families.revoke(Uuid::from_u128(2));
        assert_eq!(families.admit(&claims()).await.unwrap_err(), AuthError::TokenRevoked);
    }

    #[tokio::test]
    async fn a_family_ends_with_its_time() {
        let (families, _, clock) = index(Some(record()));
        let family = families.admit(&claims()).await.unwrap();
        clock.advance(900);
        assert_eq!(family.ended().await, FamilyEnd::Expired);
        assert_eq!(families.admit(&claims()).await.unwrap_err(), AuthError::TokenRevoked);
    }

    #[tokio::test]
    async fn a_suspension_refuses_from_memory_and_wakes_who_waits_and_its_end_brings_the_login_back() {
        let (families, source, _) = index(Some(record()));
        let family = families.admit(&claims()).await.unwrap();
        let waiting = tokio::spawn({
            let family = Arc::clone(&family);
            async move { family.ended().await }
        });
        families.suspend(Uuid::from_u128(4));
        assert_eq!(waiting.await.unwrap(), FamilyEnd::Suspended);
        for _ in 0..3 {
            assert_eq!(families.admit(&claims()).await.unwrap_err(), AuthError::TenantSuspended);
        }
        assert_eq!(source.reads.load(Ordering::SeqCst), 1, "the store is not asked for each request");
        families.resume(Uuid::from_u128(4));
        let again = families.admit(&claims()).await.unwrap();
        assert!(again.is_live() && !family.is_live(), "sockets that were closed stay closed");
        families.admit(&claims()).await.unwrap();
        assert_eq!(source.reads.load(Ordering::SeqCst), 2);
        families.revoke(again.id());
        assert_eq!(families.admit(&claims()).await.unwrap_err(), AuthError::TokenRevoked);
    }

    #[tokio::test]
    async fn what_the_store_says_is_suspended_is_refused_until_it_says_otherwise() {
        let suspended = FamilyRecord { tenant: TenantState::Suspended, ..record() };
        let (families, source, _) = index(Some(suspended));
        for _ in 0..3 {
            assert_eq!(families.admit(&claims()).await.unwrap_err(), AuthError::TenantSuspended);
        }
        assert_eq!(source.reads.load(Ordering::SeqCst), 1);
        *source.record.lock().unwrap() = Some(record());
        families.resume(Uuid::from_u128(4));
        families.admit(&claims()).await.unwrap();
    }

    #[tokio::test]
    async fn a_tenant_that_is_gone_ends_what_is_known_and_what_is_not() {
        let (families, source, _) = index(Some(record()));
        let family = families.admit(&claims()).await.unwrap();
        *source.record.lock().unwrap() = None;
        families.suspend(Uuid::from_u128(4));
        families.remove_tenant(Uuid::from_u128(4));
        assert!(!family.is_live());
        assert_eq!(families.admit(&claims()).await.unwrap_err(), AuthError::TokenRevoked);
    }
}
