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
// are spared. It is sought in this program's folder alone. The error is bucket.ErrNotBuilt if there is none.
func withDrivers() (string, error) {
	program, err := os.Executable()
	if err == nil {
		program, err = filepath.EvalSymlinks(program)
	}
	if err != nil {
		return "", err
	}
	name := "zoofold-buckets"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	path := filepath.Join(filepath.Dir(program), name)
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return "", bucket.ErrNotBuilt
	}
	return path, nil
}

// giveWay puts the program with drivers into the place of this process, since place is in a bucket: it has the same arguments,
// and what was read of standard input. It returns only with an error. It is not called where drivers are built in.
func giveWay(place string, stdin []byte) error {
	path, err := withDrivers()
	if err != nil {
		return fmt.Errorf("%s: %w", place, err)
	}
	input, err := again(stdin)
	if err == nil {
		err = become(path, append([]string{path}, os.Args[1:]...), append(os.Environ(), driversFor+"="+version()), input)
	}
	return fmt.Errorf("%s: %s, which has the drivers of buckets, cannot be started: %w", place, path, err)
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

// inBucket is the first of the roots that lies in a bucket, "" if none does.
func inBucket(roots []string) string {
	for _, root := range roots {
		if _, isFile, _ := bucket.File(root); bucket.IsURL(root) && !isFile {
			return root
		}
	}
	return ""
}

// buckets says which buckets are known, and by which program if it is not this one.
func buckets() string {
	known := strings.Join(bucket.Schemes, ", ")
	if bucket.Built {
		return known
	}
	path, err := withDrivers()
	if err != nil {
		return err.Error()
	}
	return known + ", by " + path
}
