"""Reads a Pod as the API server returns it. A field that is not known here is an error: nothing of a pod is left out unseen."""

import re
from dataclasses import dataclass


class Unsupported(Exception):
    """Something of the pod that pod_runner.py does not do."""


class Fields:
    """An object's fields, each of which must be taken before its `with` block ends."""

    def __init__(self, given, where):
        self._left = dict(given or {})
        self.where = where

    def take(self, name, default=None):
        return self._left.pop(name, default)

    def inner(self, name):
        return Fields(self._left.pop(name, None), f"{self.where}.{name}")

    def items(self, name, key="name"):
        """The objects of a list."""

        return [Fields(item, f"{self.where}.{name}[{item.get(key, '?')}]") for item in self.take(name) or []]

    def only(self, name, *allowed):
        """Takes a field that may have no other values than these: absent is one of them."""

        value = self.take(name)
        if value is not None and value not in allowed:
            raise Unsupported(f"{self.where}.{name}: {value!r}")
        return value

    def drop(self, *names):
        """Takes fields that have no bearing on how the containers run here."""

        for name in names:
            self.take(name)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None and self._left:
            raise Unsupported(f"{self.where}: {', '.join(sorted(self._left))}")


@dataclass(frozen=True)
class Get:
    """An HTTP request to the pod's address."""

    path: str
    port: int


@dataclass(frozen=True)
class Probe:
    """What is asked every so many seconds: a request, or a program that is run in the container."""

    asks: Get | tuple[str, ...]
    period: int
    failures: int


@dataclass(frozen=True)
class Mount:
    volume: str
    path: str
    sub_path: str | None
    read_only: bool


@dataclass(frozen=True)
class Security:
    """A container's security context, with what the pod says where the container does not."""

    user: int | None
    group: int | None
    not_root: bool
    read_only: bool
    no_new_privileges: bool
    drop: tuple
    add: tuple


@dataclass(frozen=True)
class Container:
    name: str
    image: str
    command: list
    args: list
    environment: dict
    mounts: list
    security: Security
    memory: int | None
    startup: Probe | None
    liveness: Probe | None
    restarts: bool
    """Whether it is started again whenever it ends: a native sidecar."""


@dataclass(frozen=True)
class Pod:
    name: str
    namespace: str
    uid: str
    service_account: str
    init: list
    containers: list
    volumes: list
    restart: str
    grace: int
    fs_group: int | None
    facts: dict
    """What the downward API tells, by field path."""


class References:
    """What a pod's variables may refer to: what the downward API tells, and ConfigMaps and Secrets of its namespace."""

    def __init__(self, facts, cluster):
        self._facts, self._cluster = facts, cluster

    def fact(self, path, where):
        if path in self._facts:
            return self._facts[path]
        # A label or annotation that is not there is empty.
        if re.fullmatch(r"metadata\.(labels|annotations)\['.*'\]", path):
            return ""
        raise Unsupported(f"{where}: fieldPath {path}")

    def keys(self, kind, reference):
        """The texts by key of what a reference names; nothing, if it names none."""

        reference.only("optional", False)
        name = reference.take("name")
        return self._cluster.keys(kind, self._facts["metadata.namespace"], name) if name else {}


def read(pod, pod_ip, cluster):
    """A Pod object as it is run. `cluster` knows the ConfigMaps and Secrets (pod_sources.Cluster)."""

    with Fields(pod, "pod") as top:
        top.drop("apiVersion", "kind", "status")
        facts = _metadata(top.inner("metadata"), pod_ip)
        references = References(facts, cluster)
        with top.inner("spec") as spec:
            # Where it runs, in what order, and under which name it is found: one pod at a time, here.
            spec.drop("schedulerName", "tolerations", "priority", "preemptionPolicy", "nodeName", "dnsPolicy", "hostname")
            # The images are here already, the token's volume is in the spec, and there are no Services.
            spec.drop("imagePullSecrets", "automountServiceAccountToken", "enableServiceLinks", "serviceAccount")
            for name in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
                spec.only(name, False)
            facts["spec.serviceAccountName"] = spec.take("serviceAccountName", "default")
            with spec.inner("securityContext") as shared:
                fs_group = shared.take("fsGroup")
                shared.only("fsGroupChangePolicy", "Always", "OnRootMismatch")
                defaults = {name: shared.take(name) for name in ("runAsUser", "runAsGroup", "runAsNonRoot")}
                _seccomp(shared)
            return Pod(
                name=facts["metadata.name"],
                namespace=facts["metadata.namespace"],
                uid=facts["metadata.uid"],
                service_account=facts["spec.serviceAccountName"],
                init=[_container(each, references, defaults) for each in spec.items("initContainers")],
                containers=[_container(each, references, defaults) for each in spec.items("containers")],
                volumes=spec.items("volumes"),
                restart=spec.take("restartPolicy", "Always"),
                grace=spec.take("terminationGracePeriodSeconds", 30),
                fs_group=fs_group,
                facts=facts,
            )


def _metadata(metadata, pod_ip):
    with metadata:
        metadata.drop("creationTimestamp", "generateName", "generation", "managedFields", "ownerReferences", "resourceVersion")
        facts = {f"metadata.{name}": metadata.take(name, "") for name in ("name", "namespace", "uid")}
        for kind in ("labels", "annotations"):
            for name, value in (metadata.take(kind) or {}).items():
                facts[f"metadata.{kind}['{name}']"] = value
        return {**facts, "status.podIP": pod_ip}


def _seccomp(context):
    # The engine's own profile is the runtime's default.
    with context.inner("seccompProfile") as profile:
        profile.only("type", "RuntimeDefault")


def _container(fields, references, defaults):
    with fields:
        # Which terminal messages are kept and whether the image is fetched: neither happens here.
        fields.drop("imagePullPolicy", "terminationMessagePath", "terminationMessagePolicy")
        ports, environment = _ports(fields), _environment(fields, references)
        return Container(
            name=fields.take("name"),
            image=fields.take("image"),
            command=[expanded(word, environment) for word in fields.take("command") or []],
            args=[expanded(word, environment) for word in fields.take("args") or []],
            environment=environment,
            mounts=[_mount(each) for each in fields.items("volumeMounts", "mountPath")],
            security=_security(fields.inner("securityContext"), defaults),
            memory=_memory(fields.inner("resources")),
            startup=_probe(fields.inner("startupProbe"), ports),
            liveness=_probe(fields.inner("livenessProbe"), ports),
            restarts=fields.only("restartPolicy", "Always") is not None,
        )


def _ports(fields):
    found = {}
    for port in fields.items("ports", "containerPort"):
        with port:
            number = port.take("containerPort")
            port.only("protocol", "TCP")
            found[port.take("name", number)] = number
    return found


def _environment(fields, references):
    found = {}
    for source in fields.items("envFrom"):
        with source:
            prefix = source.take("prefix", "")
            for kind in ("configMap", "secret"):
                with source.inner(f"{kind}Ref") as reference:
                    found |= {prefix + key: text for key, text in references.keys(kind, reference).items()}
    for entry in fields.items("env"):
        with entry:
            name, text = entry.take("name"), entry.take("value", "")
            with entry.inner("valueFrom") as source:
                value = _value_from(source, references)
            found[name] = expanded(text, found) if value is None else value
    return found


def _value_from(source, references):
    with source.inner("fieldRef") as field:
        field.only("apiVersion", "v1")
        path = field.take("fieldPath")
    found = references.fact(path, source.where) if path else None
    for kind in ("configMap", "secret"):
        with source.inner(f"{kind}KeyRef") as reference:
            key = reference.take("key")
            found = references.keys(kind, reference).get(key, found)
    return found


def expanded(text, variables):
    """What Kubernetes makes of a variable's value, a command or an argument: $(NAME) is a variable that it knows, and $$ is $."""

    replaced = lambda found: "$" if found[1] is None else variables.get(found[1], found[0])
    return re.sub(r"\$(?:\$|\(([^)]*)\))", replaced, text)


def _mount(fields):
    with fields:
        return Mount(
            volume=fields.take("name"),
            path=fields.take("mountPath"),
            sub_path=fields.take("subPath"),
            read_only=fields.take("readOnly", False),
        )


def _security(context, defaults):
    with context:
        _seccomp(context)
        context.only("privileged", False)
        own = {name: context.take(name) for name in ("runAsUser", "runAsGroup", "runAsNonRoot")}
        chosen = {name: defaults[name] if value is None else value for name, value in own.items()}
        with context.inner("capabilities") as capabilities:
            drop, add = (tuple(capabilities.take(name) or ()) for name in ("drop", "add"))
        return Security(
            user=chosen["runAsUser"],
            group=chosen["runAsGroup"],
            not_root=bool(chosen["runAsNonRoot"]),
            read_only=context.take("readOnlyRootFilesystem", False),
            no_new_privileges=context.take("allowPrivilegeEscalation") is False,
            drop=drop,
            add=add,
        )


def _memory(resources):
    """The limit of memory in bytes. What is requested matters to a scheduler, and CPU's limit to nobody's result."""

    with resources:
        resources.drop("requests")
        with resources.inner("limits") as limits:
            limits.drop("cpu")
            return quantity(limits.take("memory"))


def quantity(text):
    """A number of bytes as Kubernetes writes it."""

    if text is None:
        return None
    number, unit = re.fullmatch(r"(\d+)(|Ki|Mi|Gi)", text).groups()
    return int(number) << {"": 0, "Ki": 10, "Mi": 20, "Gi": 30}[unit]


def _probe(fields, ports):
    with fields:
        with fields.inner("httpGet") as request:
            request.only("scheme", "HTTP")
            path, port = request.take("path"), request.take("port")
        with fields.inner("exec") as program:
            command = tuple(program.take("command", ()))
        fields.only("successThreshold", 1)
        fields.only("initialDelaySeconds", 0)
        # A second is little on a machine that builds something beside this.
        fields.drop("timeoutSeconds")
        period, failures = fields.take("periodSeconds", 10), fields.take("failureThreshold", 3)
        asks = Get(path, ports.get(port, port)) if path else command
        return Probe(asks, period, failures) if asks else None
