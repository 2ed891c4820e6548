"""Runs `vault …` command lines, as documentation has them, against a Vault's HTTP API: there is no vault binary here.

It knows what the pages use and refuses everything else, so that a command which nobody has ever run cannot stand there.
"""

import json
import re
import shlex

HEREDOC = re.compile(r"<<-?\s*'?([A-Z]+)'?")


class UnknownCommand(Exception):
    """A command line that is not translated."""


def commands(block):
    """The commands of a shell block: (words, standard input or None, file that the output goes to or None)."""

    lines = iter(block.splitlines())
    for line in lines:
        while line.endswith("\\"):
            line = line[:-1] + next(lines)
        given = HEREDOC.search(line)
        stdin = None
        if given:
            line = HEREDOC.sub("", line)
            stdin = ""
            while (more := next(lines)).strip() != given.group(1):
                stdin += more + "\n"
        words = shlex.split(line, comments=True)
        output = None
        if ">" in words:
            at = words.index(">")
            words, output = words[:at] + words[at + 2 :], words[at + 1]
        if words:
            yield words, stdin, output


class Cli:
    """`substitute` turns a word of the page into what this test has in its place; `more` adds to what a path is sent."""

    def __init__(self, vault, substitute=lambda word: word, more=None):
        self._vault = vault
        self._substitute = substitute
        self._more = more or {}
        self.ran = []

    def run_block(self, block):
        for words, stdin, output in commands(block):
            said = self.run([self._substitute(word) for word in words], self._substitute(stdin) if stdin else None)
            if output is not None:
                with open(self._substitute(output), "w") as file:
                    file.write(said + "\n")

    def run(self, words, stdin=None):
        line = shlex.join(words)
        if words[0] != "vault":
            raise UnknownCommand(line)
        words = words[1:]
        flags = [word for word in words if word.startswith("-") and word != "-"]
        plain = [word for word in words if word not in flags]
        options = dict(flag.lstrip("-").partition("=")[::2] for flag in flags)
        self.ran.append(line)
        match plain:
            case ["write", path, *pairs]:
                return self._write(line, path, pairs, stdin, options)
            case ["read", path]:
                return self._said(line, self._vault.api("GET", path), options)
            case ["list", path]:
                return self._said(line, self._vault.api("LIST", path), options)
            case ["delete", path]:
                return self._said(line, self._vault.api("DELETE", path), options)
            case ["policy", "write", name, "-"]:
                assert stdin, line
                return self._said(line, self._vault.api("PUT", f"sys/policies/acl/{name}", {"policy": stdin}), options)
            case [("auth" | "secrets") as what, "enable", kind]:
                where = "auth" if what == "auth" else "mounts"
                mount = options.pop("path", kind)
                return self._said(line, self._vault.api("POST", f"sys/{where}/{mount}", {"type": kind}), options)
            case ["auth", "tune", mount]:
                wanted = {"lockout_disable": options.pop("user-lockout-disable") == "true"}
                path = f"sys/auth/{mount.strip('/')}/tune"
                return self._said(line, self._vault.api("POST", path, {"user_lockout_config": wanted}), options)
            case ["token", "create"]:
                asked = {"policies": [options.pop("policy")], "no_parent": "orphan" in options}
                options.pop("orphan", None)
                asked |= {name: options.pop(name) for name in ("period", "ttl") if name in options}
                return self._said(line, self._vault.api("POST", "auth/token/create", asked), options)
            case ["lease", "revoke", lease] if "prefix" in options:
                options.pop("prefix")
                return self._said(line, self._vault.api("PUT", f"sys/leases/revoke-prefix/{lease}"), options)
        raise UnknownCommand(line)

    def _write(self, line, path, pairs, stdin, options):
        body = dict(self._more.get(path, {}))
        for pair in pairs:
            name, sign, value = pair.partition("=")
            if pair == "-":
                body |= json.loads(stdin)
                continue
            assert sign, f"{line}: {pair}"
            if value == "-":
                assert stdin, line
                value = stdin
            elif value.startswith("@"):
                value = open(value[1:]).read()
            # A name that stands twice is a list, as in the real one.
            body[name] = value if name not in body else [*as_list(body[name]), value]
        if not pairs and not ({"f", "force"} & set(options)):
            raise UnknownCommand(f"{line}: without pairs it needs -f")
        options.pop("f", None), options.pop("force", None)
        wrap = options.pop("wrap-ttl", None)
        headers = {"X-Vault-Wrap-TTL": wrap} if wrap else {}
        return self._said(line, self._vault.api("POST", path, body, headers=headers), options)

    @staticmethod
    def _said(line, answer, options):
        field = options.pop("field", None)
        if options:
            raise UnknownCommand(f"{line}: {sorted(options)}")
        if field is None:
            return json.dumps(answer)
        held = answer.get("wrap_info") or {}
        held = {"wrapping_token": held.get("token"), **(answer.get("data") or {})}
        auth = answer.get("auth") or {}
        held["token"] = auth.get("client_token")
        value = held.get(field)
        assert value is not None, f"{line}: no {field} in {sorted(held)}"
        return value


def as_list(value):
    return value if isinstance(value, list) else [value]
