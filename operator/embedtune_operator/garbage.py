"""Python's collector of cycles, set for a process that holds much, and that for long.

A collection looks at all that lives, whatever of it has become garbage. As Python sets it, a
seventh of the operator's time under load went into looking again and again at its modules and at
jobs at rest, 80 ms at a time in which no other job was seen to. So what lives is set aside now and
then, and only what came since is looked at.
"""

import asyncio
import gc

NEW_ENOUGH = 10_000
"""So many new objects more than have gone are worth a look; 700 by default."""
EVERY_S = 600.0


def set_aside() -> None:
    """Collect what is garbage, of what was set aside before as well, and set aside all the rest."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def keep_setting_aside() -> None:
    """Begin with it, and do it again and again for ever."""
    gc.set_threshold(NEW_ENOUGH, *gc.get_threshold()[1:])
    while True:
        set_aside()
        await asyncio.sleep(EVERY_S)
