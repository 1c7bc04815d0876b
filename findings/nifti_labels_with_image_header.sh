#!/usr/bin/env bash
# Guess: uint16 labels saved as NIfTI with the header of the image they belong to (for its geometry) are
# stored as uint16.
# Instead: nibabel 5.4.2 stores them in the *header's* type. With a uint8 image that is uint8 plus a scale
# factor of max/255: ids 7, 300 and 1001 become 7.85, 298.3 and 1001 (just below it), and astype(int) makes
# them 7, 298 and 1000: another cell's ids, or ids that never were. SimpleITK 2.5.7 reads the file as float32.
# An image of int16 does the same to ids above 32,767. Ids that fit the header's type are stored exactly, so
# small test images pass.
# For label images: call set_data_dtype on the new image, or pass dtype=, or give the affine only; check
# that scl_slope is 1 and the values are integers.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"${PYTHON:-python3.11}" -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 nibabel==5.4.2 SimpleITK==2.5.7
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import nibabel as nib, numpy as np, SimpleITK as sitk
from importlib.metadata import version

print("nibabel", version("nibabel"), "SimpleITK", version("SimpleITK"))
labels = np.zeros((16, 16, 4), np.uint16)
labels[2:5, 2:5], labels[8:10, 8:10], labels[12:14, 1:3] = 300, 1001, 7

def stored(a, header_dtype, **k):
    nib.save(nib.Nifti1Image(np.zeros(a.shape, header_dtype), np.eye(4)), "image.nii.gz")
    image = nib.load("image.nii.gz")
    nib.save(nib.Nifti1Image(a, image.affine, image.header, **k), "labels.nii.gz")
    back = nib.load("labels.nii.gz")
    values = np.asarray(back.dataobj)
    print(f"ids {np.unique(a).tolist()} under a {np.dtype(header_dtype)} header {k}: stored as {back.get_data_dtype()}, slope {back.dataobj.slope:.4f}, ids {np.unique(values).tolist()}")
    return back, values

back, values = stored(labels, np.uint8)
assert back.get_data_dtype() == np.uint8 and back.dataobj.slope != 1
assert np.unique(values.astype(int)).tolist() == [0, 7, 298, 1000]
assert sitk.ReadImage("labels.nii.gz").GetPixelID() == sitk.sitkFloat32
far = labels.astype(np.int32) * 100
back, values = stored(far, np.int16)
assert back.get_data_dtype() == np.int16 and not np.array_equal(values.astype(int), far)
small = np.minimum(labels, 250)
assert np.array_equal(stored(small, np.uint8)[1], small)
back, values = stored(labels, np.uint8, dtype=np.uint16)
assert values.dtype == np.uint16 and np.array_equal(values, labels)
EOF
