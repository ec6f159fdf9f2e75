"""What processes that tests start and kill have imported before."""

import matplotlib.backends.backend_svg
import matplotlib.figure  # noqa: F401

import swift_stvg.cli
import swift_stvg.commands.cache
import swift_stvg.commands.check
import swift_stvg.commands.score
import swift_stvg.commands.show
import swift_stvg.frames
import swift_stvg.synth  # noqa: F401
