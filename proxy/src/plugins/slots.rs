//! What the store wants at work, and what is: a version that cannot be loaded never takes the place of one that can, and
//! tenants' activations never that of the operators'.

use super::choose::{Use, without_slash};
use super::load::Made;
use super::loaded::Loaded;
use super::slot::{Next, Retired, Shortfall, Slot, at_hand, uses};
use super::stored::{PluginOwner, StoredPlugin};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// The most activations of one owner that are loaded: each may have a compiled module of its own, and a request may have
/// to pass all of them. The API lets nobody have more at work.
pub const MAX_OWNER_PLUGINS: usize = 32;
/// The most activations of tenants that are loaded, over all of them. The operators' do not count.
pub(crate) const MAX_TENANTS_PLUGINS: usize = 10_000;
/// The pause before a load that may succeed later is tried again; it doubles with each one more.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// How many activations are loaded. The rest is missing: its failure mode decides about its requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) of_owner: usize,
    pub(crate) of_tenants: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { of_owner: MAX_OWNER_PLUGINS, of_tenants: MAX_TENANTS_PLUGINS }
    }
}

/// Which upstreams the plugins of the store may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Allowed {
    pub(crate) operators: Arc<[String]>,
    pub(crate) tenants: Arc<[String]>,
}

impl Allowed {
    fn to(&self, owner: PluginOwner) -> &Arc<[String]> {
        match owner {
            PluginOwner::Operators => &self.operators,
            PluginOwner::Tenant(_) => &self.tenants,
        }
    }
}

/// All activations, by owner.
#[derive(Default)]
pub(crate) struct Slots {
    owners: BTreeMap<PluginOwner, Owned>,
    allowed: Allowed,
    bounds: Bounds,
    /// The prefixes of the configuration's routes, without a slash at their ends.
    routes: BTreeSet<String>,
    /// Whose plugin was loaded last: the others have their turn first.
    turn: Option<PluginOwner>,
}

/// One owner's activations.
#[derive(Default)]
struct Owned {
    slots: Vec<Slot>,
    /// What requests meet of a tenant's; made once, since every swap of the whole set needs it.
    own: Arc<[Arc<Use>]>,
}

/// A plugin to load.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) owner: PluginOwner,
    pub(crate) plugin: StoredPlugin,
    pub(crate) made: Made,
}

/// What came of wanting something else.
#[must_use]
pub(crate) struct Wanted {
    /// Whether requests may meet other plugins than before.
    pub(crate) changed: bool,
    /// What will not be at work, and was not known to be so before.
    pub(crate) notices: Vec<Notice>,
    pub(crate) retired: Retired,
}

/// An activation that is not at work, which somebody has to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) owner: PluginOwner,
    pub(crate) plugin: String,
    pub(crate) version: u64,
    pub(crate) route: Option<String>,
    pub(crate) why: Shortfall,
}

impl Notice {
    fn new(owner: PluginOwner, wanted: &StoredPlugin, why: Shortfall) -> Self {
        let StoredPlugin { name, version, route, .. } = wanted;
        Self { owner, plugin: name.clone(), version: *version, route: route.clone(), why }
    }
}

/// How a load ended.
pub(crate) enum Ended {
    Loaded(Loaded),
    /// It does not work here: it is not tried again.
    Refused,
    /// It may succeed later.
    Failed,
}

impl Slots {
    /// A table with other bounds.
    #[cfg(test)]
    pub(super) fn bounded(bounds: Bounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// What an owner wants at work from now on, all of it. What needs no loading is so at once; the rest is up to
    /// [`Self::job`].
    pub(crate) fn want(&mut self, owner: PluginOwner, wanted: Vec<StoredPlugin>) -> Wanted {
        let Owned { slots: mut old, .. } = self.owners.remove(&owner).unwrap_or_default();
        let at_hand = at_hand(&old);
        let mut result = Wanted { changed: false, notices: Vec::new(), retired: Retired::default() };
        let room = self.room(owner);
        let before: Vec<_> = wanted
            .iter()
            .map(|wanted| {
                let index = old.iter().position(|slot| slot.wanted.replaces(wanted))?;
                Some(old.swap_remove(index))
            })
            .collect();
        // What was loaded, or was to be, has its place; the rest goes by the order of the chain.
        let kept = before.iter().flatten().filter(|slot| slot.is_kept()).count();
        let mut places = room.saturating_sub(kept);
        let mut slots = Vec::with_capacity(wanted.len());
        for (wanted, before) in wanted.into_iter().zip(before) {
            let before = match before {
                Some(same) if same.wanted == wanted && same.is_kept() => {
                    slots.push(same);
                    continue;
                }
                before => before,
            };
            let has_place = before.as_ref().is_some_and(Slot::is_kept);
            let fits = has_place || places > 0;
            places = places.saturating_sub(usize::from(fits && !has_place));
            let mut slot = self.slot(owner, wanted, before, fits, &mut result);
            if let Next::Load { .. } = slot.next {
                let made = Made::of(owner, &slot.wanted, self.allowed.to(owner));
                slot.take_at_hand(made, &at_hand, &mut result.retired);
            }
            slots.push(slot);
        }
        // What is left of the old is wanted no more.
        result.changed |= !old.is_empty();
        old.into_iter().for_each(|slot| result.retired.works(slot.works));
        self.tell_routes(owner, &mut slots, &mut result.notices);
        if !slots.is_empty() {
            self.owners.insert(owner, Owned::new(owner, slots));
        }
        result
    }

    /// How many of an owner's activations may be loaded, while those of others are.
    fn room(&self, owner: PluginOwner) -> usize {
        match owner {
            PluginOwner::Operators => self.bounds.of_owner,
            PluginOwner::Tenant(_) => self.bounds.of_owner.min(self.room_for_tenants()),
        }
    }

    fn room_for_tenants(&self) -> usize {
        let tenants = self.owners.iter().filter(|(owner, _)| **owner != PluginOwner::Operators);
        let kept = tenants.flat_map(|(_, owned)| &owned.slots).filter(|slot| slot.is_kept()).count();
        self.bounds.of_tenants.saturating_sub(kept)
    }

    fn slot(
        &self,
        owner: PluginOwner,
        mut wanted: StoredPlugin,
        before: Option<Slot>,
        fits: bool,
        result: &mut Wanted,
    ) -> Slot {
        let (next, why) = match fits {
            _ if wanted.lost => (Next::Lost, Some(Shortfall::Lost)),
            true => (Next::Load { tries: 0, at: None }, None),
            false => {
                // Nothing of it is needed until there is room and it is read again; others without end may wait too.
                wanted.configuration = Arc::default();
                (Next::TooMany, Some(Shortfall::TooMany))
            }
        };
        let known = before.as_ref().is_some_and(|slot| slot.next == next && slot.wanted == wanted);
        result.changed |= !known;
        if let Some(why) = why.filter(|_| !known) {
            result.notices.push(Notice::new(owner, &wanted, why));
        }
        match before {
            Some(before) => before.want(wanted, next, &mut result.retired),
            None => Slot::new(wanted, next),
        }
    }

    /// Tells, once for each, which activations are for a route that is none.
    fn tell_routes(&self, owner: PluginOwner, slots: &mut [Slot], notices: &mut Vec<Notice>) {
        for slot in slots {
            let astray = slot.wanted.route.as_deref().is_some_and(|route| !self.is_route(route));
            if astray && !slot.route_told {
                notices.push(Notice::new(owner, &slot.wanted, Shortfall::NoRoute));
            }
            slot.route_told = astray;
        }
    }

    fn is_route(&self, route: &str) -> bool {
        self.routes.contains(without_slash(route))
    }

    /// Sets which routes there are, by their prefixes; gives the activations that are for none of them.
    pub(crate) fn set_routes(&mut self, routes: BTreeSet<String>) -> Vec<Notice> {
        self.routes = routes;
        let (mut owners, mut notices) = (std::mem::take(&mut self.owners), Vec::new());
        for (owner, owned) in &mut owners {
            self.tell_routes(*owner, &mut owned.slots, &mut notices);
        }
        self.owners = owners;
        notices
    }

    /// The routes there are.
    pub(crate) fn routes(&self) -> &BTreeSet<String> {
        &self.routes
    }

    /// The owners of which anything is kept.
    pub(crate) fn owners(&self) -> Vec<PluginOwner> {
        self.owners.keys().copied().collect()
    }

    /// Tenants that have more activations than are loaded, for which there is room by now: as many as it is for.
    pub(crate) fn could_fit(&self) -> Vec<Uuid> {
        let mut room = self.room_for_tenants();
        let mut found = Vec::new();
        for (owner, owned) in &self.owners {
            let PluginOwner::Tenant(tenant) = *owner else { continue };
            let kept = owned.slots.iter().filter(|slot| slot.is_kept()).count();
            let waiting = owned.slots.len() - kept;
            let fit = waiting.min(self.bounds.of_owner.saturating_sub(kept)).min(room);
            if fit > 0 {
                found.push(tenant);
                room -= fit;
            }
            if room == 0 {
                break;
            }
        }
        found
    }

    /// Sets which upstreams may be called; what may call others than before is loaded again.
    pub(crate) fn allow(&mut self, allowed: Allowed) {
        let old = std::mem::replace(&mut self.allowed, allowed);
        for (owner, owned) in &mut self.owners {
            if old.to(*owner) != self.allowed.to(*owner) {
                let loadable = |slot: &&mut Slot| !matches!(slot.next, Next::Lost | Next::TooMany);
                let again = owned.slots.iter_mut().filter(loadable);
                again.for_each(|slot| slot.next = Next::Load { tries: 0, at: None });
            }
        }
    }

    /// The next plugin to load: the operators' that were not tried yet, then of one owner after the other.
    pub(crate) fn job(&mut self, now: Instant) -> Option<Job> {
        let (owner, plugin) = self.due(now)?;
        let made = Made::of(owner, &plugin, self.allowed.to(owner));
        self.turn = Some(owner);
        Some(Job { owner, plugin, made })
    }

    fn due(&self, now: Instant) -> Option<(PluginOwner, StoredPlugin)> {
        if let Some((0, slot)) = self.owners.get(&PluginOwner::Operators).and_then(|owned| owned.due(now)) {
            return Some((PluginOwner::Operators, slot.wanted.clone()));
        }
        let after = self.turn.map_or(Bound::Unbounded, Bound::Excluded);
        let upto = self.turn.map_or(Bound::Unbounded, Bound::Included);
        let whole = self.turn.is_none();
        let first = self.owners.range((after, Bound::Unbounded));
        let rest = self.owners.range((Bound::Unbounded, upto)).filter(|_| !whole);
        first.chain(rest).find_map(|(owner, owned)| Some((*owner, owned.due(now)?.1.wanted.clone())))
    }

    /// Whether something waits that was never tried.
    pub(crate) fn has_untried(&self) -> bool {
        let untried = |slot: &Slot| matches!(slot.next, Next::Load { at: None, .. });
        self.owners.values().flat_map(|owned| &owned.slots).any(untried)
    }

    /// When a load is to be tried again, if nothing else happens.
    pub(crate) fn retry(&self) -> Option<Instant> {
        let at = |slot: &Slot| match slot.next {
            Next::Load { at, .. } => at,
            _ => None,
        };
        self.owners.values().flat_map(|owned| &owned.slots).filter_map(at).min()
    }

    /// Takes what a load came to, unless something else is wanted by now.
    pub(crate) fn ended(&mut self, job: &Job, ended: Ended, now: Instant) -> Retired {
        let mut retired = Retired::default();
        if let Ended::Loaded(loaded) = &ended {
            retired.loaded(loaded.clone());
        }
        if *self.allowed.to(job.owner) != job.made.upstreams {
            return retired;
        }
        let allowed = Arc::clone(self.allowed.to(job.owner));
        let Some(owned) = self.owners.get_mut(&job.owner) else { return retired };
        match ended {
            Ended::Loaded(loaded) => {
                // For every activation of just this version and configuration.
                let at_hand = HashMap::from([(job.made.clone(), loaded)]);
                let loadable = |slot: &&mut Slot| matches!(slot.next, Next::Load { .. } | Next::Refused);
                for slot in owned.slots.iter_mut().filter(loadable) {
                    let made = Made::of(job.owner, &slot.wanted, &allowed);
                    slot.take_at_hand(made, &at_hand, &mut retired);
                }
                owned.refresh(job.owner);
            }
            Ended::Refused | Ended::Failed => {
                let slot = owned.slots.iter_mut().find(|slot| slot.wanted == job.plugin);
                if let Some(slot) = slot
                    && let Next::Load { tries, .. } = slot.next
                {
                    let pause = FIRST_RETRY.saturating_mul(1 << tries.min(16)).min(LONGEST_RETRY);
                    slot.next = match ended {
                        Ended::Failed => Next::Load { tries: tries.saturating_add(1), at: Some(now + pause) },
                        Ended::Loaded(_) | Ended::Refused => Next::Refused,
                    };
                }
            }
        }
        retired
    }

    /// How many activations are not at work as they are wanted, by why.
    pub(crate) fn shortfalls(&self) -> BTreeMap<Shortfall, usize> {
        let mut counts = BTreeMap::new();
        for slot in self.owners.values().flat_map(|owned| &owned.slots) {
            if let Some(why) = slot.shortfall(|route| self.is_route(route)) {
                *counts.entry(why).or_default() += 1;
            }
        }
        counts
    }

    /// How many activations there are.
    pub(crate) fn len(&self) -> usize {
        self.owners.values().map(|owned| owned.slots.len()).sum()
    }

    /// What requests meet: the operators' for all of them, for one route, by its prefix, and for one tenant; and the
    /// tenants' own.
    pub(crate) fn uses(&self) -> Uses {
        let mut found = Uses::default();
        for (owner, owned) in &self.owners {
            if let PluginOwner::Tenant(tenant) = owner {
                found.own.insert(*tenant, Arc::clone(&owned.own));
                continue;
            }
            for (how, used) in uses(*owner, &owned.slots) {
                let list = match (how.tenant, &how.route) {
                    (Some(tenant), _) => found.tenants.entry(tenant).or_default(),
                    (None, Some(route)) => found.routes.entry(without_slash(route).to_owned()).or_default(),
                    (None, None) => &mut found.global,
                };
                list.push(used);
            }
        }
        found
    }
}

/// The store's part of a [`super::choose::PluginSet`].
#[derive(Default)]
pub(crate) struct Uses {
    pub(crate) global: Vec<Arc<Use>>,
    pub(crate) routes: HashMap<String, Vec<Arc<Use>>>,
    pub(crate) tenants: HashMap<Uuid, Vec<Arc<Use>>>,
    pub(crate) own: HashMap<Uuid, Arc<[Arc<Use>]>>,
}

impl Owned {
    fn new(owner: PluginOwner, slots: Vec<Slot>) -> Self {
        let mut owned = Self { slots, own: Arc::default() };
        owned.refresh(owner);
        owned
    }

    /// The one to load next, of those that were tried least, and how often it was.
    fn due(&self, now: Instant) -> Option<(u32, &Slot)> {
        let due = self.slots.iter().filter_map(|slot| match slot.next {
            Next::Load { tries, at } if at.is_none_or(|at| at <= now) => Some((tries, slot)),
            _ => None,
        });
        due.min_by_key(|(tries, _)| *tries)
    }

    fn refresh(&mut self, owner: PluginOwner) {
        if matches!(owner, PluginOwner::Tenant(_)) {
            self.own = uses(owner, &self.slots).into_iter().map(|(_, used)| used).collect();
        }
    }
}
