"""Servers of loggers: what is missing before a run, or an upload, can use them."""

import http.client
import importlib.util
import netrc
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from regulo.core.errors import InputError, Problem


def check_reachable(server: str, title: str, key: str, hint: str) -> None:
    """Check that a server responds within seconds. Raises InputError with this key and hint. title: what the server is."""
    try:
        urllib.request.urlopen(server, timeout=4).close()  # through the proxy, if the environment names one
    except urllib.error.HTTPError:
        pass  # the server responds
    except (OSError, ValueError, http.client.HTTPException) as error:
        what = f"the {title} server {hide_password(server)} does not answer: {error}"
        raise InputError(Problem(key, what, hint)) from error


def check_wandb_server(key: str, hint: str) -> None:
    """Check that W&B's server responds, and that there is an API key for it. Raises InputError with this key and hint."""
    import wandb

    check_wandb_variables()
    server = os.environ.get("WANDB_BASE_URL") or wandb.setup().settings.base_url
    address = hide_password(server)
    try:
        host = urllib.parse.urlsplit(server).hostname or ""
    except ValueError as error:
        raise InputError(Problem(key, f"the W&B server {address} is no valid address: {error}", hint)) from error
    if not (os.environ.get("WANDB_API_KEY") or has_netrc_key(host)):
        what = f"there is no API key for the W&B server {address}"
        raise InputError(Problem(key, what, f".venv/bin/wandb login, or set WANDB_API_KEY{'; ' * bool(hint)}{hint}"))
    check_reachable(server, "W&B", key, hint)


def check_wandb_workspaces(key: str) -> None:
    """Check what reports and workspaces on W&B need: their package, a key, and the server. Raises InputError with this key."""
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise InputError(Problem(key, "wandb-workspaces is not installed", "pip install 'regulo[wandb-reports]'"))
    check_wandb_server(key, "")


def check_wandb_variables() -> None:
    """Raise InputError if a variable has a value that W&B does not take, for which it has a traceback."""
    import wandb
    from pydantic import ValidationError

    try:
        wandb.Settings().update_from_env_vars(dict(os.environ))
    except ValidationError as error:
        first = error.errors()[0]
        name = f"WANDB_{str(first['loc'][0]).removeprefix('run_').upper()}" if first["loc"] else "WANDB_…"
        secret = any(word in name for word in ("KEY", "TOKEN", "PASSWORD"))
        value = "its value" if secret else repr(hide_password(str(first["input"]))[:100])
        raise InputError(Problem(name, f"{value} is refused by W&B: {first['msg']}", "unset it")) from error
    except wandb.Error as error:
        raise InputError(Problem("WANDB_…", f"a variable is refused by W&B: {error}", "unset it")) from error


def hide_password(address: str) -> str:
    """An address without user and password."""
    return re.sub("//[^/@]*@", "//", address)


def has_netrc_key(host: str) -> bool:
    """Whether `wandb login` has saved a key for this host."""
    names = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    files = [Path(os.path.expanduser(name)) for name in names]
    try:
        return any(netrc.netrc(file).authenticators(host) for file in files if file.is_file())
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError):
        return False
