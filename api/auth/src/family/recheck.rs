//! Asking the source again about families that count as alive here: after changes elsewhere were missed, or were told
//! only in general.

use std::sync::Arc;

use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Families, Family, Registry, SOURCE_DEADLINE, TenantState};

/// How many lookups run at a time.
const RECHECKED_AT_ONCE: usize = 32;

/// Which families are looked up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recheck {
    /// All.
    All,
    /// A tenant's.
    Tenant(Uuid),
    /// A user's.
    User {
        /// The user's tenant.
        tenant: Uuid,
        /// The user.
        user: Uuid,
    },
}

/// Some families could not be looked up. They still count as alive: try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{failed} of {families} families could not be looked up")]
pub struct RecheckError {
    /// How many families were to be looked up.
    pub families: usize,
    /// How many of them could not.
    pub failed: usize,
}

impl Recheck {
    fn concerns(self, family: &Family) -> bool {
        match self {
            Self::All => true,
            Self::Tenant(tenant) => family.tenant_id == tenant,
            Self::User { tenant, user } => (family.tenant_id, family.user_id) == (tenant, user),
        }
    }
}

impl Families {
    /// Looks up families that count as alive here, and ends those that ended elsewhere. An admission that reads its
    /// record meanwhile reads it again. Returns how many ended, those of suspended tenants included.
    ///
    /// Cancel safe: what was found is in force at once.
    ///
    /// # Errors
    /// [`RecheckError`] if the source does not answer for some; the others were dealt with.
    pub async fn recheck(&self, which: Recheck) -> Result<usize, RecheckError> {
        let live = self.registry().begin_recheck(which);
        let families = live.len();
        let (mut ended, mut failed) = (0, 0);
        let mut left = live.into_iter();
        let mut lookups = JoinSet::new();
        loop {
            while lookups.len() < RECHECKED_AT_ONCE
                && let Some((tenant, family)) = left.next()
            {
                let source = Arc::clone(&self.source);
                lookups.spawn(async move {
                    let lookup = tokio::time::timeout(SOURCE_DEADLINE, source.family(tenant, family)).await;
                    (family, lookup)
                });
            }
            let Some(looked_up) = lookups.join_next().await else { break };
            match looked_up {
                Ok((family, Ok(Ok(record)))) => match record {
                    Some(record) if !record.revoked && record.tenant == TenantState::Active => {}
                    Some(record) if !record.revoked => {
                        self.suspend(record.tenant_id);
                        ended += 1;
                    }
                    _ => {
                        self.revoke(family);
                        ended += 1;
                    }
                },
                Ok((family, Ok(Err(error)))) => {
                    tracing::warn!(%family, error = &error as &dyn std::error::Error, "family lookup failed");
                    failed += 1;
                }
                Ok((_, Err(_))) | Err(_) => failed += 1,
            }
        }
        if failed > 0 { Err(RecheckError { families, failed }) } else { Ok(ended) }
    }
}

impl Registry {
    /// The families concerned, by tenant. Records read before this moment count as outdated from now on.
    fn begin_recheck(&mut self, which: Recheck) -> Vec<(Uuid, Uuid)> {
        self.generation += 1;
        self.forget_suspensions();
        self.families
            .values()
            .filter_map(std::sync::Weak::upgrade)
            .filter(|family| family.is_live() && which.concerns(family))
            .map(|family| (family.tenant_id, family.id))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::sync::Mutex;

    use async_trait::async_trait;
    use tokio::sync::Semaphore;

    use super::super::{FamilyEnd, FamilyRecord, FamilySource, SourceError, TenantState};
    use super::*;
    use crate::{AuthError, AuthSession, Claims, ManualClock};

    /// Families by their number; auth session n is of family n.
    struct Source {
        records: Mutex<Vec<FamilyRecord>>,
        /// A lookup by auth session answers what it read before, once it gets one of these.
        answers: Semaphore,
        fails: Mutex<bool>,
    }

    #[async_trait]
    impl FamilySource for Source {
        async fn family_of(&self, _: Uuid, session: Uuid) -> Result<Option<FamilyRecord>, SourceError> {
            let found = self.find(session);
            self.answers.acquire().await.unwrap().forget();
            Ok(found)
        }

        async fn family(&self, _: Uuid, family: Uuid) -> Result<Option<FamilyRecord>, SourceError> {
            if *self.fails.lock().unwrap() {
                return Err(SourceError("down".into()));
            }
            Ok(self.find(family))
        }
    }

    impl Source {
        fn find(&self, id: Uuid) -> Option<FamilyRecord> {
            self.records.lock().unwrap().iter().find(|record| record.family == id).cloned()
        }

        fn revoke(&self, number: usize) {
            self.records.lock().unwrap()[number].revoked = true;
        }
    }

    /// Family n of user n in tenant n % 2.
    fn record(number: u128) -> FamilyRecord {
        FamilyRecord {
            family: Uuid::from_u128(number),
            user_id: Uuid::from_u128(100 + number),
            tenant_id: Uuid::from_u128(200 + number % 2),
            ends_at: 1000,
            revoked: false,
            tenant: TenantState::Active,
        }
    }

    fn claims(number: u128) -> Claims {
        let record = record(number);
        let session = AuthSession {
            id: record.family,
            family: record.family,
            user_id: record.user_id,
            tenant_id: record.tenant_id,
            email: String::new(),
            created_at: 0,
            family_ends_at: 1000,
            rotated: None,
            user_agent: None,
            address: None,
        };
        Claims::of(&session, Uuid::nil(), 0, 1000, "i", "a")
    }

    fn index(families: u128, answers: usize) -> (Arc<Families>, Arc<Source>) {
        let source = Arc::new(Source {
            records: Mutex::new((0..families).map(record).collect()),
            answers: Semaphore::new(answers),
            fails: Mutex::new(false),
        });
        (Arc::new(Families::new(source.clone(), Arc::new(ManualClock::new(1)))), source)
    }

    #[tokio::test]
    async fn what_ended_elsewhere_ends_here_and_nothing_else() {
        let (families, source) = index(100, 1000);
        let mut live = Vec::new();
        for number in 0..100 {
            live.push(families.admit(&claims(number)).await.unwrap());
        }
        source.revoke(10);
        source.records.lock().unwrap().remove(50);
        assert_eq!(families.recheck(Recheck::All).await, Ok(2));
        assert_eq!(live[10].ended().await, FamilyEnd::Revoked);
        assert_eq!(families.admit(&claims(50)).await.unwrap_err(), AuthError::TokenRevoked);
        assert_eq!(live.iter().filter(|family| family.is_live()).count(), 98);
        assert_eq!(families.recheck(Recheck::All).await, Ok(0), "they are not looked up again");
    }

    #[tokio::test]
    async fn a_recheck_looks_only_at_whom_it_concerns() {
        let (families, source) = index(6, 1000);
        let mut live = Vec::new();
        for number in 0..6 {
            live.push(families.admit(&claims(number)).await.unwrap());
        }
        (0..6).for_each(|number| source.revoke(number));
        let user = Recheck::User { tenant: record(1).tenant_id, user: record(1).user_id };
        assert_eq!(families.recheck(user).await, Ok(1));
        assert!(!live[1].is_live() && live[3].is_live());
        assert_eq!(families.recheck(Recheck::Tenant(record(0).tenant_id)).await, Ok(3));
        assert!(live[3].is_live());
    }

    #[tokio::test]
    async fn a_recheck_that_could_not_ask_says_so() {
        let (families, source) = index(2, 1000);
        let live = families.admit(&claims(0)).await.unwrap();
        *source.fails.lock().unwrap() = true;
        assert_eq!(families.recheck(Recheck::All).await, Err(RecheckError { families: 1, failed: 1 }));
        assert!(live.is_live());
    }

    #[tokio::test]
    async fn an_admission_that_overlaps_a_recheck_reads_again() {
        let (families, source) = index(1, 0);
        let admitting = tokio::spawn({
            let families = Arc::clone(&families);
            async move { families.admit(&claims(0)).await.map(|_| ()) }
        });
        // It has read its record and waits for the answer to arrive.
        tokio::task::yield_now().await;
        source.revoke(0);
        assert_eq!(families.recheck(Recheck::All).await, Ok(0), "the family is not known here yet");
        source.answers.add_permits(10);
        assert_eq!(admitting.await.unwrap(), Err(AuthError::TokenRevoked));
    }

    #[tokio::test]
    async fn a_suspension_or_its_end_that_was_missed_is_found_out() {
        let (families, source) = index(4, 1000);
        let mut live = Vec::new();
        for number in 0..4 {
            live.push(families.admit(&claims(number)).await.unwrap());
        }
        let set = |state| {
            source.records.lock().unwrap().iter_mut().step_by(2).for_each(|record| record.tenant = state);
        };
        set(TenantState::Suspended);
        assert_eq!(families.recheck(Recheck::All).await, Ok(2));
        assert_eq!(live[0].ended().await, FamilyEnd::Suspended);
        assert_eq!(families.admit(&claims(2)).await.unwrap_err(), AuthError::TenantSuspended);
        assert!(live[1].is_live() && live[3].is_live());
        set(TenantState::Active);
        assert_eq!(families.recheck(Recheck::All).await, Ok(0));
        families.admit(&claims(2)).await.unwrap();
    }
}
