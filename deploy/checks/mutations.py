"""Broken copies of deploy/. A check that accepts one of them is blind, and deploy/check says so."""

import dataclasses
import pathlib

from findings import Parts, all_findings

# (part, what is in it, what a slip makes of it, what the finding must mention)
MUTATIONS = [
    ("manifest", "  replicas: 1\n", "  replica: 1\n", "'replica' was unexpected"),
    ("manifest", "  replicas: 1\n", "  replicas: one\n", "spec.replicas"),
    ("manifest", "  replicas: 1\n", "  replicas: 2\n", "one process"),
    ("manifest", "  replicas: 1\n", "  replicas: 1\n  replicas: 3\n", "given twice"),
    ("manifest", "kind: Deployment\n", "kind: Deploymint\n", "no such kind"),
    (
        "manifest",
        "            periodSeconds: 2\n",
        "            periodSecond: 2\n",
        "'periodSecond' was unexpected",
    ),
    (
        "manifest",
        "            httpGet: { path: /readyz, port: admin }\n",
        "            httpGet: { path: /readyz, port: http }\n",
        "readinessProbe",
    ),
    (
        "manifest",
        "            - name: http\n              containerPort: 8080\n",
        "            - name: http\n              containerPort: 8081\n",
        "are not edge.toml's",
    ),
    ("manifest", "              drop: [ALL]\n", "              drop: [NET_RAW]\n", "capabilities"),
    ("manifest", "        runAsUser: 10001\n", "        runAsUser: 0\n", "runs as root"),
    (
        "manifest",
        "      terminationGracePeriodSeconds: 60\n",
        "      terminationGracePeriodSeconds: 5\n",
        "ends the edge's drain",
    ),
    (
        "manifest",
        "            claimName: coditect-edge-data\n",
        "            claimName: data\n",
        "no such claim",
    ),
    ("manifest", "      targetPort: http\n", "      targetPort: https\n", "no such target"),
    (
        "manifest",
        "              valueFrom:\n                secretKeyRef:\n                  name: coditect-edge\n"
        "                  key: JWT_SECRET\n",
        "              value: swordfish\n",
        "secretKeyRef",
    ),
    ("manifest", '            limits: { cpu: "2", memory: 2Gi }\n', "", "limits"),
    ("edge_toml", "0.0.0.0:9090", "0.0.0.0:9091", "HEALTHCHECK"),
    ("edge_toml", "0.0.0.0:8080", "127.0.0.1:8080", "listen on 0.0.0.0"),
    ("edge_toml", "[store]\n", "[store]\n# edited in one place only\n", "not the text of deploy/edge.toml"),
    ("dockerfile", "EXPOSE 8080 9090\n", "EXPOSE 80\n", "exposes"),
    ("dockerfile", "USER 10001:10001\n", "USER 0:0\n", "not the same user"),
    ("dockerfile", "VOLUME /data\n", "", "no volume"),
    ("cargo_toml", 'version = "0.1.0"\n', 'version = "0.2.0"\n', "workspace's version"),
]


def unnoticed(root: pathlib.Path) -> list[str]:
    """The broken copies that were accepted, or refused for another reason than theirs."""
    parts = Parts.read(root)
    blind = []
    for part, before, after, expected in MUTATIONS:
        text = getattr(parts, part)
        if before not in text:
            blind.append(f"self-test: {part} holds no {before.strip()!r} any more: adapt checks/mutations.py")
            continue
        found = all_findings(dataclasses.replace(parts, **{part: text.replace(before, after, 1)}))
        if not any(expected in finding for finding in found):
            blind.append(
                f"self-test: {part} with {after.strip()!r} was not refused for {expected!r}: {found}"
            )
    return blind
