//! What the store wants at work, and what is: a version that cannot be loaded never takes the place of one that can.

use super::choose::{Use, What, without_slash};
use super::load::Made;
use super::loaded::Loaded;
use super::stored::{PluginOwner, StoredPlugin};
use coditect_config::FailureMode;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// The most activations that are kept, over all owners. Each may have a compiled module of its own.
pub(crate) const MAX_STORED_PLUGINS: usize = 10_000;
/// The pause before a load that may succeed later is tried again; it doubles with each one more.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest such pause.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

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
    owners: BTreeMap<PluginOwner, Vec<Slot>>,
    allowed: Allowed,
    /// Whose plugin was loaded last: the others have their turn first.
    turn: Option<PluginOwner>,
}

struct Slot {
    wanted: StoredPlugin,
    works: Works,
    next: Next,
}

/// What requests meet.
enum Works {
    /// Nothing yet: it was not there before, and is not loaded yet.
    Nothing,
    /// A plugin, the wanted one or the one before.
    Plugin { how: StoredPlugin, made: Made, loaded: Loaded },
    /// It could not be loaded, and there was none before.
    Missing { how: StoredPlugin },
}

/// What is to be done about it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Nothing,
    Load { tries: u32, at: Option<Instant> },
}

/// A plugin to load.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) owner: PluginOwner,
    pub(crate) plugin: StoredPlugin,
    pub(crate) made: Made,
}

/// What came of wanting something else.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Whether requests meet other plugins than before.
    pub(crate) changed: bool,
    /// How many were too many, and are not kept.
    pub(crate) left_out: usize,
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
    /// What an owner wants at work from now on, all of it. What needs no loading is so at once; the rest is up to
    /// [`Self::job`].
    pub(crate) fn want(&mut self, owner: PluginOwner, wanted: Vec<StoredPlugin>) -> Wanted {
        let others: usize =
            self.owners.iter().filter(|(other, _)| **other != owner).map(|(_, slots)| slots.len()).sum();
        let room = MAX_STORED_PLUGINS.saturating_sub(others);
        let mut result = Wanted { changed: false, left_out: wanted.len().saturating_sub(room) };
        let mut old = self.owners.remove(&owner).unwrap_or_default();
        let at_hand = at_hand(&old);
        let allowed = Arc::clone(self.allowed.to(owner));
        let slots: Vec<_> = wanted
            .into_iter()
            .take(room)
            .map(|wanted| {
                let before = old.iter().position(|slot| slot.wanted.replaces(&wanted));
                let mut slot = match before.map(|index| old.swap_remove(index)) {
                    Some(same) if same.wanted == wanted => return same,
                    Some(before) => Slot { wanted, ..before },
                    None => Slot { wanted, works: Works::Nothing, next: Next::Nothing },
                };
                slot.next = Next::Load { tries: 0, at: None };
                result.changed |= slot.take_at_hand(Made::of(owner, &slot.wanted, &allowed), &at_hand);
                slot
            })
            .collect();
        // What is left of the old is wanted no more.
        result.changed |= old.iter().any(|slot| !matches!(slot.works, Works::Nothing));
        if !slots.is_empty() {
            self.owners.insert(owner, slots);
        }
        result
    }

    /// The owners of which anything is kept.
    pub(crate) fn owners(&self) -> Vec<PluginOwner> {
        self.owners.keys().copied().collect()
    }

    /// Sets which upstreams may be called; what may call others than before is loaded again.
    pub(crate) fn allow(&mut self, allowed: Allowed) {
        let old = std::mem::replace(&mut self.allowed, allowed);
        for (owner, slots) in &mut self.owners {
            if old.to(*owner) != self.allowed.to(*owner) {
                slots.iter_mut().for_each(|slot| slot.next = Next::Load { tries: 0, at: None });
            }
        }
    }

    /// The next plugin to load, of one owner after the other.
    pub(crate) fn job(&mut self, now: Instant) -> Option<Job> {
        let after = self.turn.map_or(Bound::Unbounded, Bound::Excluded);
        let upto = self.turn.map_or(Bound::Unbounded, Bound::Included);
        let whole = self.turn.is_none();
        let first = self.owners.range((after, Bound::Unbounded));
        let rest = self.owners.range((Bound::Unbounded, upto)).filter(|_| !whole);
        let due = |slot: &&Slot| matches!(slot.next, Next::Load { at, .. } if at.is_none_or(|at| at <= now));
        let found = first.chain(rest).find_map(|(owner, slots)| Some((*owner, slots.iter().find(due)?)));
        let (owner, slot) = found?;
        let made = Made::of(owner, &slot.wanted, self.allowed.to(owner));
        let job = Job { owner, plugin: slot.wanted.clone(), made };
        self.turn = Some(owner);
        Some(job)
    }

    /// When a load is to be tried again, if nothing else happens.
    pub(crate) fn retry(&self) -> Option<Instant> {
        let at = |slot: &Slot| match slot.next {
            Next::Load { at, .. } => at,
            Next::Nothing => None,
        };
        self.owners.values().flatten().filter_map(at).min()
    }

    /// Takes what a load came to, unless something else is wanted by now.
    pub(crate) fn ended(&mut self, job: &Job, ended: Ended, now: Instant) {
        if *self.allowed.to(job.owner) != job.made.upstreams {
            return;
        }
        let allowed = Arc::clone(self.allowed.to(job.owner));
        let Some(slots) = self.owners.get_mut(&job.owner) else { return };
        if let Ended::Loaded(loaded) = ended {
            // For every activation of just this version and configuration.
            let at_hand = HashMap::from([(job.made.clone(), loaded)]);
            for slot in slots.iter_mut().filter(|slot| slot.next != Next::Nothing) {
                slot.take_at_hand(Made::of(job.owner, &slot.wanted, &allowed), &at_hand);
            }
            return;
        }
        let Some(slot) = slots.iter_mut().find(|slot| slot.wanted == job.plugin) else { return };
        slot.next = match (ended, slot.next) {
            (Ended::Failed, Next::Load { tries, .. }) => {
                let pause = FIRST_RETRY.saturating_mul(1 << tries.min(16)).min(LONGEST_RETRY);
                Next::Load { tries: tries.saturating_add(1), at: Some(now + pause) }
            }
            _ => Next::Nothing,
        };
        if !matches!(slot.works, Works::Plugin { .. }) {
            slot.works = Works::Missing { how: slot.wanted.clone() };
        }
    }

    /// How many activations do not work as they are wanted.
    pub(crate) fn unfulfilled(&self) -> usize {
        self.owners.values().flatten().filter(|slot| !slot.is_as_wanted()).count()
    }

    /// How many activations there are.
    pub(crate) fn len(&self) -> usize {
        self.owners.values().map(Vec::len).sum()
    }

    /// The operators' uses for all requests; those for one route, by its prefix; those by tenant, the tenants' own after.
    pub(crate) fn uses(&self) -> Uses {
        let mut uses = Uses::default();
        // The operators come first.
        for (owner, slots) in &self.owners {
            let mut sorted: Vec<_> = slots.iter().filter_map(|slot| slot.works.how()).collect();
            sorted.sort_by_key(|(how, _)| (how.route.is_some(), how.order, how.name.clone()));
            for (how, what) in sorted {
                let tenant = match owner {
                    PluginOwner::Operators => how.tenant,
                    PluginOwner::Tenant(tenant) => Some(*tenant),
                };
                let of_route = tenant.is_none().then_some(how.route.as_ref()).flatten();
                let list = match (tenant, of_route) {
                    (Some(tenant), _) => uses.tenants.entry(tenant).or_default(),
                    (None, Some(route)) => uses.routes.entry(without_slash(route).to_owned()).or_default(),
                    (None, None) => &mut uses.global,
                };
                list.push(Arc::new(Use {
                    plugin: how.name.as_str().into(),
                    route: how.route.clone(),
                    tenants: None,
                    share_percent: how.share_percent,
                    own: matches!(owner, PluginOwner::Tenant(_)),
                    what,
                }));
            }
        }
        uses
    }
}

/// The store's part of a [`super::choose::PluginSet`].
#[derive(Default)]
pub(crate) struct Uses {
    pub(crate) global: Vec<Arc<Use>>,
    pub(crate) routes: HashMap<String, Vec<Arc<Use>>>,
    pub(crate) tenants: HashMap<Uuid, Vec<Arc<Use>>>,
}

impl Slot {
    /// Puts to work what is wanted, if that is loaded already; whether it is.
    fn take_at_hand(&mut self, made: Made, at_hand: &HashMap<Made, Loaded>) -> bool {
        let Some(loaded) = at_hand.get(&made).cloned() else { return false };
        self.works = Works::Plugin { how: self.wanted.clone(), made, loaded };
        self.next = Next::Nothing;
        true
    }

    fn is_as_wanted(&self) -> bool {
        matches!(&self.works, Works::Plugin { how, .. } if *how == self.wanted)
    }
}

/// What is loaded, by what it was made of.
fn at_hand(slots: &[Slot]) -> HashMap<Made, Loaded> {
    let loaded = |slot: &Slot| match &slot.works {
        Works::Plugin { made, loaded, .. } => Some((made.clone(), loaded.clone())),
        Works::Nothing | Works::Missing { .. } => None,
    };
    slots.iter().filter_map(loaded).collect()
}

impl Works {
    fn how(&self) -> Option<(&StoredPlugin, What)> {
        match self {
            Self::Nothing => None,
            Self::Plugin { how, loaded, .. } => {
                Some((how, What::Runs { plugin: loaded.clone(), shadow: how.shadow }))
            }
            // What would have changed nothing is no reason to refuse anything.
            Self::Missing { how } if how.shadow => Some((how, What::Missing(FailureMode::Open))),
            Self::Missing { how } => Some((how, What::Missing(how.failure))),
        }
    }
}
