#!/bin/sh
# Installs a program with its manual page, completions and documents below a folder: install.sh PROGRAM FOLDER. The pages are
# printed by NATIVE, if the program is for another machine.
set -eu
program=$1 to=$2 native=${NATIVE:-$1}

install -d "$to/bin" "$to/share/man/man1" "$to/share/bash-completion/completions" "$to/share/zsh/site-functions" \
	"$to/share/fish/vendor_completions.d" "$to/share/doc/zoofold/systemd"
install -m 755 "$program" "$to/bin/zoofold"
"$native" man >"$to/share/man/man1/zoofold.1"
"$native" completion bash >"$to/share/bash-completion/completions/zoofold"
"$native" completion zsh >"$to/share/zsh/site-functions/_zoofold"
"$native" completion fish >"$to/share/fish/vendor_completions.d/zoofold.fish"
install -m 644 README.md LICENSE docs/operations.md "$to/share/doc/zoofold"
install -m 644 docs/systemd/* "$to/share/doc/zoofold/systemd"
