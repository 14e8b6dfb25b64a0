"""Builds the C++ kernels (src/throughtime/kernels/native); all else stands in pyproject.toml.

They need a C++ compiler and nothing else: neither torch nor numpy, so that one build serves every
version of either. Where there is no compiler the package installs without them, and says so at the
first use.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from itertools import chain

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NATIVE = "src/throughtime/kernels/native"
FLAGS = [
    "-std=gnu++17",
    "-O3",
    "-g0",
    "-ffp-contract=fast",
    "-fno-wrapv",  # Python's own flags ask for -fwrapv, which costs the loops a tenth more moves
    "-fno-math-errno",
    "-fvisibility=hidden",
    "-pthread",
]


class BuildTogether(build_ext):
    """Compiles the sources of an extension side by side; setuptools takes one after the other."""

    def build_extension(self, ext):
        """Build one extension."""
        compile_some = self.compiler.compile

        def compile_together(sources, **settings):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = pool.map(lambda source: compile_some([source], **settings), sources)
                return list(chain.from_iterable(objects))

        self.compiler.compile = compile_together
        super().build_extension(ext)


setup(
    ext_modules=[
        Extension(
            "throughtime.kernels._native",
            sorted(glob(f"{NATIVE}/*.cpp")),
            depends=sorted(glob(f"{NATIVE}/*.h")),
            extra_compile_args=FLAGS,
            extra_link_args=["-pthread"],
            language="c++",
            optional=True,
            py_limited_api=True,
        )
    ],
    cmdclass={"build_ext": BuildTogether},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
