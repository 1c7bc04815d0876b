#!/usr/bin/env bash
# Guess: opening a file reads the file. A worker that writes its result over an older one of the same name
# (atomically, with os.replace) and opens it again sees the new labels.
# Instead: pyvips 3.2.0 (libvips 8.18) keeps the last loads by file name and options, within a process.
# Opening an overwritten PNG or TIFF by name gives the *first* contents and size again, whether libvips
# itself wrote the new file or another program did and put it in place with os.replace. It looks at neither
# the file's time stamp nor its size. Loads with access='sequential' are read anew.
# For label images: open with revalidate=True, or read the bytes and use new_from_buffer, or never use a
# name twice; mind it above all in tests that write one temporary name in a loop.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 pyvips==3.2.0 pyvips-binary==8.18.7 tifffile==2026.3.3
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import os
import numpy as np, pyvips, tifffile
from importlib.metadata import version

print("pyvips", version("pyvips"), "libvips", ".".join(str(pyvips.version(i)) for i in range(3)))

def by_vips(name, a):
    pyvips.Image.new_from_array(a).write_to_file(name)

def by_replace(name, a):
    tifffile.imwrite(name + ".tmp", a)
    os.replace(name + ".tmp", name)

def seen(name, write, **options):
    out = []
    for i in (1, 2, 3):
        write(name, np.full((64 * i, 64), 10 * i, np.uint8))  # larger each time
        image = pyvips.Image.new_from_file(name, **options)
        out.append((int(image.numpy()[0, 0]), image.height))
    return out

fresh, stale = [(10, 64), (20, 128), (30, 192)], [(10, 64)] * 3
for name, write, options, expected in (
    ("a.png", by_vips, {}, stale),
    ("b.tif", by_vips, {}, stale),
    ("c.tif", by_replace, {}, stale),
    ("e.tif", by_replace, {"revalidate": True}, fresh),
    ("f.tif", by_replace, {"access": "sequential"}, fresh),
):
    got = seen(name, write, **options)
    print(f"{name} {write.__name__} {options}: first pixel and height {got}")
    assert got == expected, name
EOF
