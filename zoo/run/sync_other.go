//go:build !unix

package run

func isUnsupported(error) bool { return true }
