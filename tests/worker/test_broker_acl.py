import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import redis

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shop(redis_url):
    """The account of a sender, made by the very line that the how-to shows; yields the address to send to."""
    line = re.search(r"^ACL SETUSER (shop .*)$", (ROOT / "docs/howto/celery.md").read_text(), re.MULTILINE)[1]
    with redis.Redis.from_url(redis_url) as owner:
        owner.execute_command("ACL SETUSER", *line.replace("PASSWORD", "s3cret").split())
        yield redis_url.replace("redis://", "redis://shop:s3cret@")
        owner.execute_command("ACL DELUSER", "shop")


def test_the_account_of_the_howto_can_submit(redis_url, shop):
    """The example service sends its fleet with the account that the how-to makes."""
    with redis.Redis.from_url(redis_url) as owner:
        owner.delete("nodewright")
        subprocess.run(
            [sys.executable, str(ROOT / "examples/celery_by_name.py"), "web"],
            env={**os.environ, "BROKER_URL": shop},
            check=True,
            capture_output=True,
            timeout=60,
        )
        assert owner.llen("nodewright") == 2


@pytest.mark.parametrize(
    "command",
    [
        ("LRANGE", "nodewright", "0", "-1"),
        ("BRPOP", "nodewright", "1"),
        ("DEL", "nodewright"),
        ("LPUSH", "celery", "x"),
        ("HGETALL", "unacked"),
        ("GET", "nodewright:catalog:default"),
        ("KEYS", "*"),
        ("CONFIG", "GET", "*"),
        ("FLUSHALL",),
        ("ACL", "LIST"),
    ],
    ids=" ".join,
)
def test_the_account_of_the_howto_can_do_nothing_else(shop, command):
    """It reads no message, takes none away, and runs nothing else."""
    with redis.Redis.from_url(shop) as sender, pytest.raises(redis.exceptions.NoPermissionError):
        sender.execute_command(*command)
