"""The manifest as Kubernetes reads it: strict YAML, and the API server's schemas with unknown fields refused."""

import functools

import kubernetes_validate
import yaml

# The oldest Kubernetes the manifest is meant for, and the newest whose schema the package carries.
VERSIONS = ["1.31", kubernetes_validate.latest_version()]


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key given twice, of which YAML readers silently keep one."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: given twice: {', '.join(sorted(twice))}")
        return super().construct_mapping(node, deep)


def documents(text: str) -> list[dict]:
    """The manifest's objects; raises yaml.YAMLError."""
    return [document for document in yaml.load_all(text, _StrictLoader) if document is not None]


# A schema is megabytes of JSON and is asked for once per object and broken copy.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)


def findings(objects: list[dict]) -> list[str]:
    """What the schemas say against the objects."""
    found = []
    for version in VERSIONS:
        for item in objects:
            name = f"{item.get('kind')}/{item.get('metadata', {}).get('name')}"
            try:
                kubernetes_validate.validate(item, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                place = ".".join(str(step) for step in error.path)
                found.append(f"Kubernetes {version}: {name}: {place}: {error.message[:300]}")
            except (KeyError, kubernetes_validate.SchemaNotFoundError) as error:
                found.append(f"Kubernetes {version}: {name}: no such kind: {error!r}")
    return found
