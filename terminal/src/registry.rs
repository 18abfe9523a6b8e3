//! Which terminals there are, and how many there may be.

use crate::TerminalError;
use crate::terminal::{Owner, Terminal};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// The terminals of one service.
#[derive(Debug)]
pub(crate) struct Registry {
    max_per_session: usize,
    max_per_user: usize,
    max_total: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    terminals: HashMap<Uuid, Arc<Terminal>>,
    /// Places taken by terminals that are being started.
    starting: HashMap<Owner, usize>,
    closed: bool,
}

/// A place for a terminal that is being started; given back when dropped unfilled.
#[derive(Debug)]
pub(crate) struct Slot {
    registry: Arc<Registry>,
    owner: Owner,
}

impl Registry {
    pub(crate) fn new(max_per_session: usize, max_per_user: usize, max_total: usize) -> Arc<Self> {
        Arc::new(Self { max_per_session, max_per_user, max_total, state: Mutex::default() })
    }

    /// Takes a place. Ended terminals, which are only kept to be looked at, make room, the oldest first.
    pub(crate) fn reserve(self: &Arc<Self>, owner: Owner) -> Result<Slot, TerminalError> {
        let mut state = self.state();
        if state.closed {
            return Err(TerminalError::Stopping);
        }
        let of_session = |terminal: &Terminal| terminal.owner == owner;
        while state.count(of_session) + state.starting.get(&owner).unwrap_or(&0) >= self.max_per_session {
            if !state.evict(of_session) {
                let limit = self.max_per_session;
                return Err(TerminalError::TooManyTerminals { scope: "this workspace", limit });
            }
        }
        let same_user = |other: &Owner| other.tenant == owner.tenant && other.user == owner.user;
        let of_user = |terminal: &Terminal| same_user(&terminal.owner);
        let starting = |state: &State| {
            state.starting.iter().filter(|(other, _)| same_user(other)).map(|(_, count)| count).sum::<usize>()
        };
        while state.count(of_user) + starting(&state) >= self.max_per_user {
            if !state.evict(of_user) {
                let limit = self.max_per_user;
                return Err(TerminalError::TooManyTerminals { scope: "this user", limit });
            }
        }
        while state.terminals.len() + state.starting.values().sum::<usize>() >= self.max_total {
            if !state.evict(|_| true) {
                let limit = self.max_total;
                return Err(TerminalError::TooManyTerminals { scope: "the server", limit });
            }
        }
        *state.starting.entry(owner).or_default() += 1;
        Ok(Slot { registry: Arc::clone(self), owner })
    }

    /// The terminal `id`, if it is this owner's.
    pub(crate) fn get(&self, owner: Owner, id: Uuid) -> Result<Arc<Terminal>, TerminalError> {
        let found = self.state().terminals.get(&id).filter(|terminal| terminal.owner == owner).cloned();
        found.ok_or(TerminalError::NotFound("terminal"))
    }

    /// This owner's terminals, the oldest first.
    pub(crate) fn list(&self, owner: Owner) -> Vec<Arc<Terminal>> {
        self.select(|other| *other == owner)
    }

    /// The terminals of a workspace, whoever's they are.
    pub(crate) fn of_session(&self, tenant: Uuid, session: Uuid) -> Vec<Arc<Terminal>> {
        self.select(|owner| owner.tenant == tenant && owner.session == session)
    }

    /// Tenant and workspace of every terminal, each once.
    pub(crate) fn workspaces(&self) -> Vec<(Uuid, Uuid)> {
        let state = self.state();
        let owners = state.terminals.values().map(|terminal| (terminal.owner.tenant, terminal.owner.session));
        let distinct: std::collections::HashSet<_> = owners.collect();
        distinct.into_iter().collect()
    }

    /// The terminals of a tenant, or of one of its users.
    pub(crate) fn of_people(&self, tenant: Uuid, user: Option<Uuid>) -> Vec<Arc<Terminal>> {
        self.select(|owner| owner.tenant == tenant && user.is_none_or(|user| owner.user == user))
    }

    pub(crate) fn remove(&self, id: Uuid) {
        self.state().terminals.remove(&id);
    }

    /// Refuses new terminals from now on; the number there are.
    pub(crate) fn close(&self) -> usize {
        let mut state = self.state();
        state.closed = true;
        state.terminals.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.state().terminals.len()
    }

    fn select(&self, which: impl Fn(&Owner) -> bool) -> Vec<Arc<Terminal>> {
        let state = self.state();
        let mut found: Vec<_> = state.terminals.values().filter(|one| which(&one.owner)).cloned().collect();
        found.sort_by_key(|terminal| (terminal.created_at, terminal.id));
        found
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn count(&self, which: impl Fn(&Terminal) -> bool) -> usize {
        self.terminals.values().filter(|terminal| which(terminal)).count()
    }

    /// Removes the oldest ended terminal among some; whether there was one.
    fn evict(&mut self, which: impl Fn(&Terminal) -> bool) -> bool {
        let ended = self.terminals.values().filter(|terminal| which(terminal) && terminal.is_finished());
        let Some(oldest) = ended.min_by_key(|terminal| terminal.created_at).cloned() else { return false };
        self.terminals.remove(&oldest.id);
        oldest.stop.cancel();
        true
    }
}

impl Slot {
    /// Puts the terminal, now running, into its place.
    pub(crate) fn fill(self, terminal: Arc<Terminal>) {
        self.registry.state().terminals.insert(terminal.id, terminal);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.registry.state();
        if let Some(count) = state.starting.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                state.starting.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::requests::Size;
    use crate::terminal::Stage;
    use tokio_util::sync::CancellationToken;

    fn owner(session: u128) -> Owner {
        Owner { tenant: Uuid::from_u128(1), user: Uuid::from_u128(2), session: Uuid::from_u128(session) }
    }

    fn start(registry: &Arc<Registry>, owner: Owner, id: u128) -> Arc<Terminal> {
        let slot = registry.reserve(owner).unwrap();
        let size = Size { cols: 1, rows: 1 };
        let created_at = i64::try_from(id).unwrap();
        let stop = CancellationToken::new();
        let (terminal, _) = Terminal::new(Uuid::from_u128(id), owner, created_at, size, 1, stop);
        slot.fill(Arc::clone(&terminal));
        terminal
    }

    #[test]
    fn one_user_cannot_take_all_places() {
        let registry = Registry::new(2, 3, 10);
        let mine: Vec<_> = (1..=3).map(|session| registry.reserve(owner(session)).unwrap()).collect();
        let refusal = registry.reserve(owner(4)).unwrap_err().to_string();
        assert!(refusal.contains("this user has 3 terminals"), "{refusal}");
        let another = Owner { user: Uuid::from_u128(9), ..owner(1) };
        registry.reserve(another).unwrap();
        drop(mine);
        registry.reserve(owner(4)).unwrap();
    }

    #[test]
    fn starting_terminals_count_and_a_failed_start_gives_its_place_back() {
        let registry = Registry::new(1, 100, 10);
        let slot = registry.reserve(owner(1)).unwrap();
        assert_eq!(registry.reserve(owner(1)).unwrap_err().code(), "TOO_MANY_TERMINALS");
        drop(slot);
        start(&registry, owner(1), 1);
        let refusal = registry.reserve(owner(1)).unwrap_err().to_string();
        assert!(refusal.contains("this workspace has 1 terminals"), "{refusal}");
        registry.reserve(owner(2)).unwrap();
    }

    #[test]
    fn the_total_is_limited_too() {
        let registry = Registry::new(5, 100, 2);
        start(&registry, owner(1), 1);
        start(&registry, owner(2), 2);
        let refusal = registry.reserve(owner(3)).unwrap_err().to_string();
        assert!(refusal.contains("the server has 2 terminals"), "{refusal}");
    }

    #[test]
    fn the_oldest_ended_terminal_makes_room() {
        let registry = Registry::new(2, 100, 10);
        let (old, new) = (start(&registry, owner(1), 1), start(&registry, owner(1), 2));
        for terminal in [&old, &new] {
            terminal.stage.send_replace(Stage::Finished);
        }
        start(&registry, owner(1), 3);
        assert!(old.stop.is_cancelled());
        assert!(registry.get(owner(1), old.id).is_err());
        assert!(registry.get(owner(1), new.id).is_ok());
    }

    #[test]
    fn nobody_sees_anothers_terminal() {
        let registry = Registry::new(2, 100, 10);
        let terminal = start(&registry, owner(1), 1);
        let stranger = Owner { user: Uuid::from_u128(99), ..owner(1) };
        let other_tenant = Owner { tenant: Uuid::from_u128(99), ..owner(1) };
        for other in [owner(2), stranger, other_tenant] {
            assert_eq!(registry.get(other, terminal.id).unwrap_err().status(), 404);
            assert!(registry.list(other).is_empty());
        }
        assert_eq!(registry.list(owner(1)).len(), 1);
    }

    #[test]
    fn a_closed_registry_starts_nothing() {
        let registry = Registry::new(2, 100, 10);
        assert_eq!(registry.close(), 0);
        assert_eq!(registry.reserve(owner(1)).unwrap_err().status(), 503);
    }
}
