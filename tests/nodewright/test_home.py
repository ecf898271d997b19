import stat

import pytest

from nodewright.home import Home, HomeBusy, HomeError, ServiceAddress


@pytest.fixture
def home(tmp_path):
    """An empty home folder."""
    made = Home(tmp_path / "home")
    made.make()
    return made


def _mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_private(home):
    """Folder, encryption key and service file are readable for their owner only."""
    home.encryption_key(lambda: "key")
    home.announce(ServiceAddress("http://127.0.0.1:1", "secret", 1))
    assert _mode(home.folder) == 0o700
    assert {_mode(home.folder / "encryption.key"), _mode(home.service_file)} == {0o600}


def test_the_encryption_key_is_made_once(home):
    """The key is made on first use and stays the same afterwards."""
    assert home.encryption_key(lambda: "first") == "first"
    assert home.encryption_key(lambda: "second") == "first"


def test_a_service_is_announced_and_withdrawn(home):
    """Clients find what a service announced, until that service, and no other, withdraws it."""
    address = ServiceAddress("http://127.0.0.1:1", "secret", 7)
    home.announce(address)
    home.withdraw(8)
    assert home.service() == address
    home.withdraw(7)
    assert home.service() is None


def test_a_spoilt_service_file_counts_as_none(home):
    """A service file that cannot be read as such means that no service was announced."""
    home.service_file.write_text("{")
    assert home.service() is None


def test_the_local_key_is_kept_while_it_is_valid(home):
    """The local key is made again only when the database does not know the old one."""
    assert home.local_key(bool, lambda: "one") == "one"
    assert home.local_key(bool, lambda: "two") == "one"
    assert home.local_key(str.isdigit, lambda: "three") == "three"


def test_one_stack_at_a_time(home):
    """A folder that is held by a stack cannot be held by another one."""
    with home.held(), pytest.raises(HomeBusy), home.held():
        pass


def test_a_folder_that_cannot_be_made(tmp_path):
    """Where the folder cannot be made, the message names it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match="file/home"):
        Home(tmp_path / "file" / "home").make()
