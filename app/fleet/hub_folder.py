"""The folder of a hub: its keys, the credentials of the sites, the settings of the server and the event file."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from app.core.errors import OutputError, SettingsError
from app.core.files import exists, is_file, write_text
from app.fleet.keys import (
    Certificate,
    KeyPair,
    account_token,
    credentials_text,
    key_from_seed,
    new_authority,
    new_key,
    operator_token,
    server_certificate,
    user_token,
)
from app.fleet.messages import DEFAULT_PORT, DESIRED, LEASES, MODELS

_LOCAL = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
SETTINGS = """\
# Settings of the hub: [web] for its page, [alerts] for the channels that report node_offline and node_online.
# All settings: 'maskwatch config init'. The event file is always events.db in this folder.

[alerts]
keep_days = 30
max_store_mb = 4000
"""
SERVER = """\
# Written by 'maskwatch fleet init'; it is written again with each call.
listen: "{listen}"
server_name: "maskwatch-hub"
pid_file: "{folder}/server.pid"
log_file: "{folder}/server.log"
logfile_size_limit: 10MB
max_payload: 1MB
operator: "{operator}"
system_account: {system}
resolver: MEMORY
resolver_preload: {{
  {system}: "{system_token}"
  {account}: "{account_token}"
}}
jetstream {{
  store_dir: "{folder}"
  sync_interval: 1s  # of what the hub has not stored yet, a power failure may take the last second
}}
tls {{
  cert_file: "{certificate}"
  key_file: "{key}"
  handshake_first: true
}}
"""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """``names``: the host names and addresses in the certificate. ``certificate``, ``key`` and
    ``authority``: files of a given one; without ``authority`` the sites trust the system's certificates."""

    listen: str = f"0.0.0.0:{DEFAULT_PORT}"
    names: tuple[str, ...] = ("localhost", "127.0.0.1")
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None


class _State(BaseModel):
    """The content of fleet.json. ``sites``: their public keys. ``revoked``: public keys with the Unix time until which
    their tokens were issued. Without ``authority`` the sites trust the system's certificates."""

    listen: str = ""
    names: list[str] = []
    sites: dict[str, str] = {}
    revoked: dict[str, int] = {}
    certificate: str = ""
    key: str = ""
    authority: str = ""


class HubFolder:
    """Raises OutputError if a file cannot be written, SettingsError if the folder is not one of a hub."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = path / "events.db"
        self.settings_file = path / "maskwatch.toml"
        self.server_file = path / "server.conf"
        self.pid_file = path / "server.pid"
        self.log_file = path / "server.log"
        self.hub_credentials = path / "hub.creds"
        self._state_file = path / "fleet.json"
        self._keys_file = path / "keys.json"

    def check(self) -> None:
        if not is_file(self._state_file):
            raise SettingsError(f"{self.path} is not the folder of a hub; make one: 'maskwatch fleet init {self.path}'")

    def credentials_of(self, site: str) -> Path:
        return self.path / "sites" / f"{site}.creds"

    def init(self, sites: Sequence[str], options: ServerOptions | None) -> list[Path]:
        """Makes the folder, or adds ``sites`` to it. ``options`` replaces those of an existing folder. Returns the new
        credentials files."""
        is_new = not is_file(self._state_file)
        try:
            if is_new:
                self.path.mkdir(0o700, parents=True, exist_ok=True)
                if any(self.path.iterdir()):
                    raise OutputError(f"{self.path} is not empty; choose a new folder for the hub")
                self._create()
            if is_new or options is not None:
                self._set_server(options or ServerOptions())
            made = [self._add_site(site) for site in sites if not exists(self.credentials_of(site))]
            self._write_server_file()
        except OSError as error:
            raise self._cannot_write(error) from error
        return made

    def revoke(self, site: str) -> None:
        """Makes the credentials of ``site`` invalid."""
        self.check()
        state = self._state()
        if site not in state.sites:
            known = ", ".join(sorted(state.sites)) or "none"
            raise SettingsError(f"no site {site!r} in {self.path}; the sites are: {known}")
        state.revoked[state.sites.pop(site)] = int(time.time()) + 1
        try:
            self.credentials_of(site).unlink(missing_ok=True)
            self._save_state(state)
            self._write_server_file()
        except OSError as error:
            raise self._cannot_write(error) from error

    def sites(self) -> list[str]:
        self.check()
        return sorted(self._state().sites)

    @property
    def local_url(self) -> str:
        """The server's address for the hub itself."""
        host, _, port = self._state().listen.rpartition(":")
        return f"tls://{_LOCAL.get(host, host)}:{port}"

    @property
    def tls_name(self) -> str:
        """A name in the server's certificate."""
        return self._state().names[0]

    def _cannot_write(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write {error.filename or self.path}: {error.strerror or error}; check the folder")

    def _create(self) -> None:
        for folder in ("sites", "tls"):
            (self.path / folder).mkdir()
        keys = {name: new_key(kind) for name, kind in (("operator", "operator"), ("account", "account"))}
        keys["system"] = new_key("account")
        self._write_secret(self._keys_file, json.dumps({name: key.seed for name, key in keys.items()}))
        self._save_state(_State())
        write_text(self.settings_file, SETTINGS)

    def _set_server(self, options: ServerOptions) -> None:
        state, folder = self._state(), self.path / "tls"
        if (options.certificate is None) != (options.key is None):
            raise SettingsError("a certificate needs its key; give both --tls-cert and --tls-key")
        certificate, key, authority = options.certificate, options.key, options.authority
        if certificate is None:
            certificate, key, authority = folder / "server.pem", folder / "server.key", folder / "ca.pem"
            names = dict.fromkeys((*options.names, *ServerOptions().names))
            made = server_certificate(self._authority(), names)
            write_text(certificate, made.certificate_pem)
            self._write_secret(key, made.key_pem)
        assert key is not None
        state.certificate, state.key = str(certificate.absolute()), str(key.absolute())
        state.authority = str(authority.absolute()) if authority is not None else ""
        state.listen, state.names = options.listen, list(options.names)
        self._save_state(state)
        self._write_credentials(self.hub_credentials, new_key("user"), "hub", [">"], [">"])

    def _authority(self) -> Certificate:
        """The authority of this fleet, which is made once: the sites trust it."""
        certificate, key = self.path / "tls" / "ca.pem", self.path / "tls" / "ca.key"
        if not is_file(certificate):
            made = new_authority()
            self._write_secret(key, made.key_pem)
            write_text(certificate, made.certificate_pem)
        return Certificate(certificate.read_text(), key.read_text())

    def _add_site(self, site: str) -> Path:
        path, user, state = self.credentials_of(site), new_key("user"), self._state()
        publish = [f"mw.{kind}.{site}.*" for kind in ("event", "count", "health")]
        publish.append(f"$KV.{LEASES}.{site}.*")
        read = (f"KV_{DESIRED}.$KV.{DESIRED}.{site}", f"KV_{LEASES}.$KV.{LEASES}.{site}.*", f"OBJ_{MODELS}")
        publish += [f"$JS.API.DIRECT.GET.{subject}" for subject in read]
        self._write_credentials(path, user, site, publish, [f"_INBOX.{site}.>"])
        state.sites[site] = user.public
        self._save_state(state)
        return path

    def _write_credentials(
        self, path: Path, user: KeyPair, name: str, publish: Sequence[str], subscribe: Sequence[str]
    ) -> None:
        authority = self._state().authority
        token = user_token(self._key("account"), user, name, publish, subscribe)
        self._write_secret(path, credentials_text(token, user, Path(authority).read_text() if authority else ""))

    def _write_server_file(self) -> None:
        state = self._state()
        operator, system, account = (self._key(name) for name in ("operator", "system", "account"))
        text = SERVER.format(
            listen=state.listen,
            folder=self.path.absolute().as_posix(),
            operator=operator_token(operator),
            system=system.public,
            system_token=account_token(operator, system, "system"),
            account=account.public,
            account_token=account_token(operator, account, "fleet", state.revoked),
            certificate=Path(state.certificate).as_posix(),
            key=Path(state.key).as_posix(),
        )
        self._write_secret(self.server_file, text)

    def _key(self, name: str) -> KeyPair:
        try:
            return key_from_seed(json.loads(self._keys_file.read_text())[name])
        except (OSError, ValueError, KeyError) as error:
            raise SettingsError(f"cannot read the keys in {self._keys_file}; restore the folder from a copy") from error

    def _state(self) -> _State:
        try:
            return _State.model_validate_json(self._state_file.read_text())
        except (OSError, ValueError) as error:
            raise SettingsError(f"cannot read {self._state_file}; restore the folder from a copy") from error

    def _save_state(self, state: _State) -> None:
        write_text(self._state_file, state.model_dump_json(indent=1) + "\n")

    @staticmethod
    def _write_secret(path: Path, text: str) -> None:
        """Readable by this user only, from the first moment on."""
        if not exists(path):
            path.touch(0o600, exist_ok=False)
        write_text(path, text)
