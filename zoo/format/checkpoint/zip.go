package checkpoint

import (
	"archive/zip"
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/torch/pickle"
	"github.com/zoofold/zoofold/zoo/format/zipped"
)

// zipFile is a checkpoint that is a ZIP file.
type zipFile struct {
	*zipped.Archive
	value pickle.Value
}

const pickled = "data.pkl"

func openZip(f *os.File) (*zipFile, error) {
	a, err := zipped.Open(f)
	if scripted(f) {
		return nil, fmt.Errorf("a TorchScript archive, which holds code: load it with torch.jit.load and save its state_dict(): %w", format.ErrLimit)
	}
	if err != nil {
		return nil, err
	}
	for _, m := range a.Members {
		if strings.HasPrefix(m.Path, "models/") {
			return nil, fmt.Errorf("a program of torch.export: give it the extension .pt2: %w", format.ErrLimit)
		}
	}
	m := a.Named(pickled)
	if m == nil {
		return nil, fmt.Errorf("the archive has no %s: torch.save did not write it: %w", pickled, format.ErrCorrupt)
	}
	if a.Named("byteorder") != nil {
		switch order, err := a.Text("byteorder"); {
		case err != nil:
			return nil, err
		case order != "little":
			return nil, fmt.Errorf("the byte order is %.20q, only little is read: %w", order, format.ErrLimit)
		}
	}
	if err := a.Check(m); err != nil {
		return nil, err
	}
	value, n, err := pickle.Decode(bufio.NewReaderSize(a.Data(m), 1<<16))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", pickled, damaged(err))
	}
	if n != m.Len {
		return nil, fmt.Errorf("%s: something follows its pickle: %w", pickled, format.ErrCorrupt)
	}
	return &zipFile{a, value}, nil
}

// scripted says whether a ZIP file is a TorchScript archive, whose code is compressed.
func scripted(f *os.File) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	z, err := zip.NewReader(f, info.Size())
	return err == nil && slices.ContainsFunc(z.File, func(m *zip.File) bool {
		_, name, _ := strings.Cut(m.Name, "/")
		return strings.HasPrefix(name, "code/") || name == "constants.pkl"
	})
}

// damaged is a pickle's error, with the corresponding error of package format in its chain.
func damaged(err error) error {
	if errors.Is(err, pickle.ErrCorrupt) {
		return fmt.Errorf("%w: %w", err, format.ErrCorrupt)
	}
	return fmt.Errorf("%w: %w", err, format.ErrLimit)
}

func (z *zipFile) root() pickle.Value { return z.value }

func (z *zipFile) storage(key string) *io.SectionReader {
	m := z.Named("data/" + key)
	if m == nil {
		return nil
	}
	return z.Data(m)
}
