"""What Dockerfile, manifest, edge.toml and Cargo.toml say about the same thing must be the same."""

import json
import re

NAMESPACE = "coditect-app"
# Seconds between the end of the edge's drain and Kubernetes' SIGKILL, at least.
GRACE_MARGIN = 5


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """(instruction, arguments) in order, continuation lines joined, comments left out."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())
    ]


def copied_sources(dockerfile: str) -> list[str]:
    """What the Dockerfile copies out of the build context."""
    copies = [
        rest.split() for word, rest in instructions(dockerfile) if word == "COPY" and "--from=" not in rest
    ]
    return [source for arguments in copies for source in arguments[:-1] if source != "."]


def findings(
    objects: list[dict], dockerfile: str, edge_toml: str, config: dict, workspace: dict
) -> list[str]:
    """Every disagreement, as a line each; raises KeyError and its like where a part is missing altogether."""
    by_kind: dict[str, list[dict]] = {}
    for item in objects:
        by_kind.setdefault(item["kind"], []).append(item)
    (deployment,), (config_map,), (claim,) = (
        by_kind[kind] for kind in ("Deployment", "ConfigMap", "PersistentVolumeClaim")
    )
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    checks = [
        *_names(objects, by_kind, deployment, config_map, claim, pod, container),
        *_ports(by_kind, deployment, container, dockerfile, config),
        *_image(pod, container, dockerfile, workspace),
        *_store(deployment, pod, container, dockerfile, config),
        *_least_privilege(pod, container),
        (
            "ConfigMap: edge.toml is not the text of deploy/edge.toml",
            config_map["data"]["edge.toml"] == edge_toml,
        ),
    ]
    return [finding for finding, good in checks if not good]


def _names(objects, by_kind, deployment, config_map, claim, pod, container):
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    yield (
        f"manifest: something is outside the namespace {NAMESPACE}",
        all(item["metadata"].get("namespace", item["metadata"]["name"]) == NAMESPACE for item in objects),
    )
    yield (
        "Deployment: its selector does not match its pods",
        deployment["spec"]["selector"]["matchLabels"].items() <= labels.items(),
    )
    for service in by_kind["Service"]:
        yield (
            f"Service {service['metadata']['name']}: selects no pod",
            service["spec"]["selector"].items() <= labels.items(),
        )
    yield (
        "Deployment: mounts a volume that is not defined",
        {m["name"] for m in container["volumeMounts"]} == set(volumes),
    )
    yield (
        "Deployment: no such ConfigMap",
        volumes["config"]["configMap"]["name"] == config_map["metadata"]["name"],
    )
    yield (
        "Deployment: no such claim",
        volumes["data"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"],
    )
    yield "manifest: a Secret belongs in no file", "Secret" not in by_kind
    secret = [entry for entry in container["env"] if entry["name"] == "JWT_SECRET"]
    yield (
        "Deployment: JWT_SECRET must come by secretKeyRef",
        len(secret) == 1 and "secretKeyRef" in secret[0].get("valueFrom", {}),
    )


def _port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def _ports(by_kind, deployment, container, dockerfile, config):
    listen_host, http = _port(config["server"]["http"])
    admin_host, admin = _port(config["server"]["admin"])
    named = {port["name"]: port["containerPort"] for port in container["ports"]}
    yield (
        "edge.toml: a container's ports are reached from outside it: listen on 0.0.0.0",
        {listen_host, admin_host} == {"0.0.0.0"},
    )
    yield f"Deployment: ports {named} are not edge.toml's", named == {"http": http, "admin": admin}
    exposed = [
        int(port) for word, rest in instructions(dockerfile) if word == "EXPOSE" for port in rest.split()
    ]
    yield f"Dockerfile: exposes {exposed}, edge.toml listens on {[http, admin]}", exposed == [http, admin]
    health = next(rest for word, rest in instructions(dockerfile) if word == "HEALTHCHECK")
    yield (
        "Dockerfile: HEALTHCHECK asks another port than edge.toml's admin",
        f'"http://127.0.0.1:{admin}"' in health,
    )
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    yield (
        "Deployment: Prometheus is sent to another port than edge.toml's admin",
        annotations["prometheus.io/port"] == str(admin),
    )
    for service in by_kind["Service"]:
        for port in service["spec"]["ports"]:
            yield f"Service {service['metadata']['name']}: no such target", port["targetPort"] in named
    for probe, path in {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }.items():
        yield (
            f"Deployment: {probe} must ask {path} on admin",
            container[probe]["httpGet"] == {"path": path, "port": "admin"},
        )


def _image(pod, container, dockerfile, workspace):
    words = instructions(dockerfile)
    version, rust = workspace["version"], workspace["rust-version"]
    yield (
        f"Deployment: the image's tag is not the workspace's version {version}",
        container["image"].endswith(f":{version}"),
    )
    yield f"Dockerfile: not built with Rust {rust}", ("FROM", f"rust:{rust}-bookworm AS build") in words
    user = next(rest for word, rest in words if word == "USER")
    context = pod["securityContext"]
    yield (
        "Dockerfile and Deployment: not the same user",
        user == f"{context['runAsUser']}:{context['runAsGroup']}",
    )
    yield "Dockerfile and Deployment: not the same arguments", ("CMD", json.dumps(container["args"])) in words
    config_file = container["args"][container["args"].index("--config") + 1]
    mount = next(mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "config")
    yield "Deployment: --config is not in the ConfigMap's mount", config_file == f"{mount}/edge.toml"
    yield (
        "Dockerfile: edge.toml is not where --config says",
        ("COPY", f"deploy/edge.toml {config_file}") in words,
    )


def _store(deployment, pod, container, dockerfile, config):
    data = next(mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "data")
    yield (
        "Dockerfile: no volume where the Deployment mounts one",
        ("VOLUME", data) in instructions(dockerfile),
    )
    yield "edge.toml: the store is outside the volume", config["store"]["path"].startswith(f"{data}/")
    yield (
        "edge.toml: workspaces are outside the volume",
        config["terminal"]["workspace_root"].startswith(f"{data}/"),
    )
    spec = deployment["spec"]
    yield (
        "Deployment: the embedded store has one process: one replica, Recreate",
        (spec["replicas"] == 1 and spec["strategy"] == {"type": "Recreate"}),
    )
    drain = config["server"]["drain_seconds"]
    yield (
        f"Deployment: terminationGracePeriodSeconds ends the edge's drain ({drain} s)",
        (pod["terminationGracePeriodSeconds"] >= drain + GRACE_MARGIN),
    )


def _least_privilege(pod, container):
    context = container["securityContext"]
    yield (
        "Deployment: runs as root",
        pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] > 0,
    )
    yield (
        "Deployment: no seccomp profile",
        pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"},
    )
    yield "Deployment: may gain privileges", context["allowPrivilegeEscalation"] is False
    yield "Deployment: keeps capabilities", context["capabilities"] == {"drop": ["ALL"]}
    yield "Deployment: root file system is writable", context["readOnlyRootFilesystem"] is True
    for kind in ("requests", "limits"):
        yield f"Deployment: {kind} for cpu and memory", set(container["resources"][kind]) == {"cpu", "memory"}
