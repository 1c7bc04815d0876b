#!/usr/bin/env bash
# Guess: one codec more in the environment leaves zarr as it is.
# Instead: with zfpy 1.0.1.post0, the newest release of zfp's own wheel, `import zarr` (3.1.6) raises ValueError:
# numcodecs 0.16.6 takes the parts of the codec's version for integers, and "post0" is none. Nothing in the environment
# has to use zfp, and the installer reports no conflict. With zfpy 1.0.1 the import is well.
# For label images in OME-Zarr: where zfpy is installed for something else, pin zfpy==1.0.1.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
pip() { "$dir/venv/bin/pip" "$@" -q --disable-pip-version-check; }
python() { "$dir/venv/bin/python" "$@"; }
pip install numpy==2.4.6 zarr==3.1.6 numcodecs==0.16.6
python -c 'import zarr; print("without zfpy: zarr", zarr.__version__)'
pip install zfpy==1.0.1.post0 numpy==2.4.6
python -c 'import zfpy, numpy; a = numpy.arange(64, dtype="int32").reshape(8, 8); assert (zfpy.decompress_numpy(zfpy.compress_numpy(a)) == a).all(); print("zfpy 1.0.1.post0 itself works")'
"$dir/venv/bin/pip" check --disable-pip-version-check
python - <<'EOF'
try:
    import zarr
except ValueError as error:
    print("with zfpy 1.0.1.post0: import zarr raises ValueError:", error)
    assert "post0" in str(error)
else:
    raise SystemExit("the import went well: the behaviour has changed")
EOF
