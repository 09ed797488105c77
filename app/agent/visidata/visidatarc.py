"""The hosted configuration, which VisiData executes by VD_CONFIG: it loads the package `hosted` beside it.

VisiData puts every name that is left at the end among its own globals, so this leaves none.
"""


def _host() -> None:
    import importlib.util
    import sys
    from pathlib import Path

    # It is in the sessions' Python alone.
    from visidata import vd  # type: ignore[import-not-found]

    # By its path, since nothing of the Hub is on the sessions' module path, and under a name that no file of a person has.
    folder = Path(vd.options.config).parent
    package = folder / "hosted"
    spec = importlib.util.spec_from_file_location(
        "visidata_hub", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None and spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.install(folder)


_host()
del _host
