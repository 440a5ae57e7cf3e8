package keras

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/format/keras/hdf5"
)

// The members of a .keras file that are read.
const (
	configMember   = "config.json"
	metadataMember = "metadata.json"
	weightsMember  = "model.weights.h5"
)

// archive is an open .keras file: a ZIP file of a configuration, metadata, weights in HDF5, and perhaps further files that
// layers save, such as vocabularies.
type archive struct {
	members []*zip.File // in their order
	temp    *os.File    // the weights, where they are stored compressed
}

const (
	maxMembers  = 1 << 16
	minBomb     = 256 << 20 // the bytes of a member from which on its compression rate is checked
	maxBombRate = 100       // the largest rate: more is taken for a decompression bomb
)

// openArchive opens a .keras file, and returns the configuration.
func (h *file) openArchive(size int64) (string, error) {
	z, err := zip.NewReader(h.f, size)
	if err != nil {
		if errors.Is(err, zip.ErrFormat) {
			err = errors.New("not a ZIP file, as .keras files are")
		}
		return "", fmt.Errorf("%w: %w", err, format.ErrCorrupt)
	}
	h.archive = &archive{members: z.File}
	if len(z.File) > maxMembers {
		return "", fmt.Errorf("%d members: %w", len(z.File), format.ErrLimit)
	}
	seen := map[string]*zip.File{}
	for _, m := range z.File {
		name := path.Clean(strings.TrimSuffix(m.Name, "/"))
		switch {
		case name == "." || path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") || strings.ContainsAny(name, "\\\x00") || strings.Contains(name, ":"):
			return "", fmt.Errorf("member %q: a place outside the archive: %w: %w", m.Name, format.ErrOutside, format.ErrCorrupt)
		case seen[name] != nil:
			return "", fmt.Errorf("member %q: it is there twice: %w", m.Name, format.ErrCorrupt)
		case m.Method != zip.Store && m.Method != zip.Deflate || m.Flags&1 != 0:
			return "", fmt.Errorf("member %q: compressed by method %d, or encrypted: %w", m.Name, m.Method, format.ErrUnread)
		case m.UncompressedSize64 > minBomb && m.UncompressedSize64/maxBombRate > m.CompressedSize64:
			return "", fmt.Errorf("member %q: %d bytes made of %d: %w", m.Name, m.UncompressedSize64, m.CompressedSize64, format.ErrLimit)
		}
		if at, err := m.DataOffset(); err != nil {
			return "", fmt.Errorf("member %q: %w: %w", m.Name, err, format.ErrCorrupt)
		} else if m.CompressedSize64 > math.MaxInt64 || at > size || int64(m.CompressedSize64) > size-at {
			return "", fmt.Errorf("member %q: %d bytes are claimed behind byte %d, the archive has %d: %w", m.Name, m.CompressedSize64, at, size, format.ErrCorrupt)
		}
		seen[name] = m
	}
	config, metadata, weights := seen[configMember], seen[metadataMember], seen[weightsMember]
	switch {
	case config == nil:
		return "", fmt.Errorf("the archive has no %s: it is not a Keras model: %w", configMember, format.ErrCorrupt)
	case weights == nil && seen["model.weights.npz"] != nil:
		return "", fmt.Errorf("the weights are an .npz file: save the model with weights in HDF5, as Keras does by default: %w", format.ErrUnread)
	case weights == nil:
		return "", fmt.Errorf("the archive has no %s: %w", weightsMember, format.ErrCorrupt)
	}
	text, err := memberText(config)
	if err != nil {
		return "", err
	}
	h.version = version{major: 3}
	if metadata != nil {
		said, err := memberText(metadata)
		if err != nil {
			return "", err
		}
		if tree, err := jsontext.Parse(said); err == nil {
			if said, ok := tree.Get("keras_version").Str(); ok {
				h.version = parseVersion(said, "")
			}
		}
	}
	r, err := h.archive.content(h.f, weights)
	if err != nil {
		return "", fmt.Errorf("member %q: %w", weights.Name, err)
	}
	if h.root, err = hdf5.Open(r, r.Size()); err != nil {
		return "", fmt.Errorf("member %q: %w", weights.Name, err)
	}
	return text, nil
}

// memberText is the content of a text member.
func memberText(m *zip.File) (string, error) {
	if m.UncompressedSize64 > maxConfig {
		return "", fmt.Errorf("member %q: %d bytes: %w", m.Name, m.UncompressedSize64, format.ErrLimit)
	}
	r, err := m.Open()
	if err != nil {
		return "", fmt.Errorf("member %q: %w: %w", m.Name, err, format.ErrCorrupt)
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxConfig))
	if err != nil {
		return "", fmt.Errorf("member %q: %w: %w", m.Name, err, format.ErrCorrupt)
	}
	return string(text), nil
}

// content is a member's bytes: in the archive if they are stored uncompressed, else decompressed into a temporary file.
func (a *archive) content(f *os.File, m *zip.File) (*io.SectionReader, error) {
	if m.Method == zip.Store {
		at, err := m.DataOffset()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", err, format.ErrCorrupt)
		}
		if m.UncompressedSize64 != m.CompressedSize64 {
			return nil, fmt.Errorf("%d bytes are claimed of %d that are stored as they are: %w", m.UncompressedSize64, m.CompressedSize64, format.ErrCorrupt)
		}
		return io.NewSectionReader(f, at, int64(m.CompressedSize64)), nil
	}
	temp, err := os.CreateTemp("", "zoofold-*.h5")
	if err != nil {
		return nil, err
	}
	a.temp = temp
	_ = os.Remove(temp.Name()) // some systems cannot remove an open file: close removes it there
	r, err := m.Open()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, format.ErrCorrupt)
	}
	defer r.Close()
	n, err := io.Copy(temp, io.LimitReader(r, int64(m.UncompressedSize64)+1))
	var failed *os.PathError
	switch {
	case errors.As(err, &failed):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("it is not what the archive says it is: %w: %w", err, format.ErrCorrupt)
	case uint64(n) != m.UncompressedSize64:
		return nil, fmt.Errorf("it is not what the archive says it is: %w", format.ErrCorrupt)
	}
	return io.NewSectionReader(temp, 0, n), nil
}

func (a *archive) close() error {
	if a.temp == nil {
		return nil
	}
	err := a.temp.Close()
	_ = os.Remove(a.temp.Name())
	return err
}
