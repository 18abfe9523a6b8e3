//! One activation: what is wanted, what requests meet, and what is still to be done about it.

use super::choose::{Use, What};
use super::load::Made;
use super::loaded::Loaded;
use super::stored::{PluginOwner, StoredPlugin};
use coditect_config::FailureMode;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;

/// One activation.
pub(super) struct Slot {
    pub(super) wanted: StoredPlugin,
    pub(super) works: Works,
    pub(super) next: Next,
    /// Whether its route was told to be none.
    pub(super) route_told: bool,
}

/// What requests meet.
pub(super) enum Works {
    /// A plugin, the wanted one or the one before.
    Plugin { how: StoredPlugin, made: Made, loaded: Loaded },
    /// Nothing: it is not loaded yet, or cannot be, and there was none before. Its failure mode decides.
    Missing { how: StoredPlugin },
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// What is wanted is at work.
    Nothing,
    /// It is to be loaded; `at`: once that time has come.
    Load { tries: u32, at: Option<Instant> },
    /// It was tried and does not work here.
    Refused,
    /// There is nothing to load.
    Lost,
    /// It is beyond what is kept: there has to be room first.
    TooMany,
}

/// Why an activation is not at work as it is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shortfall {
    /// It is not loaded yet, or is tried again.
    Loading,
    /// It could not be loaded, for good.
    Refused,
    /// The store has lost what it was made of.
    Lost,
    /// There are too many.
    TooMany,
    /// The configuration has no such route.
    NoRoute,
}

impl Shortfall {
    pub(crate) const ALL: [Self; 5] =
        [Self::Loading, Self::Refused, Self::Lost, Self::TooMany, Self::NoRoute];

    /// Its label in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::TooMany => "too_many",
            Self::NoRoute => "no_route",
        }
    }
}

/// Plugins that went out of work, to be dropped where that holds nobody up: the last to go frees instances and code.
#[derive(Default)]
#[must_use]
pub(crate) struct Retired(Vec<Loaded>);

impl Retired {
    pub(super) fn loaded(&mut self, loaded: Loaded) {
        self.0.push(loaded);
    }

    pub(super) fn works(&mut self, works: Works) {
        if let Works::Plugin { loaded, .. } = works {
            self.0.push(loaded);
        }
    }
}

impl Slot {
    /// An activation that is new here. Its requests are refused until it is loaded, unless it fails open: a policy that
    /// was activated is not to let them pass.
    pub(super) fn new(wanted: StoredPlugin, next: Next) -> Self {
        let works = Works::Missing { how: wanted.clone() };
        Self { wanted, works, next, route_told: false }
    }

    /// The same activation with something else wanted. What works goes on.
    pub(super) fn want(self, wanted: StoredPlugin, next: Next, retired: &mut Retired) -> Self {
        let works = match self.works {
            Works::Missing { .. } => Works::Missing { how: wanted.clone() },
            // A shadow is no policy that could stand in for one.
            Works::Plugin { how, loaded, .. } if how.shadow && !wanted.shadow => {
                retired.loaded(loaded);
                Works::Missing { how: wanted.clone() }
            }
            works @ Works::Plugin { .. } => works,
        };
        Self { wanted, works, next, route_told: self.route_told }
    }

    /// Puts to work what is wanted, if that is loaded already.
    pub(super) fn take_at_hand(
        &mut self,
        made: Made,
        at_hand: &HashMap<Made, Loaded>,
        retired: &mut Retired,
    ) {
        let Some(loaded) = at_hand.get(&made).cloned() else { return };
        let works = Works::Plugin { how: self.wanted.clone(), made, loaded };
        retired.works(std::mem::replace(&mut self.works, works));
        self.next = Next::Nothing;
    }

    /// Whether it counts against the bounds.
    pub(super) fn is_kept(&self) -> bool {
        self.next != Next::TooMany
    }

    /// Why it is not at work as it is wanted, on routes of which `is_route` knows.
    pub(super) fn shortfall(&self, is_route: impl Fn(&str) -> bool) -> Option<Shortfall> {
        match self.next {
            Next::Load { .. } => Some(Shortfall::Loading),
            Next::Refused => Some(Shortfall::Refused),
            Next::Lost => Some(Shortfall::Lost),
            Next::TooMany => Some(Shortfall::TooMany),
            Next::Nothing => {
                let astray = self.wanted.route.as_deref().is_some_and(|route| !is_route(route));
                astray.then_some(Shortfall::NoRoute)
            }
        }
    }

    fn what(&self) -> (&StoredPlugin, What) {
        match &self.works {
            Works::Plugin { how, loaded, .. } => {
                (how, What::Runs { plugin: loaded.clone(), shadow: how.shadow })
            }
            // What would have changed nothing is no reason to refuse anything.
            Works::Missing { how } if how.shadow => (how, What::Missing(FailureMode::Open)),
            Works::Missing { how } => (how, What::Missing(how.failure)),
        }
    }
}

/// What requests meet of an owner's activations, in their order: those for all routes before those for one.
pub(super) fn uses(owner: PluginOwner, slots: &[Slot]) -> Vec<(&StoredPlugin, Arc<Use>)> {
    let mut sorted: Vec<_> = slots.iter().map(Slot::what).collect();
    sorted.sort_by(|(a, _), (b, _)| a.place().cmp(&b.place()));
    let made = sorted.into_iter().map(|(how, what)| {
        let used = Use {
            plugin: how.name.as_str().into(),
            route: how.route.clone(),
            tenants: None,
            share_percent: how.share_percent,
            own: matches!(owner, PluginOwner::Tenant(_)),
            what,
        };
        (how, Arc::new(used))
    });
    made.collect()
}

/// What is loaded, by what it was made of.
pub(super) fn at_hand(slots: &[Slot]) -> HashMap<Made, Loaded> {
    let loaded = |slot: &Slot| match &slot.works {
        Works::Plugin { made, loaded, .. } => Some((made.clone(), loaded.clone())),
        Works::Missing { .. } => None,
    };
    slots.iter().filter_map(loaded).collect()
}
