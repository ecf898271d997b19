"""Makes the secret files that docker-compose.yml hands to its services. What exists is kept.

    python deploy/make_secrets.py [FOLDER]

The folder is for its owner only. The files in it can be read by everybody who may enter it, because Compose mounts
them as they are and the services run as users of their own.
"""

import getpass
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from jobs.vault import new_key

FOLDER: Final = Path(__file__).parent / "secrets"


def generated() -> dict[str, str]:
    """Return new values for everything but the Linode token; those that belong together agree."""
    database, redis = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    return {
        "database_password": database,
        "database_url": f"postgresql://nodewright:{database}@postgres:5432/nodewright",
        "redis_conf": f"requirepass {redis}",
        "redis_url": f"redis://:{redis}@redis:6379/0",
        "encryption_keys": new_key(),
        "api_key": f"nw_{secrets.token_urlsafe(32)}",
    }


PAIRS: Final = (("database_password", "database_url"), ("redis_conf", "redis_url"))
"""Each pair holds one password: half of a pair must not be made anew."""


def torn(folder: Path) -> list[str]:
    """Return the files that are missing while their other half exists."""
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return [name for pair in PAIRS for name in pair if name not in there and there & set(pair)]


def write(folder: Path, values: Mapping[str, str]) -> list[str]:
    """Write the values whose files do not exist; return their names."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    missing = [name for name in values if not (folder / name).exists()]
    for name in missing:
        path = folder / name
        path.write_text(values[name] + "\n")
        path.chmod(0o644)
    return missing


def main(folder: Path) -> int:
    """Make what is missing; ask for the token on a terminal."""
    if missing := torn(folder):
        print(f"{folder}: {', '.join(missing)} missing; restore it, or remove the other file of the pair too")
        return 1
    values = generated()
    if not (folder / "linode_token").exists() and sys.stdin.isatty():
        values["linode_token"] = getpass.getpass("Linode token (not shown): ").strip()
    made = write(folder, {name: value for name, value in values.items() if value})
    print(f"{folder}: made {', '.join(made) or 'nothing, everything was there'}")
    if not (folder / "linode_token").exists():
        print(f"put the Linode token into {folder / 'linode_token'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
