"""The optional dependencies of commands, and the extra of maskq that installs each."""

from importlib.util import find_spec

_MODULES = {
    "gateway": ("fastapi", "python_multipart", "starlette", "uvicorn"),
    "cluster": ("imagecodecs", "numba", "pycocotools", "tifffile", "upath"),
}
#: Modules that the workers of a stack need: one of each extra.
STACK = ("torch", "numba")


def require(*modules: str) -> None:
    """Raises `ModuleNotFoundError` if one is not installed. Imports none of them."""
    for module in modules:
        if find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def how_to_install(module: str) -> str:
    """What a command needs that lacks this module. Extras that are not in `_MODULES` are all in `worker`."""
    extra = next((extra for extra, modules in _MODULES.items() if module in modules), "worker")
    return f"this command needs {module}: pip install 'maskq[{extra}]' (or, in a checkout, '.[{extra}]')"
