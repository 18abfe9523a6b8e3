//! Tests of the table of activations: its bounds, and whose turn it is.

use super::*;
use crate::plugins::choose::What;
use crate::plugins::slot::Shortfall;
use crate::plugins::slots::{Bounds, Ended, Notice, Slots};
use tokio::time::Instant;

/// What loads, in turn, where nothing of it works.
fn jobs(slots: &mut Slots) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(job) = slots.job(Instant::now()) {
        names.push(job.plugin.name.clone());
        drop(slots.ended(&job, Ended::Refused, Instant::now()));
    }
    names
}

fn all(names: &[&str]) -> Vec<StoredPlugin> {
    names.iter().map(|name| stored(name, 1)).collect()
}

/// Wants something; gives what is told of it.
fn want(slots: &mut Slots, owner: PluginOwner, names: &[&str]) -> Vec<(String, Shortfall)> {
    let notices = slots.want(owner, all(names)).notices;
    notices.into_iter().map(|Notice { plugin, why, .. }| (plugin, why)).collect()
}

/// A tenant's own plugins that refuse its requests.
fn closed(slots: &Slots, tenant: Uuid) -> Vec<String> {
    let uses = slots.uses();
    let own = uses.own.get(&tenant).map_or(&[][..], |own| own);
    let closed = own.iter().filter(|used| matches!(used.what, What::Missing(FailureMode::Closed)));
    closed.map(|used| used.plugin.to_string()).collect()
}

fn too_many(names: &[&str]) -> Vec<(String, Shortfall)> {
    names.iter().map(|name| ((*name).to_owned(), Shortfall::TooMany)).collect()
}

const ADAS: PluginOwner = PluginOwner::Tenant(ADA);
const EVES: PluginOwner = PluginOwner::Tenant(EVE);

#[test]
fn tenants_are_bounded_each_and_together_and_never_push_out_the_operators() {
    let mut slots = Slots::bounded(Bounds { of_owner: 3, of_tenants: 4 });
    assert_eq!(want(&mut slots, EVES, &["e1", "e2", "e3", "e4"]), too_many(&["e4"]));
    assert_eq!(want(&mut slots, ADAS, &["a1", "a2"]), too_many(&["a2"]), "there is room for four in all");
    assert_eq!(want(&mut slots, OPERATORS, &["o1", "o2", "o3"]), [], "the operators have their own");
    assert_eq!(want(&mut slots, ADAS, &["a1", "a2"]), [], "it is told once");
    assert_eq!(jobs(&mut slots), ["o1", "o2", "o3", "a1", "e1", "e2", "e3"]);
    assert_eq!(closed(&slots, EVE), ["e1", "e2", "e3", "e4"], "what is too much refuses its requests too");
    assert_eq!(closed(&slots, ADA), ["a1", "a2"]);
    assert_eq!((slots.len(), slots.shortfalls()[&Shortfall::TooMany]), (9, 2));

    assert!(slots.could_fit().is_empty(), "there is no room");
    assert_eq!(want(&mut slots, EVES, &["e1", "e4"]), [], "e4 has room now");
    assert_eq!(jobs(&mut slots), ["e4"]);
    assert_eq!(slots.could_fit(), [ADA], "one is left for Ada's second");
    assert_eq!(want(&mut slots, ADAS, &["a1", "a2"]), []);
    assert_eq!(jobs(&mut slots), ["a2"]);
    assert!(slots.could_fit().is_empty());
    assert!(!slots.shortfalls().contains_key(&Shortfall::TooMany));
}

#[test]
fn what_has_a_place_keeps_it_when_more_come_before_it() {
    let mut slots = Slots::bounded(Bounds { of_owner: 2, of_tenants: 100 });
    assert_eq!(want(&mut slots, ADAS, &["c", "d"]), []);
    assert_eq!(want(&mut slots, ADAS, &["a", "b", "c", "d"]), too_many(&["a", "b"]));
    assert_eq!(jobs(&mut slots), ["c", "d"]);
    let open = StoredPlugin { failure: FailureMode::Open, ..stored("a", 1) };
    drop(slots.want(ADAS, vec![open, stored("c", 1), stored("d", 1)]));
    assert_eq!(closed(&slots, ADA), ["c", "d"], "the failure mode of what is too much counts");
}

#[test]
fn the_operators_are_loaded_first_and_tenants_take_turns() {
    let mut slots = Slots::default();
    assert_eq!(want(&mut slots, ADAS, &["a1", "a2", "a3"]), []);
    let first = slots.job(Instant::now()).unwrap();
    drop(slots.ended(&first, Ended::Refused, Instant::now()));
    assert_eq!(first.plugin.name, "a1");
    assert_eq!(want(&mut slots, EVES, &["e1", "e2"]), []);
    assert_eq!(want(&mut slots, OPERATORS, &["o1", "o2"]), []);
    assert_eq!(jobs(&mut slots), ["o1", "o2", "a2", "e1", "a3", "e2"]);
}

#[test]
fn what_is_tried_again_does_not_hold_up_what_was_never_tried() {
    let (mut slots, start) = (Slots::default(), Instant::now());
    assert_eq!(want(&mut slots, OPERATORS, &["o1"]), []);
    assert_eq!(want(&mut slots, ADAS, &["a1", "a2"]), []);
    let later = start + Duration::from_secs(3600);
    let mut names = Vec::new();
    for _ in 0..5 {
        // Each is due again at once.
        let job = slots.job(later).unwrap();
        drop(slots.ended(&job, Ended::Failed, start));
        names.push(job.plugin.name);
    }
    assert_eq!(names, ["o1", "a1", "o1", "a2", "o1"]);
}

#[test]
fn an_activation_for_a_route_that_is_none_is_told_once() {
    let mut slots = Slots::default();
    let routes = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(slots.set_routes(routes(&["", "/theia"])), []);
    let at = |route: &str| StoredPlugin { route: Some(route.into()), ..stored("p", 1) };
    let wanted = vec![at("/"), at("/theia/"), at("/nowhere")];
    let notices = slots.want(ADAS, wanted.clone()).notices;
    assert_eq!(notices.len(), 1);
    assert_eq!((notices[0].route.as_deref(), notices[0].why), (Some("/nowhere"), Shortfall::NoRoute));
    assert_eq!(slots.want(ADAS, wanted).notices, []);
    assert_eq!(slots.set_routes(routes(&["", "/theia"])), []);
    assert_eq!(slots.set_routes(routes(&["", "/theia", "/nowhere"])), [], "it is one now");
    assert_eq!(slots.set_routes(routes(&["/theia", "/nowhere"])).len(), 1, "and the first is gone");
}
