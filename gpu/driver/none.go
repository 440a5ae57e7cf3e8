//go:build !cuda || !linux || !amd64 || !cgo

// Package driver is empty in builds without CUDA.
package driver
