package manifests

import "io/fs"

// SetReadDir puts another os.ReadDir in its place.
func (m *Manifest) SetReadDir(f func(string) ([]fs.DirEntry, error)) { m.readDir = f }

// Printable is what errors show of a text.
var Printable = printable

// NoOutput are the settings that are no part of the fingerprint.
var NoOutput = noOutput

// Inside says whether a path is a folder or lies below it.
var Inside = inside
