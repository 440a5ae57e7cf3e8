package torch

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
	"github.com/zoofold/zoofold/zoo/format/jsontext"
)

// archive is an open ZIP file all of whose members are stored as they are, in one folder.
type archive struct {
	f       *os.File
	size    int64
	folder  string    // "NAME/"
	members []*member // in the order of their bytes
	named   map[string]*member
}

// member is one file of the archive.
type member struct {
	zip.FileHeader
	name string // below the folder
	at   int64  // of its first byte
	size int64
}

const (
	maxMembers = 1 << 20
	maxText    = 64 << 20 // bytes of a program or a configuration
)

// openArchive reads the directory of a .pt2 file.
func openArchive(f *os.File) (*archive, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("not a file: %w", format.ErrCorrupt)
	}
	z, err := zip.NewReader(f, info.Size())
	if err != nil {
		if errors.Is(err, zip.ErrFormat) {
			err = errors.New("not a ZIP file, as .pt2 files are, or one that was cut off")
		}
		return nil, fmt.Errorf("%w: %w", err, format.ErrCorrupt)
	}
	if len(z.File) > maxMembers {
		return nil, fmt.Errorf("%d members: %w", len(z.File), format.ErrLimit)
	}
	a := &archive{f: f, size: info.Size(), named: map[string]*member{}}
	for _, m := range z.File {
		if err := a.add(m); err != nil {
			return nil, fmt.Errorf("member %q: %w", m.Name, err)
		}
	}
	if len(a.members) == 0 {
		return nil, fmt.Errorf("an archive without members: %w", format.ErrCorrupt)
	}
	slices.SortFunc(a.members, func(m, o *member) int { return cmp.Compare(m.at, o.at) })
	for k, m := range a.members[1:] {
		if before := a.members[k]; before.at+before.size > m.at {
			return nil, fmt.Errorf("member %q: its bytes are those of %q too: %w", m.Name, before.Name, format.ErrCorrupt)
		}
	}
	return a, nil
}

// add checks a member of the directory.
func (a *archive) add(z *zip.File) error {
	clean := path.Clean(z.Name)
	folder, name, ok := strings.Cut(z.Name, "/")
	if len(a.members) == 0 {
		a.folder = folder + "/"
	}
	switch {
	case clean != z.Name || path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") || strings.ContainsAny(clean, "\\\x00"):
		return fmt.Errorf("a place outside the archive: %w: %w", format.ErrOutside, format.ErrCorrupt)
	case !ok || folder+"/" != a.folder:
		return fmt.Errorf("it is not in the archive's folder %q: %w", a.folder, format.ErrCorrupt)
	case a.named[name] != nil:
		return fmt.Errorf("it is there twice: %w", format.ErrCorrupt)
	case z.Method != zip.Store || z.Flags&1 != 0:
		return fmt.Errorf("it is compressed or encrypted, which torch.export.save does not do: save the program again: %w", format.ErrLimit)
	case z.UncompressedSize64 != z.CompressedSize64:
		return fmt.Errorf("%d bytes are claimed of %d that are stored as they are: %w", z.UncompressedSize64, z.CompressedSize64, format.ErrCorrupt)
	}
	at, err := z.DataOffset()
	if err != nil {
		return fmt.Errorf("%w: %w", err, format.ErrCorrupt)
	}
	if at > a.size || z.CompressedSize64 > uint64(a.size-at) {
		return fmt.Errorf("%d bytes are claimed behind byte %d, the archive has %d: %w", z.CompressedSize64, at, a.size, format.ErrCorrupt)
	}
	m := &member{FileHeader: z.FileHeader, name: name, at: at, size: int64(z.CompressedSize64)}
	a.members = append(a.members, m)
	a.named[name] = m
	return nil
}

// data are a member's bytes.
func (a *archive) data(m *member) *io.SectionReader { return io.NewSectionReader(a.f, m.at, m.size) }

// check reads a member and holds it against its checksum.
func (a *archive) check(m *member) error {
	sum := crc32.NewIEEE()
	if _, err := io.Copy(sum, a.data(m)); err != nil {
		return err
	}
	if sum.Sum32() != m.CRC32 {
		return fmt.Errorf("member %q: its checksum is %08x, the archive says %08x: the file was damaged: %w", m.Name, sum.Sum32(), m.CRC32, format.ErrCorrupt)
	}
	return nil
}

// text is all of a member that is text.
func (a *archive) text(name string) (string, error) {
	m := a.named[name]
	switch {
	case m == nil:
		return "", fmt.Errorf("the archive has no %s: %w", name, format.ErrCorrupt)
	case m.size > maxText:
		return "", fmt.Errorf("member %q: a text of %d bytes: %w", m.Name, m.size, format.ErrLimit)
	}
	if err := a.check(m); err != nil {
		return "", err
	}
	text, err := io.ReadAll(a.data(m))
	return string(text), err
}

// json is a member that is JSON.
func (a *archive) json(name string) (*jsontext.Value, error) {
	text, err := a.text(name)
	if err != nil {
		return nil, err
	}
	v, err := jsontext.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return v, nil
}

// program is the name of the one program in the archive.
func (a *archive) program() (string, error) {
	if a.named["byteorder"] != nil {
		switch order, err := a.text("byteorder"); {
		case err != nil:
			return "", err
		case order != "little":
			return "", fmt.Errorf("the byte order is %.20q, only little is read: %w", order, format.ErrLimit)
		}
	}
	var names []string
	for _, m := range a.members {
		if name, ok := strings.CutPrefix(m.name, "models/"); ok {
			if name, ok = strings.CutSuffix(name, ".json"); ok {
				names = append(names, name)
			}
		}
	}
	switch {
	case len(names) == 1:
		return names[0], nil
	case len(names) > 1:
		return "", fmt.Errorf("the archive holds %d programs: save each in a file of its own with torch.export.save: %w", len(names), format.ErrLimit)
	case a.named["serialized_exported_program.json"] != nil || a.named["version"] != nil && a.named["data.pkl"] == nil:
		return "", fmt.Errorf("the archive is in the form of an older PyTorch: load it with torch.export.load and save it again with a newer one: %w", format.ErrLimit)
	case a.named["data.pkl"] != nil:
		return "", fmt.Errorf("a file of torch.save, with weights but without a graph: export the model with torch.export.save: %w", format.ErrCorrupt)
	}
	return "", fmt.Errorf("the archive has no program, models/NAME.json: compiled packages cannot be folded, export the model with torch.export.save: %w", format.ErrCorrupt)
}
