"""Those who are known to a server: a file of tokens, made by the binary itself."""

import json

from .server import run


class Tokens:
    """A file of tokens that grows; each token by the name of whom it is for."""

    def __init__(self, path):
        self.path = path
        self.secrets = {}
        self.entries = {}
        self.write()

    def add(self, name, namespaces, role, expires=None):
        """Makes a token and puts it into the file; returns it."""
        flags = ["--name", name, "--namespaces", namespaces, "--role", role]
        made = run("token", "new", "--json", *flags)
        assert made.returncode == 0, made.stderr
        answer = json.loads(made.stdout)
        entry = answer["entry"]
        if expires is not None:
            entry = entry.replace("grants =", f"expires = {expires}\ngrants =")
        self.entries[name] = entry
        self.secrets[name] = answer["token"]
        self.write()
        return answer["token"]

    def write(self):
        """Puts the file in the place of the one before, as a careful operator does."""
        beside = self.path.with_suffix(".new")
        beside.write_text("\n".join(self.entries.values()), encoding="utf-8")
        beside.chmod(0o640)
        beside.rename(self.path)

    def remove(self, name):
        """Takes somebody out."""
        del self.entries[name]
        self.write()

    def metadata(self, name):
        """What a call of somebody carries; nothing for nobody."""
        return [] if name is None else [("authorization", f"Bearer {self.secrets[name]}")]

    def headers(self, name):
        """The same for HTTP."""
        return dict(self.metadata(name))
