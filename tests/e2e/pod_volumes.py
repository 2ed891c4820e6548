"""A pod's volumes, each a folder on this machine, as the kubelet lays them out."""

import os
import subprocess

from pod_spec import Unsupported, quantity


class Volumes:
    """Makes all of a pod's volumes below a folder, with what `cluster` knows of ConfigMaps, Secrets and tokens."""

    def __init__(self, pod, folder, cluster):
        self._pod, self._folder, self._cluster = pod, folder, cluster
        self._paths, self._mounted = {}, []
        try:
            for volume in pod.volumes:
                self._make(volume)
        except BaseException:
            self.close()
            raise

    def close(self):
        for path in self._mounted:
            # The containers that had it are gone, but the engine may let go of it a moment later.
            subprocess.run(["umount", "--lazy", path], check=True)

    def path(self, mount):
        """Where on this machine a container's mount is."""

        path = self._paths[mount.volume]
        return (path / mount.sub_path).resolve() if mount.sub_path else path

    def _make(self, volume):
        with volume:
            name = volume.take("name")
            path = self._paths[name] = self._folder / name
            path.mkdir(parents=True)
            kinds = {"emptyDir": self._empty, "configMap": self._files, "secret": self._files, "projected": self._projected}
            for kind, make in kinds.items():
                source = volume.take(kind)
                if source is not None:
                    return make(path, kind, source, f"{volume.where}.{kind}")
        raise Unsupported(f"{volume.where}: of no kind that is known")

    def _empty(self, path, _, source, where):
        if not source:
            path.chmod(0o777)
            return self._give_to_group(path, 0o770)
        # The limit of a folder on the disk is looked at now and then; memory's holds at once.
        if source.get("medium") != "Memory" or set(source) - {"medium", "sizeLimit"}:
            raise Unsupported(f"{where}: {source}")
        size = quantity(source.get("sizeLimit")) or 64 << 20
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", path], check=True)
        self._mounted.append(path)
        return self._give_to_group(path, 0o770)

    def _files(self, path, kind, source, where):
        self._write(path, self._keys(kind, dict(source), where), source.get("defaultMode", 0o644))

    def _projected(self, path, _, source, where):
        if set(source) - {"sources", "defaultMode"}:
            raise Unsupported(f"{where}: {source}")
        files = {}
        for part in source["sources"]:
            ((kind, given),) = part.items()
            files |= self._token(given) if kind == "serviceAccountToken" else self._keys(kind, dict(given), where)
        self._write(path, files, source.get("defaultMode", 0o644))

    def _token(self, given):
        audience = [given["audience"]] if given.get("audience") else []
        return {given["path"]: (self._cluster.token(self._pod, audience, given["expirationSeconds"]), None)}

    def _keys(self, kind, source, where):
        """Which files there are, by path: each one's text and its mode, where it has one of its own."""

        source.pop("defaultMode", None)
        items = source.pop("items", None)
        if kind == "downwardAPI":
            reference = lambda item: item["fieldRef"]["fieldPath"]
            files = {item["path"]: (self._pod.facts[reference(item)], item.get("mode")) for item in items}
        elif kind in ("configMap", "secret"):
            name = source.pop("name", None) or source.pop("secretName")
            data = self._cluster.keys(kind, self._pod.namespace, name, source.pop("optional", False))
            chosen = items or [{"key": key, "path": key} for key in data]
            files = {item["path"]: (data[item["key"]], item.get("mode")) for item in chosen}
        else:
            raise Unsupported(f"{where}: {kind}")
        if source:
            raise Unsupported(f"{where}: {', '.join(source)}")
        return files

    def _write(self, path, files, mode):
        """As the kubelet's atomic writer does: links to files in a folder that a link leads to."""

        path.chmod(0o777)
        data = path / "..files"
        data.mkdir(mode=0o755)
        (path / "..data").symlink_to(data.name)
        for name, (text, own_mode) in files.items():
            if "/" in name:
                raise Unsupported(f"a file in a folder of a volume: {name}")
            (data / name).write_text(text)
            (data / name).chmod(mode if own_mode is None else own_mode)
            (path / name).symlink_to(f"..data/{name}")
        for each in (path, data):
            self._give_to_group(each, 0o550)
        for name in files:
            self._give_to_group(data / name, 0o440)

    def _give_to_group(self, path, bits):
        """fsGroup: its group may do this too, and what comes into a folder is the group's."""

        if self._pod.fs_group is not None:
            os.chown(path, -1, self._pod.fs_group)
            path.chmod(path.stat().st_mode | bits | (0o2000 if path.is_dir() else 0))
