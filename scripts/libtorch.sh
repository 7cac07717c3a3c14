#!/usr/bin/env bash
# Makes FOLDER a CPU-only libtorch, of the version that the crate `torch-sys` wants, from the wheels
# of PyPI: for `LIBTORCH=FOLDER cargo build --release --features tch`.
#
# usage: scripts/libtorch.sh FOLDER
#
# The wheel of torch is built for CUDA: its `libtorch_cpu.so` wants two small libraries of CUDA even
# where no GPU is, and its `libtorch.so` wants all of CUDA. So the two come from wheels of their own,
# and a stub takes the place of `libtorch.so`. A folder that is whole already is left as it is.
set -euo pipefail

version=2.9.0
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

[[ $# == 1 && $1 != -* ]] || die 'usage: scripts/libtorch.sh FOLDER'
folder=$(realpath -m "$1")
[[ $(uname -sm) == 'Linux x86_64' ]] ||
    die 'the wheels are those of Linux on x86-64; elsewhere, set LIBTORCH to a libtorch' \
        "$version from pytorch.org"
if [[ $(cat "$folder/build-version" 2> /dev/null) == "$version" ]]; then
    echo "libtorch $version is in $folder already"
    exit
fi
[[ ! -e $folder || -z $(ls -A "$folder") ]] ||
    die "$folder is not empty and holds no libtorch $version; name another folder, or remove it"
for tool in python3 unzip gcc; do
    command -v "$tool" > /dev/null || die "\`$tool\` is needed and not installed"
done

# All is made beside the folder and renamed at the end, so that no half of it is ever found there.
mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/wheels" "$work/libtorch" "$work/libtorch/lib"
lib=$work/libtorch/lib

echo "downloading the wheels of torch $version (900 MB)"
cat > "$work/wheels.txt" << WHEELS
torch==$version --hash=sha256:51de31219c97c51cf4bf2be94d622e3deb5dcc526c6dc00e97c17eaec0fc1d67
nvidia-cuda-runtime-cu12==12.8.90 --hash=sha256:adade8dcbd0edf427b7204d480d6066d33902cab2a4707dcfc48a2d0fd44ab90
nvidia-cuda-cupti-cu12==12.8.90 --hash=sha256:ea0cb07ebda26bb9b29ba82cda34849e73c166c18162d3913575b0c9db9a6182
WHEELS
python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps \
    --only-binary=:all: --implementation cp --python-version 3.11 --abi cp311 \
    --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 \
    --require-hashes --requirement "$work/wheels.txt" --dest "$work/wheels"

echo 'taking what a CPU needs'
unzip -q "$work"/wheels/torch-*.whl 'torch/include/*' torch/lib/libc10.so torch/lib/libgomp.so.1 \
    torch/lib/libtorch_cpu.so -d "$work"
mv "$work/torch/include" "$work/libtorch/include"
mv "$work"/torch/lib/* "$lib"
unzip -qj "$work"/wheels/nvidia_cuda_runtime_*.whl '*/libcudart.so.12' -d "$lib"
unzip -qj "$work"/wheels/nvidia_cuda_cupti_*.whl '*/libcupti.so.12' -d "$lib"

# What links against `-ltorch` gets the two libraries that hold the code.
echo '/* libtorch_cpu.so and libc10.so hold the code. */' > "$work/stub.c"
gcc -shared -fPIC -Wl,-soname,libtorch.so -Wl,--no-as-needed -Wl,-rpath,"\$ORIGIN" \
    -Wl,--unresolved-symbols=ignore-in-shared-libs -o "$lib/libtorch.so" "$work/stub.c" \
    -L"$lib" -ltorch_cpu -lc10
echo "$version" > "$work/libtorch/build-version"

[[ ! -d $folder ]] || rmdir "$folder"
mv "$work/libtorch" "$folder"
echo "made $folder; now: LIBTORCH=$folder cargo build --release --features tch"
