"""Puts `conf/` inside the wheel as `sciml/conf`; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfiguration(build_py):
    """Copies `conf/` beside the modules, so that an installed console script finds it."""

    def run(self) -> None:
        """Build the modules, then add the configuration."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "sciml" / "conf"
            shutil.copytree("conf", target, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithConfiguration})
