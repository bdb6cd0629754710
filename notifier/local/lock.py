"""
Writes jgo.lock.toml anew from jgo.toml: `make lock`.

Only coordinates, versions and checksums are written down, no addresses, so a mirror serves as well as Maven Central.
"""

import sys
import tempfile
from pathlib import Path

from jgo.env import EnvironmentBuilder, EnvironmentSpec, LockFile
from jgo.maven import MavenContext

from notifier.local.jars import LOCK_PATH, SPEC_PATH, repositories, spec_hash


def main() -> None:
    """Resolve the jars of jgo.toml, download each and write down its SHA-256."""
    with tempfile.TemporaryDirectory() as folder:
        context = MavenContext(repo_cache=Path(folder), local_repos=[], remote_repos=repositories(), timeout=30)
        spec = EnvironmentSpec.load(SPEC_PATH)
        wanted = EnvironmentBuilder(context, cache_dir=Path(folder)).spec_to_dependencies(spec)
        named, brought = context.resolver.resolve(wanted)
        needed = [dependency for dependency in brought if dependency.scope in {"compile", "runtime"}]
        LockFile.from_resolved_dependencies([*named, *needed], environment_name=spec.name, spec_hash=spec_hash()).save(
            LOCK_PATH
        )
    sys.stderr.write(f"{LOCK_PATH.name}: {len(named) + len(needed)} jars\n")


if __name__ == "__main__":
    main()
