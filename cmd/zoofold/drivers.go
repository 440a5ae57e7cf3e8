package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/zoofold/zoofold/zoo/bucket"
)

// driversFor is set for the program with drivers by the one that gives way to it: it is that one's version.
const driversFor = "ZOOFOLD_DRIVERS_FOR"

// withDrivers is the path of the program with the drivers of buckets that is installed beside this one, zoofold-buckets: the
// same program, built with the tag buckets. It is 40 MB larger, and takes more time and memory to start, which runs on folders
// are spared. It is sought in this program's folder alone; "" if it is not there.
func withDrivers() string {
	program, err := os.Executable()
	if err == nil {
		program, err = filepath.EvalSymlinks(program)
	}
	if err != nil {
		return ""
	}
	name := "zoofold-buckets"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	path := filepath.Join(filepath.Dir(program), name)
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return path
}

// giveWay puts the program with drivers into the place of this one, for places in buckets: it has the same arguments, and what
// was read of standard input. It returns if this program has drivers itself, if there is no other, whose lack is said when a
// bucket is opened, and with an error if the other cannot be started.
func giveWay(stdin []byte) error {
	path := withDrivers()
	if bucket.Built || path == "" {
		return nil
	}
	input, err := again(stdin)
	if err == nil {
		err = become(path, append([]string{path}, os.Args[1:]...), append(os.Environ(), driversFor+"="+version()), input)
	}
	return fmt.Errorf("%s, which has the drivers of buckets, cannot be started: %w", path, err)
}

// again is a file with what was read of standard input, to be read once more; nil if that was nothing.
func again(data []byte) (*os.File, error) {
	if len(data) == 0 {
		return nil, nil
	}
	f, err := os.CreateTemp("", "zoofold-manifest-")
	if err != nil {
		return nil, err
	}
	_, err = f.Write(data)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	return f, errors.Join(err, os.Remove(f.Name()))
}

// wayGiven is an error if another version of the program has given way to this one, or one without drivers to itself.
func wayGiven() error {
	other, ok := os.LookupEnv(driversFor)
	if !ok {
		return nil
	}
	os.Unsetenv(driversFor)
	switch {
	case !bucket.Built:
		return errors.New("zoofold-buckets was built without the tag buckets: install the two programs of one release")
	case other != version():
		return fmt.Errorf("zoofold-buckets has version %s, zoofold %s: install the two programs of one release", version(), other)
	}
	return nil
}

// inBucket says whether a worker's root lies in a bucket.
func inBucket(root string) bool {
	_, isFile, _ := bucket.File(root)
	return bucket.IsURL(root) && !isFile
}

// buckets says which buckets are known, and by which program if it is not this one.
func buckets() string {
	known := strings.Join(bucket.Schemes, ", ")
	if bucket.Built {
		return known
	}
	if path := withDrivers(); path != "" {
		return known + ", by " + path
	}
	return bucket.ErrNotBuilt.Error()
}
