"""Writing by which nobody loses anything, and reading of what is whole.

One mechanism serves models, vectors, exports and single files:

1. A staging folder beside or inside the target is made and locked before the work begins. That it
   can be written, and that nothing of somebody else's is in the way, is known then.
2. All files are written into it and synced to the disk.
3. A file or a new folder takes its name by one rename. In a folder that exists, a journal takes its
   name: the point of no return. Then each new file is renamed over its predecessor.

Before the journal is there, whatever ends the process leaves the old files; the next writer removes
the staging folder. After it, the next writer or reader finishes the renames. ``manifest.json``
lists the files of a folder that we wrote, with their hashes; no other file is ever replaced,
removed or followed.
"""

from keraslm._files.facts import checked_path
from keraslm._files.reading import read_whole, repair
from keraslm._files.stage import BusyError
from keraslm._files.writer import (
    Report,
    Writer,
    replaced_file,
    reserved,
    reserved_file,
    warn_of,
    write_json,
)

__all__ = [
    "BusyError", "Report", "Writer", "checked_path", "read_whole", "repair", "replaced_file",
    "reserved", "reserved_file", "warn_of", "write_json",
]  # fmt: skip
