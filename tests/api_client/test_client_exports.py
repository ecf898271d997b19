import inspect
import pkgutil
import subprocess
import sys
from importlib import import_module

import api_client

MODULES = [import_module(f"api_client.{found.name}") for found in pkgutil.iter_modules(api_client.__path__)]
INTERNAL = {
    "Answer",
    "Call",
    "Wire",
    "check_base_url",
    "check_page",
    "check_page_size",
    "check_token",
    "check_user_agent",
    "default_user_agent",
    "describe",
    "error_class",
    "is_loopback",
    "parse_scopes",
    "read_errors",
    "read_json",
    "read_page",
    "request_id",
    "scrubbed",
    "segment",
}


def test_every_public_name_is_exported():
    """A public class or function of any module is in `__all__`, unless it is listed here as internal."""
    defined = {
        name
        for module in MODULES
        for name, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__
        if not name.startswith("_")
    }
    assert defined - INTERNAL <= set(api_client.__all__)
    assert defined >= INTERNAL


def test_exports_exist_and_are_sorted():
    """`__all__` names what is there, constants first, then classes, then functions, each by name."""
    names = api_client.__all__
    assert all(hasattr(api_client, name) for name in names)
    assert names == sorted(
        names, key=lambda name: (not name.isupper() or name == "F", name[0].islower(), name)
    )


def test_every_public_name_is_documented():
    """Each exported class and function, and each of its public methods, says what it is."""
    exported = [getattr(api_client, name) for name in api_client.__all__]
    for value in filter(callable, exported):
        members = vars(value).items() if inspect.isclass(value) else []
        functions = [item for name, item in members if not name.startswith("_") and inspect.isfunction(item)]
        for item in [value, *functions]:
            assert inspect.getdoc(item), item


def test_the_package_stands_alone():
    """Importing the client imports no other room of the project."""
    code = (
        "import sys, api_client; "
        "print(sorted({'jobs', 'worker', 'simulator', 'nodewright'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
