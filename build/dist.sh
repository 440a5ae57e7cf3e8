#!/bin/sh
# Release archives, wheels for pip and their checksums in dist/: dist.sh VERSION. The same commit makes the same bytes: the files of an
# archive are sorted, root's, and as old as SOURCE_DATE_EPOCH or the commit. Needs Linux on amd64 and GNU tar.
set -eu
: "${GO:=go}" "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}"
version=$1
export GOFLAGS="${GOFLAGS:-} -buildvcs=false"

linked='{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' # modules

rm -rf dist
mkdir -p dist/build
for target in linux/amd64 linux/arm64 darwin/arm64 darwin/amd64 windows/amd64; do
	os=${target%/*} arch=${target#*/}
	name=zoofold-$version-$os-$arch
	suffix=
	[ $os != windows ] || suffix=.exe
	program=dist/build/$name$suffix buckets=dist/build/$name-buckets$suffix
	echo "== $name"
	if [ $target = linux/amd64 ]; then # with ONNX Runtime and CUDA; the others are for the CPU only, and have no predictions
		"${MAKE:-make}" --no-print-directory build GO="$GO"
		cp bin/zoofold "$program"
		cp bin/zoofold-buckets "$buckets"
		tags=cuda,buckets cgo=1
		if "$program" -version | grep -q 'CUDA: not in this build'; then
			echo "dist: this build has no CUDA: its header is missing" >&2
			exit 1
		fi
	else
		tags=buckets cgo=0
		for built in "$program" "$buckets"; do
			with=
			[ "$built" = "$program" ] || with=$tags
			GOOS=$os GOARCH=$arch CGO_ENABLED=$cgo $GO build -tags "$with" -trimpath -ldflags "-s -w -buildid= -X main.released=$version" -o "$built" ./cmd/zoofold
		done
	fi
	NATIVE=dist/build/zoofold-$version-linux-amd64 sh build/install.sh "$program" "$buckets" "dist/build/tree/$name"
	licences=dist/build/tree/$name/share/doc/zoofold/LICENSES
	printf '==== Go %s\n\n' "$($GO env GOVERSION)" >"$licences"
	cat "$($GO env GOROOT)/LICENSE" >>"$licences"
	GOOS=$os GOARCH=$arch CGO_ENABLED=$cgo $GO list -tags "$tags" -deps -f "$linked" ./cmd/zoofold | sort -u |
		while read -r module at folder; do
			printf '\n==== %s %s\n\n' "$module" "$at"
			cat "$folder"/LICENSE* || exit 1
		done >>"$licences"
	tar --directory dist/build/tree --sort=name --format=ustar --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
		--mtime="@$SOURCE_DATE_EPOCH" --create --file "dist/$name.tar" "$name"
	gzip -n -9 "dist/$name.tar"
	case $target in # the oldest system on which the program runs: the newest symbol of glibc that it asks for, Go's own limits
	linux/amd64) glibc=$(readelf -V "$program" | grep -o 'GLIBC_2\.[0-9]*' | sort -t. -k2n | tail -1 | cut -d. -f2) platform=manylinux_2_${glibc}_x86_64 ;;
	linux/arm64) platform=manylinux_2_17_aarch64.musllinux_1_1_aarch64 ;;
	darwin/arm64) platform=macosx_12_0_arm64 ;;
	darwin/amd64) platform=macosx_12_0_x86_64 ;;
	windows/amd64) platform=win_amd64 ;;
	esac
	python3 build/wheel.py "$version" "$program" "$buckets" "$platform" "$licences" dist
done
rm -rf dist/build
cd dist
sha256sum ./*.tar.gz ./*.whl | sed 's,\./,,' | tee SHA256SUMS
