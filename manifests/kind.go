package manifests

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/zoofold/zoofold/zoo/format"
)

var (
	errGone       = errors.New("is not there")
	errFolderLink = errors.New("links to a folder")
)

// regular is the FileInfo of a regular file, with links followed, also out of the zoo. For everything else the error says
// what it is. Nothing is opened.
func regular(file string) (fs.FileInfo, error) {
	info, err := os.Lstat(file)
	verb := "is"
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		verb = "links to"
		info, err = os.Stat(file)
	}
	switch {
	case err == nil && info.Mode().IsRegular():
		return info, nil
	case err == nil && info.IsDir() && verb == "links to":
		return nil, errFolderLink
	case err == nil:
		return nil, fmt.Errorf("%s %s", verb, kindOf(info.Mode()))
	case verb == "is" && errors.Is(err, fs.ErrNotExist):
		return nil, errGone
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return nil, errors.New("links to nothing")
	case errors.Is(err, syscall.ELOOP):
		return nil, errors.New("links in a loop")
	}
	return nil, fmt.Errorf("cannot be read: %w", reason(err))
}

// kindOf names a kind of file that is not regular.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "no regular file"
}

// reason is an error without its path, which the message has already.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// modelName says whether a name has the extension of a model file.
func modelName(rel string) bool {
	_, err := format.Find(rel)
	return err == nil
}

// checkpoint says whether a name has the extension of a file of tensors without a graph.
func checkpoint(rel string) bool {
	f, _ := format.Find(rel)
	return f.Bare
}
