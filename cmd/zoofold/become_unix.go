//go:build unix

package main

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// become puts another program into the place of this process; stdin is its standard input, unless it is nil. It returns only
// with an error.
func become(program string, args, env []string, stdin *os.File) error {
	if stdin != nil {
		if err := unix.Dup2(int(stdin.Fd()), unix.Stdin); err != nil {
			return err
		}
	}
	return syscall.Exec(program, args, env)
}
