"""Whether a cluster's workers would compute the same bits: the same Python and the same packages as here."""

from collections.abc import Callable, Mapping, Sequence

# What trials and the road to them are made of; a difference in any can change a model's bytes or break its transport.
PACKAGES = (
    "cloudpickle",
    "dask",
    "distributed",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "skops",
    "xgboost",
)


def reader() -> Callable[[Sequence[str]], dict[str, str | None]]:
    """A function that tells the versions of packages where it runs; made in here so that it travels by value."""

    def versions(packages: Sequence[str]) -> dict[str, str | None]:
        import platform
        from importlib import metadata

        found: dict[str, str | None] = {}
        for package in packages:
            try:
                found[package] = metadata.version(package)
            except metadata.PackageNotFoundError:
                found[package] = None
        return {**found, "python": platform.python_version()}

    return versions


def version_differences(here: Mapping[str, str | None], there: Mapping[str, Mapping[str, str | None]]) -> list[str]:
    """One line for each place whose versions are others, by address."""
    lines = []
    for address, versions in sorted(there.items()):
        other = [f"{name} {versions.get(name) or 'missing'} (here {here[name]})" for name in here
                 if versions.get(name) != here[name]]  # fmt: skip
        if other:
            lines.append(f"{address} has {', '.join(other)}")
    return lines
