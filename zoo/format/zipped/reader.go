package zipped

import (
	"archive/zip"
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
)

// Archive is an open ZIP file whose members are stored uncompressed, all in one folder.
type Archive struct {
	f       *os.File
	Size    int64
	Folder  string    // "NAME/"
	Members []*Member // in the order of their bytes
	named   map[string]*Member
}

// Named is the member of that path below the folder, or nil.
func (a *Archive) Named(path string) *Member { return a.named[path] }

// Member is one file of the archive.
type Member struct {
	zip.FileHeader
	Path string // below the folder
	At   int64  // of its first byte
	Len  int64  // bytes
}

const (
	maxMembers = 1 << 20
	maxText    = 64 << 20 // bytes of a program or a configuration
)

// Open reads the directory of a file.
func Open(f *os.File) (*Archive, error) {
	info, err := format.Regular(f.Stat())
	if err != nil {
		return nil, err
	}
	z, err := zip.NewReader(f, info.Size())
	if err != nil {
		if errors.Is(err, zip.ErrFormat) {
			err = errors.New("not a ZIP file, or one that was cut off")
		}
		return nil, fmt.Errorf("%w: %w", err, format.ErrCorrupt)
	}
	if len(z.File) > maxMembers {
		return nil, fmt.Errorf("%d members: %w", len(z.File), format.ErrLimit)
	}
	a := &Archive{f: f, Size: info.Size(), named: map[string]*Member{}}
	for _, m := range z.File {
		if err := a.add(m); err != nil {
			return nil, fmt.Errorf("member %q: %w", m.Name, err)
		}
	}
	if len(a.Members) == 0 {
		return nil, fmt.Errorf("an archive without members: %w", format.ErrCorrupt)
	}
	slices.SortFunc(a.Members, func(m, o *Member) int { return cmp.Compare(m.At, o.At) })
	for k, m := range a.Members[1:] {
		if before := a.Members[k]; before.At+before.Len > m.At {
			return nil, fmt.Errorf("member %q: its bytes are those of %q too: %w", m.Name, before.Name, format.ErrCorrupt)
		}
	}
	return a, nil
}

// add checks a member of the directory.
func (a *Archive) add(z *zip.File) error {
	clean := path.Clean(z.Name)
	folder, name, ok := strings.Cut(z.Name, "/")
	if len(a.Members) == 0 {
		a.Folder = folder + "/"
	}
	switch {
	case clean != z.Name || path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") || strings.ContainsAny(clean, "\\\x00"):
		return fmt.Errorf("a place outside the archive: %w: %w", format.ErrOutside, format.ErrCorrupt)
	case !ok || folder+"/" != a.Folder:
		return fmt.Errorf("it is not in the archive's folder %q: %w", a.Folder, format.ErrCorrupt)
	case a.named[name] != nil:
		return fmt.Errorf("it is there twice: %w", format.ErrCorrupt)
	case z.Method != zip.Store || z.Flags&1 != 0:
		return fmt.Errorf("it is compressed or encrypted, which PyTorch does not do: save it again: %w", format.ErrLimit)
	case z.UncompressedSize64 != z.CompressedSize64:
		return fmt.Errorf("%d bytes are claimed of %d that are stored as they are: %w", z.UncompressedSize64, z.CompressedSize64, format.ErrCorrupt)
	}
	at, err := z.DataOffset()
	if err != nil {
		return fmt.Errorf("%w: %w", err, format.ErrCorrupt)
	}
	if at > a.Size || z.CompressedSize64 > uint64(a.Size-at) {
		return fmt.Errorf("%d bytes are claimed behind byte %d, the archive has %d: %w", z.CompressedSize64, at, a.Size, format.ErrCorrupt)
	}
	m := &Member{FileHeader: z.FileHeader, Path: name, At: at, Len: int64(z.CompressedSize64)}
	a.Members = append(a.Members, m)
	a.named[name] = m
	return nil
}

// Data are a member's bytes.
func (a *Archive) Data(m *Member) *io.SectionReader { return io.NewSectionReader(a.f, m.At, m.Len) }

// Check reads a member and compares it with its checksum.
func (a *Archive) Check(m *Member) error {
	sum := crc32.NewIEEE()
	if _, err := io.Copy(sum, a.Data(m)); err != nil {
		return err
	}
	if sum.Sum32() != m.CRC32 {
		return fmt.Errorf("member %q: its checksum is %08x, the archive says %08x: the file was damaged: %w", m.Name, sum.Sum32(), m.CRC32, format.ErrCorrupt)
	}
	return nil
}

// Text is all of a member that is text.
func (a *Archive) Text(name string) (string, error) {
	m := a.named[name]
	switch {
	case m == nil:
		return "", fmt.Errorf("the archive has no %s: %w", name, format.ErrCorrupt)
	case m.Len > maxText:
		return "", fmt.Errorf("member %q: a text of %d bytes: %w", m.Name, m.Len, format.ErrLimit)
	}
	if err := a.Check(m); err != nil {
		return "", err
	}
	text, err := io.ReadAll(a.Data(m))
	return string(text), err
}
