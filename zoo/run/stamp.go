package run

import (
	"context"
	"fmt"
	"io/fs"
	"time"
)

// stamp is by what a file is recognised without reading it, and the XXH3 hash of its content, 128 bits. Accidental
// collisions are negligible. Deliberate ones are possible, but an attacker who can write to the output folder does not need
// them.
type stamp struct {
	Path  string `json:"path"`
	Size  int64  `json:"size,omitempty"`
	Time  int64  `json:"time"` // of the last change, in nanoseconds
	Inode uint64 `json:"inode,omitempty"`
	Hash  string `json:"hash"`
	Fresh bool   `json:"fresh,omitempty"` // an input whose next change may not show in its time
}

// tick exceeds the resolution of file times: FAT's is two seconds.
const tick = 3 * time.Second

// fresh says whether the file changed so recently that another change may not show in its time.
func (s stamp) fresh() bool { return time.Since(time.Unix(0, s.Time)).Abs() < tick }

// stampOf is the stamp of a file without its hash.
func stampOf(fsys files, path string) (stamp, error) {
	info, err := fsys.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	return stampAs(path, info), nil
}

func stampAs(path string, info fs.FileInfo) stamp {
	return stamp{Path: path, Size: info.Size(), Time: info.ModTime().UnixNano(), Inode: inode(info)}
}

// watch recognises the model's files before they are read, for unchanged to see whether they still are what was read: by
// their times, or by their contents where the times are too fresh to tell. They are originals from then on, wherever they lie.
func (w *work) watch(ctx context.Context, paths ...string) error {
	w.before = nil
	for k, p := range paths {
		info, err := w.fsys.Stat(p)
		if err != nil {
			return err
		}
		w.guard.Files(info)
		if k == 0 {
			w.mode = info.Mode()
		}
		s := stampAs(p, info)
		if s.fresh() {
			if s.Hash, err = hashFile(ctx, w.fsys, p); err != nil {
				return err
			}
		}
		w.before = append(w.before, s)
	}
	return nil
}

// unchanged are the stamps of inputs after they were read, with hashes; known ones are not computed again. Its error is
// ErrChanged if an input has changed.
func unchanged(ctx context.Context, fsys files, before []stamp, known map[string]string) ([]stamp, error) {
	var list []stamp
	for _, b := range before {
		hash, err := known[b.Path], error(nil)
		if hash == "" {
			hash, err = hashFile(ctx, fsys, b.Path)
		}
		if err != nil {
			return nil, err
		}
		s, err := stampOf(fsys, b.Path) // after the content was read, so that a change in between shows
		if err != nil {
			return nil, err
		}
		s.Hash, s.Fresh = hash, s.fresh()
		if !s.matches(b) {
			return nil, fmt.Errorf("%s: %w: fold it again when it is complete", b.Path, ErrChanged)
		}
		list = append(list, s)
	}
	return list, nil
}

// matches says whether two stamps agree in size, time and inode, and in their hashes if both have one.
func (s stamp) matches(t stamp) bool {
	return s.Size == t.Size && s.Time == t.Time && s.Inode == t.Inode && (s.Hash == t.Hash || s.Hash == "" || t.Hash == "")
}

// holds says whether a file is as its stamp says: by size, time and inode, or by its content where these differ or cannot
// tell, or if asked for. It returns the file's present stamp.
func (s stamp) holds(ctx context.Context, fsys files, content bool) (now stamp, ok bool) {
	now, err := stampOf(fsys, s.Path)
	if err != nil {
		return now, false
	}
	return s.holdsAs(ctx, fsys, now, content)
}

// holdsAs is holds for a file whose present stamp is known.
func (s stamp) holdsAs(ctx context.Context, fsys files, now stamp, content bool) (_ stamp, ok bool) {
	if now.Size != s.Size {
		return now, false
	}
	if now.matches(s) && !s.Fresh && !content {
		return s, true
	}
	now.Fresh = now.fresh()
	var err error
	now.Hash, err = hashFile(ctx, fsys, s.Path)
	return now, err == nil && now.Hash == s.Hash
}

func total(list []stamp) (bytes int64) {
	for _, s := range list {
		bytes += s.Size
	}
	return bytes
}
