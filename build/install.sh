#!/bin/sh
# Installs the program with its manual page, completions and documents below a folder:
# install.sh PROGRAM WITH_BUCKETS FOLDER [LIBRARIES]. WITH_BUCKETS is the program with the drivers of buckets. The pages are
# printed by NATIVE, if the programs are for another machine. LIBRARIES is a folder with ONNX Runtime's library,
# which then goes where the program looks for it first.
set -eu
program=$1 buckets=$2 to=$3 native=${NATIVE:-$1} libraries=${4:-}

suffix=
case $program in *.exe) suffix=.exe ;; esac

install -d "$to/bin" "$to/share/man/man1" "$to/share/bash-completion/completions" "$to/share/zsh/site-functions" \
	"$to/share/fish/vendor_completions.d" "$to/share/doc/zoofold/systemd"
install -m 755 "$program" "$to/bin/zoofold$suffix"
install -m 755 "$buckets" "$to/bin/zoofold-buckets$suffix"
"$native" man >"$to/share/man/man1/zoofold.1"
"$native" completion bash >"$to/share/bash-completion/completions/zoofold"
"$native" completion zsh >"$to/share/zsh/site-functions/_zoofold"
"$native" completion fish >"$to/share/fish/vendor_completions.d/zoofold.fish"
install -m 644 README.md LICENSE docs/operations.md "$to/share/doc/zoofold"
install -m 644 docs/systemd/* "$to/share/doc/zoofold/systemd"

[ -n "$libraries" ] || exit 0
rm -f "$to"/lib/zoofold/libonnxruntime* # another version, from before
found=
for library in "$libraries"/libonnxruntime*; do
	[ -f "$library" ] || continue
	install -d "$to/lib/zoofold"
	install -m 644 "$library" "$to/lib/zoofold"
	found=1
done
[ -n "$found" ] || echo "ONNX Runtime is not in $libraries, and not installed (make fetch brings it): zoofold -version says whether another one is found"
