package checkpoint

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"os"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/torch/pickle"
)

// legacyFile is a checkpoint in the form before ZIP files.
type legacyFile struct {
	f       *os.File
	value   pickle.Value
	pickles [5][2]int64 // the range of bytes of each pickle
	keys    []string    // of the storages, in their order
	at      map[string]span
}

// span is the range of bytes of a storage's elements.
type span struct{ from, size int64 }

// magic is the number with which such files begin.
var magic, _ = new(big.Int).SetString("1950a86a20f9469cfc6c", 16)

const version = 1001

func openLegacy(f *os.File, size int64) (*legacyFile, error) {
	l := &legacyFile{f: f, at: map[string]span{}}
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, size), 1<<16)
	var values [5]pickle.Value
	at := int64(0)
	for k, name := range []string{"magic number", "version", "machine", "object", "list of storages"} {
		v, n, err := pickle.Decode(r)
		if err != nil {
			return nil, fmt.Errorf("the %s: %w", name, damaged(err))
		}
		values[k], l.pickles[k] = v, [2]int64{at, at + n}
		at += n
		if k == 0 {
			if m, ok := v.(*big.Int); !ok || m.Cmp(magic) != 0 {
				return nil, fmt.Errorf("a pickle, but none of torch.save: %w", format.ErrCorrupt)
			}
		}
	}
	if n, _ := pickle.Int(values[1]); n != version {
		return nil, fmt.Errorf("version %v, only %d is read: %w", values[1], version, format.ErrLimit)
	}
	if d, ok := values[2].(*pickle.Dict); ok {
		for _, i := range d.Items {
			if i.Key == "little_endian" && i.Value == false {
				return nil, fmt.Errorf("the byte order is big, only little is read: %w", format.ErrLimit)
			}
		}
	}
	l.value = values[3]
	return l, l.storages(values[4], at, size)
}

// storages finds the storages behind the pickles: each is its number of elements, in 8 bytes, and then the elements. The
// pickle gives the size of an element.
func (l *legacyFile) storages(keys pickle.Value, at, size int64) error {
	list, ok := keys.(*pickle.List)
	if !ok {
		return fmt.Errorf("the list of storages is none: %w", format.ErrCorrupt)
	}
	widths := map[string]int64{}
	err := pickle.Walk(l.value, func(v pickle.Value) error {
		p, ok := v.(*pickle.Persistent)
		if !ok {
			return nil
		}
		if id, ok := p.ID.(*pickle.Tuple); ok && len(id.Items) > 2 {
			class, _ := id.Items[1].(pickle.Global)
			key, _ := id.Items[2].(string)
			widths[key] = sizeOf(class.Name)
		}
		return nil
	})
	if err != nil {
		return damaged(err)
	}
	for _, v := range list.Items {
		key, ok := v.(string)
		_, twice := l.at[key]
		width := widths[key]
		if !ok || twice || width == 0 {
			return fmt.Errorf("storage %.40q is listed twice, or nobody's, or of a type that is not known: %w", key, format.ErrCorrupt)
		}
		var count [8]byte
		if _, err := l.f.ReadAt(count[:], at); err != nil {
			if err == io.EOF {
				return fmt.Errorf("the file ends before storage %.40q: it was cut off: %w", key, format.ErrCorrupt)
			}
			return err
		}
		n := binary.LittleEndian.Uint64(count[:])
		at += 8
		if n > uint64(size-at)/uint64(width) {
			return fmt.Errorf("storage %.40q has %d elements of %d bytes, the file has %d bytes left: it was cut off: %w", key, n, width, size-at, format.ErrCorrupt)
		}
		l.keys = append(l.keys, key)
		l.at[key] = span{at, int64(n) * width}
		at += int64(n) * width
	}
	if at != size {
		return fmt.Errorf("%d bytes follow its last storage: %w", size-at, format.ErrCorrupt)
	}
	return nil
}

func (l *legacyFile) root() pickle.Value { return l.value }

func (l *legacyFile) storage(key string) *io.SectionReader {
	s, ok := l.at[key]
	if !ok {
		return nil
	}
	return io.NewSectionReader(l.f, s.from, s.size)
}
