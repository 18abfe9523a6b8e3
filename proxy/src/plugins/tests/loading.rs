//! Tests of what requests meet before a plugin is loaded, and of what is done meanwhile.

use super::*;
use std::sync::mpsc;

const ADAS: PluginOwner = PluginOwner::Tenant(ADA);
const EVES: PluginOwner = PluginOwner::Tenant(EVE);

#[tokio::test]
async fn what_is_not_loaded_yet_refuses_its_requests_unless_it_fails_open() {
    let rig = Rig::start("").await;
    for version in 1..=2 {
        rig.modules.add("policy", version, guest(&format!("v{version}")));
    }
    rig.live.want(ADAS, vec![stored("policy", 1)]);
    assert_eq!(rig.met("/", Some(ADA)).unwrap_err(), "policy", "at once");
    assert_eq!(rig.met("/", Some(EVE)).unwrap(), [""; 0], "nobody else's");
    assert!((rig.unfulfilled("loading") - 1.0).abs() < f64::EPSILON);
    let open = StoredPlugin { failure: FailureMode::Open, ..stored("policy", 1) };
    rig.live.want(ADAS, vec![open]);
    assert_eq!(rig.met("/", Some(ADA)).unwrap(), [""; 0], "open");
    rig.live.want(ADAS, vec![stored("policy", 1)]);
    assert_eq!(rig.met("/", Some(ADA)).unwrap_err(), "policy", "closed again");
    assert!(rig.load().await);
    assert_eq!(rig.met("/", Some(ADA)).unwrap(), ["policy"]);
    rig.live.want(ADAS, vec![stored("policy", 2)]);
    assert_eq!(rig.met("/", Some(ADA)).unwrap(), ["policy"], "an older one goes on");
    rig.live.want(ADAS, vec![stored("policy", 2), stored("other", 1)]);
    assert_eq!(rig.met("/", Some(ADA)).unwrap_err(), "other", "a second one does not");
}

#[tokio::test]
async fn what_the_store_lost_is_missing_and_hides_nothing_else() {
    let rig = Rig::start("").await;
    for name in ["policy", "other"] {
        rig.modules.add(name, 1, guest(name));
    }
    let lost = StoredPlugin { lost: true, ..stored("policy", 1) };
    rig.want(ADAS, &[lost.clone(), stored("other", 1)]).await;
    assert_eq!(rig.met("/", Some(ADA)).unwrap_err(), "policy");
    assert_eq!(rig.modules.reads(), 1, "there is nothing to read of it");
    assert!((rig.unfulfilled("lost") - 1.0).abs() < f64::EPSILON);
    assert!((rig.metric("coditect_plugin_load_failures_total") - 1.0).abs() < f64::EPSILON);
    let open = StoredPlugin { failure: FailureMode::Open, ..lost.clone() };
    rig.want(ADAS, &[open, stored("other", 1)]).await;
    assert_eq!(rig.met("/", Some(ADA)).unwrap(), ["other"]);
    rig.want(ADAS, &[stored("policy", 1), stored("other", 1)]).await;
    assert_eq!(rig.met("/", Some(ADA)).unwrap(), ["other", "policy"], "it is there again");
    rig.want(ADAS, &[lost, stored("other", 1)]).await;
    assert_eq!(rig.met("/", Some(ADA)).unwrap(), ["other", "policy"], "what works goes on");
}

#[tokio::test]
async fn an_activation_for_a_route_that_is_none_does_not_count_as_fulfilled() {
    let rig = Rig::start("").await;
    rig.modules.add("policy", 1, guest("policy"));
    let astray = StoredPlugin { route: Some("/nowhere".into()), ..stored("policy", 1) };
    rig.want(ADAS, &[astray, stored("policy", 1)]).await;
    assert!((rig.unfulfilled("no_route") - 1.0).abs() < f64::EPSILON);
    assert!((rig.metric("coditect_plugins_unfulfilled") - 1.0).abs() < f64::EPSILON);
    rig.take("[[routes]]\nprefix = '/nowhere/'\nlocal = 'console'\nauth = 'public'").await.unwrap();
    assert!(rig.unfulfilled("no_route").abs() < f64::EPSILON);
    assert_eq!(rig.met("/nowhere/", Some(ADA)).unwrap(), ["policy", "policy"]);
    rig.take("").await.unwrap();
    assert!((rig.unfulfilled("no_route") - 1.0).abs() < f64::EPSILON, "its route is gone");
}

/// Reads of one tenant's modules take for ever.
struct Stuck<'a>(&'a Modules, Mutex<Vec<PluginOwner>>);

#[async_trait]
impl ModuleSource for Stuck<'_> {
    async fn module(&self, owner: PluginOwner, plugin: &StoredPlugin) -> Result<Bytes, BoxError> {
        self.1.lock().unwrap().push(owner);
        match owner {
            EVES => std::future::pending().await,
            _ => self.0.module(owner, plugin).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_for_so_long_in_all_and_loading_goes_on() {
    let rig = Rig::start("").await;
    for (name, version) in [("all", 1), ("adas", 1), ("more", 1)] {
        rig.modules.add(name, version, guest(name));
    }
    // Ada's turn comes before Eve's, whose first read then holds up Ada's second.
    rig.live.want(EVES, vec![stored("eves", 1), stored("eves-too", 1)]);
    rig.live.want(ADAS, vec![stored("adas", 1), stored("more", 1)]);
    rig.live.want(OPERATORS, vec![StoredPlugin { tenant: Some(ADA), ..stored("all", 1) }]);
    let stuck = Stuck(&rig.modules, Mutex::default());
    let start = tokio::time::Instant::now();
    let checking = async {
        assert!(!rig.live.settled().await, "not all was loaded");
        let waited = start.elapsed().as_secs();
        assert!((30..40).contains(&waited), "it waited {waited} s");
        assert_eq!(*stuck.1.lock().unwrap(), [OPERATORS, ADAS, EVES], "the operators' first");
        assert_eq!(rig.met("/", Some(EVE)).unwrap_err(), "eves");
        assert_eq!(rig.met("/", Some(ADA)).unwrap_err(), "more");
        while rig.met("/", Some(ADA)).is_err() {
            assert!(start.elapsed().as_secs() < 100, "loading does not go on");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(rig.met("/", Some(ADA)).unwrap(), ["all", "adas", "more"]);
    };
    tokio::select! {
        () = rig.live.work(&stuck) => {}
        () = checking => {}
    }
}

#[test]
fn what_goes_out_of_work_is_freed_on_a_thread_for_blocking_work() {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build();
    runtime.unwrap().block_on(async {
        let rig = Rig::start("plugins = [{ plugin = 'p' }]").await;
        for version in 1..=2 {
            rig.modules.add("policy", version, guest(&format!("v{version}")));
        }
        rig.want(ADAS, &[stored("policy", 1)]).await;
        rig.until_held(3, None).await;
        let (release, held) = mpsc::channel::<()>();
        let (occupied, is_occupied) = mpsc::channel();
        let busy = tokio::task::spawn_blocking(move || {
            occupied.send(()).unwrap();
            held.recv()
        });
        is_occupied.recv().unwrap();
        rig.live.want(ADAS, Vec::new());
        assert_eq!(rig.met("/", Some(ADA)).unwrap(), ["p"], "it is out of work at once");
        assert_eq!(rig.loader.engine().live_modules(), 3, "and not freed where requests are served");
        release.send(()).unwrap();
        assert!(busy.await.unwrap().is_ok());
        rig.until_held(2, Some(0)).await;
    });
}

/// A guest that defines `count` counters as it is configured, whose names end in two letters of their own.
fn counting(count: u32) -> Vec<u8> {
    let text = format!(
        r#"(module (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1) (data (i32.const 1024) "metric_aa")
            (func (export "malloc") (param i32) (result i32) (i32.const 64))
            (func (export "proxy_on_configure") (param i32 i32) (result i32) (local $n i32)
                (loop $next
                    (i32.store8 (i32.const 1031) (i32.add (i32.const 97) (i32.rem_u (local.get $n) (i32.const 26))))
                    (i32.store8 (i32.const 1032) (i32.add (i32.const 97) (i32.div_u (local.get $n) (i32.const 26))))
                    (drop (call $define (i32.const 0) (i32.const 1024) (i32.const 9) (i32.const 32)))
                    (local.set $n (i32.add (local.get $n) (i32.const 1)))
                    (br_if $next (i32.lt_u (local.get $n) (i32.const {count}))))
                (i32.const 1))
            (func (export "proxy_abi_version_0_2_1")))"#
    );
    wat::parse_str(text).unwrap()
}

#[tokio::test]
async fn a_tenants_metrics_leave_room_for_those_of_others() {
    let rig = Rig::start("").await;
    for (name, version) in [("policy", 1), ("policy", 2), ("second", 1)] {
        rig.modules.add(name, version, counting(200));
    }
    rig.want(ADAS, &[stored("policy", 1), stored("second", 1)]).await;
    rig.want(EVES, &[stored("policy", 1)]).await;
    rig.want(OPERATORS, &[StoredPlugin { tenant: Some(EVE), ..stored("policy", 2) }]).await;
    let families = rig.registry.gather();
    let by_plugin = |name: &str| {
        let family = families.iter().find(|family| family.name() == name).unwrap();
        let mut found = HashMap::<String, (usize, f64)>::new();
        for one in family.get_metric() {
            let plugin = one.get_label().iter().find(|label| label.name() == "plugin").unwrap();
            let (series, value) = found.entry(plugin.value().to_owned()).or_default();
            *series += 1;
            *value += one.get_gauge().get_value();
        }
        found
    };
    let told = by_plugin("coditect_plugin_guest_counter");
    let series = |plugin: String| told.get(&plugin).map_or(0, |(series, _)| *series);
    assert_eq!(series("operators/policy".into()), 200);
    assert_eq!(series(format!("{ADA}/policy")), 100, "a tenant has a share, for all its plugins");
    assert_eq!(series(format!("{ADA}/second")), 0);
    assert_eq!(series(format!("{EVE}/policy")), 100, "the same name, another owner");
    let left_out = by_plugin("coditect_plugin_guest_metrics_left_out");
    assert!((left_out[&format!("{ADA}/second")].1 - 200.0).abs() < f64::EPSILON);
    assert!((left_out[&format!("{EVE}/policy")].1 - 100.0).abs() < f64::EPSILON);
}
