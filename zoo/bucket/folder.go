package bucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zeebo/xxh3"
	"gocloud.dev/blob"
)

// Errors that callers test for with errors.Is.
var (
	ErrChanged  = errors.New("was changed by somebody else since the bucket was listed")
	ErrLost     = errors.New("the lock of this run was lost")
	ErrNotBuilt = errors.New("this zoofold has no drivers of buckets: it was built without the tag buckets, and zoofold-buckets, which has them, is not in its folder (make install and releases put it there)")
)

// service is a bucket, and what its service says in terms of its own. The functions may be nil.
type service struct {
	*blob.Bucket
	listed  func(*blob.ListObject) string                 // the version of an object in a list, which is another one whenever the object is
	stated  func(*blob.Attributes) string                 // that of one that was asked for; nil: its ETag
	read    func(*blob.Reader) string                     // that of one that is read
	replace func(as func(any) bool, version string) error // makes a write conditional on what it replaces
	after   func(error) time.Duration                     // in what time the service wants to be asked again; 0 where it does not say
	// abandon takes back the parts of an upload that ended in an error, where the driver has left them. key is the bucket's.
	abandon func(ctx context.Context, key string, err error) error
}

// Folder is a folder of a bucket. Paths are relative to it, with slashes. Its methods may be called by several goroutines at
// once, but for List.
type Folder struct {
	URL
	service service
	timing  timing

	lock    sync.Mutex
	list    map[string]*Info    // what is there, by path; nil before List
	folders map[string][]string // names of what is in each folder
	asked   map[string]*Info    // of Asking: what was there when it was first asked for; nil: nothing
	lease   *lease
}

// Open opens a folder. Nothing is asked of the service yet.
func Open(ctx context.Context, u URL) (*Folder, error) {
	s, err := open(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u, err)
	}
	return newFolder(u, s), nil
}

// Over opens a folder of a bucket that is open already, of a driver without versions or conditions, as those of package blob
// for files and memory are: its objects' times and sizes tell them apart.
func Over(u URL, b *blob.Bucket) *Folder {
	version := func(at time.Time, size int64) string { return fmt.Sprintf("%x-%x", at.UnixNano(), size) }
	return newFolder(u, service{
		Bucket: b,
		listed: func(o *blob.ListObject) string { return version(o.ModTime, o.Size) },
		stated: func(a *blob.Attributes) string { return version(a.ModTime, a.Size) },
		read:   func(r *blob.Reader) string { return version(r.ModTime(), r.Size()) },
	})
}

func newFolder(u URL, s service) *Folder {
	if u.Prefix != "" {
		s.Bucket = blob.PrefixedBucket(s.Bucket, u.Prefix+"/")
	}
	return &Folder{URL: u, service: s, timing: usual}
}

// Asking is the folder for who needs few of its objects: none is listed, and each is as it was when it was first asked for.
// It is closed with the folder, and has no lock and no ReadDir.
func (f *Folder) Asking() *Folder {
	return &Folder{URL: f.URL, service: f.service, timing: f.timing, asked: map[string]*Info{}}
}

// Forget has an Asking folder ask again for what it knows.
func (f *Folder) Forget() {
	f.lock.Lock()
	defer f.lock.Unlock()
	clear(f.asked)
}

// Close closes the folder.
func (f *Folder) Close() error { return f.service.Close() }

// Info is what is known of an object, or of a folder.
type Info struct {
	path string
	size int64
	time time.Time
	dir  bool

	version string // another one whenever the object is: its ETag without quotes, or what the service has for that
}

// Name is the last element of the path.
func (i *Info) Name() string { return path.Base(i.path) }

// Size is in bytes.
func (i *Info) Size() int64 { return i.size }

// Mode is that of a file that everybody may read; a bucket has no others.
func (i *Info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o777
	}
	return 0o666
}

// ModTime is when the object was written, in whole seconds: not all answers have more.
func (i *Info) ModTime() time.Time { return i.time }

// IsDir says whether it is a folder.
func (i *Info) IsDir() bool { return i.dir }

// Sys is the Info itself.
func (i *Info) Sys() any { return i }

// Version is a number that is another one whenever the object is.
func (i *Info) Version() uint64 { return xxh3.HashString(i.version) }

func infoOf(rel string, size int64, at time.Time, version string) *Info {
	at = at.UTC().Truncate(time.Second)
	if version = strings.Trim(version, `"`); version == "" {
		version = fmt.Sprintf("%d@%d", size, at.Unix())
	}
	return &Info{path: rel, size: size, time: at, version: version}
}

// List asks what is in the folder, all at once. Objects whose names are no paths are passed over.
func (f *Folder) List(ctx context.Context) error {
	list, folders := map[string]*Info{}, map[string][]string{"": nil}
	var token []byte = blob.FirstPageToken
	for token != nil {
		var page []*blob.ListObject
		err := f.try(ctx, "list "+f.String(), func(ctx context.Context) (err error) {
			var next []byte
			if page, next, err = f.service.ListPage(ctx, token, pageSize, nil); err == nil {
				token = next
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, o := range page {
			if o.IsDir || !fs.ValidPath(o.Key) || o.Key == "." {
				continue
			}
			version := ""
			if f.service.listed != nil {
				version = f.service.listed(o)
			}
			list[o.Key] = infoOf(o.Key, o.Size, o.ModTime, version)
		}
		if len(token) == 0 {
			token = nil
		}
	}
	for rel := range list {
		enter(folders, rel)
	}
	f.lock.Lock()
	defer f.lock.Unlock()
	f.list, f.folders = list, folders
	return nil
}

// Look lists the folder, unless that was done.
func (f *Folder) Look(ctx context.Context) error {
	f.lock.Lock()
	listed := f.list != nil
	f.lock.Unlock()
	if listed {
		return nil
	}
	return f.List(ctx)
}

const pageSize = 1000

// enter notes a path, and the folders that it makes.
func enter(folders map[string][]string, rel string) {
	for rel != "" {
		dir := strings.TrimSuffix(path.Dir(rel), ".")
		_, known := folders[dir]
		folders[dir] = append(folders[dir], path.Base(rel))
		if known {
			return
		}
		rel = dir
	}
}

// Stat is what an object or a folder is, as the folder knows it; before List the service is asked, which knows no folders.
// Its error wraps fs.ErrNotExist where nothing is.
func (f *Folder) Stat(ctx context.Context, rel string) (*Info, error) {
	f.lock.Lock()
	info, listed := f.list[rel], f.list != nil
	_, dir := f.folders[rel]
	if before, asked := f.asked[rel]; asked {
		info, listed = before, true
	}
	f.lock.Unlock()
	switch {
	case info != nil:
		return info, nil
	case dir || rel == "":
		return &Info{path: rel, dir: true}, nil
	case listed:
		return nil, f.missing("stat", rel)
	}
	info, err := f.head(ctx, rel)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		f.know(rel, info)
	}
	return info, err
}

func (f *Folder) missing(what, rel string) error {
	return &fs.PathError{Op: what, Path: f.at(rel), Err: fs.ErrNotExist}
}

// at is how a path is shown.
func (f *Folder) at(rel string) string { return f.String() + "/" + rel }

// head asks the service for an object.
func (f *Folder) head(ctx context.Context, rel string) (*Info, error) {
	a, err := f.attributes(ctx, rel)
	if err != nil {
		return nil, err
	}
	return f.stated(rel, a), nil
}

func (f *Folder) stated(rel string, a *blob.Attributes) *Info {
	version := a.ETag
	if f.service.stated != nil {
		version = f.service.stated(a)
	}
	return infoOf(rel, a.Size, a.ModTime, version)
}

func (f *Folder) attributes(ctx context.Context, rel string) (a *blob.Attributes, err error) {
	err = f.try(ctx, "look at "+f.at(rel), func(ctx context.Context) (err error) {
		a, err = f.service.Attributes(ctx, rel)
		return err
	})
	if isMissing(err) {
		return nil, f.missing("stat", rel)
	}
	return a, err
}

// ReadDir are the objects and folders of a folder, by name.
func (f *Folder) ReadDir(rel string) ([]fs.DirEntry, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	names, ok := f.folders[rel]
	if !ok {
		return nil, f.missing("open", rel)
	}
	var list []fs.DirEntry
	for _, name := range names {
		inner := path.Join(rel, name)
		info := f.list[inner]
		if _, dir := f.folders[inner]; dir { // an object of that name too could not be told apart in a folder
			info = &Info{path: inner, dir: true}
		}
		list = append(list, fs.FileInfoToDirEntry(info))
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return slices.CompactFunc(list, func(a, b fs.DirEntry) bool { return a.Name() == b.Name() }), nil
}

// know notes what is there now; nil: nothing.
func (f *Folder) know(rel string, info *Info) {
	f.lock.Lock()
	defer f.lock.Unlock()
	if f.asked != nil {
		f.asked[rel] = info
	}
	if f.list == nil {
		return
	}
	before := f.list[rel]
	switch {
	case info == nil && before != nil:
		delete(f.list, rel)
		f.leave(rel)
	case info != nil:
		if f.list[rel] = info; before == nil {
			enter(f.folders, rel)
		}
	}
}

// leave takes a path out of its folder, and folders that are empty then out of theirs.
func (f *Folder) leave(rel string) {
	for rel != "" {
		dir := strings.TrimSuffix(path.Dir(rel), ".")
		f.folders[dir] = slices.DeleteFunc(f.folders[dir], func(name string) bool { return name == path.Base(rel) })
		if len(f.folders[dir]) > 0 || dir == "" {
			return
		}
		delete(f.folders, dir)
		rel = dir
	}
}

// Below are the paths of all objects below a folder, in order; "" is the Folder itself.
func (f *Folder) Below(rel string) (list []string) {
	f.lock.Lock()
	defer f.lock.Unlock()
	for other := range f.list {
		if rel == "" || strings.HasPrefix(other, rel+"/") {
			list = append(list, other)
		}
	}
	slices.Sort(list)
	return list
}

// Open reads an object as it was listed: where another is there now, the error wraps ErrChanged.
func (f *Folder) Open(ctx context.Context, rel string) (io.ReadCloser, error) {
	info, err := f.Stat(ctx, rel)
	if err != nil {
		return nil, err
	}
	if info.dir {
		return nil, &fs.PathError{Op: "open", Path: f.at(rel), Err: errors.New("is a folder")}
	}
	r := &reader{folder: f, ctx: ctx, info: info}
	return r, nil
}
