//! Plugins, their versions, and what is at work.

use coditect_store::blobs::{BlobHash, BlobRef};
use coditect_store::changes::{Change, Followed, Follower};
use coditect_store::records::{PluginFailure, PluginSettings, PluginTarget};
use coditect_store::verify::Disagreement;
use coditect_store::{
    Activate, KEPT_ACTIVATIONS, MAX_ACTIVE_PLUGINS, MAX_CONFIGURATION_BYTES, MAX_PLUGIN_VERSIONS,
    MAX_PLUGINS, MAX_TENANT_MODULE_BYTES, NewPluginVersion, OPERATORS, PluginError, UpdateError,
};
use uuid::Uuid;

use super::files::stock;
use super::{Data, checks};

checks![
    versions_are_numbered_and_hold_on_to_their_modules,
    the_expected_version_of_the_plugin_is_held,
    what_is_kept_is_limited,
    a_target_has_one_activation_and_a_history,
    rolling_back_twice_goes_back_two_steps,
    replicas_are_told_of_what_changed_and_only_that,
    of_many_who_activate_at_once_one_does_what_it_expects,
    old_history_goes_and_what_is_needed_of_it_stays,
    what_is_active_comes_in_the_order_of_the_chain,
    what_is_active_is_limited_and_cannot_be_removed,
    the_largest_configuration_is_kept_whatever_its_bytes,
    a_tenants_plugins_are_its_own,
    what_disagrees_is_found,
    what_is_damaged_does_not_hide_the_rest,
];

/// Versions with the modules that [`stock`] stores: one byte each.
fn upload(tenant: Uuid, plugin: &str, byte: u8) -> NewPluginVersion {
    NewPluginVersion {
        tenant,
        plugin: plugin.into(),
        module: BlobRef { hash: BlobHash::of(&[byte]), size: 1 },
        abi: "0.2.1".into(),
        imports: vec!["env.proxy_log".into()],
        note: format!("byte {byte}"),
        by: Uuid::from_u128(7),
    }
}

async fn add(data: &Data, tenant: Uuid, plugin: &str, byte: u8) -> u64 {
    let new = upload(tenant, plugin, byte);
    data.repositories.plugins().add_version(&new, None, 10).await.unwrap().1.version
}

/// Everybody's requests on a route, or on all.
fn on(route: Option<&str>) -> PluginTarget {
    PluginTarget { route: route.map(str::to_owned), tenant: None }
}

fn activation(version: u64, target: PluginTarget, configuration: &str) -> Activate {
    let settings = PluginSettings { configuration: configuration.into(), ..PluginSettings::default() };
    Activate { version, target, settings }
}

const BY: Uuid = Uuid::from_u128(8);

/// Puts a version to work, and gives the number of the activation.
async fn activate(data: &Data, tenant: Uuid, plugin: &str, new: &Activate) -> Result<u64, PluginError> {
    let done = data.repositories.plugins().activate((tenant, plugin), new, BY, None, 20).await;
    done.map(|(_, activation)| activation.activation)
}

async fn roll_back(data: &Data, tenant: Uuid, plugin: &str) -> Result<(u64, u64), PluginError> {
    let done = data.repositories.plugins().roll_back((tenant, plugin), &on(None), BY, None, 30).await;
    done.map(|(_, activation)| (activation.activation, activation.version))
}

/// A stocked tenant with a plugin `p` of the versions 1 to `versions`.
async fn tenant_with(data: &Data, versions: u8) -> Uuid {
    let tenant = data.id();
    stock(data, tenant).await;
    for byte in 1..=versions {
        assert_eq!(add(data, tenant, "p", byte).await, u64::from(byte));
    }
    tenant
}

async fn versions_are_numbered_and_hold_on_to_their_modules(data: Data) {
    let plugins = data.repositories.plugins();
    let tenant = tenant_with(&data, 2).await;
    let (plugin, again, new) = plugins.add_version(&upload(tenant, "p", 2), None, 11).await.unwrap();
    assert!(!new, "the module of the latest version makes no new one");
    assert_eq!((again.version, plugin.latest, plugin.version, plugin.updated_at), (2, 2, 2, 10));
    let (plugin, third, new) = plugins.add_version(&upload(tenant, "p", 1), None, 12).await.unwrap();
    assert!(new, "but that of an older one does");
    assert_eq!((third.version, plugin.versions, plugin.module_bytes, plugin.version), (3, 3, 3, 3));
    assert_eq!((plugin.created_at, plugin.updated_at, plugin.created_by), (10, 12, Uuid::from_u128(7)));
    assert_eq!(plugins.get(tenant, "p").await.unwrap(), Some(plugin));
    let numbers: Vec<_> =
        plugins.versions(tenant, "p").await.unwrap().into_iter().map(|version| version.version).collect();
    assert_eq!(numbers, [3, 2, 1]);
    let second = plugins.version(tenant, "p", 2).await.unwrap().unwrap();
    assert_eq!((second.note.as_str(), second.abi.as_str()), ("byte 2", "0.2.1"));
    let mut module = plugins.module(tenant, &second).await.unwrap();
    assert_eq!(module.next_chunk().await.unwrap().as_deref(), Some([2].as_slice()));
    data.assert_clean().await;

    let left = plugins.delete_version(tenant, "p", 3, None, 13).await.unwrap();
    assert_eq!((left.latest, left.versions, left.module_bytes), (3, 2, 2));
    let gone = plugins.delete_version(tenant, "p", 3, None, 13).await;
    assert!(matches!(gone, Err(PluginError::NoVersion(3))), "{gone:?}");
    assert_eq!(add(&data, tenant, "p", 3).await, 4, "a number is not given again");
    data.assert_clean().await;

    let unknown = NewPluginVersion {
        module: BlobRef { hash: BlobHash::of(b"never uploaded"), size: 14 },
        ..upload(tenant, "q", 1)
    };
    let refused = plugins.add_version(&unknown, None, 14).await;
    assert!(matches!(refused, Err(PluginError::Update(UpdateError::NoContent))), "{refused:?}");
    assert_eq!(plugins.get(tenant, "q").await.unwrap(), None, "nothing was made");

    plugins.delete(tenant, "p", None, 15).await.unwrap();
    assert!(plugins.versions(tenant, "p").await.unwrap().is_empty());
    assert!(data.dump().await.is_empty(), "nothing is left, no reference either");
    data.assert_clean().await;
}

async fn the_expected_version_of_the_plugin_is_held(data: Data) {
    let plugins = data.repositories.plugins();
    let tenant = tenant_with(&data, 1).await;
    let stale = |result: Result<u64, PluginError>| match result {
        Err(PluginError::Update(UpdateError::VersionMismatch { current })) => current,
        other => panic!("{other:?}"),
    };
    let added =
        plugins.add_version(&upload(tenant, "p", 2), Some(0), 11).await.map(|(plugin, ..)| plugin.version);
    assert_eq!(stale(added), 1, "0 means that it must be new");
    let added =
        plugins.add_version(&upload(tenant, "q", 2), Some(1), 11).await.map(|(plugin, ..)| plugin.version);
    assert_eq!(stale(added), 0);
    plugins.add_version(&upload(tenant, "p", 2), Some(1), 11).await.unwrap();
    let new = activation(1, on(None), "");
    let old = plugins.activate((tenant, "p"), &new, BY, Some(1), 12).await.map(|(plugin, _)| plugin.version);
    assert_eq!(stale(old), 2);
    let (plugin, _) = plugins.activate((tenant, "p"), &new, BY, Some(2), 12).await.unwrap();
    assert_eq!(plugin.version, 3);
    let back = plugins.roll_back((tenant, "p"), &on(None), BY, Some(2), 13).await.map(|(p, _)| p.version);
    assert_eq!(stale(back), 3);
    let off = plugins.deactivate((tenant, "p"), &on(None), BY, Some(2), 13).await.map(|(p, _)| p.version);
    assert_eq!(stale(off), 3);
    assert_eq!(stale(plugins.delete(tenant, "p", Some(2), 13).await.map(|p| p.version)), 3);
    assert_eq!(stale(plugins.delete_version(tenant, "p", 2, Some(2), 13).await.map(|p| p.version)), 3);
    plugins.deactivate((tenant, "p"), &on(None), BY, Some(3), 13).await.unwrap();
    plugins.delete(tenant, "p", Some(4), 13).await.unwrap();
    let none = plugins.activate((tenant, "p"), &new, BY, None, 14).await;
    assert!(matches!(none, Err(PluginError::Update(UpdateError::NotFound))), "{none:?}");
}

async fn what_is_kept_is_limited(data: Data) {
    let plugins = data.repositories.plugins();
    let tenant = data.id();
    stock(&data, tenant).await;
    let limited = |result: Result<u64, PluginError>| match result {
        Err(PluginError::Limit { what, limit }) => (what, limit),
        other => panic!("{other:?}"),
    };
    for number in 0..MAX_PLUGIN_VERSIONS {
        add(&data, tenant, "p", u8::try_from(number % 2).unwrap()).await;
    }
    let more = plugins.add_version(&upload(tenant, "p", 5), None, 11).await.map(|(p, ..)| p.latest);
    assert_eq!(limited(more), ("versions of the plugin", MAX_PLUGIN_VERSIONS as u64));
    plugins.delete_version(tenant, "p", 1, None, 12).await.unwrap();
    add(&data, tenant, "p", 5).await;

    let large = |plugin: &str, size| {
        let module = BlobRef { hash: BlobHash::of(&[6]), size };
        NewPluginVersion { module, ..upload(tenant, plugin, 6) }
    };
    let room = MAX_TENANT_MODULE_BYTES - MAX_PLUGIN_VERSIONS as u64;
    let more = plugins.add_version(&large("q", room + 1), None, 13).await.map(|(p, ..)| p.latest);
    assert_eq!(limited(more), ("bytes of modules", MAX_TENANT_MODULE_BYTES));
    plugins.add_version(&large("q", room), None, 13).await.unwrap();
    plugins.delete(tenant, "q", None, 14).await.unwrap();

    for number in 1..MAX_PLUGINS {
        add(&data, tenant, &format!("p{number}"), 1).await;
    }
    let more = plugins.add_version(&upload(tenant, "one-more", 1), None, 15).await.map(|(p, ..)| p.latest);
    assert_eq!(limited(more), ("plugins", MAX_PLUGINS as u64));
    add(&data, tenant, "p1", 2).await;
    data.assert_clean().await;
}

async fn a_target_has_one_activation_and_a_history(data: Data) {
    let plugins = data.repositories.plugins();
    let tenant = tenant_with(&data, 2).await;
    let first = activation(1, on(None), "a");
    assert_eq!(activate(&data, tenant, "p", &first).await.unwrap(), 1);
    assert_eq!(activate(&data, tenant, "p", &first).await.unwrap(), 1, "the same again changes nothing");
    assert_eq!(activate(&data, tenant, "p", &activation(1, on(None), "b")).await.unwrap(), 2);
    assert_eq!(activate(&data, tenant, "p", &activation(2, on(Some("/theia")), "")).await.unwrap(), 3);
    let none = activate(&data, tenant, "p", &activation(9, on(None), "")).await;
    assert!(matches!(none, Err(PluginError::NoVersion(9))), "{none:?}");
    data.assert_clean().await;

    let all = plugins.active(tenant).await.unwrap();
    let shown: Vec<_> = all
        .iter()
        .map(|active| {
            (active.activation.activation, active.version.version, active.activation.target.clone())
        })
        .collect();
    assert_eq!(shown, [(2, 1, on(None)), (3, 2, on(Some("/theia")))]);
    assert_eq!(all[0].activation.settings.configuration, b"b");

    let (_, ended) = plugins.deactivate((tenant, "p"), &on(Some("/theia")), BY, None, 40).await.unwrap();
    let end = ended.ended.unwrap();
    assert_eq!((ended.activation, end.at, end.by, end.replaced_by), (3, 40, BY, None));
    let twice = plugins.deactivate((tenant, "p"), &on(Some("/theia")), BY, None, 41).await;
    assert!(matches!(twice, Err(PluginError::NotActive)), "{twice:?}");

    let page = plugins.activations(tenant, "p", None, 2).await.unwrap();
    let numbers = |page: &coditect_store::Page<coditect_store::records::PluginActivation, u64>| {
        page.items.iter().map(|item| item.activation).collect::<Vec<_>>()
    };
    assert_eq!((numbers(&page), page.next), (vec![3, 2], Some(2)));
    let page = plugins.activations(tenant, "p", page.next, 2).await.unwrap();
    assert_eq!((numbers(&page), page.next), (vec![1], None));
    assert_eq!(page.items[0].ended.as_ref().unwrap().replaced_by, Some(2));
    assert_eq!(plugins.active_of(tenant, "p").await.unwrap().len(), 1);
    data.assert_clean().await;
}

async fn rolling_back_twice_goes_back_two_steps(data: Data) {
    let plugins = data.repositories.plugins();
    let tenant = tenant_with(&data, 3).await;
    assert!(matches!(roll_back(&data, tenant, "p").await, Err(PluginError::NotActive)));
    for version in 1..=3 {
        activate(&data, tenant, "p", &activation(version, on(None), &format!("c{version}"))).await.unwrap();
    }
    assert_eq!(roll_back(&data, tenant, "p").await.unwrap(), (4, 2));
    let now = plugins.active(tenant).await.unwrap().remove(0).activation;
    assert_eq!((now.settings.configuration.as_slice(), now.restores), (b"c2".as_slice(), Some(2)));
    assert_eq!((now.activated_by, now.activated_at), (BY, 30));
    assert_eq!(roll_back(&data, tenant, "p").await.unwrap(), (5, 1), "not to where it came from");
    assert!(matches!(roll_back(&data, tenant, "p").await, Err(PluginError::NothingBefore)));
    activate(&data, tenant, "p", &activation(3, on(None), "again")).await.unwrap();
    assert_eq!(roll_back(&data, tenant, "p").await.unwrap(), (7, 1));
    activate(&data, tenant, "p", &activation(2, on(None), "")).await.unwrap();
    plugins.delete_version(tenant, "p", 1, None, 31).await.unwrap();
    assert!(matches!(roll_back(&data, tenant, "p").await, Err(PluginError::NoVersion(1))));
    data.assert_clean().await;
}

async fn replicas_are_told_of_what_changed_and_only_that(data: Data) {
    let plugins = data.repositories.plugins();
    let tenant = tenant_with(&data, 2).await;
    stock(&data, OPERATORS).await;
    add(&data, OPERATORS, "o", 1).await;
    let mut follower = Follower::from_now(data.store.clone(), data.keys.clone()).await.unwrap();
    let first = activation(1, on(None), "");
    activate(&data, tenant, "p", &first).await.unwrap();
    activate(&data, tenant, "p", &first).await.unwrap();
    activate(&data, tenant, "p", &activation(2, on(None), "")).await.unwrap();
    roll_back(&data, tenant, "p").await.unwrap();
    plugins.deactivate((tenant, "p"), &on(None), BY, None, 40).await.unwrap();
    activate(&data, OPERATORS, "o", &first).await.unwrap();
    let one = PluginTarget { route: None, tenant: Some(tenant) };
    activate(&data, OPERATORS, "o", &activation(1, one.clone(), "")).await.unwrap();
    plugins.deactivate((OPERATORS, "o"), &one, BY, None, 41).await.unwrap();

    let activated = |tenant, plugin: &str, version: &str| Change::PluginActivated {
        tenant,
        plugin: plugin.into(),
        version: version.into(),
    };
    let deactivated = |tenant, plugin: &str| Change::PluginDeactivated { tenant, plugin: plugin.into() };
    let expected = [
        activated(Some(tenant), "p", "1"),
        activated(Some(tenant), "p", "2"),
        activated(Some(tenant), "p", "1"),
        deactivated(Some(tenant), "p"),
        activated(None, "o", "1"),
        activated(Some(tenant), "o", "1"),
        deactivated(Some(tenant), "o"),
    ];
    let mut told = Vec::new();
    while told.len() < expected.len() {
        let Followed::Changes(changes) = follower.next().await.unwrap() else { panic!("lost its place") };
        told.extend(changes.into_iter().map(|recorded| recorded.change));
    }
    assert_eq!(told, expected);
}

async fn of_many_who_activate_at_once_one_does_what_it_expects(data: Data) {
    let tenant = tenant_with(&data, 3).await;
    let known = data.repositories.plugins().get(tenant, "p").await.unwrap().unwrap().version;
    let mut tasks = Vec::new();
    for number in 0..12 {
        let repositories = data.repositories.clone();
        tasks.push(tokio::spawn(async move {
            let new = activation(number % 3 + 1, on(None), &number.to_string());
            repositories.plugins().activate((tenant, "p"), &new, BY, Some(known), 20).await
        }));
    }
    let mut won = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok((_, activation)) => won.push(activation),
            Err(PluginError::Update(UpdateError::VersionMismatch { .. })) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(data.repositories.plugins().active_of(tenant, "p").await.unwrap(), won);
    data.assert_clean().await;
}

async fn old_history_goes_and_what_is_needed_of_it_stays(data: Data) {
    let plugins = data.repositories.plugins();
    let tenant = tenant_with(&data, 2).await;
    // 2 stays at work and 1 is what it is rolled back to, however much happens elsewhere.
    for version in 1..=2 {
        activate(&data, tenant, "p", &activation(version, on(None), "kept")).await.unwrap();
    }
    for number in 0..KEPT_ACTIVATIONS + 10 {
        activate(&data, tenant, "p", &activation(1, on(Some("/r")), &number.to_string())).await.unwrap();
    }
    let numbers: Vec<u64> = plugins
        .activations(tenant, "p", None, 200)
        .await
        .unwrap()
        .items
        .iter()
        .map(|item| item.activation)
        .collect();
    let newest = KEPT_ACTIVATIONS + 12;
    let expected: Vec<u64> = (newest - KEPT_ACTIVATIONS + 1..=newest).rev().chain([2, 1]).collect();
    assert_eq!(numbers, expected);
    let (_, version) = roll_back(&data, tenant, "p").await.unwrap();
    assert_eq!(version, 1);
    data.assert_clean().await;
}

async fn what_is_active_comes_in_the_order_of_the_chain(data: Data) {
    let tenant = data.id();
    stock(&data, tenant).await;
    for (plugin, route, order) in [
        ("b", None, 100),
        ("a", Some("/x"), 1),
        ("c", None, 5),
        ("a", None, 100),
        ("d", Some("/"), 1),
        ("d", None, 65_535),
    ] {
        add(&data, tenant, plugin, 1).await;
        let mut new = activation(1, on(route), "");
        new.settings.order = order;
        activate(&data, tenant, plugin, &new).await.unwrap();
    }
    let active = data.repositories.plugins().active(tenant).await.unwrap();
    let order: Vec<_> = active
        .iter()
        .map(|active| (active.activation.plugin.as_str(), active.activation.target.route.as_deref()))
        .collect();
    let expected = [("c", None), ("a", None), ("b", None), ("d", None), ("a", Some("/x")), ("d", Some("/"))];
    assert_eq!(order, expected);
}

async fn what_is_active_is_limited_and_cannot_be_removed(data: Data) {
    let plugins = data.repositories.plugins();
    let tenant = tenant_with(&data, 2).await;
    for number in 0..MAX_ACTIVE_PLUGINS {
        let target = on(Some(&format!("/{number}")));
        activate(&data, tenant, "p", &activation(1, target, "")).await.unwrap();
    }
    let more = activate(&data, tenant, "p", &activation(1, on(None), "")).await;
    assert!(matches!(more, Err(PluginError::Limit { what: "active plugins", .. })), "{more:?}");
    activate(&data, tenant, "p", &activation(2, on(Some("/1")), "")).await.unwrap();
    for refused in [
        plugins.delete_version(tenant, "p", 1, None, 40).await,
        plugins.delete_version(tenant, "p", 2, None, 40).await,
        plugins.delete(tenant, "p", None, 40).await,
    ] {
        assert!(matches!(refused, Err(PluginError::Active)), "{refused:?}");
    }
    plugins.deactivate((tenant, "p"), &on(Some("/1")), BY, None, 41).await.unwrap();
    plugins.delete_version(tenant, "p", 2, None, 42).await.unwrap();
    activate(&data, tenant, "p", &activation(1, on(None), "")).await.unwrap();
    assert_eq!(plugins.active(tenant).await.unwrap().len(), MAX_ACTIVE_PLUGINS);
    data.assert_clean().await;
}

async fn the_largest_configuration_is_kept_whatever_its_bytes(data: Data) {
    let tenant = tenant_with(&data, 1).await;
    let configuration: Vec<u8> = (0..=u8::MAX).cycle().take(MAX_CONFIGURATION_BYTES).collect();
    let settings = PluginSettings {
        root_id: "r".repeat(256),
        configuration: configuration.clone(),
        failure: PluginFailure::Open,
        order: 1,
        share_percent: 10,
        shadow: true,
    };
    let target = on(Some(&format!("/{}", "p".repeat(1023))));
    let new = Activate { version: 1, target: target.clone(), settings: settings.clone() };
    activate(&data, tenant, "p", &new).await.unwrap();
    let found = data.repositories.plugins().active(tenant).await.unwrap().remove(0).activation;
    assert_eq!((found.settings, found.target), (settings, target));
}

async fn a_tenants_plugins_are_its_own(data: Data) {
    let plugins = data.repositories.plugins();
    let mine = tenant_with(&data, 1).await;
    let other = tenant_with(&data, 2).await;
    activate(&data, mine, "p", &activation(1, on(None), "mine")).await.unwrap();
    activate(&data, other, "p", &activation(2, on(None), "other")).await.unwrap();
    assert_eq!(plugins.active(mine).await.unwrap()[0].activation.settings.configuration, b"mine");
    assert!(plugins.active(OPERATORS).await.unwrap().is_empty());
    let stranger = data.id();
    assert_eq!(plugins.get(stranger, "p").await.unwrap(), None);
    assert_eq!(plugins.version(mine, "p", 2).await.unwrap(), None);
    plugins.deactivate((mine, "p"), &on(None), BY, None, 50).await.unwrap();
    plugins.delete(mine, "p", None, 50).await.unwrap();
    assert_eq!(plugins.active(other).await.unwrap().len(), 1);
    assert_eq!(plugins_of(&data, other).await, ["p"]);
    assert!(plugins_of(&data, mine).await.is_empty());
}

async fn plugins_of(data: &Data, tenant: Uuid) -> Vec<String> {
    let page = data.repositories.plugins().list(tenant, None, 10).await.unwrap();
    page.items.into_iter().map(|plugin| plugin.name).collect()
}

async fn what_disagrees_is_found(data: Data) {
    let tenant = tenant_with(&data, 1).await;
    activate(&data, tenant, "p", &activation(1, on(None), "")).await.unwrap();
    let dump = data.dump().await;
    let entries: Vec<_> = dump
        .iter()
        .filter(|(path, _)| path.contains("_by_target/") || path.contains("/blob_references/"))
        .collect();
    assert_eq!(entries.len(), 2, "{dump:?}");
    for (entry, value) in entries {
        data.plant(entry, None).await;
        let missing = Disagreement::MissingEntry { entry: entry.clone() };
        let found = data.verify().await.problems;
        assert!(found.iter().any(|problem| problem.disagreement == missing), "{found:#?}");
        data.plant(entry, Some(b"\x01wrong\0")).await;
        let wrong = Disagreement::WrongEntry { entry: entry.clone() };
        let found = data.verify().await.problems;
        assert!(found.iter().any(|problem| problem.disagreement == wrong), "{found:#?}");
        data.plant(entry, Some(value)).await;
    }
    for record in
        dump.keys().filter(|path| path.contains("/plugin_versions/") || path.contains("/plugin_activations/"))
    {
        data.plant(record, None).await;
        let orphan = Disagreement::Orphan { record: record.clone(), exists: false };
        let found = data.verify().await.problems;
        assert!(found.iter().any(|problem| problem.disagreement == orphan), "{found:#?}");
        data.plant(record, Some(&dump[record])).await;
    }
    data.assert_clean().await;
}

async fn what_is_damaged_does_not_hide_the_rest(data: Data) {
    let tenant = tenant_with(&data, 2).await;
    let settings = PluginSettings { failure: PluginFailure::Open, ..PluginSettings::default() };
    let target = PluginTarget { route: Some("/theia".into()), tenant: Some(Uuid::from_u128(5)) };
    activate(
        &data,
        tenant,
        "p",
        &Activate { version: 1, target: target.clone(), settings: settings.clone() },
    )
    .await
    .unwrap();
    activate(&data, tenant, "p", &activation(2, on(None), "the other")).await.unwrap();
    let plugins = data.repositories.plugins();
    let whole = plugins.readable_active(tenant).await.unwrap();
    assert_eq!(whole.active, plugins.active(tenant).await.unwrap());
    assert!(whole.lost.is_empty());
    let dump = data.dump().await;
    let records = |family: &str| {
        let found = dump.keys().find(|path| path.contains(&format!("/{family}/")) && path.ends_with("/1"));
        found.unwrap_or_else(|| panic!("{:#?}", dump.keys()))
    };
    for (record, known) in
        [(records("plugin_versions"), Some(settings)), (records("plugin_activations"), None)]
    {
        for damage in [None, Some(&b"no record"[..])] {
            data.plant(record, damage).await;
            let read = plugins.readable_active(tenant).await.unwrap();
            assert_eq!(read.active.len(), 1, "{record}");
            assert_eq!(read.active[0].activation.settings.configuration, b"the other");
            let lost = &read.lost[..];
            assert!(matches!(lost, [lost] if lost.target == target && lost.settings == known), "{lost:?}");
            assert_eq!((lost[0].plugin.as_str(), lost[0].version), ("p", 1));
        }
        data.plant(record, Some(&dump[record])).await;
    }
}
